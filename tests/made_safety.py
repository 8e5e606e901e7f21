"""A tiny bank whose jobs can be killed and starved: its files, the jobs, and what must hold of its data folder at any time."""

from __future__ import annotations

import datetime as dt
import re
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa

from crmlib import cli, paths, warehouse
from crmlib.decisions import export
from crmlib.errors import CrmError
from crmlib.models import registry
from crmlib.runs import backup, clock
from crmlib.store import audit, files, processes, session
from crmlib.store.tables import Export as ExportRow
from crmlib.store.tables import Load, Model, Pointer, Run, ScoreSet, Version

# The package's `versions` is the function.
_versions = sys.modules["crmlib.warehouse.versions"]

FIRST, LAST = dt.date(2025, 1, 1), dt.date(2025, 12, 31)
BATCH = 40
"""Transactions of a batch: the i-th of batch n is worth i * n, so a torn or doubled batch shows in its sum."""

MAPPING = """
[tables.customers]
files = ["clients*.csv"]
[tables.customers.columns]
customer_id = "id"
valid_from = "since"
birth_date = "born"
segment = "segment"
preferred_channel = "way"
income_minor = "income"

[tables.products]
files = ["products*.csv"]
[tables.products.columns]
product_id = "code"
valid_from = "since"
name = "name"
margin_minor = "margin"

[tables.holdings]
files = ["contracts*.csv"]
[tables.holdings.columns]
holding_id = "id"
customer_id = "client"
product_id = "product"
opened_on = "opened"

[tables.transactions]
files = ["moves*.csv", "batch-*.csv"]
[tables.transactions.columns]
transaction_id = "id"
customer_id = "client"
occurred_at = "at"
amount_minor = "amount"
category = "kind"

[tables.consents]
files = ["consents*.csv"]
[tables.consents.columns]
customer_id = "client"
channel = "channel"
purpose = "purpose"
changed_at = "at"
granted = "yes"
"""
COMPANY = """
name = "Tiny bank"
currency = "EUR"
consent_when_missing = "refused"

[contact_costs_minor]
call = 500
email = 2
"""


class Refused(Exception):
    """A command ended with an exit code that is not 0."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exit code {code}")
        self.code = code


# ---------------------------------------------------------------- the files


def write_files(folder: Path, *, customers: int = 240, seed: int = 5) -> None:
    """Write the bank's exports, its mapping and company file, and a first batch."""
    folder.mkdir(parents=True)
    chance = np.random.default_rng(seed)
    ids = [f"c{number:04d}" for number in range(customers)]
    wealth = chance.normal(size=customers)
    put = lambda file, /, **columns: pd.DataFrame(columns).to_csv(folder / file, index=False)  # noqa: E731
    put(
        "clients.csv",
        id=ids,
        since=FIRST,
        born=[dt.date(1950 + number % 50, 1 + number % 12, 5) for number in range(customers)],
        segment=np.where(wealth > 0, "gold", "plain"),
        way="email",
        income=np.round(np.exp(7 + wealth) * 100).astype(int),
    )
    products = ["card", "deposit", "loan"]
    put("products.csv", code=products, since=FIRST, name=products, margin=[900, 20_000, 50_000])
    days = (LAST - FIRST).days
    bought = [
        (place, one, FIRST + dt.timedelta(days=int(chance.integers(0, days))))
        for place, want in enumerate((0.8, 0.5, 0.3))
        for one in range(customers)
        if chance.random() < want / (1 + np.exp(-wealth[one]))
    ]
    put(
        "contracts.csv",
        id=[f"h{number}" for number in range(len(bought))],
        client=[ids[one] for _, one, _ in bought],
        product=[products[place] for place, _, _ in bought],
        opened=[day for _, _, day in bought],
    )
    size = 12 * customers
    who = chance.integers(0, customers, size)
    put(
        "moves.csv",
        id=[f"t{number}" for number in range(size)],
        client=[ids[one] for one in who],
        at=[f"{FIRST + dt.timedelta(days=int(day))} 12:00:00" for day in chance.integers(0, days + 1, size)],
        amount=np.round(chance.normal(size=size) * 1000 + 500 * wealth[who]).astype(int),
        kind=chance.choice(["salary", "food", "cash"], size),
    )
    put("consents.csv", client=ids, channel="email", purpose="marketing", at=f"{FIRST} 08:00:00", yes="true")
    (folder / "mapping.toml").write_text(MAPPING)
    (folder / "company.toml").write_text(COMPANY)
    write_batch(folder, 1)


def write_batch(folder: Path, number: int) -> None:
    """Write one batch to be loaded."""
    lines = [f"b{number}-{row},c0000,2025-11-30 12:00:00,{number * row},batch" for row in range(1, BATCH + 1)]
    (folder / f"batch-{number:04d}.csv").write_text("\n".join(["id,client,at,amount,kind", *lines, ""]))


