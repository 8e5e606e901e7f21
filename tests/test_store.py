"""The operational store: migrations agree with the models, first opens may race, the ledger tells the truth."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
from pathlib import Path

import postgres
import psutil
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from crmlib.errors import EnvironmentFault, NotFoundError
from crmlib.store import ledger, processes, session
from crmlib.store.tables import Base, Load, Pointer, Run, Version

NOW = dt.datetime(2026, 1, 5, 6, 0)


def begin(data: Path, **values: object) -> int:
    return ledger.start_run(data, kind="train", name="propensity", parameters={"seed": 7, **values}, now=NOW)


def test_migrations_agree_with_the_models(tmp_path: Path) -> None:
    with session.engine(tmp_path).connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_a_difference_between_migrations_and_models_would_be_seen(tmp_path: Path) -> None:
    with session.engine(tmp_path).begin() as connection:
        connection.execute(sa.text("ALTER TABLE runs DROP COLUMN message"))
        differences = compare_metadata(MigrationContext.configure(connection), Base.metadata)
    assert [(difference[0], difference[3].name) for difference in differences] == [("add_column", "message")]


def test_head_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(session.MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_heads() == [session.HEAD]


@pytest.mark.postgres
def test_the_store_works_on_postgresql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with postgres.server() as url:
        monkeypatch.setenv("CRM_STORE", url)
        engine = session.engine(tmp_path)
        with engine.connect() as connection:
            assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
        run = begin(tmp_path)
        ledger.finish_run(tmp_path, run, state="succeeded", exit_code=0, now=NOW)
        assert ledger.runs(tmp_path)["state"].tolist() == ["succeeded"]
        with session.session(tmp_path) as store, pytest.raises(sa.exc.IntegrityError):
            store.add(Pointer(name="served", version=17))
            store.flush()
        engine.dispose()
    assert not (tmp_path / "store.sqlite").exists()


def test_processes_that_open_a_new_store_together_all_find_it_migrated(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib, datetime as dt\nfrom crmlib.store import session, tables\nsys.stdin.read()\n"
        "with session.session(pathlib.Path(sys.argv[1])) as store:\n"
        "    run = tables.Run(kind='k', name='n', parameters={}, state='running', started_at=dt.datetime(2026, 1, 5))\n"
        "    store.add(run)\n    store.commit()\n    print(run.run_id)"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    running = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for process in running:  # all have imported; the end of their input starts them together
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None
    outputs = [process.communicate(timeout=120) for process in running]
    assert sorted(int(out) for out, _ in outputs) == [1, 2, 3, 4], outputs
    assert len(ledger.runs(tmp_path)) == 4


def test_a_current_store_is_opened_without_alembic(tmp_path: Path) -> None:
    begin(tmp_path)
    program = (
        "import sys, pathlib\nfrom crmlib.store import session\n"
        "session.session(pathlib.Path(sys.argv[1])).close()\nprint('alembic' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout == "False\n"


def test_sqlite_is_set_up_to_lose_nothing(tmp_path: Path) -> None:
    with session.engine(tmp_path).connect() as connection:
        found = {name: connection.scalar(sa.text(f"PRAGMA {name}")) for name in ("journal_mode", "synchronous")}
        assert found == {"journal_mode": "wal", "synchronous": 2}
        assert connection.scalar(sa.text("PRAGMA foreign_keys")) == 1


def test_one_engine_per_store_and_a_new_one_when_the_store_was_taken_away(tmp_path: Path) -> None:
    begin(tmp_path)
    first = session.engine(tmp_path)
    assert session.engine(tmp_path) is first
    for file in tmp_path.glob("store.sqlite*"):
        file.unlink()
    assert ledger.runs(tmp_path).empty
    assert session.engine(tmp_path) is not first


def test_a_store_that_took_the_place_of_another_is_the_one_that_is_read(tmp_path: Path) -> None:
    other = tmp_path / "other"
    begin(other)
    begin(other)
    assert ledger.runs(tmp_path).empty
    session.engine(other).dispose()
    for file in tmp_path.glob("store.sqlite*"):
        file.unlink()
    (other / "store.sqlite").rename(tmp_path / "store.sqlite")  # before anybody here looks
    assert len(ledger.runs(tmp_path)) == 2


@pytest.mark.parametrize(
    ("content", "match"),
    [(b"not a database, but long enough to look like a file" * 40, "cannot be opened .*backup"), (None, "writable")],
)
def test_a_store_that_cannot_be_opened_says_so(tmp_path: Path, content: bytes | None, match: str) -> None:
    data = tmp_path / "data"
    if content is None:
        data.write_text("a file where the folder should be")
    else:
        data.mkdir()
        (data / "store.sqlite").write_bytes(content)
    with pytest.raises(EnvironmentFault, match=match):
        session.engine(data)


def test_a_store_of_a_newer_release_is_refused(tmp_path: Path) -> None:
    with session.engine(tmp_path).begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    session._engine.cache_clear()
    with pytest.raises(EnvironmentFault, match="newer release"):
        session.engine(tmp_path)


def test_a_password_is_never_in_a_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("psycopg")
    monkeypatch.setenv("CRM_STORE", f"postgresql+psycopg://crm:secret@/crm?host={tmp_path}")
    with pytest.raises(EnvironmentFault, match="operational store cannot be opened") as caught:
        session.engine(tmp_path)
    assert "secret" not in str(caught.value)


# ---------------------------------------------------------------- ledger


def test_a_run_is_entered_and_finished(tmp_path: Path) -> None:
    first, second = begin(tmp_path), begin(tmp_path, within_days=90)
    ledger.finish_run(
        tmp_path, first, state="failed", exit_code=5, now=NOW + dt.timedelta(hours=1), message="cell 3 failed"
    )
    found = ledger.runs(tmp_path)
    assert found.dtypes.astype(str).to_dict() == ledger.COLUMNS
    assert found["run_id"].tolist() == [second, first]
    assert found["state"].tolist() == ["running", "failed"]
    assert found["parameters"].tolist() == [{"seed": 7, "within_days": 90}, {"seed": 7}]
    assert found["finished_at"].isna().tolist() == [True, False]
    assert found["exit_code"].iloc[1] == 5
    assert found["message"].iloc[1] == "cell 3 failed"
    assert ledger.runs(tmp_path, newest=1)["run_id"].tolist() == [second]


def test_an_unknown_run_or_state_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="run 5 is not in the ledger"):
        ledger.finish_run(tmp_path, 5, state="failed", exit_code=5, now=NOW)
    with pytest.raises(ValueError, match="use one of succeeded, failed, interrupted"):
        ledger.finish_run(tmp_path, begin(tmp_path), state="done", exit_code=0, now=NOW)


def test_runs_and_loads_of_dead_processes_are_marked_interrupted(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    host, _, start = processes.me().rsplit("/", 2)
    dead.wait()
    earlier = NOW - dt.timedelta(days=2)
    owners = {
        "mine": (processes.me(), NOW),
        "ended": (f"{host}/{dead.pid}/{start}", NOW),
        "my number, an earlier process": (f"{host}/{os.getpid()}/17.00", NOW),
        "another machine, today": ("elsewhere/1/17.00", NOW),
        "another machine, long ago": ("elsewhere/1/17.00", earlier),
        "unknown": (None, earlier),
    }
    with session.session(tmp_path) as store:
        for name, (process, started) in owners.items():
            store.add(
                Run(kind="k", name=name, parameters={}, state="running", started_at=started, process=process or "")
            )
        store.add(
            Load(
                state="running",
                started_at=NOW,
                recorded_at=NOW,
                fingerprint="",
                sources={},
                process=owners["ended"][0],
            )
        )
        store.commit()
    assert ledger.mark_interrupted(tmp_path, now=NOW) == 4
    found = ledger.runs(tmp_path).set_index("name")["state"]
    assert set(found.index[found == "interrupted"]) == {
        "ended",
        "my number, an earlier process",
        "another machine, long ago",
    }
    with session.session(tmp_path) as store:
        assert store.scalars(sa.select(Load.state)).all() == ["interrupted"]
    assert ledger.mark_interrupted(tmp_path, now=NOW) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the start of a process does not move with the clock")
def test_a_clock_that_is_set_makes_nobody_look_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    mine, began, booted = processes.me(), psutil.Process().create_time(), psutil.boot_time()
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: booted + 86_400)  # the clock is set a day ahead
    assert psutil.Process().create_time() == began + 86_400
    assert not processes.gone(mine, since=NOW, now=NOW + dt.timedelta(days=1))
    assert processes.me() == mine


def test_entries_know_their_process(tmp_path: Path) -> None:
    with session.session(tmp_path) as store:
        store.add(Version(state="building", file="", format_version=1, created_at=NOW))
        store.commit()
        [process] = store.scalars(sa.select(Version.process))
    assert process == processes.me()
    assert not processes.gone(process, since=NOW, now=NOW)
