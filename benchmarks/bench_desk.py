"""How fast the desk prompt is, features included, and how many questions the product match needs.

    python benchmarks/bench_desk.py --customers 1000000 [--prompts 2000] [--keep FOLDER]
    python benchmarks/bench_desk.py --match FOLDER [--people 100]

The first makes up customers with 15 transactions each, 2 holdings with twelve month-end balances, 3 contacts, an
application and two consents, written straight as a warehouse version, fits a small model on some of them, and asks for
the prompts of random customers: wall and CPU time, the first ones (cold) apart. The floor is one DuckDB query per table
for the same rows; the peer is ``features.build`` for one customer. The second asks questions in the order of the match,
in a fixed order, in the best fixed order found beforehand on other people, and at random, of customers of a data folder
whose answers are known, and counts the questions until the first three offers are final.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crmlib import features, paths
from crmlib.decisions import desk, match
from crmlib.models import live, registry
from crmlib.models.propensity import PropensityModel
from crmlib.store import session, tables
from crmlib.warehouse import build, schema, snapshot

AS_OF = dt.date(2025, 12, 31)
NOW = dt.datetime(2026, 1, 2, 9)
GROUPS = ("accounts", "cards", "deposits", "loans", "insurance", "investment")
CATEGORIES = np.array(["salary", "groceries", "transfer", "cash", "fee", "rent", "travel", "fuel", "health"])
CHANNELS = np.array(["branch", "atm", "card", "internet", "mobile", "call", "mail"])
PRODUCTS = np.array([f"product {number:02}" for number in range(20)])
_FITTED_ON = 4_000


def made_up(customers: int, seed: int) -> dict[str, pd.DataFrame]:
    """Return random canonical tables of so many customers."""
    random = np.random.default_rng(seed)
    ids = np.char.add("C", np.char.zfill(np.arange(customers).astype(str), 8))

    def dates(number: int, first: str, days: int) -> np.ndarray:
        return np.datetime64(first, "us") + random.integers(0, days * 86_400, number).astype("timedelta64[s]")

    def some(values: np.ndarray, number: int) -> np.ndarray:
        return values[random.integers(0, len(values), number)]

    def rows(number: int, key: str, **columns: Any) -> pd.DataFrame:
        return pd.DataFrame({key: np.arange(number).astype(str), "customer_id": some(ids, number), **columns})

    contracts = customers * 2
    holdings = rows(
        contracts,
        "holding_id",
        product_id=some(PRODUCTS, contracts),
        opened_on=dates(contracts, "2018-01-01", 2_800).astype("datetime64[D]"),
        amount_minor=random.integers(0, 10**7, contracts),
    )
    month_ends = pd.date_range("2025-01-31", periods=12, freq="ME").to_numpy()
    balances = holdings[["holding_id", "customer_id"]].iloc[np.repeat(np.arange(contracts), 12)]
    return {
        "customers": pd.DataFrame(
            {
                "customer_id": ids,
                "valid_from": np.datetime64("2018-01-01"),
                "given_name": "Anna",
                "family_name": "Novák",
                "gender": some(np.array(["female", "male"]), customers),
                "region": some(np.array(["north", "south", "east", "west"]), customers),
                "marital_status": some(np.array(["single", "married", "divorced"]), customers),
                "employment_status": some(np.array(["employed", "retired", "student"]), customers),
                "children": random.integers(0, 4, customers),
                "income_minor": random.integers(50_000, 900_000, customers),
                "birth_date": np.datetime64("1940-01-01")
                + random.integers(0, 24_000, customers).astype("timedelta64[D]"),
                "customer_since": np.datetime64("2015-01-01"),
                "household_id": random.integers(0, customers, customers).astype(str),
            }
        ),
        "products": pd.DataFrame(
            {
                "product_id": PRODUCTS,
                "valid_from": np.datetime64("2015-01-01"),
                "name": PRODUCTS,
                "product_group": [GROUPS[number % 6] for number in range(20)],
                "margin_minor": random.integers(2_000, 60_000, 20),
                "minimum_age": 18,
            }
        ),
        "holdings": holdings,
        "balances": balances.assign(
            balance_date=np.tile(month_ends, contracts), balance_minor=random.integers(-(10**6), 10**7, len(balances))
        ),
        "transactions": rows(
            customers * 15,
            "transaction_id",
            occurred_at=dates(customers * 15, "2024-01-01", 731),
            amount_minor=random.integers(-50_000, 50_000, customers * 15),
            category=some(CATEGORIES, customers * 15),
            channel=some(CHANNELS, customers * 15),
        ),
        "contacts": rows(
            customers * 3,
            "contact_id",
            occurred_at=dates(customers * 3, "2024-01-01", 730),
            channel=some(CHANNELS, customers * 3),
            direction=some(np.array(["in", "out"]), customers * 3),
            purpose=some(np.array(["sales", "service"]), customers * 3),
            product_id=some(PRODUCTS, customers * 3),
        ),
        "applications": rows(
            customers,
            "application_id",
            product_id=some(PRODUCTS, customers),
            applied_at=dates(customers, "2024-01-01", 730),
        ),
        "consents": rows(
            customers * 2,
            "source",
            channel=some(np.array(["call", "mail", "email"]), customers * 2),
            purpose="marketing",
            changed_at=dates(customers * 2, "2020-01-01", 1_000),
            granted=True,
        ),
    }


def prepare(data: Path, customers: int, seed: int) -> None:
    """Write the warehouse version, fit a small model of random purchases, and register both."""
    folder = paths.warehouse(data)
    folder.mkdir(parents=True)
    path = folder / "v000001.duckdb"
    build.from_frames(path, made_up(customers, seed))
    with session.session(data) as store:
        told = {"version": 1, "state": "published", "file": path.name, "format_version": schema.FORMAT_VERSION}
        store.add(tables.Version(**told, created_at=NOW, published_at=NOW))
        store.flush()
        store.merge(tables.Pointer(name="served", version=1))
        store.commit()
    known = snapshot.open_file(path).snapshot(AS_OF)
    spec = features.resolve(features.DEFAULT, known)
    ids = known.table("customers", ["customer_id"])["customer_id"].sort_values().head(_FITTED_ON).tolist()
    table = features.build(known, spec, customers=ids)
    random = np.random.default_rng(seed)
    parts = []
    for number, product in enumerate(PRODUCTS):
        logit = -3 + (number % 3 - 1) * (table["customer_income_minor"].to_numpy() - 475_000) / 250_000
        bought = random.random(len(table)) < 1 / (1 + np.exp(-logit))
        parts.append(table[["customer_id", "as_of"]].assign(product_id=product, bought=bought))
    labels = pd.concat(parts, ignore_index=True)
    model = PropensityModel(seed=seed).fit(table, labels, calibrate=(table, labels))
    registry.save(
        model,
        data=data,
        warehouse_version=1,
        as_of=AS_OF,
        now=NOW,
        metrics={},
        specification=features.to_json(spec),
    )


def opened(data: Path) -> desk.Desk:
    """Open the desk as the dashboard does."""
    registered = registry.load(data)
    spec = features.from_json(registered.specification)
    ready = live.prepare(registered.model, features.describe(spec))
    found = desk.open(data, desk.Scorer(ready.score, ready.reasons, spec, version=registered.version))
    _ = found.household
    return found


def timed(actions: list[Callable[[], Any]]) -> dict[str, float]:
    """Return quantiles of wall and CPU milliseconds of so many actions."""
    walls, cpus = [], []
    for action in actions:
        wall, cpu = time.perf_counter(), time.process_time()
        action()
        cpus.append((time.process_time() - cpu) * 1e3)
        walls.append((time.perf_counter() - wall) * 1e3)
    found = {"n": float(len(actions))}
    for name, values in (("wall", walls), ("cpu", cpus)):
        for share in (50, 90, 99):
            found[f"{name}_p{share}_ms"] = round(float(np.percentile(values, share)), 2)
    return found


def prompts(data: Path, count: int, seed: int) -> dict[str, Any]:
    """Measure the prompt, its floor and its peer."""
    wall = time.perf_counter()
    ready = opened(data)
    out: dict[str, Any] = {"open_seconds": round(time.perf_counter() - wall, 2)}
    ids = ready.snapshot.table("customers", ["customer_id"])["customer_id"]
    chosen = ids.sample(min(count, len(ids)), random_state=seed).tolist()
    cold, warm = chosen[: count // 10], chosen[count // 10 :]
    out["customers"], out["features"] = len(ids), len(ready.features.features if ready.features else ())
    out["cold"] = timed([lambda one=one: desk.prompt(ready, one, now=NOW) for one in cold])
    out["warm"] = timed([lambda one=one: desk.prompt(ready, one, now=NOW) for one in warm])
    keys = [ready.dossiers.key(one) for one in warm[:300]]
    out["floor: the rows alone"] = timed([lambda key=key: ready.dossiers.read(key) for key in keys])
    spec = ready.scorer.specification if ready.scorer else features.DEFAULT
    build_one = [lambda one=one: features.build(ready.snapshot, spec, customers=[one]) for one in warm[:5]]
    out["peer: features.build of one customer"] = timed(build_one)
    out["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return out


def questions(data: Path, people: int, seed: int) -> dict[str, Any]:
    """Count the questions until the first three offers are final, by the order of asking."""
    ready = opened(data)
    asker, others = match.open(ready, seed=seed), match.open(ready, seed=seed + 1).people
    names = [one.name for one in asker.questions]
    static = _static(asker, others.iloc[people : 2 * people])
    random = np.random.default_rng(seed)
    orders: dict[str, Callable[[match.Ranking, list[str]], str]] = {
        "match": lambda found, left: str(found.ask["question"].iloc[0]),
        "as listed": lambda found, left: left[0],
        "best fixed order": lambda found, left: next(one for one in static if one in left),
        "random": lambda found, left: left[int(random.integers(len(left)))],
    }
    counts: dict[str, list[int]] = {name: [] for name in orders}
    for person in others.head(people).to_dict("records"):
        for name, choose in orders.items():
            counts[name].append(_until_final(asker, person, names, choose))
    return {
        name: {"mean": round(float(np.mean(own)), 2), "standard_error": round(float(np.std(own) / len(own) ** 0.5), 2)}
        for name, own in counts.items()
    }


def _until_final(
    asker: match.Match, person: dict[Any, Any], names: list[str], choose: Callable[[match.Ranking, list[str]], str]
) -> int:
    answers: dict[str, Any] = {}
    lists = []
    while True:
        found = match.rank(asker, answers)
        lists.append(found.offers["product_id"].head(desk.OFFERS).tolist())
        left = [name for name in names if name not in answers]
        if not left:
            break
        name = choose(found, left)
        answers[name] = person[name]
    number = len(lists) - 1
    while number and lists[number - 1] == lists[-1]:
        number -= 1
    return number


def _static(asker: match.Match, people: pd.DataFrame) -> list[str]:
    """Return the questions by how often the answer alone changes the first three of these people."""
    first = match.rank(asker, {}).offers["product_id"].head(desk.OFFERS).tolist()
    changed = {}
    for one in asker.questions:
        found = [match.rank(asker, {one.name: value}).offers for value in people[one.name].head(25)]
        changed[one.name] = sum(table["product_id"].head(desk.OFFERS).tolist() != first for table in found)
    return sorted(changed, key=lambda name: -changed[name])


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--customers", type=int, default=50_000)
    parser.add_argument("--prompts", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--keep", type=Path, help="make the data folder here and use it again next time")
    parser.add_argument("--match", type=Path, help="measure the product match on this data folder instead")
    parser.add_argument("--people", type=int, default=100)
    given = parser.parse_args()
    if given.match:
        name, found = "desk-match", {"people": given.people, **questions(given.match, given.people, given.seed)}
    else:
        name = f"desk-{given.customers}"
        with tempfile.TemporaryDirectory() as temporary:
            data = given.keep or Path(temporary) / "data"
            if not data.exists():
                prepare(data, given.customers, given.seed)
            found = prompts(data, given.prompts, given.seed)
    print(json.dumps(found, indent=2))
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    (results / f"{name}.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
