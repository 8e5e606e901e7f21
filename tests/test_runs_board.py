"""The dashboard of runs: what ran, what is late, how long against usual, logs, reports, running again."""

from __future__ import annotations

import datetime as dt
import shutil
from pathlib import Path
from typing import Any

import browser
import made_runs
import nbformat
import pandas as pd
import plotly.graph_objects as go
import pytest
import sqlalchemy as sa

from crmlib.serving import serve
from crmlib.store import audit, ledger, session
from crmlib.store.tables import ScheduledJob, Slot
from crmlib.views import plots_runs, runs_board, runs_board_data, visitor

NOW = dt.datetime(2026, 1, 31, 6)


def executed(path: Path) -> Path:
    drawn = go.Figure().add_bar(x=["a", "b"], y=[1, 2]).to_plotly_json()
    output = nbformat.v4.new_output("display_data", data={"application/vnd.plotly.v1+json": drawn})
    cells = [nbformat.v4.new_markdown_cell("# Forecast of the day"), nbformat.v4.new_code_cell("1", outputs=[output])]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    made_runs.make(folder, now=NOW, notebook=executed(tmp_path / "forecast.ipynb"))
    return folder


def board(data: Path, days: int = 7) -> runs_board_data.Board:
    return runs_board_data.load(data, now=NOW, days=days)


@pytest.fixture
def panel(data: Path, monkeypatch: pytest.MonkeyPatch) -> runs_board.Panel:
    monkeypatch.setattr("crmlib.views.frame.Frame.now", staticmethod(lambda: NOW))
    return runs_board.Panel(data, "en")


def choose(panel: runs_board.Panel, job: str, state: str) -> None:
    panel.run.value = next(
        index for words, index in panel.run.options if words.startswith(job) and words.endswith(state)
    )


# ---------------------------------------------------------------- data


def test_usual_is_the_median_and_the_span_of_the_successful_runs_before_the_newest() -> None:
    seconds = [300.0, 100, 120, 80, 500, 90]
    states = ["succeeded", "succeeded", "succeeded", "succeeded", "failed", "succeeded"]
    found = runs_board_data.usual(pd.DataFrame({"job": "a", "state": states, "seconds": seconds})).iloc[0]
    earlier = pd.Series([100.0, 120, 80, 90])
    assert (found["seconds"], found["earlier"], found["median"]) == (300, 4, earlier.median())
    assert (found["low"], found["high"]) == (earlier.quantile(0.1), earlier.quantile(0.9)) and found["slow"]
    few = runs_board_data.usual(pd.DataFrame({"job": "a", "state": "succeeded", "seconds": [300.0, 100, 120]})).iloc[0]
    assert not few["slow"], "two runs do not say what is usual"


def test_late_failed_skipped_and_slow_are_told_apart(data: Path) -> None:
    found = board(data)
    assert found.late["job"].tolist() == ["load"] and found.late["late_since"].iloc[0] == NOW - dt.timedelta(hours=5)
    newest = found.runs.groupby("job").first()["state"]
    assert newest.to_dict() == {
        "forecast": "failed",
        "load": "succeeded",
        "scores": "succeeded",
        "weekly_report": "skipped",
    }
    assert found.usual.loc[found.usual["slow"], "job"].tolist() == ["scores"]
    assert (
        found.runs["started_at"].is_monotonic_decreasing
        and (found.runs["finished_at"] >= NOW - dt.timedelta(days=7)).all()
    )
    assert len(board(data, days=30).runs) > len(found.runs)


def test_a_job_that_no_scheduler_looked_after_is_late(tmp_path: Path) -> None:
    with session.session(tmp_path) as store:
        due = NOW - dt.timedelta(days=2)
        store.add(ScheduledJob(job="nightly", known_since=due, planned_until=due, next_due=due))
        store.commit()
    assert board(tmp_path).late["job"].tolist() == ["nightly"]
    panel = runs_board.Panel(tmp_path, "en")
    assert "No scheduler has looked at what is due since 29 Jan, 06:00 UTC" in panel.frame._head.value


def test_runs_by_hand_are_shown_too(tmp_path: Path) -> None:
    run = ledger.start_run(
        tmp_path, kind="notebook", name="06_churn.ipynb", parameters={}, now=NOW - dt.timedelta(minutes=3)
    )
    row = board(tmp_path).runs.iloc[0]
    assert (row["job"], row["scheduled"], row["run_id"], row["seconds"]) == ("06_churn", False, run, 180)


@pytest.mark.parametrize("name", ["../outside.log", "/etc/passwd", "logs/../store.sqlite", "store.sqlite", None])
def test_only_logs_are_shown_as_logs(data: Path, name: str | None) -> None:
    (data.parent / "outside.log").write_text("outside")
    assert runs_board_data.tail(data, name) is None
    assert runs_board_data.report_file(data, {"report": name, "output": None}) is None


def test_of_a_long_log_the_end_is_shown(data: Path) -> None:
    (data / "logs" / "long.log").write_text("".join(f"line {number}\n" for number in range(9_000)))
    text = runs_board_data.tail(data, "logs/long.log")
    assert text is not None and text.startswith("…line ") and text.endswith("line 8999\n") and len(text) <= 20_000


def test_the_pictures_hold_every_run_and_what_comes(data: Path) -> None:
    found = board(data)
    drawn = plots_runs.timeline(found, days=7, language="en")
    names = {trace.name: len(trace.x) for trace in drawn.data if trace.mode == "markers"}
    counts = found.runs["state"].value_counts()
    assert names == {**counts.to_dict(), "late since then": 1, "due next": 4}
    beside = plots_runs.durations(found, language="ru")
    assert [trace.name for trace in beside.data][1:] == [
        "последний запуск",
        "последний запуск, дольше обычного",
        "последний запуск, неудачный",
    ]


