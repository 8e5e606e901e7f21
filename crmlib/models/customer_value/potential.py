"""Potential value: what a customer could be worth, judged by comparable customers who do all their business here.

The full set: the customers who hold products of the most groups, a quarter of all at most. Comparable is who looks alike in
what shows independently of the products held (age, income, family, tenure, transactions by category, digital share), each as far as
it tells which products people hold: customers are matched by those predictions (predictive mean matching: Rubin 1986,
Journal of Business & Economic Statistics 4, 87-94). The gap of a product not held is what the
matched customers earn with it on average, those without it included, less what is expected to come by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import sqlalchemy as sa

from crmlib.errors import DataError, UsageError
from crmlib.models import labels, pairs
from crmlib.models.customer_value import accounts, actual, terms
from crmlib.models.customer_value.predicted import Prediction
from crmlib.warehouse.company import Company
from crmlib.warehouse.objections import objectors
from crmlib.warehouse.snapshot import Snapshot, known

COMPARABLE = 60
"""A customer is compared with so many."""
FULL_SHARE = 0.25
FEWEST_FULL = 100
MOST_FULL = 2_000
"""Comparable customers are looked for among so many of the full set, evenly spaced."""
RIDGE = 100.0
_BLOCK = 4_000


@dataclass(frozen=True)
class Potential:
    """What each customer could be worth.

    Attributes: ``table`` customer_id, as_of, potential_minor, low_minor, high_minor (interval of what comparable customers
    earn), gap_minor (potential − predicted), share_of_wallet (predicted / potential, NaN where that is not above 0),
    full_set; ``gaps`` customer_id, product_id, gap_minor, a row for each product that makes a gap; ``groups`` number of
    product groups that make the full set.
    """

    table: pd.DataFrame
    gaps: pd.DataFrame
    groups: int


def traits(snapshot: Snapshot, customers: pd.Series, *, company: Company) -> pd.DataFrame:
    """Return what shows of customers whatever they hold: numbers, standardised, a row a customer in the given order.

    Missing values are the mean and have a column that says so.
    """
    rows = known(terms.table("customers"), snapshot.as_of, system=("customer_key",)).subquery("rows")
    names = ("customer_id", "customer_key", "birth_date", "customer_since", "income_minor", "children", "currency")
    person = (
        snapshot.warehouse.read(sa.select(*[rows.c[name] for name in names])).set_index("customer_id").loc[customers]
    )
    today = pd.Timestamp(snapshot.as_of)
    income = person["income_minor"].astype("Float64").to_numpy(float, na_value=np.nan)
    rate = person["currency"].fillna(company.currency).map(terms.rates(company)).to_numpy(float)
    columns = {
        "age": (today - pd.to_datetime(person["birth_date"])).dt.days.to_numpy(float) / 365.25,
        "tenure": np.log1p((today - pd.to_datetime(person["customer_since"])).dt.days.to_numpy(float).clip(min=0)),
        "income": np.log1p(income * rate),
        "children": person["children"].astype("Float64").to_numpy(float, na_value=np.nan),
    }
    columns["middle"] = np.exp(-(((columns["age"] - 42) / 13) ** 2))
    columns.update(_habits(snapshot, person["customer_key"].to_numpy()))
    out = {}
    for name, values in columns.items():
        missing = ~np.isfinite(values)
        if 0 < missing.sum() < len(values):
            out[f"{name}_missing"] = missing.astype(float)
        mean = values[~missing].mean() if (~missing).any() else 0.0
        out[name] = np.where(missing, mean, values)
    table = pd.DataFrame(out)
    spread = table.std(ddof=0)
    return ((table - table.mean()) / spread.where(spread > 0, 1.0)).astype(np.float32)


def _habits(snapshot: Snapshot, keys: np.ndarray) -> dict[str, np.ndarray]:
    """Return log(1 + transactions of the last year) by category, and the share made online."""
    rows = accounts.since(actual.first_day(snapshot), snapshot.as_of, "transactions")
    online = sa.func.sum(sa.case((rows.c.channel.in_(["internet", "mobile"]), 1), else_=0)).label("online")
    found = snapshot.warehouse.arrow(
        sa.select(rows.c.customer_key, rows.c.category, sa.func.count().label("number"), online).group_by(
            rows.c.customer_key, rows.c.category
        )
    ).to_pandas()
    place = pd.Index(keys).get_indexer(found["customer_key"])
    found = found[place >= 0].assign(place=place[place >= 0])
    kind, names = pd.factorize(found["category"].fillna("other"), sort=True)
    counts = np.zeros((len(keys), len(names)))
    np.add.at(counts, (found["place"].to_numpy(), kind), found["number"].to_numpy())
    digital = np.bincount(found["place"], weights=found["online"].to_numpy(float), minlength=len(keys))
    total = counts.sum(axis=1)
    shares = np.divide(digital, total, out=np.full(len(keys), np.nan), where=total > 0)
    return {"online": shares, **{f"count_{name}": np.log1p(counts[:, k]) for k, name in enumerate(names)}}


def estimate(
    snapshot: Snapshot, prediction: Prediction, *, company: Company | None = None, level: float = 0.9
) -> Potential:
    """Return the potential of the customers of a prediction made at the same snapshot.

    Customers who objected to profiling and products that a customer could not buy have no gap (``labels.candidates``).
    Raises UsageError for a level outside 0 to 1, DataError where fewer than ``FEWEST_FULL`` customers have the full set.
    """
    if not 0 < level < 1:
        raise UsageError(f"level is {level}; it must lie between 0 and 1, for example 0.9")
    company = company or snapshot.warehouse.company
    customers = prediction.table["customer_id"]
    full, groups = full_set(snapshot, prediction, company=company)
    inputs = traits(snapshot, customers, company=company).to_numpy()
    space = _space(inputs, prediction.held)
    open_ = _could_buy(snapshot, prediction)
    # Who objected to profiling is compared with nobody and nobody with him.
    chosen = np.flatnonzero(full & ~customers.isin(objectors(snapshot)).to_numpy())
    chosen = chosen[np.unique(np.linspace(0, len(chosen) - 1, MOST_FULL).astype(int))]
    bench, low, high = _compared(space, prediction, chosen, open_, level)
    gap = np.where(open_, np.maximum(bench - prediction.new_by_product, 0), 0.0)
    predicted = prediction.table["predicted_minor"].to_numpy(float)
    own = np.where(open_, prediction.new_by_product, 0).sum(axis=1)
    total = gap.sum(axis=1)
    potential = predicted + total
    table = pd.DataFrame(
        {
            "customer_id": customers.array,
            "as_of": prediction.table["as_of"].array,
            "potential_minor": potential,
            "low_minor": np.minimum(np.maximum(predicted - own + low, predicted), potential),
            "high_minor": np.maximum(predicted - own + high, potential),
            "gap_minor": total,
            "share_of_wallet": np.divide(
                np.maximum(predicted, 0), potential, out=np.full(len(gap), np.nan), where=potential > 0
            ),
            "full_set": full,
        }
    )
    row, column = np.nonzero(gap >= 0.5)
    gaps = pd.DataFrame(
        {
            "customer_id": customers.array.take(row),
            "product_id": pd.Categorical.from_codes(column, categories=prediction.products.astype("str")),
            "gap_minor": gap[row, column],
        }
    )
    return Potential(table, gaps, groups)


def full_set(snapshot: Snapshot, prediction: Prediction, *, company: Company) -> tuple[np.ndarray, int]:
    """Return who has the full set, and of how many product groups it consists.

    Raises DataError where fewer than ``FEWEST_FULL`` customers have it.
    """
    group = terms.products(snapshot, company=company)["product_group"].fillna("")
    names = sorted(set(group))
    breadth = np.stack([prediction.held[:, (group == name).to_numpy()].any(axis=1) for name in names], axis=1).sum(
        axis=1
    )
    groups = next(number for number in range(1, len(names) + 2) if (breadth >= number).mean() <= FULL_SHARE)
    full = breadth >= groups
    if full.sum() < FEWEST_FULL and groups > 1:
        groups -= 1
        full = breadth >= groups
    if full.sum() < FEWEST_FULL:
        raise DataError(
            f"not enough data (found {int(full.sum())} customers with products of {groups} groups, need {FEWEST_FULL}): "
            "there is nobody to compare the others with"
        )
    return full, groups


def _space(inputs: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Return the customers' places: which products customers with these traits hold, by ridge regression, standardised."""
    y = held.astype(np.float32)
    gram = inputs.T @ inputs + RIDGE * np.eye(inputs.shape[1], dtype=np.float32)
    space = inputs @ np.linalg.solve(gram, inputs.T @ (y - y.mean(axis=0)))
    spread = space.std(axis=0)
    return (space / np.where(spread > 0, spread, 1.0)).astype(np.float32)