def make(data: Path, inputs: Path, number: int = 0) -> dict[str, Any]:
    """Load the bank, train and score it once, with one export, one audit entry and one batch."""
    first = [str(inputs / f"{name}.csv") for name in ("clients", "products", "contracts", "moves", "consents")]
    _crm("load", *first, *_settings(inputs), data=data)
    train(data, inputs, 0)
    score(data, inputs, 0)
    load(data, inputs, 1)
    export_list(data, inputs, 0)
    record(data, inputs, 0)
    return {}


# ---------------------------------------------------------------- the jobs; each returns what it acknowledges


def _crm(*words: str, data: Path) -> None:
    code = cli.main([*words, "--data", str(data)])
    if code:
        raise Refused(code)


def _settings(inputs: Path) -> list[str]:
    return ["--mapping", str(inputs / "mapping.toml"), "--company", str(inputs / "company.toml")]


def load(data: Path, inputs: Path, number: int) -> dict[str, Any]:
    """Load a batch through the command line."""
    _crm("load", str(inputs / f"batch-{number:04d}.csv"), *_settings(inputs), data=data)
    return {"batch": number}


def publish(data: Path, inputs: Path, number: int) -> dict[str, Any]:
    """Publish a version that holds one more batch, without the loader."""
    now = clock.now()
    with session.session(data) as store:
        row = Load(state="running", started_at=now, recorded_at=now, fingerprint=f"p{number}", sources={})
        store.add(row)
        store.commit()
        load_id = row.load_id
    with _versions.building(data, now=now) as build:
        build.connection.execute(
            "INSERT INTO transactions (transaction_id, customer_id, occurred_at, amount_minor, recorded_at, load_id) "
            f"SELECT 'b' || $number || '-' || i, 'c0000', TIMESTAMP '2025-11-30 12:00', i * $number, $now, $load "
            f"FROM range(1, {BATCH} + 1) r(i)",
            {"number": number, "now": now, "load": load_id},
        )
        build.publish({"load_id": load_id, "state": "accepted", "finished_at": now})
    return {"batch": number}


def train(data: Path, inputs: Path, number: int) -> dict[str, Any]:
    """Train the propensity model."""
    _crm("train", "--within-days", "60", data=data)
    return {"model": _told(r"model version (\d+) in ", data)}


def score(data: Path, inputs: Path, number: int) -> dict[str, Any]:
    """Score every customer with the newest model."""
    _crm("score", data=data)
    return {"score_set": _told(r"calls-(\d+)\.parquet", data)}


def export_list(data: Path, inputs: Path, number: int) -> dict[str, Any]:
    """Take a list away, as an export that is named after its number."""
    table = pd.DataFrame({"customer_id": [f"c{i:04d}" for i in range(50)], "score": np.arange(50) / 50 + number})
    written = export.export(
        table,
        data=data,
        actor="ann",
        purpose="safety",
        content={"number": number},
        now=clock.now(),
        name=f"list{number}",
        format="csv" if number % 2 else "xlsx",
    )
    return {"export": written.name}


def record(data: Path, inputs: Path, number: int) -> dict[str, Any]:
    """Add an entry to the audit log."""
    entry = audit.record(
        data, actor="ann", role="analyst", action="look", now=clock.now(), subject="c0000", content={"number": number}
    )
    return {"audit": [entry, number]}


def back_up(data: Path, inputs: Path, number: int) -> dict[str, Any]:
    """Make a backup beside the data folder."""
    made = backup.make(data, data.parent / "safe", now=clock.now())
    backup.verify(made.folder)
    return {"backup": made.folder.name}


def tidy(data: Path, inputs: Path, number: int) -> dict[str, Any]:
    """Look after what dead processes left behind, as every job does when it begins."""
    _crm("versions", "prune", "--keep", "3", data=data)
    return {}


def _told(pattern: str, data: Path) -> int:
    """Return the number that the command has just printed: the tests' processes print into a file."""
    found = re.findall(pattern, Path("/proc/self/fd/1").resolve().read_text())
    return int(found[-1])


# ---------------------------------------------------------------- what must hold


