"""Versions: built aside, published whole, opened, listed, served again and removed."""

from __future__ import annotations

import datetime as dt
import errno
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pandas as pd
import postgres
import pytest
import sqlalchemy as sa

from crmlib import paths, warehouse
from crmlib.errors import DataError, EnvironmentFault, NotFoundError, UsageError
from crmlib.store import processes, session
from crmlib.store.tables import Load, Pointer, Version
from crmlib.warehouse.company import Company
from crmlib.warehouse.versions import Building, Conflict, building

NOW = dt.datetime(2026, 1, 5, 6, 0)


def add(build: Building, name: str) -> None:
    build.connection.execute("INSERT INTO branches (branch_id, recorded_at) VALUES (?, ?)", [name, NOW])


def publish(data: Path, name: str, *, now: dt.datetime = NOW) -> int:
    with building(data, now=now) as build:
        add(build, name)
        return build.publish()


def served(data: Path) -> list[str]:
    return sorted(warehouse.open(paths.warehouse(data)).table("branches")["branch_id"])


def files(data: Path) -> list[str]:
    return sorted(file.name for file in paths.warehouse(data).iterdir())


def states(data: Path) -> dict[int, str]:
    listed = warehouse.versions(paths.warehouse(data))
    return dict(zip(listed["version"], listed["state"], strict=True))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def test_each_version_grows_from_the_served_one_and_stays_as_it_was(data: Path) -> None:
    assert [publish(data, name) for name in "abc"] == [1, 2, 3]
    folder = paths.warehouse(data)
    assert served(data) == ["a", "b", "c"]
    assert [warehouse.open(folder, version=n).version for n in (1, 2, 3)] == [1, 2, 3]
    assert warehouse.open(str(folder), version=2).table("branches")["branch_id"].tolist() == ["a", "b"]
    assert files(data) == ["v000001.duckdb", "v000002.duckdb", "v000003.duckdb"]
    assert warehouse.lineage(data) == [3, 2, 1]


def test_a_version_is_listed_with_its_size_parent_and_loads(data: Path) -> None:
    with session.session(data) as store:
        loads = [
            Load(state="running", started_at=NOW, recorded_at=NOW, fingerprint="f", sources={}, counts=None)
            for _ in range(2)
        ]
        store.add_all(loads)
        store.commit()
        first, second = (load.load_id for load in loads)
    publish(data, "a")
    with building(data, now=NOW + dt.timedelta(days=1)) as build:
        assert (build.version, build.parent) == (2, 1)
        add(build, "b")
        counts = {"branches": {"input": 1}}
        build.publish({"load_id": second, "state": "accepted", "finished_at": NOW, "counts": counts})
    listed = warehouse.versions(paths.warehouse(data))
    assert listed["version"].tolist() == [1, 2]
    assert listed["parent"].tolist() == [pd.NA, 1]
    assert listed["rows"].tolist() == [1, 2]
    assert listed["bytes"].tolist() == [(paths.warehouse(data) / name).stat().st_size for name in files(data)]
    assert listed["served"].tolist() == [False, True]
    assert listed["loads"].tolist() == ["", str(second)]
    assert listed["published_at"].tolist() == [pd.Timestamp(NOW), pd.Timestamp(NOW) + pd.Timedelta(days=1)]
    with session.session(data) as store:
        untouched, accepted = store.get_one(Load, first), store.get_one(Load, second)
        assert (untouched.state, untouched.version) == ("running", None)
        assert (accepted.state, accepted.version, accepted.counts) == ("accepted", 2, counts)


def test_the_company_file_travels_with_the_version(data: Path) -> None:
    data.mkdir()
    (data / "company.toml").write_text('name = "First"\ncurrency = "CZK"\n')
    publish(data, "a")
    with building(data, now=NOW, company=Company(name="Second")) as build:
        build.publish()
    folder = paths.warehouse(data)
    assert warehouse.open(folder, version=1).company == Company(name="First", currency="CZK")
    assert warehouse.open(folder).company == Company(name="Second")


@pytest.mark.parametrize("fault", [None, ValueError("bad rows"), KeyboardInterrupt()])
def test_leaving_without_publishing_changes_nothing(data: Path, fault: BaseException | None) -> None:
    publish(data, "a")
    try:
        with building(data, now=NOW) as build:
            add(build, "b")
            if fault:
                raise fault
    except BaseException as error:
        assert error is fault
    assert served(data) == ["a"]
    assert files(data) == ["v000001.duckdb"]
    assert states(data) == {1: "published", 2: "failed"}
    assert publish(data, "c") == 3
    assert served(data) == ["a", "c"]


