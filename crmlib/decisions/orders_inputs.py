"""What order proposals rest on: terms of supply, days of delivery, and demand in the windows between deliveries."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
import pandas as pd

from crmlib.errors import DataError
from crmlib.warehouse.snapshot import Snapshot

KEYS = ["outlet_id", "product_id"]
TERMS = [
    *("outlet_id", "product_id", "lead_time_days", "delivery_weekdays", "closed"),
    *("shelf_life_days", "pack_size", "margin_minor", "cost_minor"),
]
LONGEST_LIFE = 365
_WIDTH_80 = 2 * 1.2815515655446004
_HALF_95 = 1.959963984540054
_LOOK_AHEAD = 60
OLDEST_COUNT = 7
"""Days after which a count of stock no longer counts."""
DEPOT = "depot"


@dataclass(frozen=True, eq=False)
class Windows:
    """Demand by window and pair.

    Attributes: ``pairs`` (outlet_id, product_id, order_by, deliver_on, next_on, last_on, pack_size, margin_minor, cost_minor,
    counted: whether its stock is on record); ``stock`` and ``on_order`` pieces; ``ageing`` the share of the stock
    that spoils before the delivery; ``mean``, ``variance`` and ``deviation`` (the sum of daily standard deviations) of demand, windows × pairs: before
    the delivery, fresh until the next one, spoilt until the next one, fresh after it.
    """

    pairs: pd.DataFrame
    stock: np.ndarray
    on_order: np.ndarray
    ageing: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    deviation: np.ndarray

    def rows(self, chosen: slice) -> Windows:
        """Return some of the pairs."""
        return Windows(
            self.pairs.iloc[chosen].reset_index(drop=True),
            self.stock[chosen],
            self.on_order[chosen],
            self.ageing[chosen],
            self.mean[:, chosen],
            self.variance[:, chosen],
            self.deviation[:, chosen],
        )


def terms(snapshot: Snapshot) -> pd.DataFrame:
    """Return the terms of supply of every open outlet and own product on sale, as known at a snapshot.

    Out: the columns of ``TERMS``: days from order to delivery (1 where not known), weekdays of delivery ("1" Monday to
    "7" Sunday; the days the outlet is open where not known), ``closed`` days without delivery (a tuple of dates:
    holidays of the company and closures of the outlet), shelf life (days, 365 where not known), pieces of a pack (1 where not
    known), margin and cost of a piece (minor units, not a number where not known). Depots are no outlets here.
    """
    company = snapshot.warehouse.company
    outlets = snapshot.table("outlets")
    outlets = outlets[outlets["closed_on"].isna() & outlets["format"].ne(DEPOT)]
    every = outlets["open_weekdays"].fillna("").replace("", "1234567")
    outlets = outlets.assign(
        lead_time_days=outlets["lead_time_days"].fillna(1).astype(int),
        delivery_weekdays=outlets["delivery_weekdays"].fillna("").replace("", None).fillna(every),
    )
    holidays = {dt.date.fromisoformat(day) for day in company.holidays}
    closures = _closures(snapshot)
    outlets["closed"] = [tuple(sorted(holidays | closures.get(name, set()))) for name in outlets["outlet_id"]]
    products = snapshot.table("products")
    own = products["maker"].fillna("").eq("") & products["withdrawn_on"].isna()
    products = products[own]
    cost = products["cost_minor"].astype("Float64").astype(float)
    products = pd.DataFrame(
        {
            "product_id": products["product_id"],
            "shelf_life_days": products["shelf_life_days"].fillna(LONGEST_LIFE).astype(int),
            "pack_size": products["pack_size"].fillna(1).astype(int),
            "margin_minor": products["price_minor"].astype("Float64").astype(float) - cost,
            "cost_minor": cost,
        }
    )
    return outlets[["outlet_id", "lead_time_days", "delivery_weekdays", "closed"]].merge(products, how="cross")[TERMS]


def _closures(snapshot: Snapshot) -> dict[str, set[dt.date]]:
    out: dict[str, set[dt.date]] = {}
    rows = snapshot.table("outlet_closures", ["outlet_id", "closed_from", "closed_until"]).to_dict("records")
    for row in rows:
        days = pd.date_range(row["closed_from"], row["closed_until"])
        out.setdefault(str(row["outlet_id"]), set()).update(day.date() for day in days)
    return out


def stock(snapshot: Snapshot) -> pd.DataFrame:
    """Return the last count of every outlet and product: outlet_id, product_id, counted_on, quantity, on_order (pieces).

    A count of more than a week ago says nothing of today and is left out.
    """
    rows = snapshot.table("stocks", [*KEYS, "counted_on", "quantity", "on_order"])
    rows = rows[rows["counted_on"] >= pd.Timestamp(snapshot.as_of) - pd.Timedelta(days=OLDEST_COUNT)]
    last = rows.sort_values("counted_on", kind="stable").drop_duplicates(KEYS, keep="last")
    return last.assign(on_order=last["on_order"].astype("Float64").astype(float).fillna(0.0)).reset_index(drop=True)


def delivery_days(terms_of_outlets: pd.DataFrame, *, as_of: dt.date) -> pd.DataFrame:
    """Return when an order made after the day ``as_of`` arrives, and when the one after it can.

    In: outlet_id, lead_time_days, delivery_weekdays, closed. An order leaves in the evening of the day, or later; it
    arrives before opening on the first delivery day at least ``lead_time_days`` (and one day) later. Out: outlet_id, order_by (the last
    day on which the order can still leave), deliver_on, next_on, last_on (the delivery day up to ``as_of``). Raises DataError where no delivery day is found within 60 days.
    """
    one = terms_of_outlets.drop_duplicates("outlet_id")
    rows = []
    for row in one.to_dict("records"):
        lead = max(int(row["lead_time_days"]), 1)
        free, days = set(row["closed"]), {int(day) for day in str(row["delivery_weekdays"])}
        ahead = (as_of + dt.timedelta(days=step) for step in range(lead, lead + _LOOK_AHEAD))
        found = [day for day in ahead if day.isoweekday() in days and day not in free][:2]
        if len(found) < 2:
            raise DataError(
                f"table outlets: outlet {row['outlet_id']} has no two delivery days in the {_LOOK_AHEAD} days after {as_of} "
                f"(delivery_weekdays {row['delivery_weekdays']!r}); mend them, or close the outlet"
            )
        before = (as_of - dt.timedelta(days=step) for step in range(_LOOK_AHEAD))
        last = next((day for day in before if day.isoweekday() in days and day not in free), as_of)
        rows.append((row["outlet_id"], found[0] - dt.timedelta(days=lead), *found, last))
    dates = ["order_by", "deliver_on", "next_on", "last_on"]
    return pd.DataFrame(rows, columns=["outlet_id", *dates]).astype(dict.fromkeys(dates, "datetime64[us]"))


def windows(forecast: pd.DataFrame, stock: pd.DataFrame, *, terms: pd.DataFrame, as_of: dt.date) -> Windows:
    """Return the demand to expect of every pair of ``forecast`` that has terms, by window.

    The variance of a day is that of the forecast's 80% interval taken as normal, and at least Poisson's. Beyond the
    forecast's end demand is taken as in its last week.

    Raises DataError for missing columns, negative stock, repeated pairs or days, gaps, a mean below zero, and a
    forecast that does not begin on the day after ``as_of`` or ends before the next delivery.
    """
    _check(forecast, stock, as_of=as_of)
    wide = forecast.assign(day=(forecast["period"] - pd.Timestamp(as_of)).dt.days)
    wide = wide[wide["day"] >= 1]
    mean, spread = _matrix(wide, as_of)
    days = delivery_days(terms[terms["outlet_id"].isin(mean.index.get_level_values(0))], as_of=as_of)
    pairs = mean.index.to_frame(index=False).merge(terms, on=KEYS, how="inner", validate="one_to_one")
    pairs = pairs.merge(days, on="outlet_id", how="left", validate="many_to_one")
    counts = stock[[*KEYS, "quantity", "on_order"]].astype({"quantity": float, "on_order": float})
    pairs = pairs.merge(counts, on=KEYS, how="left", validate="one_to_one", indicator="seen")
    place = pd.MultiIndex.from_frame(pairs[KEYS])
    ends = _ends(pairs, as_of)
    _check_reach(pairs, ends, mean.shape[1], as_of)
    found = [_between(table.loc[place].to_numpy(), ends) for table in (mean, spread**2, spread)]
    daily = found[0].sum(axis=0) / ends[3]
    return Windows(
        pairs.assign(counted=pairs["seen"].eq("both")).drop(columns=["seen"]),
        stock=pairs["quantity"].fillna(0.0).to_numpy(float),
        on_order=pairs["on_order"].fillna(0.0).to_numpy(float),
        ageing=_ageing(pairs, daily, ends[0], as_of),
        mean=found[0],
        variance=found[1],
        deviation=found[2],
    )


def beyond_forecast(forecast: pd.DataFrame, terms: pd.DataFrame, *, as_of: dt.date) -> pd.DataFrame:
    """Return the outlets of a forecast for which none can be proposed: outlet_id, code.

    In: as for ``windows``. ``code`` is no_delivery (fewer than two delivery days within 60 days: closed for long, or no
    weekdays) or beyond_forecast (the forecast ends before the delivery after the next one).
    """
    of = terms[terms["outlet_id"].isin(forecast["outlet_id"])].drop_duplicates("outlet_id")
    last = forecast["period"].max()
    out = []
    for _, one in of.groupby("outlet_id", sort=True):
        try:
            next_on = delivery_days(one, as_of=as_of)["next_on"].iloc[0]
        except DataError:
            out.append((one["outlet_id"].iloc[0], "no_delivery"))
            continue
        if next_on - pd.Timedelta(days=1) > last:
            out.append((one["outlet_id"].iloc[0], "beyond_forecast"))
    return pd.DataFrame(out, columns=["outlet_id", "code"]).astype("str")


def _ageing(pairs: pd.DataFrame, daily: np.ndarray, wait: np.ndarray, as_of: dt.date) -> np.ndarray:
    """Return the share of the stock that spoils in the ``wait`` days before the delivery, sold or not.

    The oldest is sold first, so what is left came last: its ages are evenly spread from the days since the last delivery
    over as many more as the stock lasts at ``daily`` demand (Little's law), at most the shelf life.
    """
    life = pairs["shelf_life_days"].to_numpy(float)
    youngest = (pd.Timestamp(as_of) - pairs["last_on"]).dt.days.to_numpy(float)
    lasts = pairs["quantity"].fillna(0.0).to_numpy(float) / np.maximum(daily, 1e-9)
    # Of age 0 a piece has life - 1 days left after today, and spoils by the delivery where these are no more than the wait.
    lasts = np.maximum(np.minimum(lasts, life - 1 - youngest), 1e-9)
    return np.where(wait > 0, np.clip((youngest + lasts - (life - 1 - wait)) / lasts, 0, 1), 0.0)


def _check(forecast: pd.DataFrame, stock: pd.DataFrame, *, as_of: dt.date) -> None:
    needed = {"forecast": [*KEYS, "period", "mean", "low_80", "high_80"], "stock": [*KEYS, "quantity", "on_order"]}
    for name, table in (("forecast", forecast), ("stock", stock)):
        missing = [column for column in needed[name] if column not in table]
        if missing:
            raise DataError(
                f"the table {name} has no column {', '.join(missing)}; order proposals need {', '.join(needed[name])}"
            )
    below = stock[(stock["quantity"] < 0) | (stock["on_order"] < 0)]
    if len(below):
        row = below.iloc[0]
        raise DataError(
            f"table stocks: outlet {row['outlet_id']}, product {row['product_id']} has {row['quantity']:g} pieces in stock and "
            f"{row['on_order']:g} on order; neither is ever negative, count again or mend the source"
        )
    if stock.duplicated(KEYS).any():
        row = stock[stock.duplicated(KEYS)].iloc[0]
        raise DataError(
            f"table stocks: outlet {row['outlet_id']}, product {row['product_id']} is there twice; give the last count only"
        )
    if forecast.duplicated([*KEYS, "period"]).any():
        row = forecast[forecast.duplicated([*KEYS, "period"])].iloc[0]
        raise DataError(
            f"the table forecast: outlet {row['outlet_id']}, product {row['product_id']} has {row['period']:%Y-%m-%d} twice; "
            "give one forecast a day"
        )
    if not bool((forecast["mean"] >= 0).all()):
        raise DataError("the table forecast, column mean: below zero or missing; give pieces of 0 or more")
    first = forecast["period"].min()
    if pd.isna(first) or first > pd.Timestamp(as_of) + pd.Timedelta(days=1):
        found = "holds no rows" if pd.isna(first) else f"begins on {first:%Y-%m-%d}"
        raise DataError(
            f"the table forecast {found}, the stock is of {as_of}; forecast from the day after it with `crm demand`"
        )


def _matrix(wide: pd.DataFrame, as_of: dt.date) -> tuple[pd.DataFrame, pd.DataFrame]:
    mean = wide.pivot(index=KEYS, columns="day", values="mean")
    spread = (wide["high_80"] - wide["low_80"]) / _WIDTH_80
    if "high_95" in wide:  # errors have longer tails than the middle says, and it is the upper one that empties shelves
        upper = (wide["high_95"] - wide["mean"]) / _HALF_95
        spread = spread.where(spread >= upper, upper)
    variance = wide.assign(spread=spread).pivot(index=KEYS, columns="day", values="spread") ** 2
    every = np.arange(1, (int(mean.columns.max()) if len(mean.columns) else 0) + 1)
    if len(every) != mean.shape[1] or mean.isna().to_numpy().any():
        raise DataError(
            f"the table forecast has gaps in the days after {as_of}; give every day of every outlet and product"
        )
    return mean, variance.where(variance >= mean, mean) ** 0.5


def _ends(pairs: pd.DataFrame, as_of: dt.date) -> np.ndarray:
    """Return the last day of each window as days after ``as_of`` (5 rows: before the delivery, fresh, next delivery, end of life, next)."""
    deliver = (pairs["deliver_on"] - pd.Timestamp(as_of)).dt.days.to_numpy()
    following = (pairs["next_on"] - pd.Timestamp(as_of)).dt.days.to_numpy()
    spoils = deliver + pairs["shelf_life_days"].to_numpy(int) - 1
    return np.stack([deliver - 1, np.minimum(following - 1, spoils), following - 1, np.maximum(spoils, following - 1)])


def _between(values: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return sums of the days of each window; days beyond the last are taken as the mean of the last seven."""
    total = np.concatenate([np.zeros((len(values), 1)), np.cumsum(values, axis=1)], axis=1)
    last = values.shape[1]
    usual = values[:, -7:].mean(axis=1)
    rows = np.arange(len(values))
    upto = np.stack([total[rows, np.minimum(end, last)] + usual * np.maximum(end - last, 0) for end in ends])
    return np.stack([upto[0], upto[1] - upto[0], upto[2] - upto[1], upto[3] - upto[2]])


def _check_reach(pairs: pd.DataFrame, ends: np.ndarray, last: int, as_of: dt.date) -> None:
    if len(pairs) and int(ends[2].max()) > last:
        row = pairs.iloc[int(np.argmax(ends[2]))]
        raise DataError(
            f"the table forecast ends {last} days after {as_of}, the delivery to outlet {row['outlet_id']} must last {int(ends[2].max())} days; "
            "forecast further ahead with `crm demand`"
        )
