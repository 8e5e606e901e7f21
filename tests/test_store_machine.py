"""Sequences of loads, corrections, prunings, trainings and scorings against a dictionary of what was known when.

``CRM_LONG=1`` runs 10,000 sequences, ``CRM_LONG=500`` five hundred (``make sequences``); ``CRM_FOLDER`` names the folder
they work in.
"""

from __future__ import annotations

import datetime as dt
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from crmlib import features, paths
from crmlib.errors import DataError, NotFoundError
from crmlib.models import propensity, registry
from crmlib.store import session as stores
from crmlib.warehouse import pruning
from crmlib.warehouse.load import LoadReport, load
from crmlib.warehouse.snapshot import Snapshot
from crmlib.warehouse.versions import open as open_warehouse
from crmlib.warehouse.versions import serve, versions

LONG = int(os.environ.get("CRM_LONG", "0"))
SEQUENCES = 10_000 if LONG == 1 else LONG or 8
START = dt.datetime(2025, 6, 1, 12)
FIRST, LAST = dt.date(2025, 1, 2), dt.date(2025, 5, 29)
LATER = dt.date(2025, 8, 31)
"""Loads begin at START: only what is asked for after that day can show what they corrected. It mostly lies after the last
event, where ``Warehouse.snapshot`` refuses to go; the tests make their ``Snapshot`` themselves."""
SPEC = features.Specification(
    (
        features.windowed("transactions", "amount_minor", months=(1, None)),
        features.recency("transactions"),
        features.held(),
    )
)

Row = dict[str, str]


@dataclass(frozen=True)
class Feed:
    """Files of one kind: the table they feed, its key, the columns and the options of the mapping.

    ``event``: the column with the time a row happened; ``lag`` days until it is known; ``stated``: whether the file says
    when it was known; ``dump``: whether it is the state at the time of the load.
    """

    table: str
    key: str
    event: str
    columns: tuple[str, ...]
    lag: int = 0
    stated: bool = False
    dump: bool = False

    def section(self, name: str) -> dict[str, Any]:
        recorded: dict[str, Any] = {"recorded_at": {"column": "known"}} if self.stated else {}
        recorded |= {"recorded_at": {"lag_days": self.lag}} if self.lag else {}
        columns: dict[str, Any] = {column: column for column in self.columns}
        # Whoever has a product may buy it again, so that everybody is there to learn from.
        columns |= {"repeatable": {"value": "true"}} if self.table == "products" else {}
        return {"files": [f"{name}-*"], "columns": columns, "dump": self.dump, **recorded}


MOVE = ("transaction_id", "customer_id", "occurred_at", "amount_minor")
FEEDS = {
    "clients": Feed("customers", "customer_id", "valid_from", ("customer_id", "valid_from", "region"), dump=True),
    "goods": Feed("products", "product_id", "valid_from", ("product_id", "valid_from", "name", "price_minor")),
    "contracts": Feed(
        "holdings", "holding_id", "opened_on", ("holding_id", "customer_id", "product_id", "opened_on", "closed_on")
    ),
    "moves": Feed("transactions", "transaction_id", "occurred_at", (*MOVE, "category"), lag=1),
    "amounts": Feed("transactions", "transaction_id", "occurred_at", MOVE),
    "booked": Feed("transactions", "transaction_id", "occurred_at", (*MOVE, "category"), stated=True),
}
TABLES = {feed.table: feed for feed in reversed(FEEDS.values())}
SECTIONS: dict[str, list[dict[str, Any]]] = {}
for _name, _feed in FEEDS.items():
    SECTIONS.setdefault(_feed.table, []).append(_feed.section(_name))
MAPPING = {"tables": SECTIONS}


# ---------------------------------------------------------------- the dictionary


