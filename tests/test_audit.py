"""The audit log: in one line whatever happens, and whoever changes it without the key is found out."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import multiprocessing
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import postgres
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from crmlib import cli
from crmlib.errors import DataError, EnvironmentFault, UsageError
from crmlib.store import audit, keys, session
from crmlib.store.tables import AuditEntry
from crmlib.warehouse import schema

NOW = dt.datetime(2026, 1, 5, 6, 0, 0, 123)
ANNA = {"actor": "anna", "role": "marketer", "now": NOW}


def filled(data: Path, count: int = 8) -> Path:
    with audit.writing(data) as log:
        for number in range(count):
            content = {"number": number, "words": ["ä", None, 1.5, True]}
            audit.add(log, **ANNA, action="look", subject=f"C{number % 3}", content=content)
    return data


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of eight entries that is only ever copied: migrating a store for each test would take its time."""
    made = filled(tmp_path_factory.mktemp("whole"))
    session.engine(made).dispose()
    return made


@pytest.fixture
def data(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "data")


@pytest.fixture(scope="module")
def shared(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shutil.copytree(whole, tmp_path_factory.mktemp("shared") / "data")


def tamper(data: Path, *statements: str) -> None:
    """What somebody with all rights on the database can do: take the triggers off, and write."""
    with session.engine(data).begin() as connection:
        names = connection.scalars(sa.text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).all()
        for name in names:
            connection.execute(sa.text(f"DROP TRIGGER {name}"))
        for statement in statements:
            connection.execute(sa.text(statement))


def findings(data: Path, head: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
    return told(audit.verify(data, head))


def told(found: pd.DataFrame) -> list[tuple[Any, ...]]:
    places = [[None if pd.isna(one) else int(one) for one in found[name]] for name in ("first", "last")]
    return list(zip(found["code"], *places, strict=True))


# ---------------------------------------------------------------- what an entry holds


def test_entries_are_numbered_and_say_who_did_what(tmp_path: Path) -> None:
    assert audit.record(tmp_path, **ANNA, action="look", subject="C7", content={"dashboard": "customer_card"}) == 1
    assert audit.record(tmp_path, actor="boris", role="analyst", now=NOW, action="export", content={"rows": 3}) == 2
    found = audit.entries(tmp_path)
    assert found.dtypes.astype(str).to_dict() == audit.COLUMNS
    assert found["entry"].tolist() == [2, 1] and found["actor"].tolist() == ["boris", "anna"]
    assert found["content"].tolist() == [{"rows": 3}, {"dashboard": "customer_card"}]
    assert found["happened_at"].tolist() == [pd.Timestamp(NOW)] * 2
    assert findings(tmp_path) == []


def test_a_customer_is_a_pseudonym_and_found_by_it(data: Path) -> None:
    store = b"".join(file.read_bytes() for file in data.glob("store.sqlite*"))
    assert b"C1" not in store
    found = audit.entries(data, customer_id="C1")
    assert found["entry"].tolist() == [8, 5, 2] and set(found["subject"]) == {audit.pseudonym(data, "C1")}
    assert audit.pseudonym(data, "C1") != audit.pseudonym(data, "C2")
    assert audit.entries(data, customer_id="nobody").empty


def test_entries_are_chosen_by_actor_action_and_time(data: Path) -> None:
    audit.record(data, actor="boris", role="", now=NOW + dt.timedelta(days=1), action="login")
    assert audit.entries(data, actor="boris")["entry"].tolist() == [9]
    assert audit.entries(data, action="login")["entry"].tolist() == [9]
    assert audit.entries(data, since=NOW + dt.timedelta(hours=1))["entry"].tolist() == [9]
    assert len(audit.entries(data, newest=3)) == 3 and len(audit.entries(data, newest=None)) == 9


def test_personal_columns_of_the_schema_are_refused() -> None:
    kinds: dict[str, set[str]] = {}
    for table in schema.tables().values():
        for column in table.columns:
            kinds.setdefault(column.name, set()).add(column.info.get("sensitivity", "none"))
    assert {name for name, found in kinds.items() if "none" not in found} == audit.PERSONAL


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        ({"email": "x"}, DataError, "content of an audit entry has 'email', a personal column; name the customer in"),
        ({"rows": [{"customer_id": "C1"}]}, DataError, "content.rows of an audit entry has 'customer_id'"),
        ({"at": NOW}, DataError, "content.at of an audit entry is datetime.*use texts, numbers"),
        ({"share": float("nan")}, DataError, "content.share of an audit entry is nan"),
        ({1: "x"}, DataError, "has the key 1; keys are texts"),
        ({"x": "y" * 30_000}, DataError, "more than 20,000 characters; record a checksum"),
    ],
)
def test_content_that_must_not_be_kept_is_refused(
    tmp_path: Path, content: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        audit.record(tmp_path, **ANNA, action="look", content=content)
    assert audit.entries(tmp_path).empty


@pytest.mark.parametrize(
    ("changed", "message"),
    [({"actor": " "}, "actor is empty"), ({"action": "Look!"}, "action is 'Look!'; use up to 32 small letters")],
)
def test_an_entry_says_who_and_what(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        audit.record(tmp_path, **{**ANNA, "action": "look", **changed})


@settings(max_examples=30, deadline=None)
@given(
    st.text(min_size=1).filter(str.strip),
    st.dictionaries(st.text(max_size=5), st.text() | st.floats(allow_nan=False, allow_infinity=False) | st.integers()),
)
def test_whatever_is_written_reads_back_as_it_was_sealed(shared: Path, actor: str, content: dict[str, Any]) -> None:
    content = {name: value for name, value in content.items() if name not in audit.PERSONAL}
    audit.record(shared, actor=actor, role="viewer", now=NOW, action="refused", content=content, subject=actor)
    assert findings(shared) == []


# ---------------------------------------------------------------- keys


def test_keys_are_secret_files_of_their_owner(data: Path) -> None:
    folder = data / keys.FOLDER
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert sorted(file.name for file in folder.iterdir()) == ["audit.key", "pseudonym.key"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}
    assert keys.secret(data, keys.AUDIT) != keys.secret(data, keys.PSEUDONYM)


def _key(data: str, barrier: Any, out: Any) -> None:
    barrier.wait()
    out.put(keys.secret(Path(data), "fresh"))


def test_processes_that_make_a_key_together_get_the_same_one(tmp_path: Path) -> None:
    forked = multiprocessing.get_context("fork")
    barrier, out = forked.Barrier(8), forked.Queue()
    workers = [forked.Process(target=_key, args=(str(tmp_path), barrier, out)) for _ in range(8)]
    for worker in workers:
        worker.start()
    found = {out.get(timeout=60) for _ in workers}
    for worker in workers:
        worker.join(60)
    assert len(found) == 1 and len(found.pop()) == 32
    assert [file.name for file in (tmp_path / keys.FOLDER).iterdir()] == ["fresh.key"]


def test_a_key_kept_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, file = tmp_path / "data", tmp_path / "vault" / "audit.hex"
    monkeypatch.setenv("CRM_AUDIT_KEY_FILE", str(file))
    with pytest.raises(EnvironmentFault, match=r"CRM_AUDIT_KEY_FILE names .*which is not there; mount or restore"):
        filled(data)
    file.parent.mkdir()
    file.write_text("not a key")
    with pytest.raises(EnvironmentFault, match="is no key of at least 64 hexadecimal digits"):
        filled(data)
    file.write_text("ab" * 32 + "\n")
    filled(data)
    assert findings(data) == [] and not (data / "keys" / "audit.key").exists()
    file.write_text("cd" * 32)
    with pytest.raises(EnvironmentFault, match="a head that its key did not seal, so nothing can be recorded"):
        audit.record(data, **ANNA, action="look")
    assert findings(data) == [("changed", 1, 8), ("head", 8, 8)]


def test_a_lost_key_is_said_and_never_replaced(data: Path) -> None:
    (data / "keys" / "pseudonym.key").unlink()
    with pytest.raises(EnvironmentFault, match="key of the customers' pseudonyms is gone"):
        audit.record(data, **ANNA, action="look", subject="C1")
    with pytest.raises(EnvironmentFault, match="key of the customers' pseudonyms is gone"):
        audit.entries(data, customer_id="C1")
    (data / "keys" / "audit.key").unlink()
    for call in (lambda: audit.record(data, **ANNA, action="look"), lambda: audit.verify(data)):
        with pytest.raises(
            EnvironmentFault, match="key of the audit log is gone, but the log has entries; put it back"
        ):
            call()
    assert list((data / "keys").iterdir()) == []


# ---------------------------------------------------------------- only ever added to


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_entries SET actor = 'x' WHERE entry = 2",
        "DELETE FROM audit_entries",
        "DELETE FROM audit_head",
        "INSERT OR REPLACE INTO audit_entries SELECT entry, happened_at, 'x', role, action, subject, content, mac FROM"
        " audit_entries WHERE entry = 2",
    ],
)
def test_the_database_itself_refuses_changes(data: Path, statement: str) -> None:
    with session.engine(data).connect() as connection, pytest.raises(sa.exc.DatabaseError, match="only ever added"):
        connection.execute(sa.text(statement))
    assert findings(data) == []


