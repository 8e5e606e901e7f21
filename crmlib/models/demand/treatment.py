"""Zeros, gaps, closed days, stock-outs, returns and outliers told apart, each put right in its own way, and reported."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crmlib.errors import DataError
from crmlib.models.demand import censored
from crmlib.models.demand.cells import Array, Cells, Flags

STATUSES = ("sold", "zero", "closed", "stocked_out", "gap", "return", "outlier")
SOLD, ZERO, CLOSED, STOCKED_OUT, GAP, RETURN, OUTLIER = range(len(STATUSES))
FAR, TIMES, PROMOTED_TIMES = 8.0, 5.0, 12.0
"""An outlier lies this many standard deviations above what comparable days let expect, and is this many times as large."""
SURPRISE = 20.0
"""Missing rows are a gap, not a run of zeros, where chance would leave so many unsold once in e^20 (500 million) times."""
_FIRST_ROUNDS = 4
_PRICE_STEP, _PRICE_STEPS = 0.05, 12


@dataclass(frozen=True, eq=False)
class Treated:
    """Cells with what is to be learned from, rows × days.

    Attributes: ``status`` places in ``STATUSES``; ``quantity`` demand in pieces; ``expected`` what comparable days let
    expect while open; ``weight`` share of the demand that was seen (0 for what is only filled in).
    """

    cells: Cells
    status: NDArray[np.int8]
    quantity: Array
    expected: Array
    weight: Array


def treat(cells: Cells) -> Treated:
    """Return the demand of each outlet, product and day, with what kind of day it was.

    - closed: nothing is wanted, quantity 0, weight 0;
    - stocked_out: what was at least the sale (``censored``), weighted by the share of it that was sold;
    - gap (no record though open), return (more taken back than sold), outlier (keyed in wrongly): what comparable days
      let expect, weight 0;
    - zero and sold: as recorded, weight 1.
    """
    opened = cells.is_open & cells.listed
    empty = cells.empty & opened
    recorded = ~np.isnan(cells.recorded)
    sold = np.maximum(np.nan_to_num(cells.recorded), 0.0)
    back = opened & (cells.recorded < 0)
    silent = opened & ~recorded & ~empty & cells.told
    gap = opened & ~recorded & ~empty & ~cells.told
    told = opened & ~gap & ~empty & ~back
    empty &= ~back
    grouping = grouping_of(cells)
    limit = np.where(cells.promotion, 3.0, 1.0) * _usual_top(sold, told)[:, None]
    first = censored.estimate(
        np.minimum(sold, limit), told=told, censored=empty, grouping=grouping, rounds=_FIRST_ROUNDS
    )
    outlier = _outliers(sold, told | empty, first, cells)
    quiet = silent & _long_silence(silent, recorded, first)
    gap, told = gap | quiet, told & ~outlier & ~quiet
    found = censored.estimate(sold, told=told, censored=empty & ~outlier, grouping=grouping)
    order = [~opened, outlier, back, gap, empty, sold == 0]
    status = np.select(order, [CLOSED, OUTLIER, RETURN, GAP, STOCKED_OUT, ZERO], SOLD).astype(np.int8)
    filled = np.isin(status, (OUTLIER, RETURN, GAP))
    quantity = np.select([status == CLOSED, filled], [0.0, found.expected], found.demand)
    with np.errstate(divide="ignore", invalid="ignore"):
        seen = np.where(quantity > 0, np.minimum(sold / quantity, 1.0), 0.0)
    weight = np.select([(status == CLOSED) | filled, status == STOCKED_OUT], [0.0, seen], 1.0)
    return Treated(cells, status, quantity, found.expected, weight)


def grouping_of(cells: Cells) -> censored.Grouping:
    """Return which cells are comparable: product, product and region, weekday, week, quarter, offer."""
    product = np.cumsum(np.r_[0, _changes(cells.rows["product_id"])])
    region = cells.rows["region"].to_numpy(dtype=object)
    group = np.cumsum(np.r_[0, _changes(cells.rows["product_id"]) | (region[1:] != region[:-1])])
    number = (cells.days.to_numpy() - np.datetime64("1970-01-05")).astype("timedelta64[D]").astype(np.intp)
    week = number // 7
    last = int(number[-1]) if len(number) else 0
    block = (number - last - 1) // censored.DRIFT_DAYS  # whole blocks up to now; the oldest may be short
    return censored.Grouping(product, group, number % 7, week - week.min(), block - block.min(), _offers(cells, group))


def _changes(column: pd.Series) -> Flags:
    values = column.to_numpy(dtype=object)
    return np.asarray(values[1:] != values[:-1], dtype=bool)


def _offers(cells: Cells, group: NDArray[np.intp]) -> NDArray[np.intp]:
    """Number price steps of 5% around the row's usual price, with and without promotion.

    Where a row names no price, the group's of that day counts, else its last one.
    """
    known = ~np.isnan(cells.price) & (cells.price > 0)
    ranked = np.sort(np.where(known, cells.price, np.nan), axis=1)  # NaN last
    middle = np.maximum(known.sum(axis=1) - 1, 0) // 2
    usual = ranked[np.arange(len(ranked)), middle]
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.log(np.where(known, cells.price, np.nan) / usual[:, None])
    first = np.flatnonzero(np.r_[True, group[1:] != group[:-1]])
    sums = np.add.reduceat(np.nan_to_num(relative), first, axis=0)
    counts = np.add.reduceat(np.isfinite(relative).astype(float), first, axis=0)
    mean = (sums / np.maximum(counts, 1))[group]
    there = np.isfinite(relative)
    relative = np.where(there, relative, np.where(counts[group] > 0, mean, _carried(relative, there)))
    step = np.clip(np.rint(relative / _PRICE_STEP), -_PRICE_STEPS, _PRICE_STEPS).astype(np.intp) + _PRICE_STEPS
    return step + (2 * _PRICE_STEPS + 1) * cells.promotion


def _carried(values: Array, known: Flags) -> Array:
    """Return the last known value of each row up to each day; 0 before the first."""
    at = np.maximum.accumulate(np.where(known, np.arange(values.shape[1]), -1), axis=1)
    return np.where(at >= 0, np.take_along_axis(values, np.maximum(at, 0), axis=1), 0.0)


def _usual_top(sold: Array, told: Flags) -> Array:
    """Return for each row three times what it exceeds on one day in fifty, and 10 pieces: beyond lies no first guess."""
    ranked = np.sort(np.where(told, sold, np.inf), axis=1)
    place = np.maximum(np.ceil(0.98 * told.sum(axis=1)).astype(np.intp) - 1, 0)
    top = ranked[np.arange(len(ranked)), place]
    return 3 * np.where(np.isfinite(top), top, 0.0) + 10


def _outliers(sold: Array, counted: Flags, found: censored.Comparable, cells: Cells) -> Flags:
    """Return single days far above comparable ones.

    What several outlets of the region or neighbouring days share (a holiday, a promotion nobody recorded) is in the
    expectation or is no typing error; a promotion that is on record may multiply demand further.
    """
    spread = np.sqrt(found.expected + found.dispersion[:, None] * found.expected**2)
    times = np.where(cells.promotion, PROMOTED_TIMES, TIMES)
    beyond = counted & (sold > found.expected + FAR * spread) & (sold > times * found.expected + 5)
    high = counted & (sold > found.expected + 0.5 * FAR * spread)
    near = np.zeros_like(high)
    near[:, 1:] |= high[:, :-1]
    near[:, :-1] |= high[:, 1:]
    return beyond & ~near


def _long_silence(silent: Flags, recorded: Flags, found: censored.Comparable) -> Flags:
    """Return the missing rows of silences that chance does not explain; one runs over closed days, and ends with a record."""
    spread = found.dispersion[:, None]
    surprise = np.where(silent, np.log1p(spread * found.expected) / spread, 0.0)  # -log of P(nothing sold)
    run = np.cumsum(recorded, axis=1) + np.arange(len(silent))[:, None] * (silent.shape[1] + 1)
    total = np.bincount(run.ravel(), weights=surprise.ravel())
    return np.asarray(total[run] >= SURPRISE)


# ---------------------------------------------------------------- series without outlets


@dataclass(frozen=True, eq=False)
class Summed:
    """Series × periods, summed by the engine: ``pieces`` (NaN before a series begins), ``returns``, ``open_share`` of each
    period that has records at all, ``is_open`` of each period (a day on which nothing is done is closed)."""

    pieces: Array
    returns: Array
    open_share: Array
    is_open: Flags


def treat_sums(summed: Summed, *, season: int) -> tuple[NDArray[np.int8], Array, Array]:
    """Return status, quantity and weight of series for which only sums by period are known.

    Outliers are judged by the series' own neighbouring periods and by the same time of other years.
    """
    listed = ~np.isnan(summed.pieces)
    pieces = np.nan_to_num(summed.pieces)
    gap = listed & summed.is_open[None, :] & (summed.open_share[None, :] <= 0)
    shut = listed & ~summed.is_open[None, :]
    counted = listed & ~gap & ~shut
    share = np.where(summed.open_share > 0, summed.open_share, 1.0)[None, :]
    whole = np.where(counted, pieces / share, np.nan)
    usual, outlier = lonely_peaks(whole, season=season)
    status = np.select(
        [~listed | shut, outlier, gap, (pieces == 0) & (summed.returns > 0), pieces == 0],
        [CLOSED, OUTLIER, GAP, RETURN, ZERO],
        SOLD,
    ).astype(np.int8)
    quantity = np.select([~listed | shut, outlier | gap], [0.0, usual], np.nan_to_num(whole))
    weight = np.where(counted & ~outlier, np.broadcast_to(summed.open_share[None, :], pieces.shape), 0.0)
    return status, quantity, weight


def lonely_peaks(values: Array, *, season: int) -> tuple[Array, Flags]:
    """Return the usual value of each place (median of the 13 around it) and which values are lonely peaks.

    ``values`` series × periods, NaN where nothing is known. A peak stands 8 robust deviations above the median on the
    scale of square roots (on which counts vary evenly), and is 5 times that median and the series' median of what it sold at
    all (an order now and then is no peak). It is lonely if no neighbour is half as high,
    the same time of another year is not half as high either, and at most a fifth of all series peak with it.

    >>> usual, peak = lonely_peaks(np.array([[9.0, 11, 10, 9, 900, 10, 11, 9, 10, 11, 9, 10, 10, 9]]), season=52)
    >>> np.flatnonzero(peak[0]).tolist(), float(usual[0, 4])
    ([4], 10.0)
    """
    width = values.shape[1]
    if width < 5 or not len(values):
        return np.nan_to_num(values), np.zeros(values.shape, dtype=bool)
    padded = np.pad(values, ((0, 0), (6, 6)), constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 13, axis=1)
    usual = _median(windows)
    root = np.sqrt(np.maximum(values, 0)) - np.sqrt(np.maximum(usual, 0))
    spread = np.maximum(1.4826 * _median(np.abs(root)[:, None, :])[:, 0], 0.5)
    at_all = _median(np.where(values > 0, values, np.nan))[:, None]
    peak = (root > FAR * spread[:, None]) & (values > TIMES * np.maximum(usual, at_all) + 5)
    lonely = peak.copy()
    for lag in (1, -1, *((season, -season) if season > 1 else ())):
        other = np.full(values.shape, np.nan)
        if abs(lag) < width:
            to, of = (slice(lag, None), slice(None, -lag)) if lag > 0 else (slice(None, lag), slice(-lag, None))
            other[:, to] = values[:, of]
        lonely &= ~(other >= 0.5 * values)
    together = peak.sum(axis=0) > np.maximum(0.2 * (~np.isnan(values)).sum(axis=0), 1)
    return usual, lonely & ~together[None, :]


def _median(windows: Array) -> Array:
    """Return the median over the last axis of what is known there; 0 where nothing is."""
    ranked = np.sort(windows, axis=-1)
    count = (~np.isnan(windows)).sum(axis=-1)
    low, high = np.maximum(count - 1, 0) // 2, np.minimum(count // 2, windows.shape[-1] - 1)
    both = [np.take_along_axis(ranked, place[..., None], axis=-1)[..., 0] for place in (low, high)]
    return np.where(count > 0, (both[0] + both[1]) / 2, 0.0)


# ---------------------------------------------------------------- report


def report(series: pd.DataFrame) -> pd.DataFrame:
    """Return what the treatment found and did, by kind of period.

    Takes a series table of ``series.build``. Out, a row per status that occurs: status, periods, share (of all periods),
    recorded (net pieces), pieces (put in or, below zero, taken out in the periods of this status, for whatever reason).
    Raises DataError for missing columns.
    """
    needed = ["status", "recorded", "quantity"]
    missing = [name for name in needed if name not in series]
    if missing:
        raise DataError(f"series table lacks the columns {', '.join(missing)}; make it by series.build")
    table = series.assign(pieces=series["quantity"] - series["recorded"])
    found = table.groupby("status", sort=False).agg(
        periods=("status", "size"), recorded=("recorded", "sum"), pieces=("pieces", "sum")
    )
    found = found.reindex([status for status in STATUSES if status in found.index]).rename_axis("status").reset_index()
    found.insert(2, "share", found["periods"] / max(len(series), 1))
    return found


def causes(series: pd.DataFrame) -> pd.DataFrame:
    """Return the pieces between what was recorded and the demand, by cause.

    Out, a row per cause: cause (lost: not sold because the shelf was empty; filled: gaps and days of returns; returns:
    taken back, no lack of demand; removed: outliers, below zero), pieces, share (of the quantity). They add up to
    quantity less recorded. Raises DataError for missing columns.
    """
    signs = {"lost": 1, "filled": 1, "returns": 1, "removed": -1}
    missing = [name for name in (*signs, "quantity") if name not in series]
    if missing:
        raise DataError(f"series table lacks the columns {', '.join(missing)}; make it by series.build")
    pieces = [sign * float(series[name].sum()) for name, sign in signs.items()]
    total = float(series["quantity"].sum())
    table = pd.DataFrame({"cause": list(signs), "pieces": pieces})
    return table.assign(share=table["pieces"] / total if total else 0.0)


def notes(series: pd.DataFrame) -> list[dict[str, object]]:
    """Return what has to be said about a series table as a whole, as codes with parameters.

    running_period_left_out (from, until), partial_first_period_left_out (from, until), opening_days_from_records
    (outlets), all_days_taken_for_open (outlets), no_holidays_known.
    """
    return [dict(note) for note in series.attrs.get("notes", [])]
