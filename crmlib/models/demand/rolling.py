"""Treated cells rolled up to the series of a level: sums by keys and period, and what follows from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crmlib.models.demand import calendar, steps, treatment
from crmlib.models.demand.cells import Array
from crmlib.models.demand.treatment import STATUSES, Treated

TOTAL, UNKNOWN = "all", "unknown"
"""Names of the one series that no key tells apart, and of an empty key."""
_MAJOR, _TAKEN_OUT = 0.5, 0.1
"""Share of a period's usual demand from which a kind of day names it; share of its pieces, for outliers."""


@dataclass(frozen=True, eq=False)
class Sums:
    """Sums of one level: ``keys`` a row a series, ``measures`` arrays of series × ``times``."""

    keys: pd.DataFrame
    times: pd.DatetimeIndex
    measures: dict[str, Array]


def sums(treated: Treated, *, by: tuple[str, ...], periods: pd.DatetimeIndex, step: str) -> Sums:
    """Return what each series of a level adds up to in each period."""
    cells = treated.cells
    code, keys = _coded(cells.rows, by)
    order = np.argsort(code, kind="stable")
    first_row = np.searchsorted(code[order], np.arange(len(keys)))
    begin = cells.days.searchsorted(periods)
    stop = cells.days.searchsorted(calendar.ends(periods, step)[-1], side="right")
    alone, daily = len(keys) == len(code), step == "day"

    def add(values: Array) -> Array:
        wide = values[order, begin[0] : stop].astype(float)
        by_row = wide if alone else np.add.reduceat(wide, first_row, axis=0)
        return by_row if daily else np.add.reduceat(by_row, begin - begin[0], axis=1)

    listed = cells.listed[order, begin[0] : stop].astype(float)
    on_sale = (listed if alone else np.add.reduceat(listed, first_row, axis=0)) > 0
    covered = on_sale.astype(float) if daily else np.add.reduceat(on_sale.astype(float), begin - begin[0], axis=1)
    return Sums(
        keys, periods, {name: add(values) for name, values in _measures(treated).items()} | {"covered": covered}
    )


def _coded(rows: pd.DataFrame, by: tuple[str, ...]) -> tuple[NDArray[np.intp], pd.DataFrame]:
    """Return the number of each row's series, and the keys by number."""
    if not by:
        return np.zeros(len(rows), dtype=np.intp), pd.DataFrame(index=range(1))
    keys = rows[list(by)].drop_duplicates().sort_values(list(by), ignore_index=True)
    code = rows[list(by)].merge(keys.assign(code=range(len(keys))), on=list(by), how="left", validate="many_to_one")
    return code["code"].to_numpy(dtype=np.intp), keys


def _measures(treated: Treated) -> dict[str, Array]:
    """Return what is summed: pieces by cause, open outlet-days by kind, expected pieces by kind of day."""
    cells, status, quantity = treated.cells, treated.status, treated.quantity
    inside = cells.listed
    recorded = np.where(inside, np.nan_to_num(cells.recorded), 0.0)
    gross = np.maximum(recorded, 0.0)
    opened = inside & (status != treatment.CLOSED)
    expected = np.where(opened, treated.expected, 0.0)
    filled = (status == treatment.GAP) | (status == treatment.RETURN)
    priced = inside & ~np.isnan(cells.price)
    price = np.where(priced, cells.price, 0.0)
    kinds = {
        f"expected_{STATUSES[kind]}": np.where(status == kind, expected, 0.0)
        for kind in (treatment.STOCKED_OUT, treatment.GAP, treatment.RETURN)
    }
    return {
        "quantity": np.where(inside, quantity, 0.0),
        "recorded": recorded,
        "returns": gross - recorded,
        "lost": np.where(status == treatment.STOCKED_OUT, quantity - gross, 0.0),
        "filled": np.where(filled, quantity - gross, 0.0),
        "removed": np.where(status == treatment.OUTLIER, gross - quantity, 0.0),
        "open_days": opened,
        "promotion": opened & cells.promotion,
        "stocked_out": opened & cells.empty,
        "expected": expected,
        "seen": expected * treated.weight,
        "price_sold": price * gross,
        "price_pieces": np.where(priced, gross, 0.0),
        "price_sum": price,
        "price_rows": priced,
        **kinds,
    }


