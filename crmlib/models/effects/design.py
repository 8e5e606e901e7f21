"""The regressors of demand series: season, trend, holidays, price, promotion, what follows one, and the prices of others.

Each series gets only the columns that its own past can tell apart. What it cannot is left out and named by a code:
price_never_moved, never_promoted, promoted_too_seldom (fewer than two promotions), not_separable (less than 2% of its variation is its own: the
rest is season, trend, holidays and, of the price, the promotion), no_price.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from crmlib.errors import DataError, UsageError
from crmlib.models.effects import regression

PER_YEAR = {"week": 365.25 / 7, "month": 12.0}
"""Steps that effects are measured on, and their periods a year."""
AFTER = {"week": 2, "month": 1}
"""Periods after a promotion in which a dip is looked for."""
HARMONICS = 3
NEED_WEIGHT = 0.5
"""Periods of which less than this share tells demand (stocked out, closed) are left out."""
MANY_ZEROS = 0.05
"""From this share of periods without any sale on, logarithms are no longer asked."""
NEED_OWN = 0.02
NEED_PROMOTIONS = 2
_MOVED = 0.005
PRICE, PROMOTION, BEFORE, OTHERS_PROMOTED = "price", "promotion", "before", "others_promoted"


@dataclass(frozen=True, eq=False)
class Design:
    """One series, ready for the regression.

    Attributes: ``values`` logarithms of the quantity, not a number where a period does not count; ``regressors`` (periods ×
    columns) and their ``names``; ``separable`` share of a column's variation that is its own; ``notes`` code by column left out.
    """

    series_id: str
    values: np.ndarray = field(repr=False)
    regressors: np.ndarray = field(repr=False)
    names: tuple[str, ...]
    separable: dict[str, float]
    notes: dict[str, str]
    seasons: float

    def with_column(self, name: str, column: np.ndarray) -> Design:
        """Return the design with one column more."""
        joined = np.column_stack([self.regressors, column])
        return Design(
            self.series_id, self.values, joined, (*self.names, name), self.separable, self.notes, self.seasons
        )


def build(
    series: pd.DataFrame,
    *,
    step: str = "week",
    others: pd.DataFrame | None = None,
    holidays: Sequence[dt.date] = (),
    controls: Sequence[str] = (),
    harmonics: int = HARMONICS,
) -> tuple[list[Design], pd.DataFrame]:
    """Return the designs of the series that have enough past, and those refused: series_id, note_code, found, need.

    In: a series table (series_id, period, quantity; price_minor, promotion, weight and open_days where there are any). ``others``
    (product_id, other_id) asks for the price of other_id, in the series that agrees in all other keys, beside each series of
    product_id. ``controls`` are further columns of the table. Raises UsageError for a step other than week and month,
    DataError for a missing column, periods that occur twice, or negative prices.
    """
    _check(series, step, controls)
    wide = _Wide(series)
    calendar = _calendar(wide.periods, step, holidays)
    designs, refused = [], []
    for row, series_id in enumerate(wide.ids):
        columns = {name: wide.of(name)[row] for name in controls} | wide.open(row)
        columns |= wide.prices_of_others(row, others) if others is not None else {}
        made = _one(wide, row, step=step, calendar=calendar, columns=columns, harmonics=harmonics)
        if isinstance(made, Design):
            designs.append(made)
        else:
            refused.append({"series_id": series_id, **made})
    return designs, pd.DataFrame(refused, columns=["series_id", "note_code", "found", "need"])


def before(promotion: np.ndarray) -> np.ndarray:
    """Return the placebo of a promotion: the share promoted of the next period, where it is more than of this one."""
    ahead = np.append(promotion[1:], 0.0)
    return np.maximum(ahead - promotion, 0.0)


def after(promotion: np.ndarray, lag: int) -> np.ndarray:
    """Return how much of a promotion ended ``lag`` periods ago and none has begun since.

    >>> after(np.array([0.0, 1.0, 1.0, 0.0, 0.0, 0.0]), 1)
    array([0., 0., 0., 1., 0., 0.])
    """
    past = np.concatenate([np.zeros(lag), promotion[: len(promotion) - lag]])
    since = promotion.copy()
    for nearer in range(1, lag):
        since = np.maximum(since, np.concatenate([np.zeros(nearer), promotion[: len(promotion) - nearer]]))
    return np.maximum(past - since, 0.0)


def _check(series: pd.DataFrame, step: str, controls: Sequence[str]) -> None:
    if step not in PER_YEAR:
        raise UsageError(f"step is {step!r}; effects are measured on series by week or by month")
    missing = {"series_id", "period", "quantity", *controls} - set(series)
    if missing:
        raise DataError(f"series has no column {', '.join(sorted(missing))}; it has {', '.join(map(str, series))}")
    twice = series.duplicated(["series_id", "period"])
    if twice.any():
        row = series[twice].iloc[0]
        raise DataError(
            f"series {row['series_id']} has the period {row['period']:%Y-%m-%d} twice; keep one row for each series and period"
        )
    if "price_minor" in series and (series["price_minor"] <= 0).any():
        row = series[series["price_minor"] <= 0].iloc[0]
        raise DataError(
            f"series {row['series_id']} has price_minor {row['price_minor']} in {row['period']:%Y-%m-%d}; a price is above 0, "
            "leave it empty where it is not known"
        )


class _Wide:
    """A series table as matrices (series × periods)."""

    def __init__(self, series: pd.DataFrame) -> None:
        codes, ids = pd.factorize(series["series_id"], sort=True)
        at, periods = pd.factorize(series["period"], sort=True)
        self.ids, self.periods = np.asarray(ids, object), pd.DatetimeIndex(periods)
        self._series, self._place = series, (codes, at)
        self._kept: dict[str, np.ndarray] = {}
        keys = [name for name in series if name in KEYS]
        self.keys = series.drop_duplicates("series_id").set_index("series_id").reindex(self.ids)[keys]
        self.rest = [name for name in keys if name not in ("product_id", "product_group")]
        places = self.keys.reset_index(drop=True)
        if "product_id" in keys:
            names = zip(places["product_id"], *[places[name] for name in self.rest], strict=True)
            self.row_of = {tuple(map(str, name)): row for row, name in enumerate(names)}

    def of(self, name: str) -> np.ndarray:
        if name not in self._kept:
            matrix = np.full((len(self.ids), len(self.periods)), np.nan)
            matrix[self._place] = self._series[name].to_numpy(float, na_value=np.nan)
            self._kept[name] = matrix
        return self._kept[name]

    def has(self, name: str) -> bool:
        return name in self._series

    def open(self, row: int) -> dict[str, np.ndarray]:
        """Return the logarithm of the days open, where it is known and changes."""
        if not self.has("open_days"):
            return {}
        days = self.of("open_days")[row]
        known = days[np.isfinite(days)]
        if not len(known) or (known <= 0).all() or known.max() == known.min():
            return {}
        return {"open_days": np.log(np.where(days > 0, days, np.nan))}

    def prices_of_others(self, row: int, others: pd.DataFrame) -> dict[str, np.ndarray]:
        """Return the logarithms of the prices of the others of a series, and how many of them were promoted."""
        key = self.keys.iloc[row]
        product = str(key["product_id"])
        place = tuple(str(key[name]) for name in self.rest)
        out, promoted = {}, np.zeros(len(self.periods))
        for other in others.loc[others["product_id"].astype(str) == product, "other_id"].astype(str):
            found = self.row_of.get((other, *place))
            if found is None:
                continue
            out[f"{PRICE}:{other}"] = filled(np.log(self.of("price_minor")[found]))
            if self.has("promotion"):
                promoted += np.nan_to_num(self.of("promotion")[found])
        return out | ({OTHERS_PROMOTED: promoted} if out and self.has("promotion") else {})


KEYS = ("product_id", "product_group", "region", "outlet_id", "format", "customer_id")


def filled(price: np.ndarray) -> np.ndarray:
    """Return prices with gaps of those not sold filled by the last known one, and the first known one before it."""
    return pd.Series(price).ffill().bfill().to_numpy()


def _calendar(periods: pd.DatetimeIndex, step: str, holidays: Sequence[dt.date]) -> dict[str, np.ndarray]:
    """Return the time in years; where there are holidays those in the period, in the next, and the days before feasts.

    A feast is two or more holidays within four days; for one of them people buy more, for a fixed one (Christmas) in other
    measure than for a movable one (Easter).
    """
    out = {"years": np.asarray((periods - pd.Timestamp("2000-01-03")) / pd.Timedelta(days=365.25), float)}
    if not len(holidays):
        return out
    days = pd.DatetimeIndex(sorted(pd.to_datetime(list(holidays))))
    out["holiday"] = _counted(days, periods, step)
    if step == "week":
        out["before_holiday"] = _counted(days - pd.Timedelta(days=7), periods, step)
    joined = np.append(np.diff(days.to_numpy()) <= np.timedelta64(4, "D"), False)
    first = days[joined & ~np.insert(joined[:-1], 0, False)]
    same_day = pd.Series(first.strftime("%m-%d")).duplicated(keep=False).to_numpy()
    for name, chosen in (("before_fixed_feast", first[same_day]), ("before_movable_feast", first[~same_day])):
        eves = [chosen - pd.Timedelta(days=back) for back in range(1, 8)]
        column = np.sum([_counted(eve, periods, step) for eve in eves], axis=0) / 7
        if column.any():
            out[name] = column
    return out


def _counted(days: pd.DatetimeIndex, periods: pd.DatetimeIndex, step: str) -> np.ndarray:
    """Return how many of the days lie in each period."""
    ends = periods + (pd.DateOffset(days=7) if step == "week" else pd.offsets.MonthBegin())
    inside = (days.to_numpy()[:, None] >= periods.to_numpy()) & (days.to_numpy()[:, None] < ends.to_numpy())
    return inside.sum(axis=0).astype(float)


def _one(
    wide: _Wide,
    row: int,
    *,
    step: str,
    calendar: dict[str, np.ndarray],
    columns: dict[str, np.ndarray],
    harmonics: int,
) -> Design | dict[str, object]:
    """Return the design of one series, or why there is none."""
    quantity = wide.of("quantity")[row]
    counts = np.isfinite(quantity)
    if wide.has("weight"):
        counts &= np.nan_to_num(wide.of("weight")[row], nan=1.0) >= NEED_WEIGHT
    sold = counts & (np.nan_to_num(quantity) > 0)
    if counts.any() and sold.sum() < (1 - MANY_ZEROS) * counts.sum():
        zeros = round(100 * (1 - float(sold.sum() / counts.sum())))
        return {"note_code": "too_many_zeros", "found": zeros, "need": round(100 * MANY_ZEROS)}
    seasons = float(sold.sum()) / PER_YEAR[step]
    base = _base(calendar, harmonics if seasons >= 2 else min(harmonics, 1) if seasons >= 1 else 0)
    base |= columns
    asked, notes = _moving(wide, row, step, sold)
    need = len(base) + len(asked) + regression.NEED_FREE
    if sold.sum() < need:
        return {"note_code": "not_enough_data", "found": int(sold.sum()), "need": need}
    kept, separable = _kept(base, asked, sold, notes)
    values = np.full(len(quantity), np.nan)
    values[sold] = np.log(quantity[sold])
    return Design(
        str(wide.ids[row]), values, np.column_stack(list(kept.values())), tuple(kept), separable, notes, seasons
    )


def _base(calendar: dict[str, np.ndarray], harmonics: int) -> dict[str, np.ndarray]:
    years = calendar["years"]
    out = {"constant": np.ones(len(years)), "trend": years - years.mean()}
    for wave in range(1, harmonics + 1):
        out[f"sin_{wave}"], out[f"cos_{wave}"] = np.sin(2 * np.pi * wave * years), np.cos(2 * np.pi * wave * years)
    return out | {name: column for name, column in calendar.items() if name != "years"}


def _moving(wide: _Wide, row: int, step: str, sold: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return promotion, what follows it, and price, as far as they moved; codes for those that did not."""
    out: dict[str, np.ndarray] = {}
    notes: dict[str, str] = {}
    promotion = np.nan_to_num(wide.of("promotion")[row]) if wide.has("promotion") else np.zeros(len(sold))
    began = ((promotion > 0) & (np.append(0.0, promotion[:-1]) == 0) & sold).sum()
    if began >= NEED_PROMOTIONS:
        out[PROMOTION] = promotion
        for lag in range(1, AFTER[step] + 1):
            out[f"after_{lag}"] = after(promotion, lag)
    else:
        notes[PROMOTION] = "never_promoted" if promotion[sold].max(initial=0) == 0 else "promoted_too_seldom"
        if promotion[sold].max(initial=0) > 0:
            out["promoted_once"] = promotion
    price = np.log(wide.of("price_minor")[row]) if wide.has("price_minor") else np.full(len(sold), np.nan)
    if np.isfinite(price[sold]).sum() < sold.sum() / 2:
        notes[PRICE] = "no_price"
    elif np.nanstd(price[sold]) < _MOVED:
        notes[PRICE] = "price_never_moved"
    else:
        out[PRICE] = filled(price)
    return out, notes


