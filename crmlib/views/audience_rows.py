"""The rows and groups of the audience builder: one condition is a row of labelled controls."""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Callable
from typing import Any

import ipywidgets as widgets

from crmlib.decisions.audiences.conditions import Data
from crmlib.decisions.audiences.fields import FIELDS
from crmlib.errors import UsageError
from crmlib.views import audience_words as words
from crmlib.views import texts
from crmlib.views.audience_data import Builder, start
from crmlib.views.texts import Language

CSS = """<style>
.crm-rules { background: var(--crm-card); border: 1px solid var(--crm-line); border-left: 4px solid var(--crm-accent-strong); border-radius: 10px;
  padding: 8px 12px; margin: 10px 0 0; overflow: visible; }
.crm-rules-any { border-left-color: var(--crm-amber); } .crm-rules-none { border-left-color: var(--crm-orange); }
.crm-rules .crm-bar { margin: 2px 0 0; } .crm-rules .crm-bar > :last-child { margin-left: auto; }
.crm-rules .crm-bar > :last-child.widget-button { width: 32px; padding: 0; }
.crm-next { margin: 8px 2px 0; font-size: 14px; } .crm-panel .jupyter-widget-Collapse { margin-top: 12px; }
.crm-rules .crm-bar .widget-dropdown { width: 330px; margin: 0; }
.crm-rules .crm-bar .widget-label { width: auto; }
.crm-rule { display: flex; flex-flow: row wrap; align-items: flex-end; gap: 2px 10px; overflow: visible;
  border-top: 1px solid var(--crm-line); padding: 4px 0 6px; margin: 4px 0 0; }
.crm-rule > .widget-inline-hbox { flex-direction: column; align-items: stretch; height: auto; margin: 0; width: 150px; overflow: visible; }
.crm-rule > .widget-inline-hbox > label { width: 100%; text-align: left; font-size: 12px; color: var(--crm-soft); height: 18px;
  line-height: 18px; margin: 0; }
.crm-rule > .widget-inline-hbox > select, .crm-rule > .widget-inline-hbox > input { width: 100%; min-width: 0; margin: 0;
  height: 32px; flex: 0 0 auto; border-radius: 6px; box-sizing: border-box; font-size: 13px; }
.crm-rule > .widget-select > select { height: 76px; }
.crm-rule > .crm-subject { width: 236px; } .crm-rule > .crm-when { width: 222px; } .crm-rule > .crm-subject > select { font-weight: 600; }
.crm-rule > .crm-number { width: 118px; }
.crm-rule > .widget-button { width: 32px; height: 32px; padding: 0; margin: 0 0 0 auto; border-radius: 6px; }
@media (max-width: 1150px) { .crm-charts.crm-columns-2 > :last-child { grid-column: auto; } }
</style>"""
_ANY = json.dumps("any level")  # no level is shown under this key


Guard = Callable[[Callable[[], None]], Callable[..., None]]
"""Makes a handler for widgets that says in words what goes wrong (``Frame.guarded``)."""


