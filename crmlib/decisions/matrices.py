"""Product-segment and cross-product matrices: who holds, wants and is worth what, and what is taken after what."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import scipy.sparse as sp
import sqlalchemy as sa

from crmlib.decisions import call_list, customer_facts, eligibility, matrices_hidden, proportions, small_cells
from crmlib.errors import DataError, UsageError
from crmlib.warehouse import schema
from crmlib.warehouse.company import Company
from crmlib.warehouse.snapshot import Snapshot, Warehouse

FEWEST = small_cells.SMALLEST
"""Cells of fewer customers are hidden: they would say something about persons, and little about anything else."""

COULD_TAKE = (
    *("customer_left", "withdrawn", "already_held", "required_missing"),
    *("age_below", "age_above", "income_below"),
)
"""Rules by which a purchase cannot come about; the others only say that the company does not offer it."""

_SUFFIX = {"score": "", "low": "_low", "high": "_high"}


@dataclass(frozen=True, eq=False)
class Known:
    """What the matrices of a snapshot are counted from; made by ``prepare``.

    Attributes: ``customers`` with an open relationship (n), ``products`` (m), ``held`` and ``allowed`` (n × m, bool) what
    each holds and may be offered; ``pairs`` the scores of whom a product may be offered, None without scores: row and
    column in those matrices, score, low, high, and profit, profit_low, profit_high, cost (minor units, nan without a
    margin or a permitted channel); ``priced`` which products have a margin.
    """

    customers: pd.Index
    products: list[str]
    held: np.ndarray
    allowed: np.ndarray
    pairs: pd.DataFrame | None = None
    priced: np.ndarray | None = None


def product_segment(
    snapshot: Snapshot,
    members: pd.DataFrame,
    *,
    scores: pd.DataFrame | None = None,
    company: Company | None = None,
    products: Sequence[str] | None = None,
    rules: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Return for each segment and product who holds it, how likely the others are to buy, and what that is worth.

    In: ``members`` (customer_id, segment; a customer may be in several); the others as for ``prepare``. Out, a row a
    segment and product: customers, holders, penetration with low and high (Wilson, 95%); with scores also candidates
    (scored and eligible), propensity (their mean probability, low and high the means of their own bounds), contacts
    (candidates who may be contacted and are worth it), cost_minor and expected_profit_minor (sum of probability × margin
    − cost over them, in minor units, with low and high). hidden, holders_hidden, scores_hidden and contacts_hidden say
    where numbers are missing: fewer than ``FEWEST`` customers, holders, candidates or contacts, or as few others in the
    segment, or what would give such a cell away.

    Raises what ``prepare`` and ``of_segments`` raise.
    """
    _need("members", members, ("customer_id", "segment"))
    known = prepare(snapshot, scores=scores, company=company, products=products, rules=rules)
    return of_segments(known, members)


def prepare(
    snapshot: Snapshot,
    *,
    scores: pd.DataFrame | None = None,
    company: Company | None = None,
    products: Sequence[str] | None = None,
    rules: pd.DataFrame | None = None,
) -> Known:
    """Return what every matrix of a snapshot is counted from, so that it is read once for many.

    In: ``scores`` (customer_id, product_id, score, and low and high where known: calibrated probabilities); ``company``
    (default: the warehouse's) for margins, costs and consent; ``products`` to keep; ``rules`` of eligibility.

    Raises UsageError for scores without a column or with a pair twice, NotFoundError for an unknown product, DataError
    where no relationship is open or a product named in ``products`` has no margin.
    """
    known = _read(snapshot, products, rules)
    if scores is None:
        return known
    _need("scores", scores, ("customer_id", "product_id", "score"))
    company = company or snapshot.warehouse.company
    earned = call_list.margins(snapshot.table("products"), company=company).set_index("product_id")["margin_minor"]
    margin = pd.Series(known.products).map(earned).to_numpy(float)
    lacking = [name for name in products or [] if np.isnan(margin[known.products.index(name)])]
    if lacking:
        raise DataError(
            f"product {', '.join(lacking)} has no margin; give margin_minor in the table products or margins_minor in"
            " company.toml, or leave the product out"
        )
    pairs = _scored(known, scores)
    cost = _cheapest(snapshot, known.customers, company)[pairs["row"]]
    profit = {
        f"profit{suffix}": pairs[name].to_numpy(float) * margin[pairs["column"]] - cost
        for name, suffix in _SUFFIX.items()
        if name in pairs
    }
    return replace(known, pairs=pairs.assign(cost=cost, **profit), priced=~np.isnan(margin))


