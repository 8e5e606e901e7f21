"""Backup and restore: whole or not at all, through kills, damage, loads and prunings at the same time."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pandas as pd
import postgres
import pytest
import sqlalchemy as sa

from crmlib import cli, warehouse
from crmlib.errors import DataError, NotFoundError, UsageError
from crmlib.runs import backup, restore
from crmlib.store import files, ledger, session
from crmlib.store.tables import Pointer, ScoreSet, Version

NOW = dt.datetime(2026, 1, 31, 2)
MINUTE = dt.timedelta(minutes=1)


def publish(data: Path, text: str) -> int:
    """Make and serve a version of the warehouse, as a load does: the file first, then the rows."""
    with session.session(data) as store:
        row = Version(state="building", file="", format_version=1, created_at=NOW)
        store.add(row)
        store.flush()
        row.file = f"v{row.version:06d}.duckdb"
        number = int(row.version)
        store.commit()
        (data / "warehouse").mkdir(exist_ok=True)
        (data / "warehouse" / f"v{number:06d}.duckdb").write_text(text * 50_000)
        row.state, row.published_at = "published", NOW
        pointer = store.get(Pointer, "served")
        if pointer is None:
            store.add(Pointer(name="served", version=number))
        else:
            pointer.version = number
        store.commit()
    return number


def score(data: Path, version: int) -> None:
    table = pd.DataFrame({"customer_id": ["a", "b"], "score": [0.25, 0.75]})
    file, checksum = files.add_parquet(table, data / "scores" / "churn", "2026-01-30")
    day = dt.date(2026, 1, 30)
    with session.session(data) as store:
        values = {"model": "churn", "model_version": 1, "warehouse_version": version, "as_of": day, "rows": 2}
        store.add(ScoreSet(**values, file=str(file.relative_to(data)), checksum=checksum, created_at=NOW, run_id=None))
        store.commit()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    score(folder, publish(folder, "one "))
    (folder / "company.toml").write_text('name = "Bank"\n')
    (folder / "schedules.toml").write_text("# when\n")
    for name, content in (
        *(("keys/audit.key", "ab" * 32), ("secrets/KEY", "a secret of the bank"), ("logs/crm.log", "x")),
        *(("staging/load-1-9", "x"), ("samples/bank/a.csv", "x"), ("warehouse/v000009.duckdb.building-7", "x")),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


def content(folder: Path) -> dict[str, bytes]:
    """The files below a folder but the store, whose pages need not be the same, and the manifest."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != backup.MANIFEST and not path.name.startswith("store.")
    }


def test_a_restored_folder_is_as_the_one_that_was_copied(data: Path, tmp_path: Path) -> None:
    made = backup.make(data, tmp_path / "safe", now=NOW)
    assert made.folder.name == "20260131T020000Z" and made.missing == ()
    names = set(content(made.folder))
    score_file = "scores/churn/2026-01-30-1.parquet"
    assert names == {"company.toml", "schedules.toml", "warehouse/v000001.duckdb", score_file}
    assert backup.verify(made.folder)["versions"] == {"served": 1, "published": [1], "revision": session.HEAD}
    manifest = restore.restore(tmp_path / "safe", tmp_path / "again")
    assert manifest["keys"] is False and content(tmp_path / "again") == content(made.folder)
    with session.session(tmp_path / "again") as store:
        found = store.scalars(sa.select(ScoreSet)).one()
        table = files.read_parquet(tmp_path / "again" / found.file, found.checksum, remedy="")
        assert table["score"].tolist() == [0.25, 0.75] and store.get_one(Pointer, "served").version == 1
    assert publish(tmp_path / "again", "two ") == 2, "one can go on from it"


def test_keys_and_secrets_are_copied_only_when_asked_for(data: Path, tmp_path: Path) -> None:
    made = backup.make(data, tmp_path / "safe", now=NOW, with_keys=True)
    assert {"keys/audit.key", "secrets/KEY"} <= set(content(made.folder))
    restore.restore(made.folder, tmp_path / "again")
    assert (tmp_path / "again" / "keys").stat().st_mode & 0o077 == 0
    assert (tmp_path / "again" / "keys" / "audit.key").read_text() == "ab" * 32


def test_what_did_not_change_is_linked_unless_it_was_damaged_meanwhile(data: Path, tmp_path: Path) -> None:
    first = backup.make(data, tmp_path / "safe", now=NOW)
    second = backup.make(data, tmp_path / "safe", now=NOW + MINUTE)
    file = Path("warehouse/v000001.duckdb")
    assert second.linked == second.files - 1 and (first.folder / file).samefile(second.folder / file)
    spoil(second.folder / file)
    third = backup.make(data, tmp_path / "safe", now=NOW + 2 * MINUTE)
    assert third.linked == second.linked - 1
    backup.verify(third.folder)
    with pytest.raises(DataError, match=r"v000001.duckdb is damaged; use another backup"):
        backup.verify(second.folder)


