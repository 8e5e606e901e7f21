"""Who needs the next delivery, and when: the chance of an order in the coming days, day by day."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd

from crmlib.errors import DataError
from crmlib.models.replenishment.hazard import _STRETCH, CODES, Hazard, piece
from crmlib.models.replenishment.history import KEYS, Market
from crmlib.models.replenishment.spells import day_number, group, pairs_of, weekdays
from crmlib.models.replenishment.supply import Supply, chain, out_on, waiting

COLUMNS = [
    *(
        "customer_id",
        "outlet_id",
        "product_id",
        "as_of",
        "orders",
        "last_order",
        "days_since",
        "usual_days",
        "usual_quantity",
    ),
    *("due_7", "due_14", "orders_14", "expected_on", "expected_quantity", "code"),
]
HORIZON = 60
"""Days ahead within which the expected day of the next order is sought."""
FEW = 4
"""Orders below which a pair leans on similar ones."""
_AGAIN = 14
SILENT = 3.0
"""Usual waits after which a customer counts as silent: something other than the usual need decides."""
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(7)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


def due(hazard: Hazard, orders: pd.DataFrame, market: Market, *, as_of: dt.date) -> pd.DataFrame:
    """Return for each pair of customer and product when the next order is due, as of the end of a day.

    In: ``orders`` and ``market`` as for ``hazard.fit``; later orders are not looked at. Out: one row a pair with the
    columns of ``COLUMNS``: ``due_7`` and ``due_14`` the probability of an order within 7 and 14 days, ``orders_14`` the
    expected number of orders in 14 days, ``expected_on`` the first day by which an order is likelier than not (NaT: not
    within 60 days), ``expected_quantity`` of that order (pieces), ``usual_days`` the wait after which half have ordered (at least one day).
    ``code``: supplier_out (nothing in stock at the day's end: the chances
    count on its return as products usually come back), one_order and few_orders (leans on similar customers), silent
    (waits three times the usual and more), else "".

    Raises DataError where nobody ordered until ``as_of``.
    """
    known = orders[orders["ordered_on"] <= pd.Timestamp(as_of)]
    pairs = pairs_of(known, market)
    if pairs.empty:
        raise DataError(f"as_of {as_of}: not enough data for a due list (found 0 orders until then, need 1)")
    mean, spread, usual = _usual(hazard, pairs)
    kinds = group(pairs)
    surplus = np.clip(np.log(pairs["last_quantity"].to_numpy(float)) - usual, -_STRETCH, _STRETCH)
    today = int(day_number(pd.DatetimeIndex([pd.Timestamp(as_of)]))[0])
    since = today - day_number(pairs["last_order"])
    factor = _calendar(hazard, pairs, today, market)
    out = out_on(market, pairs, as_of)
    supply = chain(market, pairs, since=known["ordered_on"].min().date(), as_of=as_of)
    still = np.zeros((len(pairs), HORIZON + 1))
    orders_14 = np.zeros(len(pairs))
    for node, weight in zip(_NODES, _WEIGHTS, strict=True):
        scale = np.exp(mean + node * spread)
        rate = _rate(hazard, kinds, since, scale * np.exp(hazard.power * surplus)) * factor
        one = waiting(rate, out, supply)
        still += weight * one
        orders_14 += weight * _orders(one, _renewals(hazard, kinds, scale, supply))
    first = np.argmax(still[:, 1:] <= 0.5, axis=1) + 1
    late = still[:, -1] > 0.5
    expected = (pd.Timestamp(as_of) + pd.to_timedelta(first, unit="D")).to_series(index=pairs.index)
    listed = pairs.assign(
        as_of=pd.Timestamp(as_of),
        days_since=since,
        usual_days=np.maximum(np.exp(mean), 1.0),
        usual_quantity=np.exp(usual),
        due_7=1 - still[:, 7],
        due_14=1 - still[:, 14],
        orders_14=orders_14,
        expected_on=expected.where(~late).astype("datetime64[us]"),
        expected_quantity=np.exp(usual) * hazard.quantities.mean_over_usual,
    )
    return listed.assign(code=_codes(listed, out))[COLUMNS].reset_index(drop=True)


def _usual(hazard: Hazard, pairs: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return each pair's usual wait (logarithm, standard deviation) and quantity (logarithm); new pairs lean on the priors."""
    learnt = hazard.pairs[[*KEYS, "log_wait", "log_wait_sd"]]
    learnt = learnt.assign(log_quantity=hazard.quantities.log)
    known = pairs[KEYS].merge(learnt, on=KEYS, how="left", validate="one_to_one")
    new = known["log_wait"].isna().to_numpy()
    mean = np.where(new, hazard.waits.mean(pairs), known["log_wait"])
    spread = np.where(new, hazard.waits.spread, known["log_wait_sd"])
    return mean, spread, np.where(new, hazard.quantities.prior.mean(pairs), known["log_quantity"])


def _calendar(hazard: Hazard, pairs: pd.DataFrame, today: int, market: Market) -> np.ndarray:
    """Return the factor of each coming day (pairs × HORIZON): its weekday, and the customer's own weekdays."""
    codes = weekdays(today + 1 + np.arange(HORIZON), market.holidays)
    habit = hazard.habit.reindex(pd.MultiIndex.from_frame(pairs[KEYS[:2]])).fillna(1.0).to_numpy().reshape(-1, CODES)
    return np.asarray((hazard.calendar[group(pairs)] * habit)[:, codes])


def _rate(hazard: Hazard, kinds: np.ndarray, since: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return the rate of orders on each of the coming days, while there is supply."""
    ahead = since[:, None] + np.arange(1, HORIZON + 1)
    return np.asarray(hazard.rate[kinds[:, None], piece((ahead - 0.5) / scale[:, None])] / scale[:, None])


def _renewals(hazard: Hazard, kinds: np.ndarray, scale: np.ndarray, supply: Supply) -> np.ndarray:
    """Return the orders to expect within 0, 1, … 14 days after an order of the usual quantity, on average weekdays."""
    nothing = np.zeros(len(scale), np.int64)
    still = waiting(_rate(hazard, kinds, nothing, scale)[:, :_AGAIN], nothing.astype(bool), supply)
    first = -np.diff(still, axis=1)
    out = np.zeros((len(scale), _AGAIN + 1))
    for day in range(1, _AGAIN + 1):
        out[:, day] = (first[:, :day] * (1 + out[:, day - 1 :: -1][:, :day])).sum(axis=1)
    return out


def _orders(still: np.ndarray, later: np.ndarray) -> np.ndarray:
    """Return the expected number of orders in 14 days: the first, and those that follow it."""
    first = -np.diff(still[:, : _AGAIN + 1], axis=1)
    return np.asarray((first * (1 + later[:, _AGAIN - 1 :: -1])).sum(axis=1))


def _codes(rows: pd.DataFrame, out: np.ndarray) -> pd.Series:
    silent = rows["days_since"] > SILENT * rows["usual_days"]
    orders = rows["orders"].to_numpy()
    choices: list[np.ndarray] = [out, silent.to_numpy(bool), orders == 1, orders < FEW]
    codes: list[str] = ["supplier_out", "silent", "one_order", "few_orders"]
    names = np.select(choices, codes, "")
    return pd.Series(names, index=rows.index, dtype="str")
