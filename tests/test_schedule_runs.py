"""Real attempts: commands and notebooks in processes of their own, limits that no kernel outlives, a stopped scheduler."""

from __future__ import annotations

import datetime as dt
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import nbformat
import psutil
import pytest

from crmlib import cli
from crmlib.errors import RunError
from crmlib.runs import attempts, clock, notebooks, reports, schedule_file, scheduler
from crmlib.store import ledger, session, slot_history, slots
from crmlib.store.tables import ScheduledJob

HEAD = '[job.it]\nat = "{at:%M %H %d %m} *"\nretries = 0\n'


def notebook(folder: Path, *sources: str) -> None:
    parameters = nbformat.v4.new_code_cell('mark = ""\ndata = ""', metadata={"tags": ["parameters"]})
    cells = [nbformat.v4.new_markdown_cell("# The title"), parameters, *map(nbformat.v4.new_code_cell, sources)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / "mine.ipynb")


def due_now(data: Path, text: str) -> None:
    """Write the file, and let its job be due: this minute and not again, and it was looked at a minute ago."""
    now = clock.now()
    (data / "schedules.toml").write_text(HEAD.format(at=now) + text)
    before = now - dt.timedelta(seconds=61)
    with session.session(data) as store:
        store.merge(ScheduledJob(job="it", known_since=before, planned_until=before))
        store.commit()


def tick(data: Path) -> list[attempts.Result]:
    moment = clock.now()
    return scheduler.tick(data, lambda: max(moment, clock.now()))


def of_attempt(data: Path) -> list[psutil.Process]:
    """The processes of an attempt with this data folder, known by what they were started with."""
    found = []
    for one in psutil.process_iter():
        try:
            if one.environ().get("CRM_DATA") == str(data) and one.status() != psutil.STATUS_ZOMBIE:
                found.append(one)
        except psutil.Error:  # gone meanwhile, or not ours
            continue
    return found


def wait_until(there: Callable[[], object], seconds: float = 60) -> None:
    give_up = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < give_up
        time.sleep(0.1)


def test_a_notebook_runs_and_its_copy_and_page_are_pointed_at(tmp_path: Path) -> None:
    notebook(tmp_path, "import os; print(mark, os.environ['CRM_ATTEMPT'])")
    due_now(tmp_path, 'notebook = "mine.ipynb"\nparameters = { mark = "for {logical_date}" }\n')
    [result] = tick(tmp_path)
    assert result.state == "succeeded", result.message
    [slot] = slot_history.slots(tmp_path).itertuples()
    day = slot.logical_date.date().isoformat()
    copy = nbformat.read(tmp_path / slot.output, as_version=4)
    assert copy.cells[-1].outputs[0].text == f"for {day} {slot.slot_id}/1\n"
    page = (tmp_path / slot.report).read_text()
    assert "The title" in page and f"for {day}" in page and "os.environ" not in page
    assert ledger.run(tmp_path, int(slot.run_id))["output"] == slot.output
    assert (tmp_path / slot_history.attempts(tmp_path)["log"].iloc[0]).read_text().startswith("$ crm run ")
    assert slot_history.published(tmp_path) == {"it": slot.slot_id}


def test_a_failed_notebook_has_a_page_of_what_came_before(tmp_path: Path) -> None:
    notebook(tmp_path, "print('so far so good')", "raise ValueError('no rows')")
    due_now(tmp_path, 'notebook = "mine.ipynb"\n')
    [result] = tick(tmp_path)
    assert result.state == "failed" and "cell 4 failed: ValueError: no rows" in str(result.message)
    [slot] = slot_history.slots(tmp_path).itertuples()
    assert slot.output.endswith("-failed.ipynb") and slot.report == f"reports/{Path(slot.output).stem}.html"
    page = (tmp_path / slot.report).read_text()
    assert "so far so good" in page and "ValueError: no rows" in page and "print(" not in page


