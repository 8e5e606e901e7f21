"""Who could buy what after a date, and who did."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import sqlalchemy as sa

from crmlib.errors import DataError, NotFoundError
from crmlib.models import pairs
from crmlib.warehouse import objections, schema
from crmlib.warehouse.snapshot import Snapshot, Warehouse, cutoff, known


def candidates(snapshot: Snapshot, *, products: Sequence[str] | None = None) -> pd.DataFrame:
    """Return the pairs of customer and product that could come about, judged by what was known at the snapshot.

    Out: customer_id, as_of (datetime64), product_id (category); one row per pair, sorted by customer, then product.
    A pair is left out where the relationship is closed, the customer objected to profiling (``objectors``), the product
    is not on sale, is held already (unless it is repeatable), wants another product that is not held, or its limits of
    age or income exclude the customer; an unknown age or income excludes nobody.

    ``products`` keeps only these. Raises NotFoundError for a product not on sale then, DataError where nobody is left.
    """
    customers, goods, allowed = _allowed(snapshot, products)
    return pairs.table(customers["customer_id"], goods, snapshot.as_of, chosen=allowed)


def purchases(
    wh: Warehouse, *, after: Snapshot, within_days: int = 90, products: Sequence[str] | None = None
) -> pd.DataFrame:
    """Return for each pair that could come about whether it did: the outcome to learn from, strictly after ``as_of``.

    Out: the columns of ``candidates`` and bought (bool): the customer opened a holding of the product in the days
    (as_of, as_of + within_days], by all that ``wh`` knows today. ``products`` keeps only these.

    Raises DataError where the records end before the last of these days (outcomes would be cut off), and where nobody
    bought any of the products.
    """
    if within_days < 1:
        raise DataError(f"within_days is {within_days}; the outcome needs at least one day after the snapshot")
    last_day = after.as_of + dt.timedelta(days=within_days)
    if wh.period is None:
        raise DataError(f"version {wh.version} of the warehouse holds no record of any kind; load some data first")
    last_record = wh.period[1]
    if last_record < last_day:
        raise DataError(
            f"purchases within {within_days} days after {after.as_of} run to {last_day}, but the last record of version"
            f" {wh.version} is of {last_record}; take an earlier snapshot (no later than"
            f" {last_record - dt.timedelta(days=within_days)}), fewer days, or load newer data"
        )
    customers, goods, allowed = _allowed(after, products)
    holdings = schema.tables()["holdings"]
    opened = sa.select(holdings.c.customer_key, holdings.c.product_id).where(
        holdings.c.superseded_at.is_(None), holdings.c.opened_on > after.as_of, holdings.c.opened_on <= last_day
    )
    bought = _flags(wh.arrow(opened), customers["customer_key"], goods) & allowed
    if not bought.any():
        what = "any product" if products is None else ", ".join(goods)
        raise DataError(
            f"nobody who could buy {what} did so from {after.as_of + dt.timedelta(days=1)} to {last_day};"
            " leave it out, take more days or another snapshot"
        )
    return pairs.table(customers["customer_id"], goods, after.as_of, chosen=allowed, bought=bought)


def sold(labels: pd.DataFrame) -> list[str]:
    """Return the products that somebody bought, in order; give them to ``purchases`` or ``candidates`` as ``products``.

    >>> sold(pd.DataFrame({"product_id": ["loan", "card", "card"], "bought": [False, True, False]}))
    ['card']
    """
    return sorted({str(name) for name in labels.loc[labels["bought"].to_numpy(bool), "product_id"].unique()})


def objectors(snapshot: Snapshot) -> np.ndarray:
    """Return the customer_key of everybody who objected to profiling and had not taken it back by then, in order."""
    consents = schema.tables()["consents"]
    rows = known(consents, snapshot.as_of, system=("customer_key",)).where(consents.c.purpose == objections.PURPOSE)
    stated = snapshot.warehouse.arrow(rows).to_pandas()
    return np.unique(objections.profiling_objectors(stated, who="customer_key").to_numpy(np.int64))


def _allowed(snapshot: Snapshot, products: Sequence[str] | None) -> tuple[pd.DataFrame, list[str], np.ndarray]:
    """Return customers (customer_id, customer_key), product names, and the matrix of who could buy what."""
    customers = _customers(snapshot)
    terms = _terms(snapshot, products)
    goods = [str(name) for name in terms["product_id"]]
    wanted = [str(name) for name in terms["requires_product_id"].dropna()]
    names = sorted({*goods, *wanted})
    holds = dict(zip(names, _flags(_held(snapshot), customers["customer_key"], names).T, strict=True))
    allowed = np.ones((len(customers), len(goods)), dtype=bool)
    age, income = customers["age"].to_numpy(), customers["income"].to_numpy()
    for place, term in enumerate(terms.to_dict("records")):
        column = allowed[:, place]
        column &= ~(age < _number(term["minimum_age"], -np.inf)) & ~(age > _number(term["maximum_age"], np.inf))
        column &= ~(income < _number(term["minimum_income"], -np.inf))
        if not (pd.notna(term["repeatable"]) and term["repeatable"]):
            column &= ~holds[term["product_id"]]
        if pd.notna(term["requires_product_id"]):
            column &= holds[term["requires_product_id"]]
    if not allowed.any():
        raise DataError(
            f"as of {snapshot.as_of} no customer could buy any product on sale; check the tables customers and products"
        )
    return customers, goods, allowed


def _customers(snapshot: Snapshot) -> pd.DataFrame:
    """Return customer_id, customer_key, age (years) and income (company currency) of whom may be scored, by key."""
    table = schema.tables()["customers"]
    rows = known(table, snapshot.as_of, system=("customer_key",)).subquery("rows")
    names = ("customer_id", "customer_key", "birth_date", "income_minor", "currency")
    select = sa.select(*[rows.c[name] for name in names]).where(rows.c.closed_on.is_(None))
    found = snapshot.warehouse.arrow(select.order_by(rows.c.customer_key))
    keys = found["customer_key"].to_numpy()
    kept = found.filter(pa.array(~np.isin(keys, objectors(snapshot))))
    if not kept.num_rows:
        raise DataError(
            f"as of {snapshot.as_of} there is no customer to score: of {found.num_rows} with an open relationship"
            " all objected to profiling, or none was known; check the tables customers and consents"
        )
    born = kept["birth_date"].to_numpy(zero_copy_only=False).astype("datetime64[D]")
    return pd.DataFrame(
        {
            "customer_id": pairs.text(kept["customer_id"]),
            "customer_key": kept["customer_key"].to_numpy(),
            "age": _full_years(born, np.datetime64(snapshot.as_of, "D")),
            "income": _converted(snapshot, kept["income_minor"], kept["currency"]),
        }
    )


def _full_years(born: np.ndarray, day: np.datetime64) -> np.ndarray:
    """Return the age in completed years at ``day``; nan where the birth date is missing.

    >>> _full_years(np.array(["2000-03-01", "2000-02-29", "NaT"], "datetime64[D]"), np.datetime64("2018-02-28"))
    array([17., 17., nan])
    """
    missing = np.isnat(born)
    year = born.astype("datetime64[Y]").astype(int)
    in_year = (born - born.astype("datetime64[M]")).astype(int) + 32 * (born.astype("datetime64[M]").astype(int) % 12)
    today = (day - day.astype("datetime64[M]")).astype(int) + 32 * (day.astype("datetime64[M]").astype(int) % 12)
    years = (day.astype("datetime64[Y]").astype(int) - year - (in_year > today)).astype(float)
    return np.where(missing, np.nan, years)


def _terms(snapshot: Snapshot, products: Sequence[str] | None) -> pd.DataFrame:
    terms = snapshot.table("products")
    terms = terms[terms["withdrawn_on"].isna()].sort_values("product_id", ignore_index=True)
    if products is not None:
        absent = sorted(set(products) - set(terms["product_id"]))
        if absent:
            raise NotFoundError(
                f"product {', '.join(absent)} was not on sale as of {snapshot.as_of};"
                f" on sale were {', '.join(terms['product_id']) or 'none'}"
            )
        terms = terms[terms["product_id"].isin(list(products))].reset_index(drop=True)
    if terms.empty:
        raise DataError(f"as of {snapshot.as_of} no product was on sale; load the table products")
    income = pa.array(terms["minimum_income_minor"], from_pandas=True, type=pa.int64())
    currency = pa.array(terms["currency"], from_pandas=True, type=pa.string())
    return terms.assign(minimum_income=_converted(snapshot, income, currency))


def _held(snapshot: Snapshot) -> pa.Table:
    """Return customer_key and product_id of the holdings open at the end of the day."""
    rows = known(schema.tables()["holdings"], snapshot.as_of, system=("customer_key",)).subquery("rows")
    ended = sa.or_(rows.c.closed_on.is_(None), rows.c.closed_on >= cutoff(snapshot.as_of).date())
    return snapshot.warehouse.arrow(sa.select(rows.c.customer_key, rows.c.product_id).where(ended))


def _flags(rows: pa.Table, keys: pd.Series, goods: Sequence[str]) -> np.ndarray:
    """Return the matrix (customers x products) that is true where ``rows`` holds the pair; ``keys`` are ascending."""
    known_keys = keys.to_numpy()
    code = pd.Index(goods).get_indexer(rows["product_id"].to_pandas())
    key = rows["customer_key"].to_numpy()
    place = np.minimum(np.searchsorted(known_keys, key), len(known_keys) - 1)
    hit = (code >= 0) & (known_keys[place] == key)
    flags = np.zeros((len(known_keys), len(goods)), dtype=bool)
    flags[place[hit], code[hit]] = True
    return flags


def _converted(
    snapshot: Snapshot, amounts: pa.ChunkedArray | pa.Array, currency: pa.ChunkedArray | pa.Array
) -> np.ndarray:
    """Return amounts in the company's currency as float; nan where missing or in a currency without a rate."""
    company = snapshot.warehouse.company
    rates = {company.currency: 1.0, **company.exchange_rates}
    values = pd.to_numeric(amounts.to_pandas(), errors="coerce").to_numpy(float)
    factor = currency.to_pandas().map(lambda name: rates.get(name, np.nan) if isinstance(name, str) else 1.0)
    return values * factor.to_numpy(float)


def _number(value: object, default: float) -> float:
    return default if pd.isna(value) else float(value)  # type: ignore[call-overload,arg-type]