# ---------------------------------------------------------------- panel


def test_the_panel_shows_alerts_states_and_escapes_what_a_run_said(panel: runs_board.Panel, data: Path) -> None:
    assert panel.frame._trouble.value == ""
    assert "<span>Late now</span><b>1</b><small>load</small>" in panel.tiles.value
    assert "cell 4 failed: ValueError: no rows" in panel.tables["alerts"].value
    assert (
        "No new data in transactions" in panel.tables["alerts"].value
        and "shown here only" in panel.tables["alerts"].value
    )
    choose(panel, "forecast", "failed")
    assert (
        "reading &lt;b&gt;the&lt;/b&gt; table" in panel.tables["run"].value
        and "<b>the</b>" not in panel.tables["run"].value
    )
    assert panel.show.disabled and panel.again.layout.display == ""
    panel.language = panel.frame.language.value = "ru"
    assert "Опаздывают" in panel.tiles.value and "опаздывает с" in panel.tables["next"].value


def test_a_failed_run_is_put_back_with_those_that_waited_for_it(panel: runs_board.Panel, data: Path) -> None:
    choose(panel, "forecast", "failed")
    panel.again.click()
    assert "forecast will run again at the scheduler" in panel.frame._trouble.value
    with session.session(data) as store:
        waiting = store.scalars(sa.select(Slot.job).where(Slot.state == "waiting")).all()
    assert "forecast" in waiting


def test_who_may_change_nothing_puts_nothing_back(
    panel: runs_board.Panel, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert panel.frame.may("change"), "the right is lost while the page is open"
    eve = visitor.Visitor("eve", visitor.Role("viewer", frozenset(), ("runs",)))
    monkeypatch.setattr(visitor, "current", lambda _data: eve)
    choose(panel, "forecast", "failed")
    panel.again.click()
    assert "Your role does not allow changes" in panel.frame._trouble.value
    panel.take.click()
    assert "Your role does not allow taking files away" in panel.frame._trouble.value
    with session.session(data) as store:
        assert "forecast" not in store.scalars(sa.select(Slot.job).where(Slot.state == "waiting")).all()


def test_looking_at_a_report_and_saving_it_are_on_record(panel: runs_board.Panel, data: Path) -> None:
    sent: list[Any] = []
    panel.report.send = lambda content, buffers=None: sent.append((content["kind"], buffers))  # type: ignore[method-assign]
    panel.job.value = "forecast"
    choose(panel, "forecast", "succeeded")
    panel.show.click(), panel.take.click()
    assert panel.frame._trouble.value == ""
    pages = [buffers[0] for kind, buffers in sent if kind in ("show", "save")]
    assert len(pages) == 2 and all(b"Forecast of the day" in page for page in pages)
    found = audit.entries(data, newest=2)
    assert sorted(found["action"]) == ["export", "look"]


def test_one_job_and_a_longer_time_can_be_asked_for_in_the_address(panel: runs_board.Panel) -> None:
    panel._asked({"job": "scores", "days": "30"})
    assert panel._settings() == {"days": 30, "job": "scores"} and "forecast" not in panel.tables["runs"].value
    panel._asked({"job": "<b>", "days": "7000"})
    assert panel._settings() == {"days": 30, "job": "scores"}


def test_empty_states_are_said_in_words(tmp_path: Path) -> None:
    assert "there is no such data folder" in runs_board.Panel(tmp_path / "no", "en").frame._trouble.value
    panel = runs_board.Panel(tmp_path, "en")
    assert (
        panel.frame._trouble.value == "" and "`crm schedule init` writes a schedules.toml" in panel.tables["next"].value
    )
    assert (
        "No alert stands." in panel.tables["alerts"].value and "Nothing ran in this time." in panel.tables["runs"].value
    )


# ---------------------------------------------------------------- in a browser


@pytest.mark.browser
def test_a_report_is_drawn_in_a_frame_that_cannot_reach_the_page(tmp_path: Path) -> None:
    if browser.program() is None:
        pytest.skip("no chromium (make system)")
    folder, alone = tmp_path / "data", tmp_path / "dashboards"
    now = dt.datetime.now(dt.UTC).replace(tzinfo=None, microsecond=0)
    made_runs.make(folder, now=now, notebook=executed(tmp_path / "forecast.ipynb"))
    alone.mkdir()
    shutil.copy(browser.DASHBOARDS / "runs.ipynb", alone)
    with (
        browser.chromium() as chromium,
        browser.server(folder, log=tmp_path / "log", dashboards=alone) as served,
        browser.visit(chromium) as found,
    ):
        page = found.page
        page.goto(serve.url(*served, "runs"))
        page.wait_for_function(browser.DRAWN, arg=2)
        runs = page.locator("select").filter(has_text="·")
        wanted = next(
            words for words in runs.locator("option").all_inner_texts() if "forecast" in words and "succeeded" in words
        )
        runs.select_option(label=wanted)
        page.get_by_role("button", name="Show the report").click()
        inside = page.frame_locator(".crm-report iframe")
        inside.locator(".figure[data-state=drawn]").wait_for()
        assert inside.locator("h1").inner_text() == "Forecast of the day"
        frame = page.frames[-1]
        for reach in ("document.cookie", "parent.document.title", "localStorage.length"):
            assert (
                frame.evaluate(f"(() => {{ try {{ {reach}; return 'reached' }} catch (e) {{ return e.name }} }})()")
                == "SecurityError"
            )
        assert found.outside == [] and found.errors == []