def test_the_second_of_two_builders_loses_and_leaves_nothing(data: Path) -> None:
    publish(data, "a")
    late = pytest.raises(Conflict, match=r"built from version 1, but meanwhile another load was published.*load again")
    with late, building(data, now=NOW) as slow:
        add(slow, "slow")
        assert publish(data, "quick") == 3
        slow.publish()
    assert issubclass(Conflict, DataError)
    assert served(data) == ["a", "quick"]
    assert files(data) == ["v000001.duckdb", "v000003.duckdb"]
    assert states(data) == {1: "published", 2: "failed", 3: "published"}


def test_two_first_builders_cannot_both_win(data: Path) -> None:
    with pytest.raises(Conflict), building(data, now=NOW) as slow:
        publish(data, "quick")
        slow.publish()
    assert served(data) == ["quick"]


def test_a_builder_that_was_given_up_for_dead_cannot_publish(data: Path) -> None:
    publish(data, "a")
    with pytest.raises(Conflict), building(data, now=NOW) as build:
        with session.session(data) as store:
            store.get_one(Version, build.version).state = "failed"
            store.commit()
        build.publish()
    assert served(data) == ["a"]


def test_publishing_for_a_load_that_was_never_begun_changes_nothing(data: Path) -> None:
    publish(data, "a")
    with pytest.raises(DataError, match="load 99 is not in the store"), building(data, now=NOW) as build:
        build.publish({"load_id": 99, "state": "accepted"})
    assert states(data) == {1: "published", 2: "failed"}
    assert files(data) == ["v000001.duckdb"]