def look(data: Path, inputs: Path, number: int, *, newest: int = 1000) -> dict[str, Any]:
    """Return all that is visible in a data folder, and what is wrong with it; nothing but reading.

    Of models and scores the ``newest`` are read whole and compared with their checksums.
    """
    wrong: list[str] = []
    found: dict[str, Any] = {"problems": wrong}
    wh = warehouse.open(paths.warehouse(data))
    found["version"] = wh.version
    found["batches"] = _batches(wh, wrong)
    released = _released(data)  # before the records: each of them is older than its file
    with session.session(data) as store:
        rows = {kind: store.scalars(sa.select(kind)).all() for kind in (Version, Load, Model, ScoreSet, ExportRow)}
        pointer = store.scalars(sa.select(Pointer.version).where(Pointer.name == "served")).one()
        audited = audit.entries(data, newest=None)
    broken = audit.verify(data)
    if not broken.empty:
        wrong.append(f"audit: {broken.to_dict('records')}")
    if pointer not in {row.version for row in rows[Version] if row.state == "published"}:
        wrong.append(f"the pointer names version {pointer}, which is not published")
    found["accepted"] = _accepted(rows[Load])
    found["models"] = [row.model_version for row in rows[Model]]
    for version in found["models"][-newest:]:
        _try(wrong, f"model {version}", lambda version=version: registry.kept(data, "propensity", version))
    found["score_sets"] = [row.score_set_id for row in rows[ScoreSet]]
    for row in rows[ScoreSet][-newest:]:
        _try(wrong, f"score set {row.score_set_id}", lambda row=row: _whole_scores(data, row))
    found["exports"] = _exports(released, rows[ExportRow], wrong)
    # A list: the same entry twice would show.
    found["audit"] = [
        [int(e), int(c["number"])] for e, c in zip(audited["entry"], audited["content"], strict=True) if "number" in c
    ]
    _doubled(found, wrong)
    return found


def look_soon(data: Path, inputs: Path, number: int) -> dict[str, Any]:
    """Look, and read whole what was made last."""
    return look(data, inputs, number, newest=2)


