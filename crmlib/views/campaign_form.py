"""The planning form of the campaigns dashboard: what a person types, as a plan, and a plan put back into it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets as widgets

from crmlib.decisions.campaigns import CHANNELS, Arm, Plan
from crmlib.errors import UsageError
from crmlib.views import layout, texts, wording
from crmlib.views.campaigns_data import Loaded

ARMS = 3
LONGEST = 200
"""Letters of a name, a goal or an owner."""

_WIDE = {"width": "auto"}
_FIELDS = (
    *("name", "goal", "owner", "audience", "starts", "ends"),
    *("control", "budget", "baseline", "effect", "strata"),
)


class Form:
    """The controls of a plan; ``changed`` is called when a person changes one."""

    def __init__(self, changed: Callable[..., None]) -> None:
        self.say = texts.speak("en")
        self.labels = {name: widgets.Label() for name in _FIELDS}
        self.name, self.goal, self.owner = (widgets.Text(layout=_WIDE, continuous_update=False) for _ in range(3))
        self.audience = widgets.Dropdown(layout=_WIDE)
        self.starts, self.ends = widgets.DatePicker(layout=_WIDE), widgets.DatePicker(layout=_WIDE)
        self.control = widgets.BoundedFloatText(value=15, min=0, max=90, step=1, layout=_WIDE)
        self.budget = widgets.BoundedFloatText(value=0, min=0, max=1e12, step=100, layout=_WIDE)
        self.baseline = widgets.BoundedFloatText(value=2, min=0.01, max=99, step=0.1, layout=_WIDE)
        self.effect = widgets.BoundedFloatText(value=1, min=0.01, max=99, step=0.1, layout=_WIDE)
        self.strata = widgets.SelectMultiple(value=(), options=[], rows=3, layout=_WIDE)
        self.arms = [_ArmRow() for _ in range(ARMS)]
        self.arm_title = widgets.HTML()
        pairs = [(self.labels[name], getattr(self, name)) for name in _FIELDS]
        rows = [row.root for row in self.arms]
        self.root = widgets.VBox([layout.controls(*pairs), layout.card(self.arm_title, *rows)])
        for control in [getattr(self, name) for name in _FIELDS]:
            control.observe(changed, "value")
        for row in self.arms:
            row.product.observe(self._unfold, "value")
            for control in row.controls:
                control.observe(changed, "value")
        self._unfold()

    def _unfold(self, _change: Any = None) -> None:
        """Show the arms that are used and one more."""
        used = max((number for number, row in enumerate(self.arms, start=1) if row.product.value), default=0)
        for number, row in enumerate(self.arms):
            row.root.layout.display = "" if number <= used else "none"

    def offer(self, loaded: Loaded, say: texts.Language) -> None:
        """Say everything in a language and offer what there is to choose from, keeping what is chosen."""
        self.say = say
        words = {
            "name": say.text("Name of the campaign"),
            "goal": say.text("Goal"),
            "owner": say.text("Owner"),
            "audience": say.text("Audience"),
            "starts": say.text("First day"),
            "ends": say.text("Last day"),
            "control": say.text("Control group, % left alone"),
            "budget": say.text("Budget, {unit} (0: no limit)", unit=say.symbol(loaded.company.currency)),
            "baseline": say.text("Buy without the campaign, %"),
            "effect": say.text("Effect worth finding, points"),
            "strata": say.text("Groups alike in (Ctrl for several)"),
        }
        for name, label in words.items():
            self.labels[name].value = label
            getattr(self, name).tooltip = label
        chosen = self.audience.value
        options = [
            (f"{row['name']} · v{row['audience_version']}", int(row["audience_id"]))
            for row in loaded.audiences.to_dict("records")
        ]
        self.audience.options = [(say.text("Choose an audience"), 0), *options]
        self.audience.value = chosen if chosen in [number for _, number in options] else 0
        kept = self.strata.value
        self.strata.options = [
            (say.text("region"), "region"),
            (say.text("tier of service"), "segment"),
            (say.text("tenth by score"), "score"),
        ]
        self.strata.value = kept
        self.arm_title.value = layout.title(
            say.text("Arms: what is offered, and how"),
            say.text(
                "Members are drawn at random among the arms; compare up to three. Leave the product empty for none."
            ),
        )
        for number, row in enumerate(self.arms, start=1):
            row.offer(loaded, say, number)

    def begin(self, *, today: dt.date, owner: str) -> None:
        """Empty the form for a new plan: four weeks from the Monday after next."""
        first = today + dt.timedelta(days=14 - today.weekday())
        self.name.value = self.goal.value = ""
        self.owner.value = owner
        self.starts.value, self.ends.value = first, first + dt.timedelta(days=25)
        self.control.value, self.budget.value, self.baseline.value, self.effect.value = 15, 0, 2, 1
        self.strata.value = ("region",)
        for row in self.arms:
            row.product.value = ""

    def plan(self, loaded: Loaded) -> Plan:
        """Return what is typed as a plan; raises UsageError for a date or an audience that is missing."""
        if not self.audience.value:
            raise UsageError(
                self.say.text("no audience is chosen; choose one, or save one in the audience builder first")
            )
        if self.starts.value is None or self.ends.value is None:
            raise UsageError(self.say.text("a date is missing; give the first and the last day"))
        for control in (self.name, self.goal, self.owner):
            if len(control.value) > LONGEST or not control.value.isprintable():
                raise UsageError(
                    self.say.text(
                        "A text is too long or holds signs that cannot be kept; use up to {n} letters.", n=LONGEST
                    )
                )
        unit = texts.major(1, loaded.company.currency)
        arms = tuple(row.arm(unit) for row in self.arms if row.product.value)
        days = {row.channel.value: int(row.daily.value) for row in self.arms if row.product.value and row.daily.value}
        return Plan(
            name=self.name.value,
            goal=self.goal.value,
            owner=self.owner.value,
            audience_id=int(self.audience.value),
            arms=arms,
            starts_on=self.starts.value,
            ends_on=self.ends.value,
            control_share=round(self.control.value / 100, 6),
            budget_minor=round(self.budget.value / unit) or None,
            capacities=days,
            baseline=round(self.baseline.value / 100, 8),
            effect=round(self.effect.value / 100, 8),
            strata=tuple(self.strata.value),
        )

    def put(self, plan: Plan, loaded: Loaded) -> None:
        """Show a plan."""
        unit = texts.major(1, loaded.company.currency)
        self.name.value, self.goal.value, self.owner.value = plan.name, plan.goal, plan.owner
        self.audience.value = plan.audience_id
        self.starts.value, self.ends.value = plan.starts_on, plan.ends_on
        self.control.value, self.budget.value = 100 * plan.control_share, (plan.budget_minor or 0) * unit
        self.baseline.value, self.effect.value = 100 * plan.baseline, 100 * plan.effect
        self.strata.value = plan.strata
        for number, row in enumerate(self.arms):
            row.put(plan.arms[number] if number < len(plan.arms) else None, plan.capacities, unit)

    def lock(self, locked: bool) -> None:
        """Let nobody change a plan whose people are assigned."""
        for control in [*(getattr(self, name) for name in _FIELDS), *(c for row in self.arms for c in row.controls)]:
            control.disabled = locked

    def settings(self) -> dict[str, Any]:
        """Return what is typed, as JSON."""
        days = {name: getattr(self, name).value for name in ("starts", "ends")}
        plain = {name: getattr(self, name).value for name in _FIELDS if name not in (*days, "strata")}
        dates = {name: day.isoformat() if day else None for name, day in days.items()}
        arms = [[control.value for control in row.controls] for row in self.arms]
        return {**plain, **dates, "strata": list(self.strata.value), "arms": arms}

    def apply(self, settings: dict[str, Any]) -> None:
        """Put back what ``settings`` returned."""
        for name in _FIELDS:
            value = settings[name]
            if name in ("starts", "ends"):
                value = dt.date.fromisoformat(value) if value else None
            getattr(self, name).value = tuple(value) if name == "strata" else value
        for row, values in zip(self.arms, settings["arms"], strict=True):
            row.fill(values)


class _ArmRow:
    """One arm: product, channel, cost of a contact, contacts a day."""

    def __init__(self) -> None:
        self.labels = [widgets.Label() for _ in range(4)]
        self.product, self.channel = widgets.Dropdown(layout=_WIDE), widgets.Dropdown(layout=_WIDE)
        self.cost = widgets.BoundedFloatText(value=0, min=0, max=1e9, step=0.1, layout=_WIDE)
        self.daily = widgets.BoundedIntText(value=0, min=0, max=10**9, layout=_WIDE)
        self.usual: dict[str, float] = {}
        self.root = layout.controls(*zip(self.labels, self.controls, strict=True))
        self.root.add_class("crm-arm")
        self.channel.observe(self._priced, "value")

    @property
    def controls(self) -> tuple[widgets.Widget, ...]:
        """The controls in the order in which they are read."""
        return (self.product, self.channel, self.cost, self.daily)

    def _priced(self, _change: Any) -> None:
        """A channel has its usual cost until a person gives another."""
        self.cost.value = self.usual.get(self.channel.value, 0.0)

    def offer(self, loaded: Loaded, say: texts.Language, number: int) -> None:
        unit = texts.major(1, loaded.company.currency)
        self.usual = {name: cost * unit for name, cost in loaded.company.contact_costs_minor.items()}
        words = (
            say.text("Arm {n}: product", n=number),
            say.text("Arm {n}: channel", n=number),
            say.text("One contact costs, {unit}", unit=say.symbol(loaded.company.currency)),
            say.text("A day at most (0: any)"),
        )
        for label, control, text in zip(self.labels, self.controls, words, strict=True):
            label.value = control.tooltip = text
        kept = (self.product.value, self.channel.value, self.cost.value)
        named = zip(loaded.products["name"], loaded.products["product_id"], strict=True)
        self.product.options = [(say.text("none"), ""), *named]
        self.channel.options = [(wording.value(say, name), name) for name in CHANNELS]
        self.product.value = kept[0] if kept[0] in set(loaded.products["product_id"]) else ""
        self.channel.value = kept[1] or CHANNELS[0]
        self.cost.value = kept[2] or self.usual.get(self.channel.value, 0.0)

    def arm(self, unit: float) -> Arm:
        usual = self.usual.get(self.channel.value)
        own = None if usual is not None and abs(usual - self.cost.value) < 1e-9 else self.cost.value / unit
        name = f"{self.product.value} by {self.channel.value}"
        return Arm(name, self.product.value, self.channel.value, cost_minor=own)

    def put(self, arm: Arm | None, capacities: Any, unit: float) -> None:
        self.product.value = arm.product_id if arm else ""
        if arm:
            self.channel.value = arm.channel
            self.daily.value = capacities.get(arm.channel, 0)
            self.cost.value = self.usual.get(arm.channel, 0.0) if arm.cost_minor is None else arm.cost_minor * unit

    def fill(self, values: Sequence[Any]) -> None:
        for control, value in zip(self.controls, values, strict=True):
            control.value = value