class Row:
    """One condition as controls; ``leaf`` is its JSON, ``box`` the widget."""

    def __init__(self, group: Group, leaf: Data) -> None:
        self.group, self.leaf = group, leaf
        self.box = widgets.Box()
        self.box.add_class("crm-rule")
        self.build()

    @property
    def builder(self) -> Builder:
        """What there is to choose from."""
        return self.group.builder

    @property
    def say(self) -> Language:
        """The language chosen."""
        return self.group.say

    @property
    def subject(self) -> words.Subject:
        """What the condition is about."""
        found = words.subject_of(self.leaf, self.builder.subjects)
        assert found is not None
        return found

    def build(self) -> None:
        """Make the controls anew, in the language chosen."""
        subject, say, known = self.subject, self.say, self.builder.subjects
        one = FIELDS[subject.field]
        options = [(words.subject_name(say, given), key) for key, given in known.items()]
        chosen = self._dropdown(say.text("What"), options, subject.key, self._take_subject)
        chosen.add_class("crm-subject")
        parts: list[widgets.Widget] = [chosen]
        asked = [
            *subject.filters,
            *[name for name in self.leaf.get("where", {}) if name not in {*subject.filters, *subject.fixed}],
        ]
        parts += [self._filter(name) for name in asked]
        if one.time:
            spans = words.windows(say, ahead=one.ahead)
            own = self.leaf.get("window")
            if own not in [span for _, span in spans]:
                spans.insert(0, (words.window(say, own, ahead=one.ahead), own))
            listed = [(label, json.dumps(span)) for label, span in spans]
            parts.append(self._dropdown(say.text("When"), listed, json.dumps(own), self._take_window))
            parts[-1].add_class("crm-when")
        code = words.shown_operator(self.leaf, subject)
        ways = words.operators(say, subject)
        ways.setdefault(code, code)
        listed = [(label, key) for key, label in ways.items()]
        parts.append(self._dropdown(say.text("How"), listed, code, self._take_operator))
        parts += self._values(code)
        drop = widgets.Button(description="✕", tooltip=say.text("Remove this condition"))
        drop.on_click(self.group.guarded(lambda: self.group.remove(self)))
        self.box.children = [*parts, drop]

    def _dropdown(self, label: str, options: Any, value: Any, take: Callable[[Any], None]) -> widgets.Dropdown:
        made = widgets.Dropdown(options=options, value=value, description=label)
        made.observe(self.group.guarded(lambda: take(made.value)), "value")
        return made

    def _filter(self, name: str) -> widgets.Widget:
        say, own = self.say, self.leaf.get("where", {}).get(name, ...)
        levels: list[Any] = list(self.builder.levels(name, self.subject))
        if name == "outcome":
            levels.append(None)
        if own is not ... and own not in levels:
            levels.insert(0, own)
        options = [(words.level(say, name, one, self.builder.products), json.dumps([one])) for one in levels]
        if FIELDS[self.subject.field].kind != "score":
            options.insert(0, (say.text("any"), _ANY))
        value = _ANY if own is ... else json.dumps([own])
        return self._dropdown(
            words.filter_name(say, name), options, value, lambda given: self._take_filter(name, given)
        )

    def _values(self, code: str) -> list[widgets.Widget]:
        """Return the controls for the value that the operator wants."""
        one, value, say = FIELDS[self.subject.field], self.leaf["value"], self.say
        if code in ("yes", "no", "known", "unknown"):
            return []
        if one.type == "text":
            levels = list(
                dict.fromkeys(
                    [*self.builder.levels(one.name, self.subject), *(value if isinstance(value, list) else [value])]
                )
            )
            options = [(words.level(say, one.name, level, self.builder.products), level) for level in levels]
            if code in ("in", "not_in"):
                many = widgets.SelectMultiple(
                    options=options, value=tuple(value), description=say.text("Values"), rows=4
                )
                many.observe(self.group.guarded(lambda: self._take_value(list(many.value))), "value")
                return [many]
            return [self._dropdown(say.text("Value"), options, value, self._take_value)]
        labels = [say.text("From"), say.text("To")] if code == "between" else [say.text("Value")]
        values = value if code == "between" else [value]
        return [
            self._single(place, label, given) for place, (label, given) in enumerate(zip(labels, values, strict=True))
        ]

    def _single(self, place: int, label: str, value: Any) -> widgets.Widget:
        one = FIELDS[self.subject.field]
        if one.type == "date":
            made: Any = widgets.DatePicker(value=dt.date.fromisoformat(value), description=label)
        elif one.type == "real" or one.money:
            unit = "%" if one.type == "real" else self.say.symbol(self.builder.currency)
            number = round(value * 100, 6) if one.type == "real" else texts.major(value, self.builder.currency)
            number = int(number) if float(number).is_integer() else number
            made = (widgets.IntText if isinstance(number, int) else widgets.FloatText)(
                value=number, description=f"{label}, {unit}"
            )
        else:
            made = widgets.IntText(value=value, description=label)
        if one.type != "date":
            made.continuous_update = False
        made.add_class("crm-number")
        made.observe(self.group.guarded(lambda: self._take_single(place, made.value)), "value")
        return made

    # ---------------------------------------------------------------- what a person does

    def _take_subject(self, key: str) -> None:
        self.leaf = start(self.builder.subjects[key], self.builder)
        self.build()
        self.group.changed()

    def _take_filter(self, name: str, given: str) -> None:
        where = {**self.leaf.get("where", {})}
        where.pop(name, None)
        if given != _ANY:
            where[name] = json.loads(given)[0]
        self._set("where", where or None)

    def _take_window(self, given: str) -> None:
        self._set("window", json.loads(given))

    def _take_operator(self, code: str) -> None:
        value, kind = self.leaf["value"], FIELDS[self.subject.field].type
        first = value[0] if isinstance(value, list) else value
        short = {"yes": ("ge", 1), "no": ("eq", 0), "known": ("known", True), "unknown": ("known", False)}
        if isinstance(first, bool):
            first = start(self.subject, self.builder)["value"]
        if code in short:
            operator, value = short[code]
        elif code in ("in", "not_in"):
            operator, value = code, [first]
        elif code == "between":
            operator, value = code, [first, first]
        elif code == "top_share":
            operator, value = code, first or 0.1
        else:
            operator, value = code, first
            if code in ("ge", "eq") and kind == "whole" and (code, value) in (("ge", 1), ("eq", 0)):
                value = 2 if code == "ge" else 1  # else the row would say "yes" or "no" again
        self.leaf = {**self.leaf, "operator": operator, "value": value}
        self.build()
        self.group.changed()

    def _take_single(self, place: int, given: Any) -> None:
        one = FIELDS[self.subject.field]
        if given is None:
            return
        if isinstance(given, float) and not math.isfinite(given):
            raise UsageError(self.say.text("This is no number; type another one."))
        if one.type == "date":
            value: Any = given.isoformat()
        elif one.type == "real":
            value = given / 100
        else:
            value = round(given / texts.major(1, self.builder.currency)) if one.money else given
        if self.leaf["operator"] == "between":
            both = [*self.leaf["value"]]
            both[place] = value
            value = both
        self._take_value(value)

    def _take_value(self, value: Any) -> None:
        self._set("value", value)

    def _set(self, part: str, value: Any) -> None:
        self.leaf = {**self.leaf, part: value}
        if value is None:
            self.leaf.pop(part)
        self.group.changed()


