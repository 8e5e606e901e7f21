"""What the open points will cost: how many will be spent before they expire, month by month, with an interval.

The open points run off as claims do in an insurer's triangle: of the points open at the beginning of a month, by their age
in months and by the size of the customer's balance, a share is spent in the month and a share forfeited (by customers who
leave). The shares are measured on the ledger's past (chain ladder by age, the volume-weighted ratios of Mack 1993, ASTIN
Bulletin 23, 213-225) and carried forward to the last day of each lot. Breakage is the share that is never spent.

The interval has three parts. The shares are estimates: delete-a-group jackknife over groups of customers (Kott 2001,
Journal of Official Statistics 17, 521-526). Customers spend in lumps: the spread of what each did about what was expected
of a customer, measured on the past. Months differ: where forecasts made at past months, by what was known then, missed
by more than that, everything is widened by as much.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from scipy import stats

from crmlib.errors import DataError, UsageError
from crmlib.models.points.ledger import Ledger
from crmlib.models.points.triangle import AGES, BANDS, FOR_EVER, GROUPS, Open, Past, later

MEMORY = 36
"""Months of the past that the shares are measured on."""
NEED_SPENDERS, NEED_MONTHS = 30, 6
_ORIGINS = range(3, 13, 3)
_HORIZONS = (1, 3, 6, 12)
_RARE = 1e-3


@dataclass(frozen=True, eq=False)
class Runoff:
    """How points run off, measured on a ledger up to ``as_of``; made by ``fit``.

    Attributes: ``edges`` of the balances that part the bands; ``spent``, ``lost`` and ``exposed`` points by group of
    customers, band and age; ``lumps`` variance of a customer's share spent over the binomial's, by months ahead;
    ``widened`` factor of the interval; ``months`` of the past used; ``spenders`` customers who spent in them.
    """

    as_of: dt.date
    edges: np.ndarray = field(repr=False)
    spent: np.ndarray = field(repr=False)
    lost: np.ndarray = field(repr=False)
    exposed: np.ndarray = field(repr=False)
    lumps: np.ndarray = field(repr=False)
    widened: float
    months: int
    spenders: int


def fit(ledger: Ledger, *, as_of: dt.date) -> Runoff:
    """Measure how points ran off, on what the ledger knew at the end of a day.

    Raises DataError where there is too little of it: fewer than 30 customers who spent points, or fewer than six months.
    """
    past = Past(ledger, as_of)
    months = min(past.months, MEMORY)
    spenders = past.spenders(months)
    if months < NEED_MONTHS or spenders < NEED_SPENDERS:
        raise DataError(
            f"not enough data for the run-off of points as of {as_of}: found {spenders} customers who spent points in "
            f"{months} months, need {NEED_SPENDERS} in {NEED_MONTHS}"
        )
    edges = past.edges()
    shape = (GROUPS, BANDS, AGES)
    flows = [past.flows(month, edges) for month in range(1, months + 1)]
    spent, lost, exposed = (np.sum([flow[part] for flow in flows], axis=0).reshape(shape) for part in range(3))
    rough = Runoff(as_of, edges, spent, lost, exposed, np.ones(FOR_EVER), 1.0, months, spenders)
    lumps = _lumps(past, rough, months)
    widened = _misses(past, flows, Runoff(as_of, edges, spent, lost, exposed, lumps, 1.0, months, spenders))
    return Runoff(as_of, edges, spent, lost, exposed, lumps, widened, months, spenders)


def forecast(
    runoff: Runoff, ledger: Ledger, *, as_of: dt.date, point_minor: float, level: float = 0.95
) -> pd.DataFrame:
    """Return how the points open at the end of a day run off, month by month.

    Out, a row per month ahead (month 0: now): month, ends_on (last day), points_open (of the points open now, those still
    open), spent and lost (expired or forfeited) so far, spent_low and spent_high, liability_minor (what the points still
    open will cost at ``point_minor`` each) with low and high, breakage (share of the points open now that will never be
    spent) with breakage_low and breakage_high, the same in all rows. Points earned later are not in it.
    """
    check_level(level)
    lots = Past(ledger, as_of).open(0, runoff.edges)
    total = float(lots.left.sum())
    spent, gone, error = _path(runoff, lots)
    reach = float(stats.norm.ppf((1 + level) / 2)) * error
    low, high = np.clip(spent - reach, 0, total), np.clip(spent + reach, 0, total)
    still = np.maximum(spent[-1] - spent, 0)
    # What is still to be spent: as uncertain as the whole less what month by month is known to have been.
    rest = reach[-1] * np.sqrt(np.clip(still / max(spent[-1], 1e-9), 0, 1))
    share = np.array([total - high[-1], total - spent[-1], total - low[-1]]) / total if total else np.zeros(3)
    ends = [later(as_of, month) for month in range(len(spent))]
    return pd.DataFrame(
        {
            "month": np.arange(len(spent)),
            "ends_on": pd.to_datetime(ends),
            "points_open": total - spent - gone,
            "spent": spent,
            "spent_low": low,
            "spent_high": high,
            "lost": gone,
            "liability_minor": still * point_minor,
            "low": np.maximum(still - rest, 0) * point_minor,
            "high": np.minimum(still + rest, total) * point_minor,
            "breakage_low": share[0],
            "breakage": share[1],
            "breakage_high": share[2],
        }
    )


def past(runoff: Runoff, ledger: Ledger, *, as_of: dt.date, point_minor: float, months: int = 12) -> pd.DataFrame:
    """Return the points open at the last month ends and what they were to cost, by the shares known now.

    Out, the oldest first: month (0 the day itself, below zero before), ends_on, points_open, liability_minor.
    """
    seen = Past(ledger, as_of)
    chance = _chances(*_shares(runoff), months=FOR_EVER)[0]
    rows = []
    for month in range(min(months, seen.months), -1, -1):
        lots = seen.open(month, runoff.edges)
        cost = float((lots.left * chance[lots.band, lots.age, lots.ends]).sum()) * point_minor
        rows.append((-month, pd.Timestamp(later(as_of, -month)), float(lots.left.sum()), cost))
    return pd.DataFrame(rows, columns=["month", "ends_on", "points_open", "liability_minor"])


def by_customer(runoff: Runoff, ledger: Ledger, *, as_of: dt.date, point_minor: float) -> pd.DataFrame:
    """Return what the open points of each customer are expected to cost: customer_id, points, liability_minor."""
    lots = Past(ledger, as_of).open(0, runoff.edges)
    chance = _chances(*_shares(runoff), months=FOR_EVER)[0][lots.band, lots.age, lots.ends]
    names = ledger.entries["customer_id"].to_numpy()[lots.lot]
    rows = pd.DataFrame(
        {"customer_id": names, "points": lots.left, "liability_minor": lots.left * chance * point_minor}
    )
    return rows.groupby("customer_id", sort=True, as_index=False).sum()


def backtest(ledger: Ledger, *, as_of: dt.date, origins: int = 4, step: int = 3, level: float = 0.95) -> pd.DataFrame:
    """Return what the forecast would have said at past months, fitted on what was known then, and what came of it.

    ``origins`` past dates, each ``step`` months before the next, the last ``step`` months ago. Out: origin (date), months
    (ahead), points_open, predicted (points spent by then), low, high, actual, covered. Origins with too little before
    them are left out.
    """
    rows = []
    for back in range(step, origins * step + 1, step):
        day = later(as_of, -back)
        try:
            runoff = fit(ledger, as_of=day)
        except DataError:
            continue
        table = forecast(runoff, ledger, as_of=day, point_minor=1.0, level=level)
        past = Past(ledger, day)
        lots = past.open(0, runoff.edges)
        for ahead in sorted({step, back}):
            row = table.iloc[min(ahead, len(table) - 1)]
            actual = float(past.spent_of(lots, 0, ahead).sum())
            told = (pd.Timestamp(day), ahead, float(lots.left.sum()), row["spent"], row["spent_low"], row["spent_high"])
            rows.append((*told, actual, bool(row["spent_low"] <= actual <= row["spent_high"])))
    names = ["origin", "months", "points_open", "predicted", "low", "high", "actual", "covered"]
    return pd.DataFrame(rows, columns=names)


def check_level(level: float) -> None:
    """Raise UsageError for a level of confidence that is none."""
    if not 0.5 <= level < 1:
        raise UsageError(f"level is {level}; give a probability from 0.5 to below 1")


def _shares(runoff: Runoff, *, without: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return the shares spent and forfeited in a month by band and age, of all customers or without one group.

    Where hardly any points were open at an age, the share of its band is taken.
    """
    chosen = np.arange(GROUPS) != without
    open_ = runoff.exposed[chosen].sum(axis=0)
    rare = open_ < _RARE * max(open_.sum(), 1.0)
    out = []
    for flow in (runoff.spent, runoff.lost):
        own = flow[chosen].sum(axis=0)
        band = own.sum(axis=1, keepdims=True) / np.maximum(open_.sum(axis=1, keepdims=True), 1.0)
        out.append(np.where(rare, band, own / np.maximum(open_, 1.0)))
    return out[0], out[1]


