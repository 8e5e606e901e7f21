"""What an offer is worth: the purchases it brings × what a sale earns over a stated horizon × who stays − the contact.

A sale earns ``margin_minor / margin_months`` at the end of each of its months. Over a horizon of ``horizon_months``,
with a discount of d a year and a share r of contracts that live on each month, ``n = min(horizon, margin_months)``:

    margin    = margin_minor / margin_months × Σ v^t          t = 1 … n,  v = (1 + d)^(-1/12)
    retention = Σ (r v)^t / Σ v^t
    gain      = (uplift, else probability) × margin × retention
    value     = lever × gain − cost of the contact

the customer value Σ m r^t / (1 + d)^t of Gupta, Lehmann and Stuart (2004), "Valuing Customers", Journal of Marketing
Research 41, pages 7-18, cut at the horizon, with months for years.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from crmlib.decisions import call_list
from crmlib.errors import DataError, UsageError
from crmlib.warehouse.company import LEVER_BOUNDS, Company

TERMS = ["product_id", "margin_minor", "retention", "lever", "months"]
COLUMNS = [
    *("customer_id", "product_id", "channel", "probability", "uplift", "basis", "margin_minor", "retention"),
    *("cost_minor", "lever", "value_minor", "unlevered_minor"),
]


def terms(products: pd.DataFrame, *, company: Company, horizon_months: int | None = None) -> pd.DataFrame:
    """Return what one sale of each product earns over the horizon.

    In: ``products`` as in the warehouse (product_id, margin_minor, margin_months, currency); where margin_months is
    missing the margin is taken as earned over the horizon; ``horizon_months`` instead of the company's. Out: a row a
    product with a margin: product_id, margin_minor (float, discounted, over ``months``, before anyone leaves),
    retention (share of it that who stays still brings), lever.

    Raises UsageError for a horizon below one month, DataError for a lever of an unknown product or out of bounds.

    >>> products = pd.DataFrame({"product_id": ["card"], "margin_minor": [2400], "margin_months": [24]})
    >>> company = Company(horizon_months=12, annual_discount=0.0, monthly_retention=0.99)
    >>> terms(products, company=company).round(4).to_dict("records")
    [{'product_id': 'card', 'margin_minor': 1200.0, 'retention': 0.9373, 'lever': 1.0, 'months': 12}]
    """
    horizon = company.horizon_months if horizon_months is None else horizon_months
    if horizon < 1:
        raise UsageError(f"horizon_months is {horizon}; give one month or more")
    check_levers(company.levers, products["product_id"])
    sold = call_list.margins(products, company=company)
    over = sold["product_id"].map(products.drop_duplicates("product_id").set_index("product_id")["margin_months"])
    spread = over.astype("Float64").astype(float).fillna(float(horizon)).to_numpy()
    months = np.minimum(spread, horizon).astype(int)
    monthly = 1.0 / (1.0 + company.annual_discount) ** (1.0 / 12.0)
    kept = sold["product_id"].map(company.product_retention).astype(float).fillna(company.monthly_retention).to_numpy()
    discounted = _series(monthly, months)
    lever = sold["product_id"].map(company.levers).astype(float).fillna(1.0)
    return pd.DataFrame(
        {
            "product_id": sold["product_id"].astype(str),
            "margin_minor": sold["margin_minor"].to_numpy(float) / spread * discounted,
            "retention": _series(kept * monthly, months) / discounted,
            "lever": lever.to_numpy(float),
            "months": months,
        }
    )


def _series(factor: float | np.ndarray, months: np.ndarray) -> np.ndarray:
    """Return the sum of factor^t for t from 1 to ``months``."""
    factor = np.broadcast_to(np.asarray(factor, float), months.shape)
    near_one = np.isclose(factor, 1.0, rtol=0, atol=1e-12)
    safe = np.where(near_one, 0.5, factor)
    return np.where(near_one, months, safe * (1 - safe**months) / (1 - safe))


def check_levers(levers: dict[str, float], products: pd.Series) -> None:
    """Raise DataError for a lever out of ``LEVER_BOUNDS`` or of a product that is not in the table."""
    low, high = LEVER_BOUNDS
    known = set(products.astype(str))
    for name, factor in levers.items():
        if name not in known:
            raise DataError(
                f"levers: there is no product {name!r}; there are {', '.join(sorted(known))} (levers in company.toml)"
            )
        if not low <= factor <= high:
            raise DataError(
                f"levers: the lever of {name} is {factor}; a business priority is a factor from {low} to {high}"
            )


def table(
    scores: pd.DataFrame,
    *,
    terms: pd.DataFrame,
    company: Company,
    channels: list[str] | None = None,
    uplift: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Return what each offer by each channel is worth.

    In: ``scores`` with customer_id, product_id, score (calibrated probability); ``terms`` of ``terms``; ``channels``
    those in question (all with a cost); ``uplift`` with customer_id, product_id, channel, score (probability that a
    contact adds). Out: one row a scored customer, product with terms, and channel, with the columns of ``COLUMNS``:
    ``uplift`` is NaN where unknown; ``basis`` says which of "uplift" and "probability" the value rests on;
    ``unlevered_minor`` is the value without the lever. Amounts are in minor units of the company's currency.

    Raises UsageError for a channel without a cost of contact.
    """
    costs = channel_costs(company, channels)
    sold = scores[["customer_id", "product_id"]].assign(
        product_id=scores["product_id"].astype(str), probability=scores["score"].astype(float)
    )
    sold = sold.merge(terms, on="product_id", how="inner", validate="many_to_one")
    pairs = sold.merge(costs, how="cross")
    if uplift is None or uplift.empty:
        pairs = pairs.assign(uplift=np.nan)
    else:
        added = (
            uplift[["customer_id", "product_id", "channel"]].astype(str).assign(uplift=uplift["score"].astype(float))
        )
        pairs = pairs.merge(added, on=["customer_id", "product_id", "channel"], how="left", validate="many_to_one")
    return _valued(pairs)[COLUMNS]