def copied(number: int, as_: int) -> str:
    columns = "happened_at, actor, role, action, subject, content, mac"
    return f"INSERT INTO audit_entries (entry, {columns}) SELECT {as_}, {columns} FROM audit_entries WHERE entry = {number}"


RENUMBER_UP = [f"UPDATE audit_entries SET entry = {number + 1} WHERE entry = {number}" for number in range(8, 3, -1)]
TAMPERED: dict[str, tuple[list[str], list[tuple[Any, ...]]]] = {
    "one column": (["UPDATE audit_entries SET actor = 'eve' WHERE entry = 3"], [("changed", 3, 3)]),
    "content": (["UPDATE audit_entries SET content = '{\"number\": 9}' WHERE entry = 8"], [("changed", 8, 8)]),
    "time": (
        ["UPDATE audit_entries SET happened_at = '2025-01-05 06:00:00.000123' WHERE entry = 1"],
        [("changed", 1, 1)],
    ),
    "subject": (["UPDATE audit_entries SET subject = NULL WHERE entry = 2"], [("changed", 2, 2)]),
    "a name twice": (
        ["UPDATE audit_entries SET content = '{\"number\": 0, ' || substr(content, 2) WHERE entry = 4"],
        [("changed", 4, 4)],
    ),
    "unreadable": (["UPDATE audit_entries SET content = '{', happened_at = 'x' WHERE entry = 4"], [("changed", 4, 4)]),
    "only the MAC": (["UPDATE audit_entries SET mac = 'abc' WHERE entry = 4"], [("changed", 4, 4)]),
    "two apart": (
        ["UPDATE audit_entries SET role = 'x' WHERE entry IN (2, 5, 6)"],
        [("changed", 2, 2), ("changed", 5, 6)],
    ),
    "removed": (["DELETE FROM audit_entries WHERE entry IN (4, 5)"], [("missing", 4, 5)]),
    "the first removed": (["DELETE FROM audit_entries WHERE entry = 1"], [("missing", 1, 1)]),
    "removed and the others moved up": (
        ["DELETE FROM audit_entries WHERE entry = 4"]
        + [f"UPDATE audit_entries SET entry = {number - 1} WHERE entry = {number}" for number in range(5, 9)],
        [("changed", 4, 4), ("renumbered", 5, 7), ("truncated", 8, 8)],
    ),
    "two neighbours exchanged": (
        [
            "UPDATE audit_entries SET entry = 99 WHERE entry = 4",
            "UPDATE audit_entries SET entry = 4 WHERE entry = 5",
            "UPDATE audit_entries SET entry = 5 WHERE entry = 99",
        ],
        [("moved", 4, 4), ("renumbered", 5, 5)],
    ),
    "two apart exchanged": (
        [
            "UPDATE audit_entries SET entry = 99 WHERE entry = 2",
            "UPDATE audit_entries SET entry = 2 WHERE entry = 6",
            "UPDATE audit_entries SET entry = 6 WHERE entry = 99",
        ],
        [("moved", 2, 2), ("moved", 6, 6)],
    ),
    "an own entry put in again": ([*RENUMBER_UP, copied(3, 4)], [("renumbered", 4, 9), ("beyond", 9, 9)]),
    "a made-up entry put in": (
        [*RENUMBER_UP, copied(3, 4), "UPDATE audit_entries SET actor = 'eve' WHERE entry = 4"],
        [("changed", 4, 4), ("renumbered", 5, 9), ("beyond", 9, 9)],
    ),
    "added at the end": ([copied(8, 9)], [("renumbered", 9, 9), ("beyond", 9, 9)]),
    "cut off": (["DELETE FROM audit_entries WHERE entry > 5"], [("truncated", 6, 8)]),
    "cut off, head too": (
        [
            "DELETE FROM audit_entries WHERE entry > 5",
            "UPDATE audit_head SET entry = 5, mac = (SELECT mac FROM audit_entries WHERE entry = 5)",
        ],
        [("head", 5, 5)],
    ),
    "head gone": (["DELETE FROM audit_head"], [("head", None, None)]),
    "all gone": (["DELETE FROM audit_head", "DELETE FROM audit_entries"], [("empty", None, None)]),
    "entries gone": (["DELETE FROM audit_entries"], [("truncated", 1, 8)]),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_what_was_done_to_the_log_is_found(data: Path, name: str) -> None:
    statements, expected = TAMPERED[name]
    tamper(data, *statements)
    found = audit.verify(data)
    assert told(found) == expected, found["message"].tolist()
    for row in found[found["code"] != "head"].dropna().itertuples(index=False):
        assert str(row.first) in row.message


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 8),
    st.sampled_from(["happened_at", "actor", "role", "action", "subject", "content", "mac"]),
    st.text(max_size=4),
)
def test_no_change_of_any_column_goes_unseen(
    whole: Path, tmp_path_factory: pytest.TempPathFactory, entry: int, column: str, value: str
) -> None:
    data = shutil.copytree(whole, tmp_path_factory.mktemp("audit") / "data")
    value = value.replace("\0", "?").encode("utf-8", "replace").decode()
    tamper(data)
    with session.engine(data).begin() as connection:
        about = {"value": value, "entry": entry}
        connection.execute(sa.text(f"UPDATE audit_entries SET {column} = :value WHERE entry = :entry"), about)
    assert ("changed", entry, entry) in findings(data)


