"""Would the proposals have done better than simple rules? The same demand, day by day, under each way of ordering."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from crmlib.decisions import orders, orders_inputs
from crmlib.errors import DataError

KEYS = orders_inputs.KEYS
SUMS = ["demand", "sold", "lost", "wasted", "ordered", "left", "profit_minor"]
RESULTS = ["policy", *SUMS, "fill_rate", "waste_rate"]
WEEKS = 4


@dataclass(frozen=True, eq=False)
class Situation:
    """What a way of ordering sees in the evening of the day ``as_of``.

    Attributes: ``pairs`` (outlet_id, product_id, terms, order_by, deliver_on, next_on) in the order of every other table;
    ``stock`` and ``on_order`` pieces; ``sales`` of the past (pairs × days), the newest day last.
    """

    as_of: dt.date
    pairs: pd.DataFrame
    stock: np.ndarray
    on_order: np.ndarray
    sales: np.ndarray


Policy = Callable[[Situation], np.ndarray]


def same_as_last_week(now: Situation) -> np.ndarray:
    """Order what was sold a week before the days that the delivery is for."""
    deliver = _ahead(now, "deliver_on")
    following = _ahead(now, "next_on")
    days = now.sales.shape[1]
    total = np.concatenate([np.zeros((len(deliver), 1)), np.cumsum(now.sales, axis=1)], axis=1)
    rows = np.arange(len(deliver))
    weeks = 7 * np.ceil((following - 1) / 7).astype(int)
    first, last = days + deliver - 1 - weeks, days + following - 1 - weeks
    return np.asarray(total[rows, np.clip(last, 0, days)] - total[rows, np.clip(first, 0, days)])


def four_weeks_and_safety(service_level: float = 0.95) -> Policy:
    """Return the rule: order up to the mean of four weeks, with a safety stock for the wanted service (normal demand)."""
    z = float(stats.norm.ppf(service_level))

    def order(now: Situation) -> np.ndarray:
        recent = now.sales[:, -7 * WEEKS :]
        days = _ahead(now, "next_on") - 1
        up_to = recent.mean(axis=1) * days + z * recent.std(axis=1) * np.sqrt(days)
        return np.maximum(up_to - now.stock - now.on_order, 0)

    return order


def proposals(
    forecast_at: Callable[[dt.date], pd.DataFrame],
    *,
    service_level: float = 0.95,
    correlation: float = 0.0,
    seed: int = 7,
) -> Policy:
    """Return the way of ordering of ``orders.propose``, on the forecast that was known at each day."""

    def order(now: Situation) -> np.ndarray:
        counts = now.pairs[KEYS].assign(quantity=now.stock, on_order=now.on_order)
        forecast = forecast_at(now.as_of).merge(now.pairs[KEYS], on=KEYS, how="inner", validate="many_to_one")
        found = orders.propose(
            forecast,
            counts,
            terms=now.pairs[orders_inputs.TERMS],
            as_of=now.as_of,
            service_level=service_level,
            correlation=correlation,
            seed=seed,
        )
        quantity = found.set_index(KEYS)["order_quantity"].reindex(pd.MultiIndex.from_frame(now.pairs[KEYS]))
        if quantity.isna().any():
            raise DataError(
                f"the forecast of {now.as_of} lacks {int(quantity.isna().sum())} of {len(quantity)} pairs of outlet and product"
            )
        return quantity.to_numpy(float)

    return order


def _ahead(now: Situation, column: str) -> np.ndarray:
    return np.asarray((now.pairs[column] - pd.Timestamp(now.as_of)).dt.days)


def trial(
    demand: pd.DataFrame,
    policies: Mapping[str, Policy],
    *,
    terms: pd.DataFrame,
    starts_on: dt.date,
    by: Sequence[str] = (),
) -> pd.DataFrame:
    """Run each way of ordering over the same demand, and return what came of it.

    In: ``demand`` by outlet_id, product_id, day, demand (pieces wanted), every day of every pair from at least 28 days
    before ``starts_on``; ``terms`` of ``orders_inputs.terms``. Before the start everything wanted was sold; each pair begins with a
    usual week's demand or its shelf life's, whichever is shorter, fresh. Unmet demand is lost, the oldest is sold first, orders are
    rounded up to packs. Out: one row a policy (and outlet_id, product_id or both, where ``by`` names them) with the columns of
    ``RESULTS``; profit is the margin of what is sold less the cost of what is wasted, in minor units; ``left`` pieces of stock at
    the end count neither way. Rates are not numbers where nothing was wanted or ordered.

    Raises DataError for demand that is incomplete or too short.
    """
    wide = demand.pivot(index=KEYS, columns="day", values="demand").sort_index(axis=1)
    days = [day.date() for day in pd.DatetimeIndex(wide.columns)]
    start = sum(day < starts_on for day in days)
    whole = len(days) == (days[-1] - days[0]).days + 1 and not wide.isna().to_numpy().any()
    if not whole or start < 7 * WEEKS or start == len(days):
        raise DataError(
            f"not enough data for a trial of orders (found {start} days before {starts_on} and {len(days) - start} from then"
            f"{'' if whole else ', with gaps'}; need {7 * WEEKS} and 1, without gaps)"
        )
    pairs = wide.index.to_frame(index=False).merge(terms, on=KEYS, how="left", validate="one_to_one")
    parts = [
        _run(wide.to_numpy(float), days, start, pairs, policy).assign(policy=name) for name, policy in policies.items()
    ]
    keys = ["policy", *by]
    sums = pd.concat(parts).groupby(keys, sort=False, as_index=False)[SUMS].sum()
    wanted, ordered = (sums[name].where(sums[name] > 0) for name in ("demand", "ordered"))
    rates = {"fill_rate": sums["sold"] / wanted, "waste_rate": sums["wasted"] / ordered}
    return sums.assign(**rates)[[*keys, *RESULTS[1:]]]


def _run(wanted: np.ndarray, days: list[dt.date], start: int, pairs: pd.DataFrame, policy: Policy) -> pd.DataFrame:
    """Return what came of one way of ordering: a row a pair with its keys and ``SUMS``."""
    life = pairs["shelf_life_days"].to_numpy(int)
    pack = pairs["pack_size"].to_numpy(float)
    number = len(pairs)
    usual = wanted[:, start - 7 * WEEKS : start].mean(axis=1)
    shelf = np.zeros((number, int(life.max())))  # by days of life left, less one
    shelf[np.arange(number), life - 1] = np.round(usual * np.minimum(7, life))
    arriving = np.zeros((number, len(days) + 2 * orders_inputs.LONGEST_LIFE))
    sales = wanted.copy()
    sold, wasted, ordered = np.zeros(number), np.zeros(number), np.zeros(number)
    for today in range(start, len(days)):
        shelf[np.arange(number), life - 1] += arriving[:, today]
        gone = _sell(shelf, wanted[:, today])
        sales[:, today] = gone
        sold += gone
        wasted += shelf[:, 0]
        shelf = np.concatenate([shelf[:, 1:], np.zeros((number, 1))], axis=1)
        calendar = orders_inputs.delivery_days(pairs, as_of=days[today])
        coming = pairs.merge(calendar, on="outlet_id", how="left", validate="many_to_one")
        due = (coming["order_by"] == pd.Timestamp(days[today])).to_numpy()
        if not due.any():
            continue
        on_order = arriving[:, today + 1 :].sum(axis=1)
        now = Situation(
            days[today],
            coming[due].reset_index(drop=True),
            shelf[due].sum(axis=1),
            on_order[due],
            sales[due, : today + 1],
        )
        quantity = np.zeros(number)
        quantity[due] = np.ceil(np.maximum(policy(now), 0) / pack[due] - 1e-9) * pack[due]
        ordered += quantity
        lands = today + (coming["deliver_on"] - pd.Timestamp(days[today])).dt.days.to_numpy()
        arriving[np.flatnonzero(due), lands[due]] += quantity[due]
    asked = wanted[:, start:].sum(axis=1)
    profit = pairs["margin_minor"].to_numpy(float) * sold - pairs["cost_minor"].to_numpy(float) * wasted
    return pairs[KEYS].assign(
        demand=asked,
        sold=sold,
        lost=asked - sold,
        wasted=wasted,
        ordered=ordered,
        left=shelf.sum(axis=1),
        profit_minor=profit,
    )


def _sell(shelf: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Take what is wanted from the shelf, the oldest first, and return what could be sold; changes ``shelf``."""
    before = np.concatenate([np.zeros((len(shelf), 1)), np.cumsum(shelf, axis=1)[:, :-1]], axis=1)
    taken = np.clip(wanted[:, None] - before, 0, shelf)
    shelf -= taken
    return np.asarray(taken.sum(axis=1))