def test_a_failing_store_at_the_last_step_leaves_the_old_version(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(data, "a")

    def fail(name: str) -> None:
        if name == "pointer moved":
            raise sa.exc.OperationalError("COMMIT", {}, OSError("database or disk is full"))

    monkeypatch.setattr(sys.modules["crmlib.warehouse.versions"], "_step", fail)
    with pytest.raises(EnvironmentFault, match="no space left"), building(data, now=NOW) as build:
        build.publish()
    assert served(data) == ["a"]
    assert files(data) == ["v000001.duckdb"]


@pytest.mark.postgres
def test_versions_are_kept_by_a_store_on_postgresql_too(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with postgres.server() as url:
        monkeypatch.setenv("CRM_STORE", url)
        publish(data, "a")
        with pytest.raises(Conflict), building(data, now=NOW) as slow:
            publish(data, "quick")
            slow.publish()
        assert served(data) == ["a", "quick"]
        assert states(data) == {1: "published", 2: "failed", 3: "published"}
        warehouse.serve(paths.warehouse(data), 1)
        assert warehouse.prune(paths.warehouse(data), keep=1, now=NOW).empty
        assert publish(data, "b") == 4
        assert len(warehouse.prune(paths.warehouse(data), keep=1, now=NOW)) == 2
        assert files(data) == ["v000004.duckdb"]
        session.engine(data).dispose()


# ---------------------------------------------------------------- opening


def test_where_there_is_no_warehouse_nothing_is_created(tmp_path: Path) -> None:
    for call in (warehouse.open, warehouse.versions, lambda path: warehouse.prune(path, now=NOW)):
        with pytest.raises(NotFoundError, match="there is no warehouse here; make one with `crm load`"):
            call(tmp_path / "data" / "warehouse")
    assert list(tmp_path.iterdir()) == []


def test_a_warehouse_without_a_version_says_so(data: Path) -> None:
    with building(data, now=NOW):
        pass
    with pytest.raises(NotFoundError, match="nothing was loaded yet"):
        warehouse.open(paths.warehouse(data))
    with pytest.raises(NotFoundError, match=r"has no version 1 \(failed\); there is none yet"):
        warehouse.open(paths.warehouse(data), version=1)


def test_an_unknown_version_is_refused_with_those_there_are(data: Path) -> None:
    publish(data, "a")
    publish(data, "b")
    with pytest.raises(NotFoundError, match="has no version 7; there are 1, 2"):
        warehouse.open(paths.warehouse(data), version=7)


@pytest.mark.parametrize("damage", ["missing", "truncated", "overwritten"])
def test_a_damaged_served_version_is_refused_and_an_older_one_can_be_served(data: Path, damage: str) -> None:
    publish(data, "a")
    publish(data, "b")
    folder = paths.warehouse(data)
    file = folder / "v000002.duckdb"
    if damage == "missing":
        file.unlink()
    elif damage == "truncated":
        file.write_bytes(file.read_bytes()[:5000])
    else:
        file.write_bytes(b"x" * 100_000)
    with pytest.raises(EnvironmentFault, match=r"v000002.duckdb: .*(backup|open another one).*`crm versions`"):
        warehouse.open(folder)
    with pytest.raises(EnvironmentFault, match=r"v000002.duckdb"), building(data, now=NOW):
        pass
    warehouse.serve(folder, 1)
    assert served(data) == ["a"]
    assert publish(data, "c") == 4
    assert served(data) == ["a", "c"]
    assert warehouse.lineage(data) == [4, 1]


def test_only_a_published_version_can_be_served(data: Path) -> None:
    publish(data, "a")
    with building(data, now=NOW) as build, pytest.raises(NotFoundError, match=r"has no version 2 \(building\)"):
        warehouse.serve(paths.warehouse(data), build.version)


def test_a_version_cannot_be_written_by_its_readers(data: Path) -> None:
    publish(data, "a")
    with warehouse.open(paths.warehouse(data)).connect() as connection:
        with pytest.raises(duckdb.Error, match="read-only"):
            connection.execute("DELETE FROM branches")
        with pytest.raises(duckdb.Error, match=r"disabled|configuration"):
            connection.execute("SELECT * FROM read_csv('/etc/passwd')")


def test_a_store_that_lost_its_versions_is_not_written_over(data: Path) -> None:
    publish(data, "a")
    session.engine(data).dispose()
    for file in data.glob("store.sqlite*"):
        file.unlink()
    with pytest.raises(EnvironmentFault, match=r"holds v000001\.duckdb, which the store does not know"):
        publish(data, "b")
    warehouse.prune(paths.warehouse(data), now=NOW)
    assert files(data) == ["v000001.duckdb"]


# ---------------------------------------------------------------- pruning


def test_pruning_keeps_the_newest_and_the_served(data: Path) -> None:
    for name in "abcdef":
        publish(data, name)
    folder = paths.warehouse(data)
    warehouse.serve(folder, 2)
    sizes = {name: (folder / name).stat().st_size for name in files(data)}
    removed = warehouse.prune(folder, keep=2, now=NOW)
    gone = ["v000001.duckdb", "v000003.duckdb", "v000004.duckdb"]
    assert removed["file"].tolist() == [f"warehouse/{name}" for name in gone]
    assert removed["reason"].tolist() == ["old version"] * 3
    assert removed["bytes"].tolist() == [sizes[name] for name in gone]
    assert files(data) == ["v000002.duckdb", "v000005.duckdb", "v000006.duckdb"]
    assert served(data) == ["a", "b"]
    assert warehouse.prune(folder, keep=2, now=NOW).empty
    with pytest.raises(NotFoundError, match=r"has no version 1 \(pruned\); there are 2, 5, 6"):
        warehouse.open(folder, version=1)
    with pytest.raises(UsageError, match="keep is 0; keep at least 1"):
        warehouse.prune(folder, keep=0, now=NOW)


def test_an_open_version_stays_readable_when_it_is_pruned(data: Path) -> None:
    publish(data, "a")
    wh = warehouse.open(paths.warehouse(data))
    publish(data, "b")
    removed = warehouse.prune(paths.warehouse(data), keep=1, now=NOW)
    assert len(removed) == 1
    assert wh.table("branches")["branch_id"].tolist() == ["a"]


def test_the_work_of_a_running_process_is_never_removed(data: Path) -> None:
    publish(data, "a")
    staging = data / "staging" / f"load-000001-{os.getpid()}"
    staging.mkdir(parents=True)
    with building(data, now=NOW) as build:
        add(build, "b")
        assert warehouse.prune(paths.warehouse(data), now=NOW + dt.timedelta(days=30)).empty
        build.publish()
    assert served(data) == ["a", "b"]
    assert staging.exists()


def test_orphans_of_dead_processes_are_removed(data: Path) -> None:
    publish(data, "a")
    folder = paths.warehouse(data)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    host, _, start = processes.me().rsplit("/", 2)
    owner = f"{host}/{dead.pid}/{start}"
    with session.session(data) as store:
        for _ in range(2):
            store.add(Version(state="building", file="", format_version=1, created_at=NOW, process=owner))
        store.commit()
    orphans = [
        folder / f"v000002.duckdb.building-{dead.pid}",
        folder / f"v000002.duckdb.building-{dead.pid}.wal",
        folder / "v000003.duckdb",  # killed between the renaming and the pointer
        data / "staging" / f"load-000007-{dead.pid}" / "rows.duckdb",
        folder / f"v000002.duckdb.building-{dead.pid}.tmp" / "spilt.block",
    ]
    for file in orphans:
        file.parent.mkdir(exist_ok=True, parents=True)
        file.write_bytes(b"x" * 1000)
    bystander = folder / "notes.txt"
    bystander.write_text("not ours")
    removed = warehouse.prune(folder, now=NOW)
    assert set(removed["reason"]) == {"orphan"}
    assert removed["bytes"].tolist() == [1000] * 5
    assert files(data) == ["notes.txt", "v000001.duckdb"]
    assert list((data / "staging").iterdir()) == []
    assert states(data) == {1: "published", 2: "failed", 3: "failed"}


def test_what_another_machine_builds_is_left_alone_for_a_day(data: Path) -> None:
    publish(data, "a")
    with session.session(data) as store:
        store.add(Version(state="building", file="", format_version=1, created_at=NOW, process="elsewhere/1/17.00"))
        store.commit()
    work = paths.warehouse(data) / "v000002.duckdb.building-1999999999"
    work.write_bytes(b"x")
    assert warehouse.prune(paths.warehouse(data), now=NOW + dt.timedelta(hours=23)).empty
    removed = warehouse.prune(paths.warehouse(data), now=NOW + dt.timedelta(hours=25))
    assert removed["file"].tolist() == [f"warehouse/{work.name}"]


# ---------------------------------------------------------------- what the machine refuses


def test_a_full_disk_while_copying_is_one_clear_error(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(data, "a")

    def full(source: Path, target: Path) -> None:
        Path(target).write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", full)
        with pytest.raises(EnvironmentFault, match=r"no space left.*crm versions prune.*unchanged"):
            publish(data, "b")
    assert files(data) == ["v000001.duckdb"]
    assert served(data) == ["a"]
    publish(data, "c")
    assert served(data) == ["a", "c"]


def test_a_full_disk_while_writing_is_one_clear_error(data: Path) -> None:
    """DuckDB itself meets the limit: the process may not write a file larger than 4 MB."""
    publish(data, "a")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        full = pytest.raises(EnvironmentFault, match=r"no space left.*crm versions prune.*unchanged")
        with full, building(data, now=NOW) as build:
            resource.setrlimit(resource.RLIMIT_FSIZE, (4_000_000, before[1]))
            build.connection.execute("CREATE TABLE big AS SELECT random()::VARCHAR AS x FROM range(2_000_000)")
            build.publish()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert files(data) == ["v000001.duckdb"]
    assert served(data) == ["a"]


def test_a_rotten_block_is_one_clear_error(data: Path) -> None:
    with building(data, now=NOW) as build:
        build.connection.execute(
            "INSERT INTO branches (branch_id, recorded_at) SELECT uuid(), now() FROM range(300000)"
        )
        build.publish()
    file = paths.warehouse(data) / "v000001.duckdb"
    content = bytearray(file.read_bytes())
    # Beyond the headers and before the catalogue, which is written last.
    for at in range(len(content) // 4, len(content) // 2, 1000):
        content[at] ^= 0xFF
    file.write_bytes(content)
    wh = warehouse.open(paths.warehouse(data))
    with pytest.raises(EnvironmentFault, match=r"v000001\.duckdb: damaged.*backup.*`crm versions`"):
        wh.table("branches")


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="needs a folder nobody may write: Linux's /sys")
def test_a_folder_it_may_not_write_is_one_clear_error() -> None:
    with pytest.raises(EnvironmentFault, match=r"/sys/kernel/crm.*not allowed to write.*--data"):
        publish(Path("/sys/kernel/crm"), "a")


def test_a_file_in_the_place_of_the_folder_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("in the way")
    with pytest.raises(EnvironmentFault, match=r"not allowed to write"):
        publish(tmp_path / "data", "a")


def test_faults_of_a_source_are_not_blamed_on_the_data_folder(data: Path, tmp_path: Path) -> None:
    with pytest.raises(PermissionError, match=r"source\.csv"), building(data, now=NOW):
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "source.csv"))


def test_the_pointer_is_one_row(data: Path) -> None:
    publish(data, "a")
    publish(data, "b")
    with session.session(data) as store:
        assert [(row.name, row.version) for row in store.scalars(sa.select(Pointer))] == [("served", 2)]