def joined(parts: Sequence[Sums]) -> Sums:
    """Return the sums of several batches of products as one; a series that is in several is added up."""
    by = list(parts[0].keys.columns)
    keys = pd.concat([part.keys for part in parts], ignore_index=True)
    code, unique = _coded(keys, tuple(by))
    out = {}
    for name in parts[0].measures:
        stacked = np.concatenate([part.measures[name] for part in parts])
        if len(unique) == len(code):
            out[name] = stacked[np.argsort(code)]
            continue
        total = np.zeros((len(unique), stacked.shape[1]))
        # Days on sale are counted once, however many of a series' products are on sale.
        (np.maximum if name == "covered" else np.add).at(total, code, stacked)
        out[name] = total
    return Sums(unique, parts[0].times, out)


def table(found: Sums, *, by: tuple[str, ...], step: str, free: pd.DatetimeIndex) -> pd.DataFrame:
    """Return the series table of one level (columns: see ``series.build``)."""
    m = found.measures
    length = (calendar.ends(found.times, step) - found.times).days.to_numpy() + 1
    row, period = _inside(m["covered"] > 0)
    part = {name: values[row, period] for name, values in m.items()}
    opened = part["open_days"]
    with np.errstate(divide="ignore", invalid="ignore"):
        seen = np.where(part["expected"] > 0, part["seen"] / part["expected"], 0.0)
    columns: dict[str, np.ndarray] = {name: part[name] for name in ("quantity", "recorded")}
    columns["status"] = _status(part)
    columns["weight"] = np.clip(seen * part["covered"] / length[period], 0.0, 1.0)
    columns |= {name: part[name] for name in ("returns", "lost", "filled", "removed")}
    columns["price_minor"] = _price(part, row)
    columns["promotion"] = part["promotion"] / np.maximum(opened, 1)
    columns["open_days"] = opened
    columns["stocked_out"] = part["stocked_out"] / np.maximum(opened, 1)
    return _framed(columns, found.keys, row, found.times[period], by=by, step=step, free=free)


def _inside(active: np.ndarray) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return series and period of every place from a series' first active one to its last."""
    width = active.shape[1]
    first = active.argmax(axis=1)
    last = width - 1 - active[:, ::-1].argmax(axis=1)
    at = np.arange(width)
    row, period = np.nonzero((at >= first[:, None]) & (at <= last[:, None]) & active.any(axis=1, keepdims=True))
    return row, period


def _status(part: dict[str, Array]) -> NDArray[np.object_]:
    whole = part["expected"]
    much = {
        kind: (part[f"expected_{kind}"] >= _MAJOR * whole) & (part[f"expected_{kind}"] > 0)
        for kind in ("gap", "stocked_out", "return")
    }
    names = np.array(STATUSES, dtype=object)
    conditions = [
        part["open_days"] <= 0,
        much["gap"],
        much["return"],
        part["removed"] > _TAKEN_OUT * (part["quantity"] + part["removed"]),
        much["stocked_out"],
        part["quantity"] <= 0,
    ]
    order = [
        treatment.CLOSED,
        treatment.GAP,
        treatment.RETURN,
        treatment.OUTLIER,
        treatment.STOCKED_OUT,
        treatment.ZERO,
    ]
    return np.asarray(names[np.select(conditions, order, treatment.SOLD)])


def _price(part: dict[str, Array], row: NDArray[np.intp]) -> Array:
    """Return the price by pieces sold, else the mean price, else the last one, else the next one."""
    with np.errstate(divide="ignore", invalid="ignore"):
        sold, plain = part["price_sold"] / part["price_pieces"], part["price_sum"] / part["price_rows"]
    price = pd.Series(np.where(part["price_pieces"] > 0, sold, np.where(part["price_rows"] > 0, plain, np.nan)))
    filled = price.groupby(row).ffill()
    return np.asarray(filled.fillna(filled.groupby(row).bfill()), dtype=np.float64)