def _kept(
    base: dict[str, np.ndarray], asked: dict[str, np.ndarray], sold: np.ndarray, notes: dict[str, str]
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Return the columns that the past can tell apart, in this order of precedence, and the share of each that is its own."""
    kept: dict[str, np.ndarray] = {}
    for name, column in (base | asked).items():
        if own_share(column[sold], [other[sold] for other in kept.values()]) < NEED_OWN:
            if name in (PRICE, PROMOTION):
                notes[name] = "not_separable"
        else:
            kept[name] = column
    if PROMOTION not in kept:
        kept = {name: column for name, column in kept.items() if not name.startswith("after_")}
    separable = {
        name: own_share(column[sold], [other[sold] for key, other in kept.items() if key != name])
        for name, column in kept.items()
        if name in asked
    }
    return kept, separable


def own_share(column: np.ndarray, others: list[np.ndarray]) -> float:
    """Return the share of a column's sum of squares about its mean that the others do not explain; 1 for the constant."""
    if not others:
        return 1.0
    matrix = np.column_stack(others)
    total = float(((column - column.mean()) ** 2).sum())
    if not np.isfinite(column).all() or total < 1e-12:
        return 0.0
    fitted = matrix @ np.linalg.lstsq(matrix, column, rcond=None)[0]
    return float(((column - fitted) ** 2).sum()) / total
