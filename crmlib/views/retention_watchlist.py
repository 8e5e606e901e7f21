"""The dashboard of retention: who may leave and is worth keeping, what to do, and whom to let go, decently."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ipywidgets as widgets
import pandas as pd

from crmlib.errors import UsageError
from crmlib.views import (
    certainty,
    layout,
    origins,
    plots,
    plots_retention,
    retention_about,
    retention_data,
    retention_lists,
    retention_summary,
    texts,
)
from crmlib.views import retention_words as words
from crmlib.views.frame import Frame
from crmlib.views.retention_data import Filter, Loaded

CSS = f"<style>{Path(__file__).with_suffix('.css').read_text(encoding='utf-8')}</style>"
_LONGEST_NUMBER = 64
TIMES = (1.0, 2.0, 4.0)
"""Risks to filter by, as multiples of the average."""


def panel(data: str | Path, *, language: str = "en") -> widgets.Widget:
    """Return the retention watchlist: risk and value, decisions and why, what past campaigns changed, and the lists.

    ``data`` is the data folder, ``language`` "en" or "ru". What goes wrong is said on the panel in words.
    """
    return Panel(Path(data), language).root


class Panel:
    """The widgets of the panel; what a person chose is kept in the widgets themselves.

    ``seen`` is the customer_id told about, each look at whom is on record.
    """

    def __init__(self, data: Path, language: str) -> None:
        self.data = data
        self.loaded: Loaded | None = None
        self.rows = pd.DataFrame()
        self.bars = pd.DataFrame()
        self.seen = ""
        self.frame = Frame(
            texts.later("Retention watchlist"),
            data=data,
            dashboard="retention_watchlist",
            language=language,
            load=self._load,
            draw=self._reworded,
            newest=lambda: retention_data.newest(data),
            asked=self._asked,
            settings=self._settings,
            apply=self._apply,
        )
        wide = {"width": "auto"}
        names = ("decision", "reason", "branch", "risk", "customer")
        self.labels = {name: widgets.Label() for name in names}
        self.decision, self.reason, self.branch, self.risk = (widgets.Dropdown(layout=wide) for _ in range(4))
        self.customer = widgets.Text(continuous_update=False)
        self.tiles, self.about, self.rest = widgets.HTML(), widgets.HTML(), widgets.HTML()
        self.titles = {name: widgets.HTML() for name in ("map", "decisions", "effects", "calibration")}
        self.charts = {
            "map": self.frame.chart("map", clicked=self._clicked),
            "decisions": self.frame.chart("decisions", clicked=self._bar_clicked),
            "effects": self.frame.chart("effects"),
            "calibration": self.frame.chart("calibration"),
        }
        self.lists = retention_lists.Lists(self._take)
        for control in (self.decision, self.reason, self.branch, self.risk):
            control.observe(self.frame.guarded(self._filtered), "value")
        self.customer.observe(self.frame.guarded(self._named), "value")
        self.root = self.frame.show(*self._arranged())

    @property
    def say(self) -> texts.Language:
        """The language chosen."""
        return self.frame.say

    def _arranged(self) -> list[widgets.Widget]:
        controls = {"decision": self.decision, "reason": self.reason, "branch": self.branch, "risk": self.risk}
        chosen = layout.controls(*[(self.labels[name], control) for name, control in controls.items()])
        cards = {name: layout.card(self.titles[name], chart) for name, chart in self.charts.items()}
        self.customer.layout.width = "200px"
        one = layout.card(layout.bar(self.labels["customer"], self.customer), self.about)
        pairs = (
            (cards["map"], one),
            (cards["decisions"], cards["effects"]),
            (cards["calibration"], layout.card(self.rest)),
        )
        rows = [layout.charts(*pair, columns=2) for pair in pairs]
        for row in rows:
            row.add_class("crm-retention")
        return [widgets.HTML(CSS), self.tiles, chosen, *rows, layout.charts(self.lists.root, columns=1)]

    # ---------------------------------------------------------------- what happens

    def _load(self) -> None:
        self.loaded = None
        self.loaded = retention_data.load(self.data)

    def _asked(self, query: dict[str, str]) -> None:
        """Show what the address asked for: ?customer=C000012 or ?decision=let_go&reason=price."""
        wanted: dict[str, Any] = {name: query[name] for name in ("decision", "reason", "branch") if name in query}
        if wanted:
            self._apply({**self._settings(), **wanted})
        if query.get("customer"):
            with self.frame.quietly():
                self.customer.value = query["customer"]
            self._named()

    def _settings(self) -> dict[str, Any]:
        controls = {"decision": self.decision, "reason": self.reason, "branch": self.branch, "risk": self.risk}
        return {name: control.value for name, control in controls.items()}

    def _apply(self, settings: dict[str, Any]) -> None:
        with self.frame.quietly():
            for control, name in ((self.decision, "decision"), (self.reason, "reason"), (self.branch, "branch")):
                if settings.get(name) in [code for _, code in control.options]:
                    control.value = settings[name]
            if settings.get("risk") in [code for _, code in self.risk.options]:
                self.risk.value = settings["risk"]
        self._filtered()

    def _filtered(self) -> None:
        self._choose()
        self._draw()

    def _named(self) -> None:
        """A customer's number was typed: show that one."""
        assert self.loaded is not None
        self._see(self.customer.value.strip())

    def _see(self, name: str) -> None:
        """Tell about one customer, which is on record before; about nobody for ""."""
        assert self.loaded is not None
        self.seen = ""
        try:
            if name and name not in set(self.loaded.table["customer_id"]):
                told = name[:_LONGEST_NUMBER]
                raise UsageError(self.say.text("There is no customer {name} among those decided on.", name=told))
            if name:
                self.frame.looked(name)
            self.seen = name
        finally:
            self._draw()

    def _clicked(self, point: dict[str, Any]) -> None:
        """A customer was clicked in the chart."""
        known = point.get("customdata")

        def pick() -> None:
            if isinstance(known, list) and known:
                with self.frame.quietly():
                    self.customer.value = str(known[0])[:_LONGEST_NUMBER]
                self._named()

        self.frame.guarded(pick)()

    def _bar_clicked(self, point: dict[str, Any]) -> None:
        """A decision was clicked: list those customers."""
        code = point.get("customdata")

        def pick() -> None:
            if code in [value for _, value in self.decision.options]:
                self.decision.value = code

        self.frame.guarded(pick)()

    def _choose(self) -> None:
        assert self.loaded is not None
        least = float(self.risk.value or 0) * self.loaded.average
        wanted = Filter(self.decision.value or "", self.reason.value or "", self.branch.value or "", least)
        self.rows = retention_data.chosen(self.loaded, wanted)

    def _take(self, which: str, format: str, details: bool) -> None:
        """Export the list shown and have the browser save it."""
        self.frame.guarded(lambda: self._export(which, format, details=details))()

    def _export(self, which: str, format: str, *, details: bool) -> None:
        assert self.loaded is not None
        self.frame.require("export")
        if details:
            self.frame.require("names")
        say, loaded, now, left_out = self.say, self.loaded, self.frame.now(), 0
        rows, allowed = self.lists.rows[which], None
        if details:
            acts = int((rows["action"] != "").sum())
            rows, allowed = retention_data.with_details(loaded, rows, today=now.date())
            left_out = acts - len(rows)
            if rows.empty:
                raise UsageError(
                    say.text("No action reaches anybody of this choice; choose more, or leave details out.")
                )
        table = retention_lists.exported(say, loaded, which, rows)
        if details:
            own = ["channel", "given_name", "family_name", "phone", "email", "postcode", "city"]
            table = table.join(rows[own].reset_index(drop=True))
        path = self.frame.take(
            table,
            purpose="work list" if which == retention_lists.TASKS else "retention watchlist",
            content={**self._content(), "list": which, "contact_details": details, "left_out": left_out},
            name="work-list" if which == retention_lists.TASKS else "retention",
            format=format,
            permitted=allowed,
            watermark=details,
        )
        told = say.plural("{n} row saved as {name}.", "{n} rows saved as {name}.", len(table), name=path.name)
        if left_out:
            told += " " + say.plural(
                "{n} customer left out: no longer permitted.", "{n} customers left out: no longer permitted.", left_out
            )
        self.frame.tell(told)

    def _content(self) -> dict[str, Any]:
        assert self.loaded is not None
        scores = self.loaded.scores
        return {
            **self._settings(),
            "score_set_id": scores.score_set_id,
            "model_version": scores.model_version,
            "warehouse_version": scores.warehouse_version,
            "as_of": scores.as_of.isoformat(),
            "caution": self.loaded.caution,
        }

    # ---------------------------------------------------------------- what is shown

    def _reworded(self) -> None:
        """Say everything in the language chosen."""
        assert self.loaded is not None
        say, scores = self.say, self.loaded.scores
        risks = origins.briefly(say, self.loaded.risks)
        parts = [*origins.scores(say, scores), risks, say.text("decisions {n}", n=scores.score_set_id)]
        self.frame.origin(parts, as_of=scores.as_of, note=retention_summary.note(say, self.loaded))
        for name, label in {
            "decision": say.text("Decision"),
            "reason": say.text("Likeliest reason"),
            "branch": say.text("Branch"),
            "risk": say.text("Risk at least"),
            "customer": say.text("Customer number"),
        }.items():
            self.labels[name].value = label
        self._fill()
        self._choose()
        self._draw()

    def _fill(self) -> None:
        assert self.loaded is not None
        say, table = self.say, self.loaded.table
        codes = list(retention_data.decisions(table)["code"].unique())
        kinds = [name for name in retention_data.KINDS if name in set(table["kind"])]
        everybody = (say.text("everybody"), "")
        options = {
            self.decision: [
                everybody,
                *((words.kind(say, name), name) for name in kinds),
                *(("– " + words.code(say, name), name) for name in codes if name != "pays"),
            ],
            self.reason: [
                (say.text("any"), ""),
                *((words.reason(say, name), name) for name in sorted(set(table["reason"]) - {""})),
            ],
            self.branch: [
                (say.text("any"), ""),
                *((self.loaded.branches.get(name, name), name) for name in sorted(set(table["branch_id"]) - {""})),
            ],
            self.risk: [
                (say.text("any"), 0.0),
                *(
                    (retention_summary.times(say, times, self.loaded.average), times)
                    for times in TIMES
                    if self.loaded.average > 0
                ),
            ],
        }
        with self.frame.quietly():
            for control, found in options.items():
                kept = control.value
                control.options = found
                control.value = kept if kept in [code for _, code in found] else found[0][1]
        self.customer.placeholder = say.text("number, or click a point")

    def _draw(self) -> None:
        assert self.loaded is not None
        say, loaded, currency = self.say, self.loaded, self.loaded.company.currency
        self.tiles.value = retention_summary.tiles(say, loaded, self.rows)
        self._draw_map(loaded)
        self.bars = retention_data.decisions(self.rows).head(retention_data.MOST_BARS)
        loss = say.text("What is expected to be lost by decision: risk × value. Click a bar to list those customers.")
        self.titles["decisions"].value = layout.title(say.text("What is decided, and why"), loss)
        names = [words.decision(say, row) for _, row in self.bars.iterrows()]
        notes = [say.plural("{n} customer", "{n} customers", row["customers"]) for _, row in self.bars.iterrows()]
        drawn = plots_retention.decisions(self.bars, words=names, notes=notes, currency=currency, language=say.code)
        self.charts["decisions"].update(
            certainty.told(drawn, retention_summary.unsure(say))
            if len(self.bars)
            else plots.empty(retention_summary.nobody(say), language=say.code)
        )
        self._draw_evidence(loaded)
        self.rest.value = retention_about.how(say, loaded)
        tasks = loaded.tasks
        if self.branch.value:
            tasks = tasks[tasks["branch_id"] == self.branch.value]
        self.lists.show(say, loaded, self.rows, tasks)

    def _draw_map(self, loaded: Loaded) -> None:
        say = self.say
        points = retention_data.points(self.rows)
        own = loaded.table[loaded.table["customer_id"] == self.seen]
        row = own.iloc[0] if len(own) else None
        if row is not None and row["stake_minor"] > 0 and row["customer_id"] not in set(points["customer_id"]):
            points = pd.concat([points, row.to_frame().T.astype(points.dtypes)], ignore_index=True)
        points = points.assign(words=[words.decision(say, one) for _, one in points.iterrows()])
        note = say.text("Above a line a contact pays. Click a point to see the customer.")
        if len(self.rows) > len(points) > 0:
            note += " " + say.text(
                "Drawn are the {n} customers with most at stake, of {all}.",
                n=say.number(len(points)),
                all=say.number(len(self.rows)),
            )
        self.titles["map"].value = layout.title(say.text("Risk and value"), note)
        chart = self.charts["map"]
        if points.empty:
            none = retention_summary.nothing_known(say) if len(self.rows) else retention_summary.nobody(say)
            chart.update(plots.empty(none, language=say.code))
        else:
            kinds = {name: words.short(say, name) for name in retention_data.KINDS if name in set(points["kind"])}
            chosen = "" if row is None else str(row["customer_id"])
            lines = retention_summary.lines(say, loaded, points["risk_90"])
            currency = loaded.company.currency
            drawn = plots_retention.map_of_risk(
                points, kinds=kinds, lines=lines, currency=currency, language=say.code, chosen=chosen
            )
            chart.update(certainty.told(drawn, retention_summary.unsure(say)))
        self.about.value = (
            retention_summary.nobody_chosen(say) if row is None else retention_about.customer(say, loaded, row)
        )

    def _draw_evidence(self, loaded: Loaded) -> None:
        say = self.say
        shown = retention_summary.measured(loaded)
        within = say.text(
            "Relative risk of leaving within 90 days with its 95% interval, against control groups drawn at random. "
            "Below each name: how many left of those contacted / of those left alone."
        )
        self.titles["effects"].value = layout.title(say.text("What past campaigns changed"), within)
        if shown.empty:
            none = say.text("No past campaign with a control group tells what a contact changes.")
            self.charts["effects"].update(plots.empty(none, language=say.code))
        else:
            names = [retention_about.effect(say, row) for _, row in shown.iterrows()]
            drawn = plots_retention.effects(shown, words=names, language=say.code)
            self.charts["effects"].update(certainty.told(drawn, certainty.interval(say, 95)))
        note = say.text("Groups of customers at a later date than the model learnt from, with 95% intervals.")
        self.titles["calibration"].value = layout.title(say.text("Can the risk be trusted?"), note)
        if loaded.calibration.empty:
            none = say.text("No calibration of the risk was saved.")
            self.charts["calibration"].update(plots.empty(none, language=say.code))
        else:
            drawn = plots_retention.calibration(loaded.calibration, language=say.code)
            origin = origins.line(say, loaded.risks)
            self.charts["calibration"].update(certainty.told(drawn, certainty.interval(say, 95), origin=origin))