def spoil(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.seek(file.stat().st_size // 2)
        byte = opened.read(1)
        opened.seek(-1, os.SEEK_CUR)
        opened.write(bytes([byte[0] ^ 1]))


@pytest.mark.parametrize("name", ["store.sqlite", "company.toml", "warehouse/v000001.duckdb", backup.MANIFEST])
def test_one_changed_bit_is_found_and_nothing_is_restored(name: str, data: Path, tmp_path: Path) -> None:
    made = backup.make(data, tmp_path / "safe", now=NOW)
    spoil(made.folder / name)
    with pytest.raises(DataError, match=r"damaged|cannot be read"):
        backup.verify(made.folder)
    with pytest.raises(DataError, match=r"damaged|cannot be read"):
        restore.restore(made.folder, tmp_path / "again")
    assert not (tmp_path / "again").exists() and not list(tmp_path.glob(".again*"))


def test_missing_and_foreign_files_are_found(data: Path, tmp_path: Path) -> None:
    made = backup.make(data, tmp_path / "safe", now=NOW)
    (made.folder / "company.toml").rename(made.folder / "company.old")
    with pytest.raises(DataError, match=r"company.toml is missing, company.old does not belong to it"):
        backup.verify(made.folder)


def test_a_target_that_is_not_empty_is_refused(data: Path, tmp_path: Path) -> None:
    backup.make(data, tmp_path / "safe", now=NOW)
    before = content(data)
    with pytest.raises(UsageError, match="is not empty; name a new or empty folder with --data"):
        restore.restore(tmp_path / "safe", data)
    assert content(data) == before
    (tmp_path / "empty").mkdir()
    restore.restore(tmp_path / "safe", tmp_path / "empty")


def test_wrong_places_are_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="lie within each other; choose another place"):
        backup.make(data, data / "safe", now=NOW)
    with pytest.raises(NotFoundError, match="there is nothing to back up"):
        backup.make(tmp_path / "none", tmp_path / "safe", now=NOW)
    with pytest.raises(NotFoundError, match="there is no complete backup here"):
        restore.restore(tmp_path / "none", tmp_path / "again")


def test_a_file_that_was_lost_before_is_named_and_the_rest_is_copied(data: Path, tmp_path: Path) -> None:
    next((data / "scores" / "churn").iterdir()).unlink()
    made = backup.make(data, tmp_path / "safe", now=NOW)
    assert made.missing == ("scores/churn/2026-01-30-1.parquet",)
    assert backup.verify(made.folder)["missing"] == list(made.missing)


def test_only_the_newest_are_kept(data: Path, tmp_path: Path) -> None:
    for number in range(4):
        backup.make(data, tmp_path / "safe", now=NOW + number * MINUTE)
    assert backup.prune(tmp_path / "safe", keep=2) == ["20260131T020000Z", "20260131T020100Z"]
    assert sorted(path.name for path in (tmp_path / "safe").iterdir()) == ["20260131T020200Z", "20260131T020300Z"]
    backup.verify(tmp_path / "safe")
    with pytest.raises(UsageError, match="keep at least 1 backup"):
        backup.prune(tmp_path / "safe", keep=0)


def test_backups_are_consistent_while_versions_are_published_and_pruned(data: Path, tmp_path: Path) -> None:
    """The store of each names only versions that lie beside it, whatever others do meanwhile."""
    done = threading.Event()

    def load() -> None:
        while not done.is_set():
            number = publish(data, "more ")
            score(data, number)
            ledger.start_run(data, kind="train", name="x", parameters={}, now=NOW)
            warehouse.prune(data / "warehouse", keep=1, now=NOW)

    worker = threading.Thread(target=load)
    worker.start()
    try:
        for number in range(6):
            made = backup.make(data, tmp_path / "safe", now=NOW + number * MINUTE)
            assert made.missing == ()
            again = tmp_path / f"again{number}"
            restore.restore(made.folder, again)
            with session.session(again) as store:
                served = store.get_one(Pointer, "served").version
                named = store.scalars(sa.select(Version.file).where(Version.state == "published")).all()
            assert f"v{served:06d}.duckdb" in named
            assert set(named) == {path.name for path in (again / "warehouse").iterdir()}
    finally:
        done.set()
        worker.join()


def killed(what: str, data: Path, safe: Path, step: int) -> bool:
    """Do it in a child process that is killed when it forces something to the disk for the ``step``-th time."""
    child = os.fork()
    if child == 0:
        left, real = step, files.sync

        def sync(path: Path) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            real(path)

        files.sync = sync
        try:
            if what == "backup":
                backup.make(data, safe, now=NOW + 60 * MINUTE)
            else:
                restore.restore(safe, data)
        except BaseException:
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL)
    return status != 0


