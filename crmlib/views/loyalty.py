"""The dashboard of loyalty: what customers say, who stays, what points will cost, and whom to care for now."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import pandas as pd

from crmlib.decisions.export import export
from crmlib.views import frame, loyalty_data, plots, plots_loyalty, retention_words, texts, wording
from crmlib.views import loyalty_words as words
from crmlib.views.chart import Chart
from crmlib.views.frame import Frame

MEASURES = ("retained", "revenue_minor")
CHARTS = ("time", "groups", "drivers", "balance", "weights", "calibration", "cohorts", "points", "mentions")
_MOST_WHY = 3


def panel(data: str | Path, *, language: str = "en") -> widgets.Widget:
    """Return the panel of loyalty: NPS with intervals, drivers, the index, cohorts, points, mentions, the work list.

    ``data`` is the data folder, ``language`` "en" or "ru". What goes wrong is said on the panel in words.
    """
    return Panel(Path(data), language).root


class Panel:
    """The widgets of the panel; what a person chose is kept in the widgets themselves."""

    def __init__(self, data: Path, language: str) -> None:
        self.data = data
        self.loaded: loyalty_data.Loaded | None = None
        self.frame = Frame(
            texts.later("Loyalty"),
            data=data,
            dashboard="loyalty",
            language=language,
            load=self._load,
            draw=self._reworded,
            newest=lambda: loyalty_data.newest(data),
            asked=self._asked,
            settings=self._settings,
            apply=self._apply,
        )
        wide = {"width": "auto"}
        self.survey, self.kind, self.measure = (widgets.Dropdown(layout=wide) for _ in range(3))
        self.labels = {name: widgets.Label() for name in ("survey", "kind", "measure")}
        self.weighted = widgets.Checkbox(indent=False, value=True)
        self.tiles = widgets.HTML()
        self.titles = {name: widgets.HTML() for name in (*CHARTS, "tasks")}
        self.notes = {name: widgets.HTML() for name in (*CHARTS, "tasks")}
        self.charts = {name: Chart(plots.empty("")) for name in CHARTS}
        self.download = widgets.Button()
        for control in (self.survey, self.kind, self.measure, self.weighted):
            control.observe(self.frame.guarded(self._draw), "value")
        self.download.on_click(self.frame.guarded(self._export))
        self.root = self.frame.show(*self._arranged())

    @property
    def say(self) -> texts.Language:
        """The language chosen."""
        return self.frame.say

    def _card(self, name: str, *more: widgets.Widget) -> widgets.Widget:
        return frame.card(self.titles[name], *more, self.charts[name], self.notes[name])

    def _arranged(self) -> list[widgets.Widget]:
        chosen = frame.controls(*[(self.labels[name], getattr(self, name)) for name in ("survey", "kind", "measure")])
        time = self._card("time", frame.bar(self.weighted))
        tasks = frame.card(self.titles["tasks"], self.notes["tasks"])
        rows = [
            [time, self._card("groups")],
            [self._card("drivers"), self._card("balance")],
            [self._card("cohorts")],
            [self._card("weights"), self._card("calibration")],
            [self._card("points"), self._card("mentions")],
            [tasks],
        ]
        cards = [frame.charts(*row, columns=len(row)) for row in rows]
        return [chosen, self.tiles, *cards, frame.bar(self.download)]

    # ---------------------------------------------------------------- what happens

    def _load(self) -> None:
        self.loaded = None
        self.loaded = loyalty_data.load(self.data)

    def _asked(self, query: dict[str, str]) -> None:
        """Show what the address asked for: ?survey=service&kind=branch_id&measure=revenue_minor."""
        self._apply({**self._settings(), **{name: query[name] for name in self.labels if name in query}})

    def _settings(self) -> dict[str, Any]:
        return {name: getattr(self, name).value for name in (*self.labels, "weighted")}

    def _apply(self, settings: dict[str, Any]) -> None:
        with self.frame.quietly():
            for name in self.labels:
                control = getattr(self, name)
                if settings[name] in [code for _, code in control.options]:
                    control.value = settings[name]
                if name == "survey":
                    self._fill_kinds()
            self.weighted.value = bool(settings["weighted"])
        self._draw()

    def _export(self) -> None:
        assert self.loaded is not None
        table = self.loaded.tables["nps"]
        content = {"score_set_id": self.loaded.score_set.score_set_id, "table": "nps"}
        path = export(
            table,
            data=self.data,
            actor=self.frame.actor,
            purpose="loyalty",
            content=content,
            now=self.frame.now(),
            name="nps",
        )
        self.frame.save(path)
        self.frame.tell(
            self.say.plural("{n} row saved as {name}.", "{n} rows saved as {name}.", len(table), name=path.name)
        )

    # ---------------------------------------------------------------- what is shown

    def _reworded(self) -> None:
        """Say everything in the language chosen."""
        assert self.loaded is not None
        say, loaded = self.say, self.loaded
        for chart in self.charts.values():
            chart.trouble = say.text("This chart could not be drawn; reload the page.")
        self.labels["survey"].value = say.text("Survey")
        self.labels["kind"].value = say.text("Compare by")
        self.labels["measure"].value = say.text("Cohorts show")
        self.weighted.description = say.text("also show the score if everybody had answered")
        self.download.description = say.text("Download the scores as CSV")
        with self.frame.quietly():
            _fill(self.survey, [(words.survey(say, name), name) for name in loaded.surveys])
            self._fill_kinds()
            _fill(self.measure, [(words.measure(say, name), name) for name in MEASURES])
        parts = [
            say.text("warehouse version {n}", n=loaded.score_set.warehouse_version),
            say.text("scores {n}", n=loaded.score_set.score_set_id),
        ]
        self.frame.origin(parts, as_of=loaded.as_of, note=loaded.missing.get("answers", ""))
        self._draw()

    def _fill_kinds(self) -> None:
        assert self.loaded is not None
        found = self.loaded.kinds(self.survey.value) if self.survey.value else []
        _fill(self.kind, [(words.kind(self.say, name), name) for name in found])

    def _draw(self) -> None:
        assert self.loaded is not None
        with self.frame.quietly():
            self._fill_kinds()
        for control in (self.survey, self.kind):
            control.disabled = not control.options
        self.download.disabled = self.loaded.tables["nps"].empty
        self._draw_surveys()
        self._draw_drivers()
        self._draw_cohorts()
        self._draw_index()
        self._draw_points()
        self._draw_mentions()
        self._list_tasks()
        self._draw_tiles()

    def _nothing(self, name: str, why: str) -> None:
        """Say in place of a chart why there is none."""
        self.charts[name].layout.display = "none"
        self.notes[name].value = f'<p class="crm-note">{html.escape(why)}</p>'

    def _show(self, name: str, figure: Any, note: str = "") -> None:
        self.charts[name].layout.display = ""
        self.charts[name].update(figure)
        self.notes[name].value = note

    def _draw_surveys(self) -> None:
        assert self.loaded is not None
        say, loaded, survey = self.say, self.loaded, self.survey.value
        self.titles["time"].value = frame.title(
            say.text("Would customers recommend us?"),
            say.text("NPS: share of promoters (9–10) less detractors (0–6), by quarter, with 95% intervals."),
        )
        self.titles["groups"].value = frame.title(
            say.text("Where is it better, where worse?"),
            say.text(
                "Last 12 months. Green or orange: clearly better or worse than all others, also after many looks."
            ),
        )
        if not survey:
            for name in ("time", "groups"):
                self._nothing(name, loaded.missing.get("nps", say.text("There are no answers to a survey yet.")))
            return
        found = loaded.over_time(survey)
        split = found["weighted"].notna().any()
        self.weighted.layout.display = "" if split else "none"
        if found["score"].notna().any():
            figure = plots_loyalty.over_time(found, weighted=self.weighted.value, language=say.code)
            self._show("time", figure, self._few(found, lambda row: plots_loyalty.quarter(say.code, row["period"])))
        else:
            self._nothing("time", say.text("There are fewer than 10 answers in every quarter: counts only, no score."))
            self.notes["time"].value += self._few(found, lambda row: plots_loyalty.quarter(say.code, row["period"]))
        if not self.kind.value:
            self._nothing("groups", say.text("The answers say nothing of channel, branch or segment."))
            return
        rows = loaded.by_group(survey, self.kind.value)
        names = {name: wording.value(say, name) for name in rows["group"]} | loaded.group_names(say, self.kind.value)
        note = self._few(rows, lambda row: names.get(row["group"], row["group"]))
        if rows["score"].notna().any():
            self._show("groups", plots_loyalty.groups(rows, names=names, language=say.code), note)
        else:
            self._nothing("groups", say.text("There are fewer than 10 answers in every group: counts only, no score."))
            self.notes["groups"].value += note

    def _few(self, rows: pd.DataFrame, name: Any) -> str:
        """Return the counts of the groups with fewer than 10 answers, as HTML."""
        small = rows[rows["score"].isna()]
        if small.empty:
            return ""
        heading = self.say.text("Fewer than 10 answers, so counts only:")
        lines = "; ".join(f"{name(row)}: {words.few(self.say, row)}" for _, row in small.iterrows())
        return f"<p>{html.escape(heading)} {html.escape(lines)}.</p>"

    def _draw_drivers(self) -> None:
        assert self.loaded is not None
        say, loaded = self.say, self.loaded
        found = loaded.drivers()
        self.titles["drivers"].value = frame.title(
            say.text("What moves the recommendation?"),
            say.text(
                "What one point more in an answer about service adds to the recommendation; the most important on top."
            ),
        )
        if found.empty:
            self._nothing(
                "drivers", say.text("No survey asks about service beside the recommendation, or too few answered it.")
            )
        else:
            names = {name: words.question(say, name) for name in found["driver"]}
            note = say.plural(
                "{n} answer; together they explain {share} of the differences. What goes together need not be a cause.",
                "{n} answers; together they explain {share} of the differences. What goes together need not be a cause.",
                int(found["answers"].iloc[0]),
                share=say.percent(found["explained"].iloc[0], 0),
            )
            self._show(
                "drivers", plots_loyalty.drivers(found, names=names, language=say.code), f"<p>{html.escape(note)}</p>"
            )
        self.titles["balance"].value = frame.title(
            say.text("Who answers, and what if everybody did?"),
            say.text(
                "How those who answered differ from all customers, in standard deviations; in the grey band they count as alike."
            ),
        )
        table = loaded.tables["response"]
        if table.empty:
            why = loaded.missing.get("weights", say.text("There are no answers to a survey yet."))
            self._nothing("balance", why)
            return
        names = {name: words.sign(say, name) for name in table["feature"]}
        note = say.text(
            "Weighting corrects what is observed here. Where the discontented answer less for other reasons, the score stays too high."
        )
        self._show(
            "balance", plots_loyalty.balance(table, names=names, language=say.code), f"<p>{html.escape(note)}</p>"
        )

    def _draw_cohorts(self) -> None:
        assert self.loaded is not None
        say, loaded, measure = self.say, self.loaded, self.measure.value
        self.titles["cohorts"].value = frame.title(
            say.text("Who stays, by joining month"),
            say.text(
                "{what}. In brackets: customers who joined. The interval is under the mouse.",
                what=words.measure(say, measure),
            ),
        )
        table = loaded.tables["cohorts"]
        if table.empty:
            self._nothing("cohorts", loaded.missing.get("cohorts", say.text("There are no cohorts yet.")))
            return
        currency = loaded.company.currency
        grid = loyalty_data.cohort_grid(table, measure)
        sizes = table.groupby("cohort")["customers"].first().tolist()
        if measure == "retained":
            figure = plots_loyalty.cohorts(grid, sizes=sizes, write=lambda v: say.percent(v, 0), language=say.code)
        else:
            figure = plots_loyalty.cohorts(
                grid, sizes=sizes, write=lambda v: say.money(v, currency, 2), language=say.code
            )
        self._show("cohorts", figure)

    def _draw_index(self) -> None:
        assert self.loaded is not None
        say, loaded = self.say, self.loaded
        self.titles["weights"].value = frame.title(
            say.text("Signs of loyalty"),
            say.text(
                "What told, half a year ahead, who would stay (log-odds per standard deviation). Grey: may be chance."
            ),
        )
        self.titles["calibration"].value = frame.title(
            say.text("Can the index be trusted?"),
            say.text("On customers and a half-year that it had not seen: on the line, it holds what it promises."),
        )
        table = loaded.tables["weights"]
        if table.empty:
            for name in ("weights", "calibration"):
                self._nothing(name, loaded.missing.get("index", say.text("There is no loyalty index yet.")))
            return
        names = {name: words.sign(say, name) for name in table["driver"]}
        self._show("weights", plots_loyalty.weights(table, names=names, language=say.code))
        compared = loaded.tables["comparison"]
        note = loaded.missing.get("comparison", "") if compared.empty else words.compared(say, compared)
        figure = plots_loyalty.calibration(loaded.tables["index_bins"], language=say.code)
        self._show("calibration", figure, f"<p>{html.escape(note)}</p>" if note else "")

    def _draw_points(self) -> None:
        assert self.loaded is not None
        say, loaded = self.say, self.loaded
        self.titles["points"].value = frame.title(
            say.text("What the points will cost"),
            say.text("Points earned so far; what will never be spent is left out."),
        )
        table = loaded.points
        if table is None or table.empty:
            self._nothing("points", say.text("Nothing is known of loyalty points yet; run `crm points`."))
            return
        now = table[table["ahead"] == 0].iloc[0]
        note = say.text(
            "Of the {points} points open now, {share} ({low} to {high}) will never be spent.",
            points=say.number(now["points_open"]),
            share=say.percent(now["breakage"], 0),
            low=say.percent(now["breakage_low"], 0),
            high=say.percent(now["breakage_high"], 0),
        )
        figure = plots_loyalty.points(table, currency=loaded.company.currency, language=say.code)
        self._show("points", figure, f"<p>{html.escape(note)}</p>")

    def _draw_mentions(self) -> None:
        assert self.loaded is not None
        say, loaded = self.say, self.loaded
        self.titles["mentions"].value = frame.title(
            say.text("What is said about us"),
            say.text("Mentions in social networks, as imported, and the latest of them."),
        )
        table = loaded.tables["mentions"]
        if table.empty or not table["mentions"].sum():
            self._nothing("mentions", loaded.missing.get("mentions", say.text("No mentions have been imported yet.")))
            return
        heads = [("", say.text("Day")), ("", say.text("Words")), ("n", say.text("Tone"))]
        rows = [
            [
                row["occurred_at"].strftime("%d.%m.%Y" if say.code == "ru" else "%d %b %Y"),
                row["text"] if isinstance(row["text"], str) else "",
                "" if pd.isna(row["sentiment"]) else words.signed(say, row["sentiment"], 1),
            ]
            for _, row in loaded.quotes.head(4).iterrows()
        ]
        self._show("mentions", plots_loyalty.mentions(table, language=say.code), frame.table(heads, rows))

    def _list_tasks(self) -> None:
        assert self.loaded is not None
        say, loaded = self.say, self.loaded
        self.titles["tasks"].value = frame.title(
            say.text("Whose loyalty is worth an effort now"),
            say.text("The tasks of consultants that save most, with the reasons."),
        )
        tasks = loaded.tasks
        if tasks is None or tasks.empty:
            why = (
                say.text("There is no work list yet; run `crm retention`.")
                if tasks is None
                else say.text("Nobody is worth an effort now: no contact would save more than it costs.")
            )
            self.notes["tasks"].value = f'<p class="crm-note">{html.escape(why)}</p>'
            return
        currency = loaded.company.currency
        heads = [
            ("", say.text("Customer")),
            ("", say.text("Branch")),
            ("", say.text("Why")),
            ("", say.text("What to do")),
            ("n", say.text("Cost")),
            ("n", say.text("Expected net saving")),
        ]
        best = tasks.sort_values("net_minor", ascending=False, na_position="last").head(loyalty_data.LATEST)
        rows = [
            [
                str(row["customer_id"]),
                loaded.branches.get(row["branch_id"], row["branch_id"]),
                "; ".join(
                    retention_words.why(say, one, currency=currency) for one in json.loads(row["why"])[:_MOST_WHY]
                ),
                "; ".join(retention_words.what(say, one) for one in json.loads(row["what"])),
                say.money(row["cost_minor"], currency, 2),
                "" if pd.isna(row["net_minor"]) else say.money(row["net_minor"], currency),
            ]
            for _, row in best.iterrows()
        ]
        link = self.frame.link("retention_watchlist", say.text("Open the whole list"))
        total = say.plural("{n} task in all.", "{n} tasks in all.", len(tasks))
        self.notes["tasks"].value = f"{frame.table(heads, rows)}<p>{html.escape(total)} {link}</p>"

    def _draw_tiles(self) -> None:
        assert self.loaded is not None
        say, loaded = self.say, self.loaded
        shown = []
        if self.survey.value:
            found = loaded.over_time(self.survey.value)
            known = found[found["score"].notna()]
            if len(known):
                last = known.iloc[-1]
                name = say.text("NPS, {quarter}", quarter=plots_loyalty.quarter(say.code, last["period"]))
                note = words.interval(say, last["low"], last["high"])
                shown.append((name, words.signed(say, last["score"]), note))
                told = words.change(say, last)
                if told:
                    shown.append((say.text("Change"), words.signed(say, last["difference"]), told))
            before, after = loaded.whole(self.survey.value)
            if before is not None and after is not None and pd.notna(after["score"]):
                name = say.text("NPS if everybody had answered")
                note = say.text("12 months; as answered {score}", score=words.signed(say, before["score"]))
                shown.append((name, words.signed(say, after["score"]), note))
        retained = loaded.scores["retained"]
        if retained.notna().any():
            note = say.text("expected within 180 days, by the index")
            shown.append((say.text("Customers who will leave"), say.number(float((1 - retained).sum())), note))
        if loaded.points is not None and len(loaded.points):
            now = loaded.points[loaded.points["ahead"] == 0].iloc[0]
            currency = loaded.company.currency
            low, high = (say.money(now[name], currency) for name in ("low", "high"))
            note = say.text("{low} to {high}", low=low, high=high)
            shown.append((say.text("Open points will cost"), say.money(now["liability_minor"], currency), note))
        self.tiles.value = frame.tiles(shown) if shown else ""


def _fill(control: widgets.Dropdown, options: list[tuple[str, str]]) -> None:
    """Offer other options, and keep what was chosen where it is still there."""
    kept = control.value
    control.options = options
    codes = [code for _, code in options]
    control.value = kept if kept in codes else codes[0] if codes else None