@dataclass(frozen=True)
class World:
    """What a version knows: table -> key -> what was learned about that row, oldest first: (known since, content).

    ``loads`` are the loads it grew from, oldest first: what was loaded, and which tables that fed.
    """

    tables: Mapping[str, Mapping[tuple[str, ...], tuple[tuple[dt.datetime, Row], ...]]]
    loads: tuple[tuple[frozenset[tuple[str, str]], frozenset[str]], ...] = ()

    def known(self, table: str, as_of: dt.date) -> dict[str, Row]:
        """Return the rows as known at the end of a day, by their key."""
        feed, cutoff = TABLES[table], dt.datetime.combine(as_of, dt.time()) + dt.timedelta(days=1)
        found: dict[str, Row] = {}
        for learned in self.tables[table].values():
            told = [row for since, row in learned if since < cutoff]
            if told and moment(told[-1][feed.event]) < cutoff:
                row = told[-1]
                other = found.get(row[feed.key])
                if other is None or other[feed.event] <= row[feed.event]:
                    found[row[feed.key]] = row
        for key, row in found.items() if table == "holdings" else []:
            if row["closed_on"] and moment(row["closed_on"]) >= cutoff:
                found[key] = {**row, "closed_on": ""}
        return found


@dataclass
class Counted:
    """How many rows of a file were new, changed and unchanged."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0


def moment(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


def learn(world: World, name: str, rows: Iterable[Row], at: dt.datetime) -> tuple[World, Counted]:
    """Return what is known once a file was loaded: the rules of docs/mapping.md in plain Python."""
    feed, counted = FEEDS[name], Counted()
    table = dict(world.tables[feed.table])
    for row in rows:
        content = {column: row[column] for column in feed.columns}
        history = feed.table == "products"
        key = (row[feed.key], row[feed.event]) if history else (row[feed.key],)
        learned = table.get(key, ())
        if not learned:
            happened = moment(row[feed.event])
            since = moment(row["known"]) if feed.stated else happened + dt.timedelta(days=feed.lag)
            before = {"category": "", **content} if feed.table == "transactions" else content
            table[key] = ((since, before),)
            counted.new += 1
            continue
        old_since, old = learned[-1]
        fixed = (feed.key, feed.event) if feed.dump else (feed.key,)
        if all(old[column] == value for column, value in content.items() if column not in fixed):
            counted.unchanged += 1
            continue
        since = max(at, old_since)
        if feed.stated and moment(row["known"]) > old_since:
            since = moment(row["known"])
        if feed.dump:
            content[feed.event] = max(since.date().isoformat(), content[feed.event], old[feed.event])
        table[key] = (*learned, (since, {**old, **content}))
        counted.changed += 1
    return replace(world, tables={**world.tables, feed.table: table}), counted


def loaded_before(world: World, files: Mapping[str, str]) -> bool:
    """Return whether the same was loaded before, and no later dump makes an older one mean something again."""
    wanted = frozenset(files.items())
    dumps = {FEEDS[name].table for name in files if FEEDS[name].dump}
    for given, fed in reversed(world.loads):
        if given == wanted:
            return True
        if dumps & fed:
            return False
    return False


def text(name: str, rows: Iterable[Row], *, bad: int = 0) -> str:
    """Return a file: its header, its rows, and some rows of too few cells."""
    columns = (*FEEDS[name].columns, *(("known",) if FEEDS[name].stated else ()))
    lines = [",".join(columns), *[",".join(row[column] for column in columns) for row in rows], *["x"] * bad]
    return "\n".join(lines) + "\n"


# ---------------------------------------------------------------- the beginning of each sequence


def beginning(customers: int) -> dict[str, list[Row]]:
    """Return the rows of a first load: customers with purchases in each month, so that a model finds buyers."""
    days = [FIRST + dt.timedelta(days=3 * number) for number in range(50)]
    clients = [{"customer_id": f"c{n}", "valid_from": "2024-01-01", "region": "NS"[n % 2]} for n in range(customers)]
    goods = [
        {"product_id": name, "valid_from": "2024-01-01", "name": name.title(), "price_minor": "100"}
        for name in ("card", "loan")
    ]
    contracts = [
        {
            "holding_id": f"h{n}",
            "customer_id": f"c{n * 7 % customers}",  # each buys both, one after the other
            "product_id": ("card", "loan")[n // customers],
            "opened_on": days[n * 11 % 50].isoformat(),
            "closed_on": "",
        }
        for n in range(2 * customers)
    ]
    moves = [move(n, n % customers, days[n % 50], 10 * n) for n in range(3 * customers)]
    return {"clients": clients, "goods": goods, "contracts": contracts, "moves": moves}


def move(number: int, customer: int, day: dt.date, amount: int, *, category: str = "food") -> Row:
    happened = dt.datetime.combine(day, dt.time(number % 24)).isoformat(sep=" ")
    name = f"t{number}"
    values = {"transaction_id": name, "customer_id": f"c{customer}", "occurred_at": happened}
    return {**values, "amount_minor": str(amount), "category": category}


@cache
def begun(customers: int) -> tuple[Path, World]:
    """Return a data folder after its first load, to be copied, and what it knows."""
    folder = Path(tempfile.mkdtemp(dir=os.environ.get("CRM_FOLDER")))
    data = folder / "data"
    data.mkdir()
    world = World({name: {} for name in TABLES})
    files = {}
    for name, rows in beginning(customers).items():
        files[name] = text(name, rows)
        (folder / f"{name}-1.csv").write_text(files[name])
        world, _ = learn(world, name, rows, START)
    load(sorted(folder.glob("*.csv")), MAPPING, data=data, recorded_at=START)
    stores.engine(data).dispose()
    fed = frozenset(FEEDS[name].table for name in files)
    return data, replace(world, loads=((frozenset(files.items()), fed),))


@dataclass
class Scored:
    """A set of scores: by which model, of what version and date, and the scores themselves."""

    model: int
    version: int
    as_of: dt.date
    scores: pd.DataFrame = field(repr=False)


picks = st.lists(st.integers(0, 59), min_size=1, max_size=6, unique=True)
dates = st.dates(FIRST, LATER)


class Warehouse(RuleBasedStateMachine):
    """A data folder and the dictionary of what must be known in each of its versions."""

    def __init__(self) -> None:
        super().__init__()
        self.folder: Path | None = None

    # The first rule of a sequence chooses its size; the others wait for it.
    @precondition(lambda self: self.folder is None)
    @rule(customers=st.sampled_from([20, 40, 60]))
    def begin(self, customers: int) -> None:
        origin, world = begun(customers)
        self.customers = customers
        self.folder = Path(tempfile.mkdtemp(dir=os.environ.get("CRM_FOLDER")))
        self.data = Path(shutil.copytree(origin, self.folder / "data"))
        self.now, self.number = START, 0
        self.served, self.worlds = 1, {1: world}
        self.loaded: list[dict[str, list[Row]]] = [beginning(customers)]
        self.held: list[tuple[Snapshot, World]] = []
        self.models: dict[int, int] = {}
        self.scored: list[Scored] = []

    # ------------------------------------------------------------ loads

    ready = precondition(lambda self: self.folder is not None)

    @ready
    @rule(picks=picks, day=dates, hours=st.sampled_from([2, 24, 240]), kind=st.sampled_from(["moves", "booked"]))
    def load_new_rows(self, picks: list[int], day: dt.date, hours: int, kind: str) -> None:
        self.now += dt.timedelta(hours=hours)
        day = min(day, self.now.date() - dt.timedelta(days=1))
        rows = [move(10_000 + 60 * self.number + n, n % self.customers, day, n) for n in picks]
        self._load({kind: [{**row, "known": self.now.isoformat()} for row in rows]})

    @ready
    @rule(picks=picks, hours=st.sampled_from([2, 24, 240]), kind=st.sampled_from(["moves", "amounts", "booked"]))
    def correct_transactions(self, picks: list[int], hours: int, kind: str) -> None:
        self.now += dt.timedelta(hours=hours)
        told = self.now - dt.timedelta(days=picks[0])
        changed = {"amount_minor": str(-self.number), "category": "cash", "known": told.isoformat()}
        # Some rows are brought as they are, so that one file holds changed and unchanged ones.
        self._load(
            {
                kind: [
                    row | changed if n % 3 else row | {"known": changed["known"]}
                    for n, row in self._some("transactions", picks)
                ]
            }
        )

    @ready
    @rule(picks=picks, day=dates)
    def close_contracts(self, picks: list[int], day: dt.date) -> None:
        self.now += dt.timedelta(days=1)
        day = min(day, self.now.date())
        self._load({"contracts": [row | {"closed_on": day.isoformat()} for _, row in self._some("holdings", picks)]})

    @ready
    @rule(day=dates, price=st.integers(100, 102), product=st.sampled_from(["card", "loan"]))
    def change_terms(self, day: dt.date, price: int, product: str) -> None:
        self.now += dt.timedelta(days=1)
        day = min(day, self.now.date()).replace(day=1)  # so that a date comes again, as a correction
        self._load(
            {
                "goods": [
                    {"product_id": product, "valid_from": day.isoformat(), "name": "New", "price_minor": str(price)}
                ]
            }
        )

    @ready
    @rule(picks=picks, hours=st.sampled_from([1, 48]), region=st.sampled_from("NSEW"))
    def load_a_dump(self, picks: list[int], hours: int, region: str) -> None:
        self.now += dt.timedelta(hours=hours)
        known = self.worlds[self.served].known("customers", self.now.date() + dt.timedelta(days=1))
        moved = {f"c{number}" for number in picks}
        rows = [row | {"valid_from": "2024-01-01"} for row in known.values()]
        self._load({"clients": [row | {"region": region} if row["customer_id"] in moved else row for row in rows]})

    @ready
    @rule(place=st.integers(0, 30))
    def load_the_same_again(self, place: int) -> None:
        self.now += dt.timedelta(days=1)
        self._load(self.loaded[-1 - place % len(self.loaded)], again=True)

    @ready
    @rule(bad=st.integers(1, 3), allowed=st.booleans())
    def load_rows_of_which_some_are_bad(self, bad: int, allowed: bool) -> None:
        self.now += dt.timedelta(days=1)
        rows = [move(50_000 + self.number, 0, FIRST, 1), move(60_000 + self.number, 999, FIRST, 1)]
        if allowed:
            self._load({"moves": rows}, bad=bad, unknown=1)
            return
        path = self._write("moves", rows, bad=bad)
        with pytest.raises(DataError, match=rf"{path.name}: {bad + 1} of {bad + 2} rows .* so nothing was loaded"):
            load([path], MAPPING, data=self.data, recorded_at=self.now)
        self._check()

    def _some(self, table: str, picks: list[int]) -> list[tuple[int, Row]]:
        """Return some rows as they stand now."""
        learned = list(self.worlds[self.served].tables[table].values())
        return [(n, learned[n * 7 % len(learned)][-1][1]) for n in picks if n < len(learned)]

    def _write(self, name: str, rows: list[Row], *, bad: int = 0) -> Path:
        assert self.folder is not None
        self.number += 1
        path = self.folder / f"{name}-{self.number}.csv"
        path.write_text(text(name, rows, bad=bad))
        return path

    def _load(self, files: dict[str, list[Row]], *, bad: int = 0, unknown: int = 0, again: bool = False) -> None:
        """Load files of which the last ``unknown`` rows and ``bad`` broken ones are refused; check what came of it."""
        files = {name: list({tuple(row.values()): row for row in rows}.values()) for name, rows in files.items()}
        paths_ = [self._write(name, rows, bad=bad) for name, rows in files.items()]
        report = load(paths_, MAPPING, data=self.data, recorded_at=self.now, max_bad_share=1)
        given = {name: text(name, rows, bad=bad) for name, rows in files.items()}
        world, counts = self.worlds[self.served], {}
        known_already = loaded_before(world, given)
        for name, rows in files.items():
            good = rows[: len(rows) - unknown]
            if known_already:
                counts[FEEDS[name].table] = Counted(unchanged=len(good))
            else:
                world, counts[FEEDS[name].table] = learn(world, name, good, self.now)
        self._check_report(report, counts, refused=bad + unknown)
        if any(count.new or count.changed for count in counts.values()):
            assert report.version is not None and report.version > max(self.worlds) and not report.noop
            loads = (*world.loads, (frozenset(given.items()), frozenset(counts)))
            self.served, self.worlds[report.version] = report.version, replace(world, loads=loads)
        else:
            assert report.noop and report.version == self.served
        if not (again or bad or unknown):
            self.loaded.append(files)
        self._check(counts)

    def _check_report(self, report: LoadReport, counts: dict[str, Counted], *, refused: int) -> None:
        found = {row["table"]: row for row in report.counts.to_dict("records")}
        assert set(found) == set(counts)
        for table, count in counts.items():
            row = found[table]
            assert (row["accepted"], row["changed"]) == (count.new + count.changed, count.changed), (row, count)
            assert (row["quarantined"], row["unchanged"]) == (refused, count.unchanged), (row, count)
            assert row["input"] == row["accepted"] + refused + count.unchanged

    # ------------------------------------------------------------ versions and snapshots

    @ready
    @rule(keep=st.integers(1, 3))
    def prune(self, keep: int) -> None:
        kept = {self.served, *sorted(self.worlds)[-keep:]}
        pruning.prune(paths.warehouse(self.data), keep=keep, now=self.now)
        self.worlds = {version: world for version, world in self.worlds.items() if version in kept}
        self._check()

    @ready
    @rule(place=st.integers(0, 9))
    def serve_an_older_version(self, place: int) -> None:
        self.served = sorted(self.worlds)[place % len(self.worlds)]
        serve(paths.warehouse(self.data), self.served)

    @ready
    @rule(as_of=dates)
    def take_a_snapshot(self, as_of: dt.date) -> None:
        warehouse = open_warehouse(paths.warehouse(self.data))
        self.held.append((Snapshot(warehouse, as_of), self.worlds[self.served]))
        compare(*self.held[-1])

    def _check(self, tables: Iterable[str] = ()) -> None:
        """Check that the served version and the files are as they must be, and what some tables knew before and know now."""
        folder = paths.warehouse(self.data)
        assert {file.name for file in folder.iterdir()} == {f"v{version:06d}.duckdb" for version in self.worlds}
        listed = versions(folder)
        assert set(listed.loc[listed["state"] == "published", "version"]) == set(self.worlds)
        staging = self.data / "staging"
        assert not staging.is_dir() or not list(staging.iterdir())
        warehouse = open_warehouse(folder)
        assert warehouse.version == self.served
        for as_of in (LAST, self.now.date() + dt.timedelta(days=1)):
            compare(Snapshot(warehouse, as_of), self.worlds[self.served], tables)

    # ------------------------------------------------------------ models

    @ready
    @precondition(lambda self: self.folder and len(self.models) < 2)
    @rule(seed=st.integers(0, 3))
    def train(self, seed: int) -> None:
        warehouse = open_warehouse(paths.warehouse(self.data))
        snapshots = [warehouse.snapshot(day) for day in ("2025-03-31", "2025-04-30")]
        inputs = [
            (features.build(one, SPEC), propensity.purchases(warehouse, after=one, within_days=25)) for one in snapshots
        ]
        model = propensity.PropensityModel(seed=seed, nthread=1).fit(*inputs[0], calibrate=inputs[1])
        made = {"warehouse_version": warehouse.version, "as_of": snapshots[1].as_of, "now": self.now}
        number = registry.save(model, data=self.data, metrics={}, specification=features.to_json(SPEC), **made)
        assert number == len(self.models) + 1
        self.models[number] = warehouse.version

    @precondition(lambda self: self.folder and self.models)
    @rule(place=st.integers(0, 1), as_of=dates)
    def score(self, place: int, as_of: dt.date) -> None:
        number = sorted(self.models)[place % len(self.models)]
        scores = scored(self.data, number, self.served, as_of)
        made = {"model_version": number, "warehouse_version": self.served, "as_of": as_of, "now": self.now}
        registry.save_scores(scores, data=self.data, **made)
        self.scored.append(Scored(number, self.served, as_of, scores))

    @precondition(lambda self: self.folder and self.scored)
    @rule(place=st.integers(0, 9))
    def score_again(self, place: int) -> None:
        old = self.scored[place % len(self.scored)]
        if old.version not in self.worlds:
            with pytest.raises(NotFoundError, match=f"has no version {old.version} .pruned."):
                scored(self.data, old.model, old.version, old.as_of)
            return
        again = scored(self.data, old.model, old.version, old.as_of)
        pd.testing.assert_frame_equal(again, old.scores, check_exact=True)
        last = [one for one in self.scored if (one.model, one.as_of) == (old.model, old.as_of)][-1]
        kept = registry.load_scores(self.data, as_of=old.as_of, model_version=old.model)
        assert kept["score"].tolist() == last.scores["score"].tolist()

    def teardown(self) -> None:
        if self.folder is None:
            return
        for taken, world in self.held:
            compare(taken, world)
        for version, world in list(self.worlds.items())[-3:]:
            warehouse = open_warehouse(paths.warehouse(self.data), version=version)
            for as_of in (FIRST, dt.date(2025, 3, 31), START.date(), self.now.date() + dt.timedelta(days=1)):
                compare(Snapshot(warehouse, as_of), world)
        self.held.clear()
        stores.engine(self.data).dispose()
        shutil.rmtree(self.folder)


def scored(data: Path, model: int, version: int, as_of: dt.date) -> pd.DataFrame:
    """Return the scores by a saved model of a version as of a date, from the files alone."""
    saved = registry.load(data, version=model)
    snapshot = Snapshot(open_warehouse(paths.warehouse(data), version=version), as_of)
    return saved.model.score(features.build(snapshot, features.from_json(saved.specification)))


def compare(snapshot: Snapshot, world: World, tables: Iterable[str] = tuple(TABLES)) -> None:
    """Check that tables of a snapshot hold exactly the rows that were known at its date."""
    for name in tables:
        feed = TABLES[name]
        columns = FEEDS["moves"].columns if name == "transactions" else feed.columns
        rows = snapshot.table(name, list(columns)).to_dict("records")
        found = {row[feed.key]: {column: shown(row[column]) for column in columns} for row in rows}
        assert len(found) == len(rows)
        expected = {
            key: {column: plain(row[column]) for column in columns}
            for key, row in world.known(name, snapshot.as_of).items()
        }
        assert found == expected, (name, snapshot)


def shown(value: Any) -> str:
    """Return a value of a table as text: times in ISO form, empty as nothing."""
    if pd.isna(value):
        return ""
    return value.isoformat() if isinstance(value, pd.Timestamp) else str(value)


def plain(text: str) -> str:
    """Return a value of a file as ``shown`` writes it."""
    return moment(text).isoformat() if text[:3] == "202" and "-" in text else text


def test_what_is_known_is_what_the_dictionary_says() -> None:
    chosen = settings(
        max_examples=SEQUENCES,
        stateful_step_count=12 if LONG else 10,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    run_state_machine_as_test(Warehouse, settings=chosen)