def test_an_exported_head_finds_a_log_put_back_as_a_whole(data: Path) -> None:
    old = {file.name: file.read_bytes() for file in data.glob("store.sqlite*")}
    filled(data, 3)
    exported = audit.head(data)
    assert exported is not None and exported["entry"] == 11 and findings(data, exported) == []
    session._engine.cache_clear()
    for file in data.glob("store.sqlite*"):
        file.unlink()
    for name, content in old.items():
        (data / name).write_bytes(content)
    assert findings(data) == [], "an older state is whole in itself"
    assert findings(data, exported) == [("rolled_back", 9, 11)]
    with audit.writing(data) as log:
        for _ in range(5):
            audit.add(log, actor="eve", role="", action="look", now=NOW)
    assert findings(data) == [] and findings(data, exported) == [("rolled_back", 11, 11)]
    assert findings(data, {**exported, "entry": 7}) == [("exported_head", 7, 7)]
    with pytest.raises(DataError, match="the exported head is not one: it needs entry, mac and seal"):
        audit.verify(data, {"entry": "7"})


def test_an_empty_log_is_whole_unless_a_head_knows_better(tmp_path: Path, data: Path) -> None:
    assert findings(tmp_path / "empty") == [] and audit.head(tmp_path / "empty") is None
    exported = audit.head(data)
    assert findings(tmp_path / "empty", exported) == [("rolled_back", 1, 8)]