def of_segments(known: Known, members: pd.DataFrame) -> pd.DataFrame:
    """Return the matrix of ``product_segment``; raises DataError where no customer is in a segment."""
    _need("members", members, ("customer_id", "segment"))
    names, of = _segments(members, known.customers)
    customers = np.asarray(of.sum(axis=0)).ravel()
    counts = {"customers": np.repeat(customers[:, None], len(known.products), axis=1), "holders": of.T @ known.held}
    out = _long(names, known.products, {name: values.astype(np.int64) for name, values in counts.items()})
    out["penetration"] = out["holders"] / out["customers"]
    out["penetration_low"], out["penetration_high"] = proportions.wilson(out["holders"], out["customers"])
    apart = bool((of.sum(axis=1) <= 1).all())
    hidden = np.repeat(matrices_hidden.groups(customers, apart=apart)[:, None], len(known.products), axis=1)
    held = matrices_hidden.parts(counts["customers"], counts["holders"], hidden=hidden, apart=apart)
    out["hidden"] = hidden.ravel()
    out["holders_hidden"] = matrices_hidden.both_ways(held, names, known.products).ravel()
    if known.pairs is not None:
        worth = _worth(known, known.pairs, of)
        candidates, contacts = (worth[name].to_numpy().reshape(hidden.shape) for name in ("candidates", "contacts"))
        few = matrices_hidden.parts(counts["customers"], candidates, hidden=hidden, apart=apart) | (candidates == 0)
        out = pd.concat([out, worth], axis=1)
        out["scores_hidden"] = few.ravel()
        out["contacts_hidden"] = matrices_hidden.parts(candidates, contacts, hidden=few, apart=apart).ravel()
        unpriced = ~np.asarray(known.priced)
        money = [name for name in worth if str(name).endswith("_minor")]
        out = _blank(out, ["contacts", *map(str, money)], pd.Series(np.tile(unpriced, len(names))))
    return _hide(out)