def _batches(wh: warehouse.Warehouse, wrong: list[str]) -> list[int]:
    with wh.connect() as connection:
        rows = connection.execute(
            "SELECT CAST(regexp_extract(transaction_id, 'b(\\d+)-', 1) AS INTEGER) AS n, count(*), "
            "count(DISTINCT transaction_id), sum(amount_minor)::BIGINT FROM transactions "
            "WHERE transaction_id LIKE 'b%' GROUP BY n ORDER BY n"
        ).fetchall()
        [(others,)] = connection.execute("SELECT count(*) FROM transactions WHERE transaction_id LIKE 't%'").fetchall()
    for number, count, different, total in rows:
        if (count, different, total) != (BATCH, BATCH, number * BATCH * (BATCH + 1) // 2):
            wrong.append(f"version {wh.version}: batch {number} is not whole: {count}, {different}, {total}")
    if others != 12 * 240:
        wrong.append(f"version {wh.version}: {others} transactions of the first load")
    return [number for number, *_ in rows]


def _accepted(loads: Any) -> list[int]:
    """Return the numbers of the batches whose loads the store calls accepted."""
    found = []
    for row in loads:
        named = re.findall(r"batch-(\d+)\.csv", " ".join(row.sources)) or re.findall(r"^p(\d+)$", row.fingerprint)
        if row.state == "accepted" and named:
            found.append(int(named[0]))
    return sorted(found)


def _whole_scores(data: Path, row: ScoreSet) -> None:
    table = files.read_parquet(data / row.file, row.checksum, remedy="")
    assert len(table) == row.rows, f"{len(table)} rows, {row.rows} on record"
    stem = (data / row.file).with_suffix("")
    assert len(pd.read_parquet(f"{stem}-reasons.parquet")), "no reasons"
    assert len(pd.read_parquet(data / "lists" / f"calls-{row.score_set_id:06d}.parquet")), "no call list"


def _released(data: Path) -> dict[str, str]:
    """Return the files of exports that are there, with their checksums."""
    folder = data / "exports"
    there = sorted(folder.iterdir()) if folder.is_dir() else []
    return {file.relative_to(data).as_posix(): files.digest(file) for file in there if not file.name.startswith(".")}


def _exports(released: dict[str, str], rows: Any, wrong: list[str]) -> list[str]:
    """Return the names of the released files; none may be there that is not on record, or not as recorded."""
    known = {row.file: row.checksum for row in rows}
    for name, checksum in released.items():
        if known.get(name) != checksum:
            wrong.append(f"{name} was released without a record, or is not what was recorded")
    return [Path(name).name for name in released]


def _doubled(found: dict[str, Any], wrong: list[str]) -> None:
    if found["accepted"] != found["batches"]:
        wrong.append(f"accepted loads {found['accepted']} but version {found['version']} holds {found['batches']}")
    for name in ("batches", "models", "score_sets"):
        if len(set(found[name])) != len(found[name]):
            wrong.append(f"{name} doubled: {found[name]}")


def _try(wrong: list[str], what: str, call: Any) -> None:
    try:
        call()
    except (CrmError, OSError, AssertionError, ValueError) as error:
        wrong.append(f"{what}: {type(error).__name__}: {error}")


MADE_BY = {
    "load": "batches",
    "publish": "batches",
    "train": "models",
    "score": "score_sets",
    "export_list": "exports",
    "record": "audit",
}
"""Which of the things that ``look`` finds a job makes one more of."""


def made_once(job: str, told: dict[str, Any] | None, before: dict[str, Any], found: dict[str, Any]) -> None:
    """Check what one attempt at a job changed between two looks: nothing is gone, at most one thing of its kind is new.

    What it ``told`` is there exactly once, and new, but for a load of what had come in before.
    """
    for name in sorted(set(MADE_BY.values())):
        gone = [one for one in before[name] if one not in found[name]]
        new = [one for one in found[name] if one not in before[name]]
        if gone or len(found[name]) != len(before[name]) + len(new):
            raise AssertionError(f"{job}: {name} were {before[name]} and are {found[name]}")
        if len(new) > (name == MADE_BY.get(job)):
            raise AssertionError(f"{job}: one attempt made {name} {new}")
        for value in (told or {}).values() if name == MADE_BY.get(job) else []:
            if found[name].count(value) != 1:
                raise AssertionError(
                    f"{job}: {value} was acknowledged and is among {name} {found[name].count(value)} times"
                )
            if new != [value] and (new or job != "load"):
                raise AssertionError(f"{job}: {value} was acknowledged, but {new} is new among {name}")


def left(data: Path, inputs: Path, number: int) -> dict[str, Any]:
    """Return what dead processes left behind: work files, files that no row names, rows that still say "running"."""
    found = []
    with session.session(data) as store:
        named = {row.file for kind in (ScoreSet, ExportRow) for row in store.scalars(sa.select(kind))}
        folders = {row.folder for row in store.scalars(sa.select(Model))}
        lists = {f"lists/calls-{row:06d}.parquet" for row in store.scalars(sa.select(ScoreSet.score_set_id))}
        versions = {
            f"warehouse/{row.file}" for row in store.scalars(sa.select(Version).where(Version.state == "published"))
        }
        for kind in (Run, Load):
            open_ones = store.scalars(sa.select(kind).where(kind.state == "running")).all()
            found += [f"{kind.__tablename__} still running" for row in open_ones if row.process != processes.me()]
        found += [
            "version still building" for _ in store.scalars(sa.select(Version).where(Version.state == "building"))
        ]
    named |= lists | versions | {name.replace(".parquet", "-reasons.parquet") for name in named}
    for path in sorted(data.rglob("*")):
        name = path.relative_to(data).as_posix()
        first, _, rest = name.partition("/")
        hidden = any(part.startswith(".") for part in path.relative_to(data).parts)
        if (
            hidden
            or (first == "staging" and rest)
            or (first in ("scores", "lists", "warehouse") and path.is_file() and name not in named)
        ):
            found.append(name)
        if first == "models" and path.is_file() and path.parent.relative_to(data).as_posix() not in folders:
            found.append(name)
    return {"left": found}


def tidied(data: Path, inputs: Path, number: int) -> dict[str, Any]:
    """Look after what dead processes left behind; return what is left all the same."""
    tidy(data, inputs, number)
    return left(data, inputs, number)


def read_on(data: Path, inputs: Path, number: int) -> dict[str, Any]:
    """Read what is served again and again until the file ``stop`` appears, three times at least; return how often and what was wrong."""

    reads, last, wrong = 0, {"version": 0, "batches": [], "score_sets": [], "models": [], "exports": []}, []
    while (reads < 3 or not (data.parent / "stop").exists()) and not wrong:
        began = time.monotonic()
        try:
            found = look_again(data, inputs)
        except Exception as error:
            wrong.append(f"{type(error).__name__}: {error}")
            break
        wrong += found["problems"]
        for name in ("batches", "models", "score_sets", "exports"):
            if not set(last[name]) <= set(found[name]):
                wrong.append(f"{name} went back from {last[name]} to {found[name]}")
        if found["version"] < last["version"]:
            wrong.append(f"went back from version {last['version']} to {found['version']}")
        last, reads = found, reads + 1
        # Eight readers and a writer share a machine; none of them reads in step with another.
        time.sleep(15 * (time.monotonic() - began) + 0.1 * number)
    return {"reads": reads, "problems": wrong}


def look_again(data: Path, inputs: Path) -> dict[str, Any]:
    """Look while others write: what the store and the served version say is compared only where both are of one moment."""
    while True:
        before = _served(data)
        found = look(data, inputs, 0, newest=1)
        if before == found["version"] == _served(data):
            return found
        found["problems"] = [one for one in found["problems"] if not one.startswith("accepted loads")]
        if found["problems"]:
            return found


def _served(data: Path) -> int:
    with session.session(data) as store:
        return int(store.scalars(sa.select(Pointer.version).where(Pointer.name == "served")).one() or 0)
