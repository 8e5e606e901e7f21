"""What dead processes leave behind is removed by the next job; what is recorded, or of the living, stays."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from crmlib import paths
from crmlib.errors import EnvironmentFault
from crmlib.runs import tidy
from crmlib.store import files, ledger, leftovers, processes, score_sets, session
from crmlib.store.tables import Run, ScoreSet
from crmlib.warehouse import company as companies
from crmlib.warehouse import versions as listed_versions
from crmlib.warehouse.versions import building

NOW = dt.datetime(2026, 1, 5, 6, 0)
DIED = """
import os, sys
from pathlib import Path
import pandas as pd
from crmlib.store import files, session
data, at = Path(sys.argv[1]), sys.argv[2]
with files.adding(pd.DataFrame({"a": [1]}), data / "scores" / "churn", "2026-01-05", data=data,
                  beside={"reasons": pd.DataFrame({"b": [2]})}):
    os._exit(9) if at == "renamed" else None
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    with building(data, now=NOW) as build:
        build.publish()
    return data


def saved(data: Path) -> int:
    named = {"model": "churn", "model_version": 1, "warehouse_version": 1, "as_of": NOW.date(), "now": NOW}
    return score_sets.save(pd.DataFrame({"customer_id": ["a"]}), data=data, lists=pd.DataFrame({"c": [1]}), **named)


def found(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_file_that_got_its_name_but_no_row_is_removed_and_a_recorded_one_stays(data: Path) -> None:
    number = saved(data)
    before = found(data / "scores")
    done = subprocess.run([sys.executable, "-c", DIED, str(data), "renamed"], check=False)
    assert done.returncode == 9
    assert len(found(data / "scores")) > len(before) + 2
    stranger = data / "scores" / "churn" / "mine-1.parquet"
    stranger.write_bytes(b"not ours")
    removed = leftovers.clear(data, now=NOW)
    assert [Path(name).parent.as_posix() for name in removed] == ["scores/churn"]
    assert found(data / "scores") == sorted([*before, "churn/mine-1.parquet"])
    assert score_sets.lists_file(data, number).exists()
    assert leftovers.clear(data, now=NOW) == []


def test_nothing_is_written_while_others_wait_for_the_lock(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    locked, written = [], []
    real, lock = pd.DataFrame.to_parquet, session.publishing

    @contextmanager
    def publishing(folder: Path) -> Iterator[Session]:
        with lock(folder) as store:
            locked.append(True)
            yield store
        locked.clear()

    def write(self: pd.DataFrame, *args: object, **options: object) -> None:
        written.append(bool(locked))
        real(self, *args, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(session, "publishing", publishing)
    monkeypatch.setattr(pd.DataFrame, "to_parquet", write)
    number = saved(data)
    assert written == [False, False]
    assert pd.read_parquet(score_sets.lists_file(data, number))["c"].tolist() == [1]


def test_the_work_of_the_living_and_of_other_machines_stays(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = data / "models" / "churn"
    with files.staging(folder, data) as work:
        assert leftovers.clear(data, now=NOW) == []
        assert work.is_dir()
    assert not work.exists()
    with monkeypatch.context() as patch:
        patch.setattr("platform.node", lambda: "elsewhere")
        other = files.temporary(folder)
    other.mkdir()
    later = dt.datetime.fromtimestamp(other.stat().st_mtime, dt.UTC).replace(tzinfo=None)
    assert leftovers.clear(data, now=later + dt.timedelta(hours=23)) == []
    assert leftovers.clear(data, now=later + dt.timedelta(hours=25)) == [other.relative_to(data).as_posix()]


def test_a_name_that_another_has_taken_since_stays(data: Path) -> None:
    folder = data / "scores" / "churn"
    with files.staging(folder, data) as work:
        (work / "table.parquet").write_bytes(b"of the dead")
        target = folder / "a-1.parquet"
        with session.publishing(data):
            files.take(work, data, {work / "table.parquet": target})
        target.unlink()
        target.write_bytes(b"of another")
        files.settle(work, data)
        assert target.read_bytes() == b"of another"
        work.mkdir()
        (work / "table.parquet").write_bytes(b"of the dead")
        with session.publishing(data):
            files.take(work, data, {work / "table.parquet": target})
        files.settle(work, data)
        assert not target.exists()
        work.mkdir()


def test_a_failing_commit_leaves_no_file(data: Path) -> None:
    with session.session(data) as store:
        store.execute(
            sa.text("CREATE TRIGGER full BEFORE INSERT ON score_sets BEGIN SELECT RAISE(ABORT, 'disk is full'); END")
        )
        store.commit()
    with pytest.raises(sa.exc.IntegrityError, match="disk is full"):
        saved(data)
    assert found(data / "scores") == [] and found(data / "lists") == []
    with session.session(data) as store:
        assert store.scalars(sa.select(ScoreSet)).all() == []


def test_a_dead_run_is_marked_by_the_next_job(data: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    host, _, start = processes.me().rsplit("/", 2)
    number = ledger.start_run(data, kind="train", name="train", parameters={}, now=NOW)
    with session.session(data) as store:
        store.get_one(Run, number).process = f"{host}/{dead.pid}/{start}"
        store.commit()
    tidy.after_the_dead(data, now=NOW)
    assert ledger.run(data, number)["state"] == "interrupted"


@pytest.mark.parametrize("accepted", [True, False])
def test_a_company_file_takes_effect_with_the_version_that_carries_it(data: Path, accepted: bool) -> None:
    (data / "company.toml").write_text('name = "Old"\n')
    new = data.parent / "new.toml"
    new.write_text('name = "New"\n')
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    staged = files.temporary(data, ".company.toml")
    staged = staged.with_name(staged.name.replace(f"-{os.getpid()}-", f"-{dead.pid}-"))
    staged.write_bytes(new.read_bytes())
    if accepted:  # killed between the publishing and the renaming
        with building(data, now=NOW, company=companies.read(new)) as build:
            build.publish()
    tidy.after_the_dead(data, now=NOW)
    assert companies.read(data / "company.toml").name == ("New" if accepted else "Old")
    assert not staged.exists()
    assert len(listed_versions(paths.warehouse(data))) == 1 + accepted


def test_a_store_that_the_machine_refuses_says_so_in_one_sentence(data: Path) -> None:
    with session.session(data) as store:
        store.execute(sa.text("PRAGMA query_only = 1"))
        with pytest.raises(EnvironmentFault, match=r"store\.sqlite.*failed \(.*readonly.*\): it may not be written"):
            store.execute(sa.text("DELETE FROM runs"))
    session.engine(data).dispose()