def cross_product(
    wh: Warehouse,
    as_of: str | dt.date,
    *,
    within_days: int = 90,
    next_only: bool = False,
    products: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Return who holds one product at a date and takes another in the days after it.

    A customer can take a product that is on sale, not held yet (unless it is repeatable), whose required product is held
    and whose limits of age and income do not exclude the customer (``COULD_TAKE``; what is unknown excludes nobody);
    takers open a holding of it in (as_of, as_of + within_days], by all that ``wh`` knows. With ``next_only`` only what
    a customer took first counts. Out, a row a pair: holds, takes, customers (holders of the one who could take the
    other), takers, rate with low and high (Wilson, 95%); base_customers, base_takers, base_rate (of all who could
    take it), lift (rate over base rate) with low and high (``proportions.lift``); hidden (fewer than ``FEWEST`` customers
    or takers, or as few who did not take it, or did without holding the one: ``matrices_hidden.crossed``).

    Raises UsageError for ``within_days`` below 1, DataError where the records end before the last of these days.
    """
    if within_days < 1:
        raise UsageError(f"within_days is {within_days}; give at least one day after the snapshot")
    snapshot = wh.snapshot(as_of)
    last = snapshot.as_of + dt.timedelta(days=within_days)
    end = wh.period[1] if wh.period else snapshot.as_of
    if last > end:
        raise DataError(
            f"{within_days} days after {snapshot.as_of} run to {last}, but the last record of version {wh.version} is of"
            f" {end}; take a date no later than {end - dt.timedelta(days=within_days)}, fewer days, or load newer data"
        )
    stated = eligibility.rules(snapshot)
    hard = stated[stated["code"].isin(COULD_TAKE)]
    hard = hard.assign(unknown=hard["unknown"].where(hard["unknown"] == "", "allow"))
    base = _read(snapshot, products, hard)
    taken = _taken(wh, base, after=snapshot.as_of, last=last, next_only=next_only) & base.allowed
    customers, takers = (_by_holding(base.held, matrix) for matrix in (base.allowed, taken))
    shape = (len(base.products), 1)
    out = _long(
        base.products,
        base.products,
        {
            "customers": customers,
            "takers": takers,
            "base_customers": np.tile(base.allowed.sum(axis=0), shape),
            "base_takers": np.tile(taken.sum(axis=0), shape),
        },
    ).rename(columns={"segment": "holds", "product_id": "takes"})
    out["rate"] = out["takers"] / out["customers"]
    out["rate_low"], out["rate_high"] = proportions.wilson(out["takers"], out["customers"])
    out["base_rate"] = out["base_takers"] / out["base_customers"]
    lifts = proportions.lift(out["takers"], out["customers"], out["base_takers"], out["base_customers"])
    out["lift"], out["lift_low"], out["lift_high"] = lifts
    out["hidden"] = matrices_hidden.crossed(out)
    columns = ["customers", "takers", "rate", "rate_low", "rate_high", "lift", "lift_low", "lift_high"]
    out = _blank(out, columns, out["hidden"])
    few = (out["base_customers"] < FEWEST) | out["base_takers"].between(1, FEWEST - 1)
    return _blank(out, ["base_customers", "base_takers", "base_rate", *columns[-3:]], few)


def _read(snapshot: Snapshot, products: Sequence[str] | None, rules: pd.DataFrame | None) -> Known:
    """Read holdings and eligibility of everybody, a part of the customers at a time."""
    table = eligibility.checked(snapshot, rules)
    goods = eligibility.chosen(table, products)
    judged = table[table["product_id"].isin(goods)]
    names, held, allowed = [], [], []
    for facts in _parts(snapshot, judged):
        names.append(facts.customer_id)
        held.append(np.column_stack([facts.held[name] for name in goods]))
        allowed.append(eligibility.judge(facts, judged, products=goods) == 0)
    customers = pd.Index(pd.concat(names, ignore_index=True))
    return Known(customers, goods, np.concatenate(held), np.concatenate(allowed))


def _parts(snapshot: Snapshot, rules: pd.DataFrame) -> Iterator[customer_facts.Facts]:
    keys = customer_facts.keys(snapshot, None)
    if keys.size == 0:
        raise DataError(f"as of {snapshot.as_of} no customer has an open relationship; check the table customers")
    for start in range(0, len(keys), eligibility.CHUNK):
        yield customer_facts.read(snapshot, keys[start : start + eligibility.CHUNK], rules=rules)


def _segments(members: pd.DataFrame, customers: pd.Index) -> tuple[list[str], sp.csr_array]:
    """Return the names of the segments and the matrix (customers × segments) of who is in which."""
    place = customers.get_indexer(pd.Index(members["customer_id"]))
    inside = place >= 0
    if not inside.any():
        raise DataError("no customer with an open relationship is in a segment; make members from the same snapshot")
    code, names = pd.factorize(members.loc[inside, "segment"].astype("str").fillna(""), sort=True)
    entries = (np.ones(len(code), dtype=np.int64), (place[inside], code))
    of = sp.csr_array(entries, shape=(len(customers), len(names)))
    of.sum_duplicates()
    of.data[:] = 1  # a member named twice is one customer
    return [str(name) for name in names], of


def _worth(known: Known, pairs: pd.DataFrame, of: sp.csr_array) -> pd.DataFrame:
    """Return candidates, propensity, contacts and expected profit by segment and product, in the order of ``_long``."""
    row, column = pairs["row"].to_numpy(), pairs["column"].to_numpy()
    worth = np.nan_to_num(pairs["profit"].to_numpy(), nan=-1.0) > 0

    def total(values: np.ndarray, chosen: np.ndarray | slice = slice(None)) -> np.ndarray:
        by_customer = sp.csr_array((values[chosen], (row[chosen], column[chosen])), shape=known.held.shape)
        summed: np.ndarray = (of.T @ by_customer).toarray()
        return summed.ravel()

    ones = np.ones(len(pairs))
    out: dict[str, np.ndarray] = {"candidates": total(ones).astype(np.int64)}
    bounds = {name: suffix for name, suffix in _SUFFIX.items() if name in pairs}
    with np.errstate(invalid="ignore", divide="ignore"):
        for name, suffix in bounds.items():
            out[f"propensity{suffix}"] = total(pairs[name].to_numpy(float)) / out["candidates"]
    out["contacts"] = total(ones, worth).astype(np.int64)
    out["cost_minor"] = total(pairs["cost"].to_numpy(), worth)
    for suffix in bounds.values():
        out[f"expected_profit{suffix}_minor"] = total(pairs[f"profit{suffix}"].to_numpy(), worth)
    return pd.DataFrame(out)


def _scored(base: Known, scores: pd.DataFrame) -> pd.DataFrame:
    """Return the scores of whom a product may be offered, with the row and column of each pair."""
    row = base.customers.get_indexer(pd.Index(scores["customer_id"]))
    categories = scores["product_id"].astype("category").cat
    place = pd.Index(base.products).get_indexer(categories.categories.astype("str"))
    column = np.append(place, -1)[categories.codes.to_numpy()]
    kept = (row >= 0) & (column >= 0)
    kept[kept] = base.allowed[row[kept], column[kept]]
    given = {name: scores[name].to_numpy(float)[kept] for name in _SUFFIX if name in scores}
    found = pd.DataFrame({"row": row[kept], "column": column[kept], **given})
    if found.duplicated(["row", "column"]).any():
        raise UsageError("scores hold a customer and product more than once; give the scores of one date and model")
    return found


def _cheapest(snapshot: Snapshot, customers: pd.Index, company: Company) -> np.ndarray:
    """Return the cost of the cheapest contact each customer consents to, minor units; nan where there is none."""
    everybody = pd.Series(customers, dtype="str")
    allowed = call_list.permitted(snapshot.table("consents"), everybody, company=company)
    cost = allowed["channel"].map(company.contact_costs_minor).astype(float)
    cheapest = cost.groupby(allowed["customer_id"]).min()
    return everybody.map(cheapest).to_numpy(float)


def _taken(wh: Warehouse, base: Known, *, after: dt.date, last: dt.date, next_only: bool) -> np.ndarray:
    """Return the matrix (customers × products) of what was opened in (after, last], by all that is known today."""
    holdings = schema.tables()["holdings"]
    query = sa.select(holdings.c.customer_id, holdings.c.product_id, holdings.c.opened_on).where(
        holdings.c.superseded_at.is_(None), holdings.c.opened_on > after, holdings.c.opened_on <= last
    )
    rows = wh.read(query)
    place = base.customers.get_indexer(pd.Index(rows["customer_id"]))
    column = pd.Index(base.products).get_indexer(pd.Index(rows["product_id"]))
    kept = place >= 0
    if next_only:  # the first day of any purchase, also of a product that is not shown
        kept &= (rows["opened_on"] == rows.groupby("customer_id")["opened_on"].transform("min")).to_numpy()
    kept &= column >= 0
    taken = np.zeros(base.held.shape, dtype=bool)
    taken[place[kept], column[kept]] = True
    return taken


def _by_holding(held: np.ndarray, flags: np.ndarray) -> np.ndarray:
    """Return how many of the holders of each product have each flag; exact, and without a copy as numbers."""
    return np.array([flags[column].sum(axis=0) for column in held.T])


def _long(rows: Sequence[str], products: Sequence[str], matrices: dict[str, np.ndarray]) -> pd.DataFrame:
    """Return matrices (rows × products) as a long table: segment, product_id and a column a matrix."""
    out = {
        "segment": pd.Series(np.repeat(np.array(rows, dtype=object), len(products)), dtype="str"),
        "product_id": pd.Series(np.tile(np.array(products, dtype=object), len(rows)), dtype="str"),
    }
    return pd.DataFrame({**out, **{name: values.ravel() for name, values in matrices.items()}})


def _hide(table: pd.DataFrame) -> pd.DataFrame:
    """Take the numbers out of cells of too few customers."""
    names = [str(name) for name in table]
    out = _blank(table, ["customers"], table["hidden"])
    told = ["holders", *[name for name in names if name.startswith("penetration")]]
    out = _blank(out, told, table["holders_hidden"])
    if "scores_hidden" not in table:
        return out
    chances = ["candidates", *[name for name in names if name.startswith("propensity")]]
    out = _blank(out, chances, table["scores_hidden"])
    return _blank(out, ["contacts", *[name for name in names if name.endswith("_minor")]], table["contacts_hidden"])


def _blank(table: pd.DataFrame, columns: Sequence[str], where: pd.Series) -> pd.DataFrame:
    """Return the table with missing values where told; counts become nullable whole numbers."""
    out = table.copy()
    for name in columns:
        whole = pd.api.types.is_integer_dtype(out[name])
        out[name] = (out[name].astype("Int64") if whole else out[name]).mask(where.to_numpy(bool))
    return out


def _need(name: str, table: pd.DataFrame, columns: Sequence[str]) -> None:
    missing = [column for column in columns if column not in table]
    if missing:
        raise UsageError(f"{name} has no column {', '.join(missing)}; it has {', '.join(map(str, table.columns))}")
