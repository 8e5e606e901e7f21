"""The dashboard of the due list: who needs the next delivery, whom to visit on which day, what to order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ipywidgets as widgets
import pandas as pd

from crmlib.views import certainty, due_list_data, due_list_tables, layout, origins, plots, plots_due_list, texts
from crmlib.views import due_list_words as words
from crmlib.views.due_list_data import Choice, Loaded
from crmlib.views.frame import Frame

CHARTS = ("days", "map", "calibration")
CONTROLS = ("employee", "region", "week")


def panel(data: str | Path, *, language: str = "en") -> widgets.Widget:
    """Return the due list: margin by day, the visits on a map, the plan with reasons, order proposals by outlet.

    ``data`` is the data folder, ``language`` "en" or "ru". What goes wrong is said on the panel in words.
    """
    return Panel(Path(data), language).root


class Panel:
    """The widgets of the panel; what a person chose is kept in the widgets themselves.

    ``seen`` is the outlet whose orders are shown: each look at the customer it belongs to is on record.
    """

    def __init__(self, data: Path, language: str) -> None:
        self.data = data
        self.loaded: Loaded | None = None
        self.rows = pd.DataFrame()
        self.seen = ""
        self.frame = Frame(
            texts.later("Due list"),
            data=data,
            dashboard="due_list",
            language=language,
            load=self._load,
            draw=self._reworded,
            newest=lambda: due_list_data.newest(data),
            asked=self._asked,
            settings=self._settings,
            apply=self._apply,
        )
        wide = {"width": "auto"}
        self.employee, self.region, self.week, self.outlet = (widgets.Dropdown(layout=wide) for _ in range(4))
        self.labels = {name: widgets.Label() for name in (*CONTROLS, "outlet")}
        self.tiles = widgets.HTML()
        self.titles = {name: widgets.HTML() for name in (*CHARTS, "plan", "left", "orders")}
        self.notes = {name: widgets.HTML() for name in (*CHARTS, "left", "orders")}
        self.charts = {name: self.frame.chart(name) for name in CHARTS}
        self.plan = due_list_tables.Plan()
        self.csv, self.xlsx = widgets.Button(button_style="primary"), widgets.Button()
        for button in (self.csv, self.xlsx):
            button.add_class("crm-needs-export")
        for name in CONTROLS:
            getattr(self, name).observe(self.frame.guarded(self._draw), "value")
        self.outlet.observe(self.frame.guarded(self._look), "value")
        self.csv.on_click(self.frame.guarded(lambda: self._export("csv")))
        self.xlsx.on_click(self.frame.guarded(lambda: self._export("xlsx")))
        self.root = self.frame.show(*self._arranged())

    @property
    def say(self) -> texts.Language:
        """The language chosen."""
        return self.frame.say

    def _arranged(self) -> list[widgets.Widget]:
        chosen = layout.controls(*[(self.labels[name], getattr(self, name)) for name in CONTROLS])
        cards = {name: layout.card(self.titles[name], self.charts[name], self.notes[name]) for name in CHARTS}
        plan = layout.card(self.titles["plan"], self.plan.root, layout.bar(self.csv, self.xlsx))
        left = layout.card(self.titles["left"], self.notes["left"])
        outlet = layout.controls((self.labels["outlet"], self.outlet))
        orders = layout.card(self.titles["orders"], outlet, self.notes["orders"])
        rows = [(cards["days"], cards["map"]), (plan,), (cards["calibration"], left), (orders,)]
        arranged = [layout.charts(*row, columns=len(row)) for row in rows]
        for row in arranged:
            row.add_class("crm-stacked")
        return [chosen, self.tiles, *arranged]

    # ---------------------------------------------------------------- what happens

    def _load(self) -> None:
        self.loaded = None
        self.loaded = due_list_data.load(self.data)

    def _asked(self, query: dict[str, str]) -> None:
        """Show what the address asked for: ?employee=R01&region=North&week=2026-01-05."""
        self._apply({**self._settings(), **{name: query[name] for name in CONTROLS if name in query}})

    def _settings(self) -> dict[str, Any]:
        return {name: getattr(self, name).value for name in CONTROLS}

    def _apply(self, settings: dict[str, Any]) -> None:
        with self.frame.quietly():
            for name in CONTROLS:
                control = getattr(self, name)
                if settings.get(name) in [code for _, code in control.options]:
                    control.value = settings[name]
        self._draw()

    def _choice(self) -> Choice:
        return Choice(self.employee.value or "", self.region.value or "", self.week.value or "")

    def _look(self) -> None:
        """An outlet was chosen: show its orders, once the look at its customer is on record."""
        assert self.loaded is not None
        chosen, self.seen = self.outlet.value or "", ""
        try:
            if chosen:
                due = self.loaded.due
                self.frame.looked(str(due.loc[due["outlet_id"] == chosen, "customer_id"].iloc[0]))
            self.seen = chosen
        finally:
            self._draw_orders()

    def _export(self, format: str) -> None:
        self.frame.require("export")
        assert self.loaded is not None
        say, loaded, choice = self.say, self.loaded, self._choice()
        table = due_list_data.exported(loaded, self.rows)
        content = {
            "employee": choice.employee,
            "region": choice.region,
            "week": choice.week,
            "score_set": loaded.score_set.score_set_id,
            "as_of": str(loaded.score_set.as_of),
        }
        path = self.frame.take(table, name="due-list", purpose="visit plan", format=format, content=content)
        self.frame.tell(say.plural("{n} row saved as {name}.", "{n} rows saved as {name}.", len(table), name=path.name))

    # ---------------------------------------------------------------- what is shown

    def _reworded(self) -> None:
        say, loaded = self.say, self.loaded
        assert loaded is not None
        self.labels["employee"].value, self.labels["region"].value = say.text("Representative"), say.text("Region")
        self.labels["week"].value, self.labels["outlet"].value = say.text("Week"), say.text("Outlet")
        self.csv.description = say.text("Download {format}", format="CSV")
        self.xlsx.description = say.text("Download {format}", format="XLSX")
        everyone = sorted(set(loaded.due["employee_id"]) - {""})
        weeks = [(say.text("week of {day}", day=say.date(week.date())), f"{week:%Y-%m-%d}") for week in loaded.weeks]
        regions = sorted(set(loaded.due["region"]) - {""})
        with self.frame.quietly():
            _fill(
                self.employee,
                [
                    (say.text("all representatives"), ""),
                    *((loaded.employees.get(name, name), name) for name in everyone),
                ],
            )
            _fill(self.region, [(say.text("all regions"), ""), *((name, name) for name in regions)])
            _fill(self.week, [(say.text("all weeks"), ""), *weeks])
        parts = [*origins.scores(say, loaded.score_set), say.text("scores {n}", n=loaded.score_set.score_set_id)]
        if loaded.orders is not None:
            parts.append(origins.briefly(say, loaded.orders))
        self.frame.origin(parts, as_of=loaded.score_set.as_of)
        self._draw()

    def _draw(self) -> None:
        assert self.loaded is not None
        say, loaded, choice = self.say, self.loaded, self._choice()
        self.rows = due_list_data.chosen(loaded.visits, choice)
        due = due_list_data.chosen(loaded.due, choice)
        left = due_list_data.chosen(loaded.left_out, choice)
        self.tiles.value = due_list_tables.tiles(say, loaded, visits=self.rows, due=due, left_out=left)
        self._draw_charts()
        self.titles["plan"].value = layout.title(
            say.text("Whom to visit, and why"),
            say.text("In the order of the day; the reasons name the products whose next order is due."),
        )
        self.plan.show(say, loaded, self.rows)
        self.csv.disabled = self.xlsx.disabled = self.rows.empty
        self.titles["left"].value = layout.title(say.text("Who is not visited"))
        self.notes["left"].value = due_list_tables.left_out(say, loaded, left)
        self._fill_outlets(due)
        self._draw_orders()

    def _draw_charts(self) -> None:
        assert self.loaded is not None
        say, loaded, currency = self.say, self.loaded, self.loaded.company.currency
        days = due_list_data.by_day(self.rows)
        placed = due_list_data.on_map(loaded, self.rows)
        nobody = say.text("Nobody to visit in this choice.")
        nowhere = say.text("None of these visits has coordinates.")
        tested = say.text("Too few orders so far to test the chances.")
        code = say.code
        figures = {
            "days": plots_due_list.by_day(days, currency=currency, language=code) if len(days) else nobody,
            "map": plots_due_list.where(placed, currency=currency, names=loaded.outlets, language=code)
            if len(placed)
            else nowhere,
            "calibration": plots_due_list.calibration(loaded.calibration, language=code)
            if len(loaded.calibration)
            else tested,
        }
        sure = dict.fromkeys(("days", "map"), certainty.none(say, words.summed(say))) | {
            "calibration": certainty.interval(say, 95)
        }
        for name, figure in figures.items():
            if isinstance(figure, str):
                self.charts[name].update(plots.empty(figure, language=code))
            else:
                self.charts[name].update(certainty.told(figure, sure[name]))
        note = say.text(
            "What the customers visited are expected to order within 14 days, less its cost. Most of it would come without a visit too: it is not what a visit adds."
        )
        note += " " + say.text("Above the bars stands the number of visits.")
        self.titles["days"].value = layout.title(say.text("Margin due by day of visit"), note)
        shown = say.text("{shown} of {n} visits have coordinates.", shown=len(placed), n=len(self.rows))
        self.titles["map"].value = layout.title(say.text("Where the visits are"), shown)
        held = say.text("On days the chances were not learnt from.")
        self.titles["calibration"].value = layout.title(say.text("Do the chances hold?"), held)
        self.notes["calibration"].value = f"<p>{words.trusted(say, loaded.quality)}</p>"

    def _fill_outlets(self, due: pd.DataFrame) -> None:
        """Offer the outlets of this choice, the one with most to deliver first."""
        assert self.loaded is not None
        names, proposals = self.loaded.outlets, self.loaded.proposals
        wanted: list[str] = []
        if proposals is not None:
            own = proposals[proposals["outlet_id"].isin(due["outlet_id"])]
            pieces = own.groupby("outlet_id")["order_quantity"].sum().sort_values(ascending=False, kind="stable")
            wanted = pieces.index.tolist()
        with self.frame.quietly():
            nobody = (self.say.text("choose an outlet"), "")
            _fill(self.outlet, [nobody, *((f"{names.get(one, one)} ({one})", one) for one in wanted)])
        self.outlet.disabled = not wanted

    def _draw_orders(self) -> None:
        assert self.loaded is not None
        say = self.say
        self.titles["orders"].value = layout.title(
            say.text("What to deliver next"),
            say.text("Proposed from the forecast of each day, the stock, the shelf life and the pack."),
        )
        shown = self.seen if self.seen == self.outlet.value else ""
        any_ = len(self.outlet.options) > 1
        self.notes["orders"].value = due_list_tables.proposals(say, self.loaded, shown, choose=any_)


def _fill(control: widgets.Dropdown, options: list[tuple[str, str]]) -> None:
    """Offer other options, and keep what was chosen where it is still there."""
    kept = control.value
    control.options = options
    codes = [code for _, code in options]
    control.value = kept if kept in codes else codes[0] if codes else None
