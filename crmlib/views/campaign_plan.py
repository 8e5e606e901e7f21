"""The part of the campaigns dashboard where one is planned: the form, what it would come to, approval, assignment, list."""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import ipywidgets as widgets

from crmlib.decisions import campaigns
from crmlib.errors import CrmError, NotFoundError
from crmlib.store.tables import Campaign
from crmlib.views import (
    campaign_tables,
    campaigns_data,
    certainty,
    error_words,
    layout,
    origins,
    plots,
    plots_campaigns,
    wording,
)
from crmlib.views import campaign_words as words
from crmlib.views.campaign_form import Form
from crmlib.views.campaigns_data import Loaded
from crmlib.views.frame import Frame

_BUTTONS = ("save", "approve", "assign", "csv", "xlsx", "cancel")
_STATES = {
    "save": ("", "draft", "approved"),
    "approve": ("draft",),
    "assign": ("approved",),
    "csv": ("assigned",),
    "xlsx": ("assigned",),
    "cancel": ("draft", "approved", "assigned"),
}
"""In which states of a campaign each button does something; "" is a new one."""


class Planning:
    """The widgets of this part; ``stored`` is called when something was recorded, to read the plans anew."""

    def __init__(self, frame: Frame, *, stored: Callable[[], None]) -> None:
        self.frame, self._stored = frame, stored
        self.loaded: Loaded | None = None
        self.row: Campaign | None = None  # the planned campaign in the form; None for a new one
        guarded, wide = frame.guarded, {"width": "auto"}
        self.form = Form(guarded(self.draw))
        self.labels = {name: widgets.Label() for name in ("open", "approver")}
        self.open, self.approver = widgets.Dropdown(layout=wide), widgets.Text(layout=wide)
        self.buttons = {name: widgets.Button(layout=wide) for name in _BUTTONS}
        self.buttons["save"].button_style = "primary"
        actions = {"save": self._save, "approve": self._approve, "assign": self._assign, "cancel": self._cancel}
        for name, action in actions.items():
            self.buttons[name].on_click(guarded(action))
            self.buttons[name].add_class("crm-needs-change")
        for name in ("csv", "xlsx"):
            self.buttons[name].on_click(guarded(lambda format=name: self._release(format)))
            self.buttons[name].add_class("crm-needs-export")
        self.open.observe(guarded(self._opened), "value")
        self.state, self.tiles, self.trouble, self.clashes = (widgets.HTML() for _ in range(4))
        self.titles = {name: widgets.HTML() for name in ("reach", "schedule")}
        self.charts = {name: frame.chart(name) for name in self.titles}
        approved = widgets.Box([self.labels["approver"], self.approver])
        approved.add_class("crm-needs-change")
        self.approved = approved
        head = layout.controls((self.labels["open"], self.open))
        head.children = [*head.children, approved]
        cards = [layout.card(self.titles[name], chart) for name, chart in self.charts.items()]
        above = [head, self.state, self.tiles, self.trouble, self.form.root, layout.bar(*self.buttons.values())]
        self.root = widgets.VBox([*above, self.clashes, layout.charts(*cards, columns=2)])

    # ---------------------------------------------------------------- for the dashboard

    def begin(self, loaded: Loaded) -> None:
        """Show an empty form."""
        self.form.offer(loaded, self.frame.say)
        self._empty()
        # Read before anybody asks: pages are made ready ahead, and the first answer should come at once.
        campaigns_data.reached(loaded, [], day=self.form.starts.value)

    def follow(self, loaded: Loaded) -> None:
        """Take newer plans, keeping the one in the form."""
        self.loaded = loaded
        if self.row is not None:
            self.row = next((one for one in loaded.planned if one.campaign_id == self.row.campaign_id), None)

    def forget(self) -> None:
        """Leave the campaign in the form: what follows is a new one."""
        self.row = None
        self.open.value = ""

    def came(self) -> None:
        """Somebody came to a page made ready before: a new campaign is theirs."""
        self._who()

    def offer(self, loaded: Loaded) -> None:
        """Say everything in the language chosen and offer the campaigns there are."""
        say = self.frame.say
        self.form.offer(loaded, say)
        self.labels["open"].value = self.open.tooltip = say.text("Campaign")
        self.labels["approver"].value = self.approver.tooltip = say.text("Approved by (not the owner)")
        named = {
            "save": say.text("Save draft"),
            "approve": say.text("Approve"),
            "assign": say.text("Assign people"),
            "csv": say.text("Download {format}", format="CSV"),
            "xlsx": say.text("Download {format}", format="XLSX"),
            "cancel": say.text("Cancel campaign"),
        }
        for name, label in named.items():
            self.buttons[name].description = label
        planned = [(f"{row.name} · {words.state(say, row.state)}", row.campaign_id) for row in loaded.planned]
        self.open.options = [(say.text("New campaign"), ""), *planned]
        self.open.value = self.row.campaign_id if self.row else ""
        self._who()

    def draw(self) -> None:
        """Say what the plan in the form would come to."""
        assert self.loaded is not None
        say, loaded, row = self.frame.say, self.loaded, self.row
        state = row.state if row else ""
        self.state.value = f"<p>{html.escape(words.standing(say, row))}</p>"
        self.form.lock(state not in ("", "draft", "approved"))
        self._who()
        for name, states in _STATES.items():
            self.buttons[name].disabled = state not in states
        self.tiles.value = self.clashes.value = self.trouble.value = ""
        try:
            plan = self.form.plan(loaded)
            today = min(self.frame.now().date(), plan.starts_on) if row else self.frame.now().date()
            answer = campaigns_data.ask(loaded, plan, today=today)
            found = campaigns_data.clashes(loaded, plan, answer, own=row.campaign_id if row else "")
        except CrmError as error:
            self._object(error_words.words(say, error))
            return
        self.tiles.value = campaign_tables.plan_tiles(say, answer, loaded, clashes=len(found))
        self.clashes.value = campaign_tables.clashes(say, found, loaded)
        self._pictures(answer)

    # ---------------------------------------------------------------- what happens

    def _empty(self) -> None:
        self.form.begin(today=self.frame.now().date(), owner="")
        self._who()

    def _who(self) -> None:
        """Where the server knows who is looking, that is the owner of what they save, and who approves."""
        visitor = self.frame.visitor
        known = bool(visitor.name) and not visitor.shared
        self.approved.layout.display = "none" if known else ""
        if known:
            self.form.owner.disabled = True
            with self.frame.quietly():
                self.form.owner.value = visitor.name if self.row is None else self.row.owner

    def _opened(self) -> None:
        """A campaign was chosen: show its plan."""
        assert self.loaded is not None
        self.row = next((one for one in self.loaded.planned if one.campaign_id == self.open.value), None)
        with self.frame.quietly():
            if self.row is None:
                self._empty()
            else:
                self.form.put(campaigns.plan_of(self.row), self.loaded)
        self.draw()

    def _save(self) -> None:
        self.frame.require("change")
        assert self.loaded is not None
        plan, now = self.form.plan(self.loaded), self.frame.now()
        if not self.frame.visitor.shared:
            # Whoever changed it last owns it: nobody approves what they wrote themselves.
            plan = replace(plan, owner=self.frame.visitor.name)
        data = self.frame.data
        if self.row is None:
            self.row = campaigns.draft(data, plan, now=now)
        else:
            self.row = campaigns.change(data, self.row.campaign_id, plan, revision=self.row.revision, now=now)
        self._done(self.frame.say.text("Campaign {name} is saved as a draft.", name=self.row.name))

    def _approve(self) -> None:
        self.frame.require("change")
        row, visitor = self._chosen(), self.frame.visitor
        by = " ".join(self.approver.value.split())[:128] if visitor.shared else visitor.name
        done = campaigns.approve(self.frame.data, row.campaign_id, revision=row.revision, by=by, now=self.frame.now())
        told = self.frame.say.text("Campaign {name} is approved by {who}.", name=done.name, who=str(done.approved_by))
        self._done(told)

    def _assign(self) -> None:
        self.frame.require("change")
        row, now, say = self._chosen(), self.frame.now(), self.frame.say
        seed = int(now.timestamp()) % 2**31
        made = campaigns.assign(self.frame.data, row.campaign_id, revision=row.revision, seed=seed, now=now)
        control = int(made.members["control"].sum())
        told = say.text(
            "{treated} customers are assigned to the arms, {control} are left alone; both are on record.",
            treated=say.number(len(made.members) - control),
            control=say.number(control),
        )
        self._done(told)

    def _cancel(self) -> None:
        self.frame.require("change")
        row = self._chosen()
        campaigns.cancel(self.frame.data, row.campaign_id, revision=row.revision, now=self.frame.now())
        self._done(self.frame.say.text("Campaign {name} is cancelled.", name=row.name))

    def _release(self, format: str) -> None:
        self.frame.require("export")
        row, say, frame = self._chosen(), self.frame.say, self.frame
        out = campaigns.release(
            frame.data,
            row.campaign_id,
            actor=frame.actor,
            role=frame.visitor.role.name,
            now=frame.now(),
            format=format,
            details=frame.may("names"),
        )
        frame.save(out.file)
        told = say.plural(
            "{n} customer saved as {name}.", "{n} customers saved as {name}.", out.rows, name=out.file.name
        )
        if not frame.may("names"):
            told += " " + say.text("Names and contact details are left out: your role does not show them.")
        for code, count in out.left_out.items():
            told += " " + say.text("Left out: {n} ({why}).", n=say.number(count), why=words.refusal(say, code))
        frame.tell(told)

    def _chosen(self) -> Campaign:
        if self.row is None:
            raise NotFoundError(self.frame.say.text("Save the campaign first."))
        return self.row

    def _done(self, told: str) -> None:
        """Something was recorded: show it as it stands now and say so."""
        self._stored()
        self.draw()
        self.frame.tell(told)

    # ---------------------------------------------------------------- what is shown

    def _object(self, trouble: str) -> None:
        """Say why there is no answer."""
        say = self.frame.say
        self.trouble.value = f'<div class="crm-note" role="status">{html.escape(trouble)}</div>'
        for name, chart in self.charts.items():
            self.titles[name].value = ""
            chart.update(plots.empty(say.text("Fill in the form to see."), language=say.code))

    def _pictures(self, answer: campaigns.Answer) -> None:
        assert self.loaded is not None
        say, plan, origin = self.frame.say, answer.plan, self._origin(answer.plan.audience_id)
        labels = {code: words.refusal(say, code) for code in {*answer.refusals["code"], ""}}
        table = campaign_tables.with_reached(answer)
        table = table.assign(arm=[words.arm_of(say, name, self.loaded.products) for name in table["arm"]])
        note = say.text("Consent, contact policy and the product's own rules.")
        self.titles["reach"].value = layout.title(say.text("Whom each arm may contact"), note)
        reach = plots_campaigns.refusals(table, audience=answer.audience, words=labels, language=say.code)
        self.charts["reach"].update(certainty.told(reach, certainty.of(reach), origin=origin))
        note = say.text("As early as the contacts a day allow; holidays and weekends left out.")
        self.titles["schedule"].value = layout.title(say.text("Contact plan"), note)
        channels = {name: wording.value(say, name) for name in plan.channels}
        drawn = plots_campaigns.schedule(answer.schedule, words=channels, language=say.code)
        self.charts["schedule"].update(certainty.told(drawn, certainty.of(drawn), origin=origin))

    def _origin(self, audience_id: int) -> str:
        """Return what the answer is counted from: data, audience, and the scores and segments that it asks for."""
        assert self.loaded is not None
        say, loaded = self.frame.say, self.loaded
        row, made = campaigns_data.audience_made_with(loaded, audience_id)
        parts: list[Any] = [
            say.text("Data up to {day}", day=say.date(loaded.snapshot.as_of)),
            say.text("warehouse version {n}", n=loaded.warehouse.version),
            say.text("Audience {name}", name=f"{row.name} v{row.audience_version}"),
            *origins.of_all(say, made),
        ]
        return " · ".join(parts)