def _chances(spent: np.ndarray, lost: np.ndarray, *, months: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the probability that a point is spent (forfeited) by month 0 … ``months``, by band, age and month."""
    alive = np.ones((BANDS, AGES))
    by_spent, by_lost = (np.zeros((BANDS, AGES, months + 1)) for _ in range(2))
    for month in range(1, months + 1):
        age = np.minimum(np.arange(AGES) + month - 1, AGES - 1)
        by_spent[:, :, month] = by_spent[:, :, month - 1] + alive * spent[:, age]
        by_lost[:, :, month] = by_lost[:, :, month - 1] + alive * lost[:, age]
        alive = alive * np.maximum(1 - spent[:, age] - lost[:, age], 0)
    return by_spent, by_lost


def _path(runoff: Runoff, lots: Open) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return points spent and lost by month 0 …, and the standard error of the points spent."""
    months = int(lots.ends.max(initial=0))
    cells = (lots.band * AGES + lots.age) * (months + 1) + lots.ends
    points = np.bincount(cells, weights=lots.left, minlength=BANDS * AGES * (months + 1))
    points = points.reshape(BANDS, AGES, months + 1)
    alive = points[:, :, ::-1].cumsum(axis=2)[:, :, ::-1]  # points whose last day is not before the month
    by_spent, by_lost = _chances(*_shares(runoff), months=months)
    spent, lost = _carried(by_spent, alive), _carried(by_lost, alive)
    expired = np.cumsum(((1 - by_spent - by_lost) * points).sum(axis=(0, 1)))
    others = np.stack([_carried(_chances(*_shares(runoff, without=g), months=months)[0], alive) for g in range(GROUPS)])
    sampling = (GROUPS - 1) / GROUPS * ((others - others.mean(axis=0)) ** 2).sum(axis=0)
    error = runoff.widened * np.sqrt(sampling + _lumpy(runoff, lots, by_spent, months))
    return spent, lost + expired, error


def _carried(chance: np.ndarray, alive: np.ndarray) -> np.ndarray:
    steps = np.diff(chance, axis=2, prepend=0.0)
    return np.cumsum((steps * alive).sum(axis=(0, 1)))


def _lumpy(runoff: Runoff, lots: Open, chance: np.ndarray, months: int) -> np.ndarray:
    """Return the variance of the points spent by each month that comes of customers spending in lumps."""
    out = np.zeros(months + 1)
    for month in range(1, months + 1):
        expected = _expected(lots, chance, month)
        balance = _by_customer(lots, lots.left)
        share = np.divide(expected, balance, out=np.zeros_like(expected), where=balance > 0)
        out[month] = runoff.lumps[min(month, FOR_EVER) - 1] * (balance**2 * share * (1 - share)).sum()
    return out


def _expected(lots: Open, chance: np.ndarray, month: int) -> np.ndarray:
    """Return the points expected to be spent by a month, by customer number."""
    each = chance[lots.band, lots.age, np.minimum(month, lots.ends)]
    return _by_customer(lots, lots.left * each)


def _by_customer(lots: Open, amounts: np.ndarray) -> np.ndarray:
    """Return sums by customer number; of no lots at all they are zeros too."""
    return np.bincount(lots.customer, weights=amounts, minlength=len(lots.balance)).astype(float)


def _lumps(past: Past, runoff: Runoff, months: int) -> np.ndarray:
    """Return by months ahead how much more unevenly customers spend than if each spent all or nothing by chance."""
    found = {}
    chance = _chances(*_shares(runoff), months=max(_HORIZONS))[0]
    for ahead in _HORIZONS:
        above = below = 0.0
        for month in range(ahead, min(months, ahead + 6) + 1, 3):
            lots = past.open(month, runoff.edges)
            expected = _expected(lots, chance, ahead)
            actual = _by_customer(lots, past.spent_of(lots, month, ahead))
            balance = _by_customer(lots, lots.left)
            share = np.divide(expected, balance, out=np.zeros_like(expected), where=balance > 0)
            above += float(((actual - expected) ** 2).sum())
            below += float((balance**2 * share * (1 - share)).sum())
        if below > 0:
            found[ahead] = above / below
    if not found:
        return np.ones(FOR_EVER)
    return np.asarray(np.interp(np.arange(1, FOR_EVER + 1), list(found), list(found.values())))


def _misses(past: Past, flows: Sequence[tuple[np.ndarray, ...]], runoff: Runoff) -> float:
    """Return by how much forecasts made at past months missed, in units of their error, and at least 1."""
    squares = []
    for month in _ORIGINS:
        if month + NEED_MONTHS > runoff.months:
            break
        spent, lost, exposed = (np.sum([flow[part] for flow in flows[month:]], axis=0) for part in range(3))
        shape = runoff.spent.shape
        known = replace(runoff, spent=spent.reshape(shape), lost=lost.reshape(shape), exposed=exposed.reshape(shape))
        lots = past.open(month, runoff.edges)
        path, _, error = _path(known, lots)
        for ahead in _HORIZONS[1:]:
            if ahead <= month and ahead < len(path) and error[ahead] > 0:
                actual = past.spent_of(lots, month, ahead).sum()
                squares.append(((actual - path[ahead]) / error[ahead]) ** 2)
    return float(np.sqrt(max(1.0, np.mean(squares)))) if squares else 1.0