def test_a_kill_at_any_step_of_a_backup_leaves_no_backup_that_looks_whole(data: Path, tmp_path: Path) -> None:
    safe = tmp_path / "safe"
    good = backup.make(data, safe, now=NOW)
    publish(data, "new ")
    steps = 0
    while killed("backup", data, safe, steps + 1) and steps < 40:
        steps += 1
        for found in backup._backups(safe):
            backup.verify(found)
    assert 4 <= steps < 40
    assert good.folder in backup._backups(safe) and len(list(safe.glob(".*"))) == 0, "the last one tidied up"


def test_a_kill_at_any_step_of_a_restore_leaves_nothing_or_all(data: Path, tmp_path: Path) -> None:
    safe = tmp_path / "safe"
    made = backup.make(data, safe, now=NOW)
    target, steps = tmp_path / "again", 0
    while killed("restore", target, safe, steps + 1) and steps < 40:
        steps += 1
        if target.exists():
            assert content(target) == content(made.folder)
            shutil.rmtree(target)
    assert 4 <= steps < 40 and content(target) == content(made.folder)
    assert not list(tmp_path.glob(".again*")), "the last one tidied up"


@pytest.mark.skipif(sys.platform == "win32", reason="rights are POSIX")
def test_a_folder_made_for_its_owner_alone_stays_so(data: Path, tmp_path: Path) -> None:
    backup.make(data, tmp_path / "safe", now=NOW)
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    restore.restore(tmp_path / "safe", closed)
    restore.restore(tmp_path / "safe", tmp_path / "usual")
    (tmp_path / "other").mkdir()
    modes = {name: (tmp_path / name).stat().st_mode & 0o777 for name in ("closed", "usual", "other")}
    assert modes == {"closed": 0o700, "usual": modes["other"], "other": modes["other"]}


def test_a_restore_that_fails_says_one_sentence_and_no_traceback(tmp_path: Path) -> None:
    """In a process of its own: there nothing has set up logging before."""
    command = ["restore", str(tmp_path / "none"), "--data", str(tmp_path / "new")]
    done = subprocess.run([sys.executable, "-m", "crmlib.cli", *command], capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert done.stderr.startswith("crm: ") and done.stderr.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_the_commands(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    safe, again = str(tmp_path / "safe"), str(tmp_path / "again")
    assert cli.main(["backup", safe, "--data", str(data)]) == 0
    time.sleep(1.1)  # the next one needs another name
    assert cli.main(["backup", safe, "--keep", "1", "--data", str(data)]) == 0
    assert cli.main(["backup", "verify", safe, "--data", str(data)]) == 0
    said = capsys.readouterr().out
    assert "keys and secrets are not in it" in said and "removed: 20" in said and ": sound, " in said
    assert cli.main(["restore", safe, "--data", again]) == 0 and "serves version 1" in capsys.readouterr().out
    assert cli.main(["restore", safe, "--data", again]) == UsageError.exit_code
    assert cli.main(["backup", "a", "b", "--data", str(data)]) == UsageError.exit_code
    assert "one folder is wanted, not 2" in capsys.readouterr().err


@pytest.mark.postgres
def test_a_store_in_postgresql_goes_there_and_back(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("pg_dump") is None:
        pytest.skip("no pg_dump (make system)")
    with postgres.server() as url:
        monkeypatch.setenv("CRM_STORE", url)
        version = publish(data, "in postgres ")
        score(data, version)
        made = backup.make(data, tmp_path / "safe", now=NOW)
        assert (made.folder / "store.dump").stat().st_size > 1000 and made.missing == ()
        with pytest.raises(UsageError, match=r"holds tables already \(.*\); name an empty one in CRM_STORE"):
            restore.restore(made.folder, tmp_path / "again")
        admin = sa.create_engine(url, isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.execute(sa.text("CREATE DATABASE second"))
        second = sa.make_url(url).set(database="second").render_as_string(hide_password=False)
        monkeypatch.setenv("CRM_STORE", second)
        restore.restore(made.folder, tmp_path / "again")
        with session.session(tmp_path / "again") as store:
            assert store.get_one(Pointer, "served").version == version
            assert store.scalars(sa.select(ScoreSet.warehouse_version)).all() == [version]
        monkeypatch.delenv("CRM_STORE")
        with pytest.raises(UsageError, match="name an empty database for it in CRM_STORE"):
            restore.restore(made.folder, tmp_path / "third")
        session._engine.cache_clear()
