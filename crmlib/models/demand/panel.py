"""The series table as arrays: checked, right-aligned, one row a series."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from crmlib.errors import DataError, UsageError
from crmlib.models.demand import steps

NEEDED = ("series_id", "period", "quantity")
DRIVERS = ("promotion", "price_minor", "open_days", "stocked_out", "holiday")
KNOWN_AHEAD = ("promotion", "price_minor", "open_days", "holiday")
_SHARE, _AMOUNT = (0.0, 1 + 1e-9), (0.0, 1e15)
_ALLOWED = {
    **dict.fromkeys(("promotion", "stocked_out"), _SHARE),
    **dict.fromkeys(("open_days", "holiday", "price_minor"), _AMOUNT),
}


@dataclass(frozen=True)
class SeriesPanel:
    """Series in rows, periods in columns, the last column being each series' own newest period.

    ``values`` and ``weight`` (0 = filled in: neither learned from nor scored against) are NaN and 0 before a series
    begins. ``last`` numbers each series' newest period on the grid of ``step``. ``drivers`` holds the columns that move
    demand, shaped like ``values``.
    """

    ids: np.ndarray
    values: np.ndarray
    weight: np.ndarray
    last: np.ndarray
    step: str
    season: int
    drivers: dict[str, np.ndarray]

    @property
    def lengths(self) -> np.ndarray:
        """The periods of each series."""
        return (~np.isnan(self.values)).sum(axis=1)

    def take(self, rows: np.ndarray) -> SeriesPanel:
        """Return some of the series, without the columns before the first of them begins."""
        values = self.values[rows]
        width = int((~np.isnan(values)).sum(axis=1).max(initial=0))
        cut = slice(values.shape[1] - width, None)
        drivers = {name: table[rows][:, cut] for name, table in self.drivers.items()}
        return replace(
            self,
            ids=self.ids[rows],
            values=values[:, cut],
            weight=self.weight[rows][:, cut],
            last=self.last[rows],
            drivers=drivers,
        )

    def until(self, periods_before_end: int) -> SeriesPanel:
        """Return the panel as it stood so many periods before each series' end."""
        keep = slice(None, self.values.shape[1] - periods_before_end)
        return replace(
            self,
            values=self.values[:, keep],
            weight=self.weight[:, keep],
            last=self.last - periods_before_end,
            drivers={name: table[:, keep] for name, table in self.drivers.items()},
        )

    def recent(self, periods: int) -> SeriesPanel:
        """Return the panel without what is older than so many periods."""
        keep = slice(max(self.values.shape[1] - periods, 0), None)
        drivers = {name: table[:, keep] for name, table in self.drivers.items()}
        return replace(self, values=self.values[:, keep], weight=self.weight[:, keep], drivers=drivers)


def build(series: pd.DataFrame, *, step: str | None = None, season: int | None = None) -> SeriesPanel:
    """Return a series table as a panel, or refuse what cannot be forecast.

    In: series_id, period (first moment of it), quantity (finite), optionally weight (0 to 1) and what moves demand
    (promotion, price_minor, open_days, stocked_out, holiday); every period between a series' first and last is there.
    """
    missing = [name for name in NEEDED if name not in series.columns]
    if missing:
        raise DataError(f"series has no column {', '.join(missing)}; it needs {', '.join(NEEDED)}")
    if series.empty:
        raise DataError("series is empty: not enough data (found 0 rows, need 1)")
    _check_cells(series)
    drivers = _check_drivers(series, "series", DRIVERS)
    step = steps.infer(series["period"]) if step is None else steps.check(step)
    row, ids = pd.factorize(series["series_id"].astype(str), sort=True)
    numbers = steps.numbers(series["period"], step)
    order = np.lexsort((numbers, row))
    row, numbers = row[order], numbers[order]
    _check_periods(ids, row, numbers, step)
    starts = np.flatnonzero(np.r_[True, row[1:] != row[:-1]])
    lengths = np.diff(np.r_[starts, len(row)])
    width = int(lengths.max())
    column = width - lengths[row] + np.arange(len(row)) - starts[row]

    def spread(name: str, before: float) -> np.ndarray:
        out = np.full((len(starts), width), before)
        out[row, column] = series[name].to_numpy(float, na_value=np.nan)[order]
        return out

    values = spread("quantity", np.nan)
    weight = spread("weight", 0.0) if "weight" in series else (~np.isnan(values)).astype(float)
    return SeriesPanel(
        ids=np.asarray(ids, object),
        values=values,
        weight=np.where(np.isnan(values), 0.0, weight),
        last=numbers[starts + lengths - 1],
        step=step,
        season=steps.season_of(step, season),
        drivers={name: spread(name, np.nan) for name in drivers},
    )


def known_ahead(future: pd.DataFrame | None, panel: SeriesPanel, horizon: int) -> dict[str, np.ndarray]:
    """Return what is known of the periods to come, series x horizon by column, NaN where nothing is said.

    In: series_id, period, and any of promotion (0 to 1), price_minor, open_days and holiday (from 0). Rows of other series
    are left alone.
    """
    if future is None:
        return {}
    missing = [name for name in ("series_id", "period") if name not in future.columns]
    if missing:
        raise DataError(f"future has no column {', '.join(missing)}; it needs series_id and period")
    _check_times(future, "future")
    named = _check_drivers(future, "future", KNOWN_AHEAD)
    if not named:
        raise DataError(f"future has none of the columns {', '.join(KNOWN_AHEAD)}; leave it out or add one")
    row = pd.Index(panel.ids).get_indexer(pd.Index(future["series_id"].astype(str).to_numpy(object)))
    ahead = steps.numbers(future["period"], panel.step) - panel.last[row]
    inside = (row >= 0) & (ahead >= 1) & (ahead <= horizon)
    twice = pd.Series(row[inside].astype(np.int64) * (horizon + 1) + ahead[inside]).duplicated()
    if twice.any():
        where = future.loc[inside].loc[twice.to_numpy()].iloc[0]
        raise DataError(f"future has series {where['series_id']!r} twice at {where['period']:%Y-%m-%d %H:%M}")
    found = {}
    for name in named:
        out = np.full((len(panel.ids), horizon), np.nan)
        out[row[inside], ahead[inside] - 1] = future[name].to_numpy(float, na_value=np.nan)[inside]
        found[name] = out
    return found