def _valued(pairs: pd.DataFrame) -> pd.DataFrame:
    known = pairs["uplift"].notna()
    gain = pairs["uplift"].where(known, pairs["probability"]) * pairs["margin_minor"] * pairs["retention"]
    basis = pd.Series(np.where(known, "uplift", "probability"), index=pairs.index, dtype="str")
    value = pairs["lever"] * gain - pairs["cost_minor"]
    return pairs.assign(basis=basis, value_minor=value, unlevered_minor=gain - pairs["cost_minor"])


def channel_costs(company: Company, channels: list[str] | None = None) -> pd.DataFrame:
    """Return channel and cost_minor of the channels asked for (all with a cost); raises UsageError for another one."""
    costs = company.contact_costs_minor
    asked = sorted(costs) if channels is None else list(dict.fromkeys(channels))
    unknown = [name for name in asked if name not in costs]
    if unknown:
        raise UsageError(
            f"channel {unknown[0]!r} has no cost of contact; known are {', '.join(sorted(costs))} "
            "(contact_costs_minor in company.toml)"
        )
    return pd.DataFrame({"channel": asked, "cost_minor": [float(costs[name]) for name in asked]}).astype(
        {"channel": "str"}
    )


@dataclass(frozen=True)
class Matrix:
    """The values of all offers to many customers at once; an offer is a product by a channel.

    Attributes: ``customers`` their ids, sorted; ``products``, ``channels``; ``probability`` (customers × products, NaN
    where there is no score), ``uplift`` (customers × products × channels, NaN where unknown) or None; by product
    ``margin_minor``, ``retention`` and ``lever``; by channel ``cost_minor``.
    """

    customers: pd.Index
    products: list[str]
    channels: list[str]
    probability: np.ndarray
    uplift: np.ndarray | None
    margin_minor: np.ndarray
    retention: np.ndarray
    lever: np.ndarray
    cost_minor: np.ndarray


def matrix(
    scores: pd.DataFrame,
    *,
    terms: pd.DataFrame,
    company: Company,
    customers: pd.Index,
    channels: list[str] | None = None,
    uplift: pd.DataFrame | None = None,
) -> Matrix:
    """Return the values of ``table`` in the form of a matrix; arguments as there, ``customers`` sorted and unique."""
    costs = channel_costs(company, channels)
    sold = terms.sort_values("product_id", ignore_index=True)
    products = pd.Index(sold["product_id"])
    row, column = _places(scores["customer_id"], customers), _codes(scores["product_id"], products)
    inside = (row >= 0) & (column >= 0)
    probability = np.full((len(customers), len(products)), np.nan, np.float32)
    probability[row[inside], column[inside]] = scores["score"].to_numpy(np.float32)[inside]
    added = None
    if uplift is not None and len(uplift):
        names = pd.Index(costs["channel"])
        added = np.full((len(customers), len(products), len(names)), np.nan, np.float32)
        place = [_places(uplift["customer_id"], customers), _codes(uplift["product_id"], products)]
        place.append(_codes(uplift["channel"], names))
        known = (np.stack(place) >= 0).all(axis=0)
        added[tuple(part[known] for part in place)] = uplift["score"].to_numpy(np.float32)[known]
    margin, retention, lever = (sold[name].to_numpy(float) for name in ("margin_minor", "retention", "lever"))
    named, cost = costs["channel"].tolist(), costs["cost_minor"].to_numpy(float)
    return Matrix(customers, list(products), named, probability, added, margin, retention, lever, cost)


def _places(customer_id: pd.Series, customers: pd.Index) -> np.ndarray:
    """Return the place of each row's customer among the customers, -1 for others; each customer is sought once."""
    code, found = pd.factorize(customer_id)
    return np.append(customers.get_indexer(pd.Index(found)), -1)[code]


def _codes(values: pd.Series, known: pd.Index) -> np.ndarray:
    """Return the place of each value among the known ones, -1 for others; quick for categories."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        places = known.get_indexer(values.cat.categories.astype(str))
        return np.append(places, -1)[values.cat.codes.to_numpy()]
    return known.get_indexer(pd.Index(values.astype(str)))


def gains(worth: Matrix, rows: slice | np.ndarray = slice(None)) -> np.ndarray:
    """Return what each offer is expected to earn before lever and cost: (products × channels) × customers, float32."""
    probability = worth.probability[rows]
    chance = np.repeat(probability[:, :, None], len(worth.channels), axis=2)
    if worth.uplift is not None:
        known = worth.uplift[rows]
        # Without a probability there is no such offer: the customer has the product or cannot buy it.
        chance = np.where(np.isnan(known) | np.isnan(chance), chance, known)
    earned = (worth.margin_minor * worth.retention).astype(np.float32)
    return np.ascontiguousarray((chance * earned[None, :, None]).reshape(len(probability), -1).T)


def values(worth: Matrix, rows: slice | np.ndarray = slice(None)) -> np.ndarray:
    """Return the values in minor units: (products × channels) × customers, float32, NaN where there is no such offer."""
    lever = np.repeat(worth.lever, len(worth.channels)).astype(np.float32)
    cost = np.tile(worth.cost_minor, len(worth.products)).astype(np.float32)
    out = gains(worth, rows)
    out *= lever[:, None]
    out -= cost[:, None]
    return out
