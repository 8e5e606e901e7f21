"""How much of each product to order for each outlet: from the forecast distribution, stock, shelf life and packs.

A newsvendor with a shelf life. The order is large enough that demand until the next delivery is met with the wanted
chance, but no pack is ordered that is expected to cost more by spoiling than it earns by being there: the k-th piece
earns its margin where demand until the next delivery reaches it, and loses its cost where demand in its whole life does
not (E. L. Porteus, Foundations of Stochastic Inventory Theory, 2002, chapter 1, with the second life of what is carried on).
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
import pandas as pd

from crmlib.decisions import orders_inputs
from crmlib.decisions.orders_inputs import Windows
from crmlib.errors import DataError, UsageError

COLUMNS = [
    *("outlet_id", "product_id", "order_by", "deliver_on", "next_on", "stock", "on_order", "expected_demand"),
    *("order_quantity", "packs", "service_level", "expected_waste", "expected_lost", "expected_margin_minor", "code"),
]
DRAWS = 800
_CHUNK = 1_000


@dataclass(frozen=True, eq=False)
class Draws:
    """Drawn demand, pieces (draws × pairs): ``before`` the delivery, ``cover`` from it until the next one while it is fresh, ``stale`` after it has
    spoiled until the next one, ``later`` after the next one while it is fresh."""

    before: np.ndarray
    cover: np.ndarray
    stale: np.ndarray
    later: np.ndarray


def propose(
    forecast: pd.DataFrame,
    stock: pd.DataFrame,
    *,
    terms: pd.DataFrame,
    as_of: dt.date,
    service_level: float = 0.95,
    correlation: float = 0.0,
    seed: int = 7,
) -> pd.DataFrame:
    """Return what to order for each outlet and product after the day ``as_of``, for its next delivery.

    In: ``forecast`` by day with outlet_id, product_id, period, mean, low_80, high_80 (pieces; high_95 too, if it is known,
    which counts where the upper tail is longer); ``stock`` with outlet_id,
    product_id, quantity and on_order (pieces, at the day's end; no row: nothing, and the code says so); ``terms`` of
    ``orders_inputs.terms``; ``service_level`` the wanted chance that demand until the next delivery is met;
    ``correlation`` of the forecast errors of two days (``error_correlation``). Out: one row a pair with the columns of
    ``COLUMNS``: ``service_level`` reached, ``expected_demand`` until the next delivery, ``expected_waste`` (pieces of stock
    and order that spoil), ``expected_lost`` (pieces wanted between the two deliveries and not there). ``code``: enough
    (nothing needed), shelf_life (less than the service level wants, more would spoil), pack_size (a whole pack would
    spoil), no_stock_record, else "".

    Stock on hand is sold oldest first; its age is not on record and taken from how long it lasts (``orders_inputs.windows``). What is
    on order counts as there. Where margin or cost is unknown a lost piece weighs as much as a spoilt one. Raises UsageError
    for a service level or correlation outside its range, DataError for unusable tables (see ``orders_inputs``).
    """
    if not 0 < service_level < 1:
        raise UsageError(f"service_level is {service_level}; give a chance between 0 and 1, such as 0.95")
    if not 0 <= correlation < 1:
        raise UsageError(f"correlation is {correlation}; give a number from 0 to below 1")
    windows = orders_inputs.windows(forecast, stock, terms=terms, as_of=as_of)
    rng = np.random.default_rng(seed)
    parts = []
    for first in range(0, len(windows.pairs), _CHUNK):
        part = windows.rows(slice(first, first + _CHUNK))
        parts.append(_proposed(part, draws(part, correlation=correlation, rng=rng), service_level))
    return pd.concat(parts, ignore_index=True)[COLUMNS] if parts else _nothing()


def _nothing() -> pd.DataFrame:
    return pd.DataFrame(columns=COLUMNS)


def draws(windows: Windows, *, correlation: float, rng: np.random.Generator, number: int = DRAWS) -> Draws:
    """Return drawn demand of the four windows: negative binomial, with a common factor for what all days err together."""
    total, spread = windows.mean.sum(axis=0), windows.deviation.sum(axis=0)
    relative = correlation * (spread / np.maximum(total, 1e-9)) ** 2
    shape = 1 / np.maximum(relative, 1e-9)
    common = rng.gamma(shape, 1 / shape, (number, len(total))) if correlation else np.ones((number, len(total)))
    out = []
    for mean, variance in zip(windows.mean, (1 - correlation) * windows.variance, strict=True):
        # Counts vary at least as much as Poisson's; what is beyond goes into a gamma rate.
        beyond = np.maximum(variance - mean, 0) / np.maximum(mean, 1e-9) ** 2
        rate = common * mean
        wide = (beyond > 1e-6) & (mean > 0)
        if wide.any():
            own = 1 / beyond[wide]
            rate[:, wide] *= rng.gamma(own, 1 / own, (number, int(wide.sum())))
        out.append(rng.poisson(rate).astype(float))
    return Draws(*out)


def _proposed(windows: Windows, drawn: Draws, service_level: float) -> pd.DataFrame:
    pairs = windows.pairs
    spoilt = np.maximum(windows.ageing * windows.stock - drawn.before, 0)
    left = np.maximum(windows.stock + windows.on_order - drawn.before - spoilt, 0)
    need, life = drawn.cover - left, drawn.cover + drawn.later - left
    pack = pairs["pack_size"].to_numpy(float)
    wanted = np.maximum(np.quantile(need, service_level, axis=0, method="inverted_cdf"), 0)
    full = np.ceil(wanted / pack - 1e-9)
    packs = _paying(need, life, full, pairs)
    order = packs * pack + 0.0
    missing, waste = np.maximum(need - order, 0), np.maximum(order - life, 0)
    # A pair without any demand is not short of anything.
    served = (need <= order).mean(axis=0)
    lost = missing.mean(axis=0) + drawn.stale.mean(axis=0)
    sold = np.minimum(np.maximum(life, 0), order).mean(axis=0)
    wasted = (waste + spoilt).mean(axis=0)
    margin, cost = pairs["margin_minor"].to_numpy(float), pairs["cost_minor"].to_numpy(float)
    codes = np.select(
        [~pairs["counted"].to_numpy(bool), full == 0, (packs == 0), packs < full],
        ["no_stock_record", "enough", "pack_size", "shelf_life"],
        "",
    )
    return pairs.assign(
        stock=windows.stock,
        on_order=windows.on_order,
        expected_demand=windows.mean[:3].sum(axis=0),
        order_quantity=order,
        packs=packs.astype(np.int64),
        service_level=served,
        expected_waste=wasted,
        expected_lost=lost,
        expected_margin_minor=margin * sold - cost * np.minimum(waste, order).mean(axis=0),
        code=pd.array(codes, dtype="str"),
    )


def _paying(need: np.ndarray, life: np.ndarray, full: np.ndarray, pairs: pd.DataFrame) -> np.ndarray:
    """Return the packs left when the last ones that do not pay are taken off."""
    pack = pairs["pack_size"].to_numpy(float)
    margin, cost = pairs["margin_minor"].to_numpy(float), pairs["cost_minor"].to_numpy(float)
    known = (margin > 0) & (cost >= 0)
    margin, cost = np.where(known, margin, 1.0), np.where(known, cost, 1.0)
    packs = full.copy()
    open_ = packs > 0
    # What a pack earns falls and what it costs rises with every pack before it: so the first from above that pays ends it.
    while open_.any():
        rows = np.flatnonzero(open_)
        upper, lower = packs[rows] * pack[rows], (packs[rows] - 1) * pack[rows]
        saved = (np.clip(need[:, rows], lower, upper) - lower).mean(axis=0)
        spoilt = (upper - np.clip(life[:, rows], lower, upper)).mean(axis=0)
        loses = margin[rows] * saved < cost[rows] * spoilt
        packs[rows[loses]] -= 1
        open_[:] = False
        open_[rows[loses]] = packs[rows[loses]] > 0
    return packs


def error_correlation(errors: pd.DataFrame) -> float:
    """Return how much forecast errors of one origin's days go together, from 0 to 0.9, over all series.

    In: backtest rows with series_id, origin, actual, forecast and, where given, weight (rows of weight 0 are left out).
    Errors are measured against each series' own size of error. Raises DataError for a missing column.

    >>> days = pd.DataFrame({"series_id": "a", "origin": [1, 1, 2, 2], "actual": [3.0, 3, 1, 1], "forecast": 2.0})
    >>> error_correlation(days)
    0.9
    """
    missing = [name for name in ("series_id", "origin", "actual", "forecast") if name not in errors]
    if missing:
        raise DataError(f"the table of forecast errors has no column {', '.join(missing)}; give rows of a back test")
    rows = errors[errors["weight"] > 0] if "weight" in errors else errors
    error = rows["actual"] - rows["forecast"]
    size = np.sqrt((error**2).groupby(rows["series_id"]).transform("mean"))
    scaled = (error / size.where(size > 0)).dropna()
    sums = scaled.groupby([rows["series_id"][scaled.index], rows["origin"][scaled.index]]).agg(["sum", "size"])
    squares = (scaled**2).groupby([rows["series_id"][scaled.index], rows["origin"][scaled.index]]).sum()
    pairs = float((sums["size"] * (sums["size"] - 1)).sum())
    together = float((sums["sum"] ** 2 - squares).sum())
    return float(np.clip(together / pairs, 0, 0.9)) if pairs else 0.0