class Group:
    """Conditions that hold all, at least one, or none of; ``box`` the widget."""

    def __init__(
        self,
        builder: Builder,
        say: Language,
        conditions: tuple[str, list[Data]],
        *,
        guarded: Guard,
        changed: Callable[[], None],
        removed: Callable[[Group], None],
    ) -> None:
        self.builder, self.say, self.changed, self.guarded = builder, say, changed, guarded
        kind, leaves = conditions
        self.kind = widgets.Dropdown(options=self._kinds(), value=kind)
        self.add, self.drop = widgets.Button(), widgets.Button()
        head = widgets.Box([self.kind, self.add, self.drop])
        head.add_class("crm-bar")
        self.list = widgets.VBox(layout={"overflow": "visible"})
        self.box = widgets.VBox([head, self.list])
        self.box.add_class("crm-rules")
        self.rows = [Row(self, leaf) for leaf in leaves]
        self.kind.observe(guarded(self._changed), "value")
        self.add.on_click(guarded(self._added))
        self.drop.on_click(guarded(lambda: removed(self)))
        self._show()
        self._name()

    @property
    def conditions(self) -> tuple[str, list[Data]]:
        """The kind and the single conditions."""
        return self.kind.value, [row.leaf for row in self.rows]

    def reword(self, say: Language) -> None:
        """Say everything anew."""
        self.say = say
        kept = self.kind.value
        self.kind.options = self._kinds()
        self.kind.value = kept
        for row in self.rows:
            row.build()
        self._name()

    def _kinds(self) -> list[tuple[str, str]]:
        say = self.say
        return [
            (say.text("Customers who meet all of these"), "all"),
            (say.text("Customers who meet at least one of these"), "any"),
            (say.text("Customers who meet none of these"), "none"),
        ]

    def _name(self) -> None:
        self.add.description = self.say.text("Add a condition")
        self.drop.description, self.drop.tooltip = "✕", self.say.text("Remove this group")
        self.kind.tooltip = self.say.text("How the conditions of this group go together")

    def _changed(self) -> None:
        self._show()
        self.changed()

    def _added(self) -> None:
        used = {row.subject.key for row in self.rows}
        known = self.builder.subjects
        fresh = next((key for key in known if key not in used), next(iter(known)))
        self.rows.append(Row(self, start(known[fresh], self.builder)))
        self._show()
        self.changed()

    def remove(self, row: Row) -> None:
        """Take a condition away."""
        self.rows.remove(row)
        self._show()
        self.changed()

    def _show(self) -> None:
        self.list.children = [row.box for row in self.rows]
        for kind in ("all", "any", "none"):
            (self.box.add_class if kind == self.kind.value else self.box.remove_class)(f"crm-rules-{kind}")