def _could_buy(snapshot: Snapshot, prediction: Prediction) -> np.ndarray:
    """Return which customers (rows of the prediction) could buy which product that they do not hold."""
    could = labels.candidates(snapshot)
    row = pd.Index(prediction.table["customer_id"]).get_indexer(pd.Index(could["customer_id"]))
    column = pairs.codes(could["product_id"], list(prediction.products))
    out = np.zeros(prediction.held.shape, dtype=bool)
    inside = (row >= 0) & (column >= 0)
    out[row[inside], column[inside]] = True
    return out & ~prediction.held


def _compared(
    space: np.ndarray, prediction: Prediction, chosen: np.ndarray, open_: np.ndarray, level: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what comparable customers earn by product on average, and the interval of what they earn with all open ones."""
    worth = prediction.by_product[chosen].astype(np.float32)
    there = space[chosen]
    length = (there**2).sum(axis=1)
    number = min(COMPARABLE, len(chosen))
    bench = np.empty(open_.shape)
    low, high = np.empty(len(space)), np.empty(len(space))
    tails = [(1 - level) / 2, (1 + level) / 2]
    for begin in range(0, len(space), _BLOCK):
        part = slice(begin, begin + _BLOCK)
        far = length - 2 * (space[part] @ there.T)
        near = _nearest(far, number)
        found = worth[near]  # customers × comparable × products
        bench[part] = found.mean(axis=1)
        sums = np.einsum("nkp,np->nk", found, open_[part].astype(np.float32))
        low[part], high[part] = np.quantile(sums, tails, axis=1)
    return bench, low, high


def _nearest(far: np.ndarray, number: int) -> np.ndarray:
    """Return the columns of the ``number`` smallest values of each row, in no order.

    >>> np.sort(_nearest(np.array([[3.0, 1, 2], [0, 5, 0], [1, 1, 1]]), 2), axis=1).tolist()[:2]
    [[1, 2], [0, 2]]
    """
    # Finding the limit and comparing is several times faster than argpartition, which only ties need.
    near = far <= np.partition(far, number - 1, axis=1)[:, number - 1 : number]
    tied = near.sum(axis=1) != number
    out = np.empty((len(far), number), dtype=np.int64)
    out[~tied] = np.nonzero(near[~tied])[1].reshape(-1, number)
    out[tied] = np.argpartition(far[tied], number - 1, axis=1)[:, :number]
    return out