def series_ids(keys: pd.DataFrame) -> pd.Series:
    """Return the name of each series: its keys joined by "/" ("unknown" for an empty one, "all" without keys).

    >>> series_ids(pd.DataFrame({"product_id": ["P1"], "region": [""]})).tolist()
    ['P1/unknown']
    """
    if not len(keys.columns):
        return pd.Series([TOTAL] * len(keys), dtype="str")
    named = keys.where(keys != "", UNKNOWN)
    found = named.iloc[:, 0]
    for name in named.columns[1:]:
        found = found + "/" + named[name]
    return found


def _framed(
    columns: dict[str, np.ndarray],
    keys: pd.DataFrame,
    row: NDArray[np.intp],
    period: pd.DatetimeIndex,
    *,
    by: tuple[str, ...],
    step: str,
    free: pd.DatetimeIndex,
) -> pd.DataFrame:
    named = keys.assign(series_id=series_ids(keys))[["series_id", *by]].iloc[row].reset_index(drop=True)
    holiday = calendar.within(free, period, calendar.ends(period, step))
    out = named.assign(period=period, **columns, holiday=holiday)
    return out.astype({"status": "str", "series_id": "str"})


# ---------------------------------------------------------------- sources without outlets


def table_of_sums(
    rows: pd.DataFrame,
    *,
    by: tuple[str, ...],
    business: calendar.Business,
    step: str,
    ended: pd.Series | None,
    free: pd.DatetimeIndex,
) -> pd.DataFrame:
    """Return the series table of sums by keys and period: by, period, pieces, returns, paid.

    A series runs from its first period with pieces to the newest one, or to the withdrawal of its product (``ended``).
    """
    times = business.times
    code, keys = _coded(rows.reset_index(drop=True), by)
    at = times.get_indexer(pd.DatetimeIndex(rows["period"]))
    shape = (len(keys), len(times))
    dense = {name: np.zeros(shape) for name in ("pieces", "returns", "paid")}
    for name, values in dense.items():
        np.add.at(values, (code, at), rows[name].to_numpy(dtype=float))
    listed = np.logical_or.accumulate(dense["pieces"] + dense["returns"] > 0, axis=1)
    if ended is not None:
        last = pd.DatetimeIndex(keys["product_id"].map(ended))
        gone = (times.to_numpy()[None, :] > last.to_numpy()[:, None]) & (dense["pieces"] == 0)
        later = np.logical_and.accumulate(gone[:, ::-1], axis=1)[:, ::-1]
        listed &= ~later
    pieces = np.where(listed, dense["pieces"], np.nan)
    summed = treatment.Summed(pieces, dense["returns"], business.share, business.days > 0)
    status, quantity, weight = treatment.treat_sums(summed, season=steps.SEASONS[step])
    row, period = np.nonzero(listed)
    part = {name: values[row, period] for name, values in dense.items()}
    wanted, kind = quantity[row, period], status[row, period]
    more = np.where(kind == treatment.OUTLIER, 0.0, wanted - part["pieces"])
    with np.errstate(divide="ignore", invalid="ignore"):
        paid = pd.Series(np.where((part["pieces"] > 0) & (part["paid"] > 0), part["paid"] / part["pieces"], np.nan))
    columns = {
        "quantity": wanted,
        "recorded": part["pieces"] - part["returns"],
        "status": np.asarray(np.array(STATUSES, dtype=object)[kind]),
        "weight": weight[row, period],
        "returns": part["returns"],
        "lost": np.zeros(len(row)),
        "filled": more,
        "removed": np.where(kind == treatment.OUTLIER, part["pieces"] - wanted, 0.0),
        "price_minor": paid.groupby(row).ffill().to_numpy(),
        "open_days": business.days[period],
    }
    return _framed(columns, keys, row, times[period], by=by, step=step, free=free)