def without_plans(
    known: dict[str, np.ndarray], panel: SeriesPanel, horizon: int
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return what is known ahead with the gaps filled, and where (series × horizon) a plan that there used to be is missing.

    Without a plan there is no promotion and no holiday, and the price is that of the last eight periods.
    """
    shape = (len(panel.ids), horizon)
    filled, missing = dict(known), np.zeros(shape, dtype=bool)
    for name in ("promotion", "holiday", "price_minor"):
        if name not in panel.drivers:
            continue
        ahead = known.get(name, np.full(shape, np.nan))
        gap = np.isnan(ahead)
        past = np.nan_to_num(panel.drivers[name][:, -8:])
        price = past.sum(axis=1) / np.maximum((past > 0).sum(axis=1), 1)
        filled[name] = np.where(
            gap, np.where(price > 0, price, np.nan)[:, None] if name == "price_minor" else 0.0, ahead
        )
        missing |= gap & (np.nan_to_num(panel.drivers[name]) != 0).any(axis=1)[:, None]
    return filled, missing


def promoted_anew(known: dict[str, np.ndarray], panel: SeriesPanel, horizon: int) -> np.ndarray:
    """Return where (series × horizon) a promotion is planned for a series that never had one."""
    shape = (len(panel.ids), horizon)
    planned = np.nan_to_num(known.get("promotion", np.zeros(shape))) > 0
    if "promotion" not in panel.drivers:
        return planned
    return planned & ~(np.nan_to_num(panel.drivers["promotion"]) > 0).any(axis=1)[:, None]


def check_horizon(horizon: int) -> int:
    """Return the horizon, or refuse what is no whole number of periods from 1 on."""
    if isinstance(horizon, bool) or not isinstance(horizon, int | np.integer) or horizon < 1:
        raise UsageError(f"horizon is {horizon!r}; it is a whole number of periods, at least 1")
    return int(horizon)


def _check_times(table: pd.DataFrame, name: str) -> None:
    if not pd.api.types.is_datetime64_dtype(table["period"]):
        raise DataError(
            f"{name}, column period holds {table['period'].dtype}; it needs dates without a time zone (the periods' first moments)"
        )
    if table["period"].isna().any() or table["series_id"].isna().any():
        raise DataError(f"{name} has rows without series_id or period; take them out")


def _check_drivers(table: pd.DataFrame, name: str, columns: tuple[str, ...]) -> list[str]:
    """Return those of the columns that a table has, or refuse what they cannot hold; missing is allowed."""
    named = [column for column in columns if column in table.columns]
    for column in named:
        if not (pd.api.types.is_numeric_dtype(table[column]) or pd.api.types.is_bool_dtype(table[column])):
            raise DataError(f"{name}, column {column} holds {table[column].dtype}; it needs numbers")
        values = table[column].to_numpy(float, na_value=np.nan)
        low, high = _ALLOWED[column]
        bad = ~np.isnan(values) & ~((values >= low) & (values <= high))
        if bad.any():
            where = table.loc[bad].iloc[0]
            raise DataError(
                f"{name}, series {where['series_id']!r}: {column} at {where['period']:%Y-%m-%d %H:%M} is {where[column]}; "
                f"it lies between {low:g} and {high:g}, or is missing"
            )
    return named


def _check_cells(series: pd.DataFrame) -> None:
    _check_times(series, "series")
    if not pd.api.types.is_numeric_dtype(series["quantity"]):
        raise DataError(f"series, column quantity holds {series['quantity'].dtype}; it needs numbers")
    quantity = series["quantity"].to_numpy(float, na_value=np.nan)
    bad = ~np.isfinite(quantity)
    if bad.any():
        where = series.loc[bad].iloc[0]
        raise DataError(
            f"series {where['series_id']!r}: quantity at {where['period']:%Y-%m-%d %H:%M} is {where['quantity']}; "
            "fill it in and give it weight 0, or take the series out"
        )
    if "weight" in series:
        weight = series["weight"].to_numpy(float, na_value=np.nan)
        if not ((weight >= 0) & (weight <= 1)).all():
            where = series.loc[~((weight >= 0) & (weight <= 1))].iloc[0]
            raise DataError(f"series {where['series_id']!r}: weight {where['weight']} lies outside 0 to 1")


def _check_periods(ids: pd.Index, row: np.ndarray, numbers: np.ndarray, step: str) -> None:
    same = row[1:] == row[:-1]
    apart = numbers[1:] - numbers[:-1]
    for wrong, words in (
        (same & (apart == 0), "is there twice; keep one row a period"),
        (same & (apart > 1), "is followed by a gap; fill the missing periods in (demand series do) or cut the series"),
    ):
        if wrong.any():
            at = int(np.flatnonzero(wrong)[0])
            when = pd.Timestamp(steps.moments(numbers[at : at + 1], step)[0])
            raise DataError(f"series {ids[row[at]]!r}: period {when:%Y-%m-%d %H:%M} ({step}) {words}")
