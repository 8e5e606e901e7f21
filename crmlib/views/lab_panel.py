"""The start page of JupyterLab: the notebooks in reading order, a form that runs one with parameters, the run history."""

from __future__ import annotations

import asyncio
from pathlib import Path

import ipywidgets as widgets

from crmlib.views import lab_words as words
from crmlib.views import layout, texts
from crmlib.views.frame import Frame
from crmlib.views.lab_form import Form
from crmlib.views.lab_work import Begun, Notebook, Work

CSS = f"<style>{Path(__file__).with_suffix('.css').read_text(encoding='utf-8')}</style>"
CARDS = ("books", "run", "runs", "dashboards")
LOOK_SECONDS = 0.5


def panel(data: Path, work: Work, *, language: str = "en") -> widgets.Widget:
    """Return the start page of a data folder; ``work`` is what it shows and does."""
    return Start(data, work, language=language).root


class Start:
    """The panel; ``root`` is the widget to show, ``begun`` the run that was started here last."""

    def __init__(self, data: Path, work: Work, *, language: str = "en") -> None:
        self.work = work
        self.begun: Begun | None = None
        self.following: asyncio.Task[None] | None = None
        self.frame = Frame(
            texts.later("Notebooks and runs"),
            data=data,
            dashboard="start",
            load=self._load,
            draw=self._draw,
            language=language,
        )
        self.form = Form()
        able = [one for one in work.notebooks if not one.trouble]
        self.notebook = widgets.Dropdown(options=[(one.title, one.path) for one in able])
        self.report = widgets.Checkbox(value=True, indent=False)
        self.go, self.stop, self.again = widgets.Button(button_style="primary"), widgets.Button(), widgets.Button()
        self.bar = widgets.IntProgress(layout={"display": "none"})
        self.result = widgets.HTML()
        self.result.add_class("crm-result")
        self.label = widgets.Label()
        self.titles = {name: widgets.HTML() for name in CARDS}
        self.lists = {name: widgets.HTML() for name in ("books", "runs", "dashboards")}
        self.lists["runs"].add_class("crm-lab-runs")
        self.stop.disabled = True
        self.notebook.observe(self.frame.guarded(self._choose), "value")
        self.go.on_click(self.frame.guarded(self._begin))
        self.stop.on_click(self.frame.guarded(self._stop))
        self.again.on_click(self.frame.guarded(self.frame.reload))
        self._choose()
        self.root = self.frame.show(widgets.HTML(CSS), *self._arranged())

    def _arranged(self) -> list[widgets.Widget]:
        bar = layout.bar(self.go, self.stop, self.report)
        chosen = layout.controls((self.label, self.notebook))
        run = layout.card(self.titles["run"], chosen, self.form.root, bar, self.bar, self.result)
        run.add_class("crm-form")
        cards = {name: layout.card(self.titles[name], self.lists[name]) for name in self.lists}
        cards["runs"] = layout.card(self.titles["runs"], layout.bar(self.again), self.lists["runs"])
        order = (cards["books"], run, cards["runs"], cards["dashboards"])
        return [layout.charts(card, columns=1) for card in order]

    # ---------------------------------------------------------------- what happens

    def chosen(self) -> Notebook | None:
        """Return the notebook that the form is for."""
        return next((one for one in self.work.notebooks if one.path == self.notebook.value), None)

    def _choose(self) -> None:
        notebook = self.chosen()
        self.go.disabled = notebook is None or self._busy()
        if notebook:
            self.form.show(notebook)

    def _busy(self) -> bool:
        return self.begun is not None and self.begun.ended() is None

    def _begin(self) -> None:
        notebook = self.chosen()
        if notebook is None or self._busy():
            return
        self.begun = self.work.begin(notebook, self.form.values(), self.report.value)
        self.go.disabled, self.stop.disabled = True, False
        self.following = asyncio.get_running_loop().create_task(self.follow())

    def _stop(self) -> None:
        if self.begun:
            self.begun.stop()

    async def follow(self) -> None:
        """Show how the run stands until it has ended, then what came of it."""
        # A cell that keeps the kernel busy delays what is shown here, never the run itself.
        while self._busy():
            self._show_run()
            await asyncio.sleep(LOOK_SECONDS)
        self.go.disabled, self.stop.disabled = False, True
        self.frame.reload()

    # ---------------------------------------------------------------- what is shown

    def _load(self) -> None:
        self.history = self.work.history()

    def _draw(self) -> None:
        say = self.frame.say
        self.label.value = say.text("Notebook")
        self.go.description, self.stop.description = say.text("Run"), say.text("Stop the run")
        self.again.description = say.text("Look again")
        self.report.description = say.text("also make a report without code")
        heads = {
            "books": (
                say.text("Notebooks in reading order"),
                say.text("A click on a title opens the notebook; what it found last is in its executed copy."),
            ),
            "run": (
                say.text("Run a notebook with parameters"),
                say.text("It runs in a process of its own and goes on when this page is closed."),
            ),
            "runs": (say.text("What ran lately"), ""),
            "dashboards": (
                say.text("Dashboards"),
                say.text("A click on a title opens the notebook, which shows the dashboard as on its page."),
            ),
        }
        for name, (title, note) in heads.items():
            self.titles[name].value = layout.title(title, note)
        self.lists["books"].value = words.books(say, self.work, self.history)
        self.lists["dashboards"].value = words.dashboards(self.work)
        none = f"<p>{say.text('Nothing ran yet.')}</p>"
        self.lists["runs"].value = none if self.history.empty else words.runs(say, self.work, self.history)
        self._show_run()

    def _show_run(self) -> None:
        if self.begun is None:
            return
        say, number, ended = self.frame.say, self.begun.run_id(), self.begun.ended()
        known = self.work.history()
        row = next((one for one in known.to_dict("records") if one["run_id"] == number), None)
        done, cells = self.work.progress(number) if number is not None and ended is None else (0, 0)
        self.bar.layout.display = "none" if ended is not None else ""
        self.bar.max, self.bar.value = max(cells, 1), done
        if row is not None:
            self.result.value = words.result(say, self.work, {str(k): v for k, v in row.items()}, now=self.frame.now())
        elif ended is None:
            self.result.value = say.text("It starts …")
        else:  # it ended before it was entered in the ledger
            self.result.value = ""
            self.frame.complain(ended or say.text("It ended without saying why."))
