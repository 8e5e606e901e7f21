"""The dashboard of runs: what ran by itself, what is late, how long it took against usual, and what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ipywidgets as widgets
import pandas as pd

from crmlib.errors import NotFoundError
from crmlib.store import audit, slots
from crmlib.views import layout, plots_runs, runs_board_data, runs_board_tables, texts
from crmlib.views import runs_board_words as words
from crmlib.views.frame import Frame
from crmlib.views.report_view import ReportView
from crmlib.views.runs_board_data import Board

CHARTS = ("timeline", "durations")
CARDS = (*CHARTS, "alerts", "next", "runs", "run")
DAYS = (1, 7, 30, 90)


def panel(data: str | Path, *, language: str = "en") -> widgets.Widget:
    """Return the dashboard of runs: a line of time, durations against usual, alerts, what is due, logs and reports.

    ``data`` is the data folder, ``language`` "en" or "ru". What goes wrong is said on the panel in words.
    """
    return Panel(Path(data), language).root


class Panel:
    """The widgets of the panel; what a person chose is kept in the widgets themselves."""

    def __init__(self, data: Path, language: str) -> None:
        self.data = data
        self.board: Board | None = None
        self.listed = pd.DataFrame()
        self.days = widgets.Dropdown(options=[("", days) for days in DAYS], value=7, layout={"width": "auto"})
        self.frame = Frame(
            texts.later("Runs"),
            data=data,
            dashboard="runs",
            language=language,
            load=self._load,
            draw=self._reworded,
            newest=lambda: runs_board_data.newest(data),
            asked=self._asked,
            settings=self._settings,
            apply=self._apply,
        )
        self.job, self.run = (widgets.Dropdown(options=[("", "")], layout={"width": "auto"}) for _ in range(2))
        self.labels = {name: widgets.Label() for name in ("days", "job", "run", "now")}
        self.tiles = widgets.HTML()
        self.titles = {name: widgets.HTML() for name in CARDS}
        self.tables = {name: widgets.HTML() for name in ("alerts", "next", "runs", "run")}
        self.charts = {name: self.frame.chart(name) for name in CHARTS}
        self.again = widgets.Button(icon="")
        self.refresh, self.show, self.take = widgets.Button(), widgets.Button(button_style="primary"), widgets.Button()
        self.again.add_class("crm-needs-change")
        self.take.add_class("crm-needs-export").add_class("crm-needs-names")
        self.show.add_class("crm-needs-names")
        self.report = ReportView()
        self.days.observe(self.frame.guarded(self._read_again), "value")
        self.job.observe(self.frame.guarded(self._draw), "value")
        self.run.observe(self.frame.guarded(self._draw_run), "value")
        self.refresh.on_click(self.frame.guarded(self.frame.reload))
        self.show.on_click(self.frame.guarded(self._show))
        self.take.on_click(self.frame.guarded(self._take))
        self.again.on_click(self.frame.guarded(self._retry))
        self.root = self.frame.show(*self._arranged())

    @property
    def say(self) -> texts.Language:
        """The language chosen."""
        return self.frame.say

    def _arranged(self) -> list[widgets.Widget]:
        pairs = ("days", self.days), ("job", self.job), ("now", self.refresh)
        chosen = layout.controls(*((self.labels[name], control) for name, control in pairs))
        parts: dict[str, tuple[widgets.Widget, ...]] = {name: (self.charts[name],) for name in CHARTS}
        parts |= {name: (self.tables[name],) for name in ("alerts", "next", "runs")}
        one = layout.controls((self.labels["run"], self.run))
        parts["run"] = (one, layout.bar(self.show, self.take, self.again), self.tables["run"], self.report)
        cards = {name: layout.card(self.titles[name], *content) for name, content in parts.items()}
        rows = [("timeline",), ("durations", "next"), ("alerts",), ("run",), ("runs",)]
        arranged = [layout.charts(*(cards[name] for name in row), columns=len(row)) for row in rows]
        for row in arranged:
            row.add_class("crm-stacked")
        return [chosen, self.tiles, *arranged]

    # ---------------------------------------------------------------- what happens

    def _load(self) -> None:
        self.board = None
        self.board = runs_board_data.load(self.data, now=self.frame.now(), days=self.days.value)

    def _read_again(self) -> None:
        self._load()
        self._reworded()

    def _asked(self, query: dict[str, str]) -> None:
        """Show what the address asked for: ?job=nightly&days=30."""
        settings: dict[str, Any] = {**self._settings(), **({"job": query["job"]} if "job" in query else {})}
        if query.get("days", "").isdecimal():
            settings["days"] = int(query["days"])
        self._apply(settings)

    def _settings(self) -> dict[str, Any]:
        return {"days": self.days.value, "job": self.job.value}

    def _apply(self, settings: dict[str, Any]) -> None:
        with self.frame.quietly():
            if settings.get("days") in DAYS:
                self.days.value = settings["days"]
            self._load()
            self._fill_jobs()
            if settings.get("job") in [code for _, code in self.job.options]:
                self.job.value = settings["job"]
        self._reworded()

    def _chosen(self) -> dict[str, Any] | None:
        """Return the run that is looked at."""
        index = self.run.value
        return None if index == "" or self.listed.empty else dict(self.listed.loc[index])

    def _show(self) -> None:
        self.frame.require("names")  # a notebook may have shown anything
        file, row = self._report()
        self._recorded("look", file)
        self.report.show(file, title=self.say.text("Report of {job}", job=row["job"]))

    def _take(self) -> None:
        self.frame.require("export")
        self.frame.require("names")
        file, _ = self._report()
        self._recorded("export", file)
        self.report.save(file)

    def _report(self) -> tuple[Path, dict[str, Any]]:
        row = self._chosen()
        file = runs_board_data.report_file(self.data, row) if row else None
        if row is None or file is None:
            raise NotFoundError(self.say.text("There is no report of this run, or it is no longer kept."))
        return file, row

    def _recorded(self, action: str, file: Path) -> None:
        who = {"actor": self.frame.actor, "role": self.frame.visitor.role.name}
        content = {"dashboard": "runs", "report": file.name}
        audit.record(self.data, **who, action=action, now=self.frame.now(), content=content)

    def _retry(self) -> None:
        self.frame.require("change")
        row = self._chosen()
        if row is None or pd.isna(row["slot_id"]):
            return
        back = slots.retry(self.data, int(row["slot_id"]), now=self.frame.now())
        self.frame.reload()
        say = self.say
        self.frame.tell(
            say.plural(
                "{job} will run again at the scheduler's next look, {n} run in all.",
                "{job} will run again at the scheduler's next look, {n} runs in all with those that wait for it.",
                len(back),
                job=row["job"],
            )
        )

    # ---------------------------------------------------------------- what is shown

    def _reworded(self) -> None:
        say, board = self.say, self.board
        assert board is not None
        self.labels["days"].value, self.labels["job"].value = say.text("Period"), say.text("Job")
        self.labels["run"].value = say.text("Run")
        self.labels["now"].value = say.text("As of {when} UTC", when=words.moment(say, board.now))
        self.refresh.description = say.text("Look again")
        self.show.description, self.take.description = say.text("Show the report"), say.text("Save the report")
        self.again.description = say.text("Run again")
        with self.frame.quietly():
            kept = self.days.value
            self.days.options = [(say.plural("last {n} day", "last {n} days", days), days) for days in DAYS]
            self.days.value = kept
        self._fill_jobs()
        self.frame.origin([runs_board_tables.origin(say, board)], note=runs_board_tables.warning(say, board))
        self._draw()

    def _fill_jobs(self) -> None:
        assert self.board is not None
        names = plots_runs.job_order(self.board)
        with self.frame.quietly():
            kept = self.job.value
            self.job.options = [(self.say.text("all jobs"), ""), *((name, name) for name in names)]
            self.job.value = kept if kept in names else ""

    def _draw(self) -> None:
        assert self.board is not None
        say, board = self.say, runs_board_data.only(self.board, self.job.value)
        self.tiles.value = layout.tiles(runs_board_tables.tiles(say, board))
        self.charts["timeline"].update(plots_runs.timeline(board, days=self.days.value, language=say.code))
        self.charts["durations"].update(plots_runs.durations(board, language=say.code))
        heads = {
            "timeline": (say.text("What ran, and what comes"), ""),
            "durations": (
                say.text("How long it took against usual"),
                say.text("The newest run of each job beside the successful ones before it."),
            ),
            "alerts": (say.text("Alerts"), ""),
            "next": (say.text("What is due next"), ""),
            "runs": (say.text("The newest runs"), ""),
            "run": (
                say.text("One run: log and report"),
                say.text("A report is the notebook without code, with its parameters and versions."),
            ),
        }
        for name, (title, note) in heads.items():
            self.titles[name].value = layout.title(title, note)
        self.tables["alerts"].value = runs_board_tables.alerts(say, board)
        self.tables["next"].value = runs_board_tables.due(say, board)
        self.listed = board.runs.head(runs_board_tables.ROWS)
        self.tables["runs"].value = runs_board_tables.runs(say, board, self.listed)
        self._fill_runs()
        self._draw_run()

    def _fill_runs(self) -> None:
        say = self.say
        options: list[tuple[str, Any]] = [
            (f"{row['job']} · {words.moment(say, row['started_at'])} · {words.state(say, row['state'])}", index)
            for index, row in self.listed.iterrows()
        ]
        with self.frame.quietly():
            kept = self.run.value
            self.run.options = options or [(say.text("no runs"), "")]
            self.run.value = kept if kept in [index for _, index in options] else self.run.options[0][1]

    def _draw_run(self) -> None:
        say, row = self.say, self._chosen()
        file = runs_board_data.report_file(self.data, row) if row else None
        self.show.disabled = self.take.disabled = file is None
        can = row is not None and row["slot_state"] in runs_board_data.BACK
        self.again.layout.display = "" if can else "none"
        self.report.close_report()
        self.tables["run"].value = runs_board_tables.one(say, self.data, row, has_report=file is not None)