def test_nothing_is_recorded_on_a_log_that_was_tampered_with(data: Path) -> None:
    tamper(data, "DELETE FROM audit_head")
    with pytest.raises(EnvironmentFault, match="has entries but no head, so nothing can be recorded"):
        audit.record(data, **ANNA, action="look")


def test_blocks_join_without_a_seam(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crmlib.store.audit_check._BLOCK", 4)
    filled(data, 4)
    assert findings(data) == []
    tamper(data, "DELETE FROM audit_entries WHERE entry IN (4, 5, 9)")
    assert findings(data) == [("missing", 4, 5), ("missing", 9, 9)]


# ---------------------------------------------------------------- many at once, and killed


WORKER = """
import datetime as dt, pathlib, sys
from crmlib.store import audit
data, name, count = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
sys.stdin.read()
for number in range(count):
    audit.record(data, actor=name, role="analyst", action="look", now=dt.datetime(2026, 1, 5), subject=f"C{number}",
                 content={"number": number})
    print(number, flush=True)
"""


def workers(data: Path, count: int, records: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", WORKER, str(data)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    for number in range(count):
        yield subprocess.Popen([*command, f"worker {number}", str(records)], text=True, **pipes)


def begin(running: list[subprocess.Popen[str]]) -> None:
    for process in running:  # the end of their input starts them together
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None


def together(data: Path, *, count: int, records: int) -> None:
    running = list(workers(data, count, records))
    begin(running)
    outputs = [process.communicate(timeout=300) for process in running]
    assert [process.returncode for process in running] == [0] * count, [errors for _, errors in outputs]
    found = audit.entries(data, newest=None)
    assert sorted(found["entry"]) == list(range(1, count * records + 1))
    assert set(found.groupby("actor").size()) == {records}
    own = found.sort_values("entry").groupby("actor")["content"].agg(lambda told: [one["number"] for one in told])
    assert all(numbers == list(range(records)) for numbers in own)
    assert findings(data) == []


def killed(data: Path) -> None:
    before = len(audit.entries(data, newest=None))
    running = list(workers(data, 3, 1_000_000))
    begin(running)
    for process in running:
        assert process.stdout is not None
        for _ in itertools.islice(process.stdout, 7):
            pass
        process.send_signal(signal.SIGKILL)
    # Through the same reader as above, which may have read ahead.
    done = [process.stdout.read() for process in running if process.stdout is not None]
    for process in running:
        process.communicate(timeout=60)
    recorded = sum(len(out.splitlines()) for out in done) + 3 * 7
    for _ in range(50):  # a server notices after a moment that its client is gone
        found = audit.entries(data, newest=None)
        if findings(data) == []:
            break
        time.sleep(0.1)
    assert findings(data) == []
    assert recorded <= len(found) - before <= recorded + 3, (
        "what was said to be recorded is, and at most one entry more of each"
    )
    assert audit.record(data, **ANNA, action="look") == len(found) + 1


def test_processes_that_record_together_make_one_line(tmp_path: Path) -> None:
    together(tmp_path, count=8, records=100)


def test_killed_in_the_midst_the_log_is_whole(tmp_path: Path) -> None:
    killed(tmp_path)


@pytest.mark.postgres
def test_all_of_it_on_postgresql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with postgres.server() as url:
        monkeypatch.setenv("CRM_STORE", url)
        together(tmp_path, count=8, records=40)
        killed(tmp_path)
        exported = audit.head(tmp_path)
        engine = session.engine(tmp_path)
        for statement in (
            "UPDATE audit_entries SET actor = 'x' WHERE entry = 2",
            "DELETE FROM audit_entries",
            "TRUNCATE audit_entries",
            "DELETE FROM audit_head",
        ):
            with engine.connect() as connection, pytest.raises(sa.exc.DatabaseError, match="only ever added to"):
                connection.execute(sa.text(statement))
        audit.record(tmp_path, actor="a\0b\ud800", role="", action="refused", now=NOW, content={"x": "\0", "y": 1e300})
        assert findings(tmp_path, exported) == []
        with engine.begin() as connection:
            connection.execute(sa.text("ALTER TABLE audit_entries DISABLE TRIGGER ALL"))
            connection.execute(sa.text("UPDATE audit_entries SET content = '{}' WHERE entry = 5"))
            connection.execute(sa.text("DELETE FROM audit_entries WHERE entry = 9"))
        assert findings(tmp_path) == [("missing", 9, 9), ("changed", 5, 5)]
        engine.dispose()


def test_what_is_written_with_an_entry_is_committed_with_it(data: Path) -> None:
    with pytest.raises(ZeroDivisionError), audit.writing(data) as log:
        audit.add(log, **ANNA, action="look")
        raise ZeroDivisionError
    assert audit.record(data, **ANNA, action="look") == 9


# ---------------------------------------------------------------- the command


def test_the_command_says_what_it_found(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head, where = tmp_path / "head.json", ["--data", str(data)]
    assert cli.main(["audit", "head", "--to", str(head), *where]) == 0
    assert json.loads(head.read_text())["entry"] == 8
    assert cli.main(["audit", "verify", "--head", str(head), *where]) == 0
    assert "as it was written: 8 entries, and it holds the head given" in capsys.readouterr().out
    audit.record(data, actor="eve\x1b[2J\x9b", role="", action="refused", now=NOW)
    assert cli.main(["audit", "list", "--newest", "1", *where]) == 0
    assert "eve?[2J?" in capsys.readouterr().out
    assert cli.main(["audit", "list", "--customer", "C1", "--actor", "anna", "--since", "2026-01-05", *where]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4
    tamper(data, "UPDATE audit_entries SET actor = 'eve' WHERE entry = 3")
    assert cli.main(["audit", "verify", *where]) == 3
    assert "entry 3 is not as it was written" in capsys.readouterr().out


@pytest.mark.parametrize("content", ["[]", "{", '{"entry": 1}'])
def test_a_file_that_is_no_head_is_said(data: Path, capsys: pytest.CaptureFixture[str], content: str) -> None:
    head = data / "head.json"
    head.write_text(content)
    assert cli.main(["audit", "verify", "--head", str(head), "--data", str(data)]) == 3
    assert "exported head" in capsys.readouterr().err


def test_entries_have_no_gaps_even_when_the_clock_goes_back(tmp_path: Path) -> None:
    for hours in (0, -5, 3):
        audit.record(tmp_path, actor="anna", role="", action="look", now=NOW + dt.timedelta(hours=hours))
    assert findings(tmp_path) == []
    with session.session(tmp_path) as store:
        assert store.scalars(sa.select(AuditEntry.entry).order_by(AuditEntry.entry)).all() == [1, 2, 3]