def test_a_page_that_cannot_be_made_does_not_hide_why_a_run_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook(tmp_path, "raise ValueError('no rows')")

    def refuse(*_: object, **__: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr(reports, "make", refuse)
    with pytest.raises(RunError, match=r"cell 3 failed: ValueError: no rows; the partial notebook is .*-failed\.ipynb"):
        notebooks.run(tmp_path / "mine.ipynb", {}, data=tmp_path, report=True)
    assert ledger.run(tmp_path, 1)["state"] == "failed"


def test_the_limit_ends_the_kernel_too_and_says_which_cell(tmp_path: Path) -> None:
    source = "import os, pathlib, time; pathlib.Path(data, 'kernel').write_text(str(os.getpid())); time.sleep(600)"
    notebook(tmp_path, "print('before')", source)
    due_now(tmp_path, 'notebook = "mine.ipynb"\nlimit = "600s"\n')
    plan = schedule_file.read(tmp_path / "schedules.toml")
    scheduler.plan(tmp_path, plan, clock.now())
    held = slots.claim(tmp_path, worker="w/1/1.0", now=clock.now(), lease=attempts.LEASE, log=attempts.LOG)
    assert held
    limited = {**held.settings, "limit_seconds": 0.0}
    ends = threading.Event()

    class Late(dict):  # type: ignore[type-arg]
        """Settings whose limit is over once the kernel runs: however slow the machine is."""

        def __getitem__(self, key: str) -> object:
            if key == "limit_seconds" and not ends.is_set():
                wait_until((tmp_path / "kernel").exists, 120)
                ends.set()
            return dict.__getitem__(self, key)

    given = slots.Claim(held.slot_id, held.job, held.logical_date, held.attempt, Late(limited))
    result = attempts.supervise(tmp_path, given, now=clock.now, stop=threading.Event())
    assert result.state == "timed out"
    assert (
        result.message and "; cell 4 was running" in result.message
    )  # the second is the one with the given parameters
    assert not psutil.pid_exists(int((tmp_path / "kernel").read_text()))
    assert of_attempt(tmp_path) == []
    [slot] = slot_history.slots(tmp_path).itertuples()
    assert (slot.state, slot.reason["code"]) == ("failed", "timed_out")
    assert slot.output.endswith("-failed.ipynb") and (tmp_path / slot.output).exists()
    assert ledger.run(tmp_path, int(slot.run_id))["state"] == "failed"


def test_a_failing_command_says_why_and_raises_an_alert(tmp_path: Path) -> None:
    due_now(tmp_path, 'run = ["score"]\n')
    [result] = tick(tmp_path)
    assert result.state == "failed" and result.message and "crm" in result.message
    from crmlib.store import alerts

    [alert] = alerts.alerts(tmp_path).itertuples()
    assert alert.topic.startswith("failed/it/") and alert.content["message"] == result.message
    tick(tmp_path)
    assert len(alerts.alerts(tmp_path, standing=False)) == 1


def test_a_stopped_scheduler_ends_what_runs_and_puts_it_back(tmp_path: Path) -> None:
    notebook(tmp_path, "import pathlib, time; pathlib.Path(data, 'runs', 'there').touch(); time.sleep(600)")
    due_now(tmp_path, 'notebook = "mine.ipynb"\n')
    scheduler.plan(tmp_path, schedule_file.read(tmp_path / "schedules.toml"), clock.now())
    held = slots.claim(tmp_path, worker="w/1/1.0", now=clock.now(), lease=attempts.LEASE, log=attempts.LOG)
    assert held
    stop, found = threading.Event(), []
    thread = threading.Thread(target=lambda: found.append(attempts.supervise(tmp_path, held, now=clock.now, stop=stop)))
    thread.start()
    wait_until((tmp_path / "runs" / "there").exists, 120)
    assert len(of_attempt(tmp_path)) >= 2  # the command, and the kernel in a session of its own
    stop.set()
    thread.join(60)
    assert found[0].state == "interrupted"
    assert of_attempt(tmp_path) == []
    [slot] = slot_history.slots(tmp_path).itertuples()
    assert (slot.state, slot.tries) == ("waiting", 0)


def test_what_a_dead_scheduler_left_is_killed_and_tried_again(tmp_path: Path) -> None:
    due_now(tmp_path, 'run = ["score"]\n')
    scheduler.plan(tmp_path, schedule_file.read(tmp_path / "schedules.toml"), clock.now())
    held = slots.claim(tmp_path, worker="w/1/1.0", now=clock.now(), lease=attempts.LEASE, log=attempts.LOG)
    assert held
    environment = {**os.environ, "CRM_ATTEMPT": str(held.mark), "CRM_DATA": str(tmp_path)}
    orphan = psutil.Popen(["sleep", "600"], env=environment, start_new_session=True)
    other = psutil.Popen(["sleep", "600"], env={**environment, "CRM_ATTEMPT": "999/1"}, start_new_session=True)
    try:
        result = attempts.end_lost(tmp_path, held, now=clock.now())
        assert result and result.state == "lost"
        assert not psutil.pid_exists(orphan.pid) and other.poll() is None
        assert attempts.end_lost(tmp_path, held, now=clock.now()) is None
    finally:
        if psutil.pid_exists(orphan.pid):
            orphan.kill()
        other.kill()
        other.wait()


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = str(tmp_path)
    assert cli.main(["schedule", "init", "--data", data]) == 0
    assert cli.main(["schedule", "init", "--data", data]) == 2
    assert "is there already" in capsys.readouterr().err
    assert cli.main(["schedule", "--data", data]) == 0
    assert "never run; next" in capsys.readouterr().out
    (tmp_path / "schedules.toml").write_text("[job.a]\nrun = ['scoer']\nat = '0 0 * * *'")
    assert cli.main(["schedule", "tick", "--data", data]) == 3
    assert "job a, run: crm has no command 'scoer'; did you mean score" in capsys.readouterr().err
    assert cli.main(["schedule", "retry", "--data", data]) == 2
    assert cli.main(["schedule", "retry", "7", "--data", data]) == 4
    due_now(tmp_path, 'run = ["score"]\n')
    assert cli.main(["schedule", "tick", "--data", data]) == 5
    assert ": failed: " in capsys.readouterr().out
    assert cli.main(["schedule", "retry", "1", "--data", data]) == 0
