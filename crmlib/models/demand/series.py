"""Demand series from the warehouse at any level: product, group, outlet, region, customer; day, week, month, quarter."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence

import pandas as pd

from crmlib.errors import DataError, UsageError
from crmlib.models.demand import calendar, cells, records, rolling, treatment
from crmlib.warehouse.snapshot import Snapshot

SOURCES = tuple(records.KEYS)
STEPS = ("day", "week", "month", "quarter")
OWN = ("",)
Level = tuple[Sequence[str], str]


def build(
    snapshot: Snapshot,
    *,
    by: Sequence[str] = ("product_id", "region"),
    step: str = "week",
    source: str = "outlet_sales",
    since: str | dt.date | None = None,
    until: str | dt.date | None = None,
    makers: Sequence[str] = OWN,
) -> pd.DataFrame:
    """Return the demand series of a snapshot, treated (``treatment``) and complete.

    ``by`` names what tells series apart (product_id, product_group, region, customer_id; of outlet_sales also outlet_id
    and format), ``source`` is outlet_sales, orders (transactions with product and quantity) or contracts (holdings
    opened), ``makers`` whose products ("": the company's own). Only whole periods are there: the running one, and one
    that the records begin within, are left out (``treatment.notes`` says so).

    Out, a row per series and period, every period between a series' first and last: series_id (the keys, joined by
    "/"), the keys, period (first moment), quantity (demand in pieces, after treatment), recorded (net pieces as loaded),
    status, weight (share of the demand that was seen: 0 is only filled in), returns, lost, filled, removed (pieces;
    quantity = recorded + returns + lost + filled - removed), price_minor, promotion (share of the open outlet-days),
    open_days (outlet-days, product by product; days of business for orders and contracts), stocked_out (share of the
    open outlet-days), holiday (company holidays in the period). Price, promotion and stock-outs are known for outlets only;
    orders have the price paid.

    Raises UsageError for unknown keys, steps and sources, DataError where nothing is found, rows are there twice or a
    stock is negative.
    """
    level = {"": (by, step)}
    return build_levels(snapshot, level, source=source, since=since, until=until, makers=makers)[""]


def build_levels(
    snapshot: Snapshot,
    levels: Mapping[str, Level],
    *,
    source: str = "outlet_sales",
    since: str | dt.date | None = None,
    until: str | dt.date | None = None,
    makers: Sequence[str] = OWN,
) -> dict[str, pd.DataFrame]:
    """Return ``build`` for several levels (name: keys and step), reading and treating the records once for all of them."""
    if source not in SOURCES:
        raise UsageError(f"source is {source!r}; use {', '.join(SOURCES)}")
    for keys, step in levels.values():
        _check_level(keys, step, source)
    begin, end = (_day(value, name) for value, name in ((since, "since"), (until, "until")))
    end = min(end or snapshot.as_of, snapshot.as_of)
    if begin and begin > end:
        raise UsageError(f"since is {begin}, after {end}, the last day that counts; give an earlier day")
    named = tuple(makers)
    if source == "outlet_sales":
        return _from_outlets(snapshot, levels, since=begin, until=end, makers=named)
    return {
        name: _from_sums(snapshot, level, source=source, since=begin, until=end, makers=named)
        for name, level in levels.items()
    }


def _check_level(keys: Sequence[str], step: str, source: str) -> None:
    if isinstance(keys, str):
        raise UsageError(f"by is {keys!r}; give a list of columns, such as by=({keys!r},)")
    unknown = [key for key in keys if key not in records.KEYS[source]]
    if unknown:
        raise UsageError(
            f"by: unknown key {', '.join(map(repr, unknown))} for {source}; known are {', '.join(records.KEYS[source])}"
        )
    if len(set(keys)) < len(keys):
        raise UsageError(f"by names a key twice: {', '.join(keys)}; name each once")
    if step not in STEPS:
        raise UsageError(f"step is {step!r}; demand series have {', '.join(STEPS)}")


def _day(value: str | dt.date | None, name: str) -> dt.date | None:
    if value is None or isinstance(value, dt.date):
        return value.date() if isinstance(value, dt.datetime) else value
    try:
        return dt.date.fromisoformat(str(value))
    except ValueError as error:
        raise UsageError(f"{name} is {value!r}, which is not a date; write it as YYYY-MM-DD") from error


def whole_periods(
    first: dt.date, last: dt.date, step: str, *, recorded: tuple[dt.date, dt.date] | None = None
) -> tuple[pd.DatetimeIndex, list[dict[str, object]]]:
    """Return the periods that lie wholly between two days, and codes for what is left out at either end.

    Days outside those ``recorded`` are no loss. Raises DataError where there is none.

    >>> whole_periods(dt.date(2025, 1, 1), dt.date(2025, 2, 20), "month")[1]
    [{'code': 'running_period_left_out', 'from': '2025-02-01', 'until': '2025-02-20'}]
    """
    touched = calendar.periods(first, last, step)
    ends = calendar.ends(touched, step)
    whole = (touched >= pd.Timestamp(first)) & (ends <= pd.Timestamp(last))
    if not whole.any():
        raise DataError(
            f"the records from {first} to {last} hold no whole {step}: not enough data (found 0, need 1); "
            "take a shorter step or load more"
        )
    notes: list[dict[str, object]] = []
    begin, end = recorded or (first, last)
    if not whole[0] and ends[0].date() >= begin:
        notes.append(_left_out("partial_first_period_left_out", max(first, begin), ends[0].date()))
    if not whole[-1] and touched[-1].date() <= end:
        notes.append(_left_out("running_period_left_out", touched[-1].date(), min(last, end)))
    return touched[whole], notes


def _left_out(code: str, first: dt.date, last: dt.date) -> dict[str, object]:
    return {"code": code, "from": first.isoformat(), "until": last.isoformat()}


# ---------------------------------------------------------------- outlets


def _from_outlets(
    snapshot: Snapshot,
    levels: Mapping[str, Level],
    *,
    since: dt.date | None,
    until: dt.date,
    makers: tuple[str, ...],
) -> dict[str, pd.DataFrame]:
    frame = cells.frame(snapshot, makers=makers, since=since, until=until)
    first, last = frame.days[0].date(), frame.days[-1].date()
    spans = {name: whole_periods(first, last, step, recorded=frame.recorded) for name, (_, step) in levels.items()}
    parts: dict[str, list[rolling.Sums]] = {name: [] for name in levels}
    for batch in cells.batches(snapshot, frame):
        treated = treatment.treat(batch)
        for name, (keys, step) in levels.items():
            parts[name].append(rolling.sums(treated, by=tuple(keys), periods=spans[name][0], step=step))
    free = calendar.holidays(snapshot.warehouse.company)
    out = {}
    for name, (keys, step) in levels.items():
        table = rolling.table(rolling.joined(parts.pop(name)), by=tuple(keys), step=step, free=free)
        table.attrs["notes"] = [*spans[name][1], *frame.notes]
        out[name] = table
    return out


# ---------------------------------------------------------------- orders and contracts


def _from_sums(
    snapshot: Snapshot, level: Level, *, source: str, since: dt.date | None, until: dt.date, makers: tuple[str, ...]
) -> pd.DataFrame:
    keys, step = tuple(level[0]), level[1]
    days = snapshot.warehouse.read(records.days_of(snapshot, source))
    products = records.products(snapshot, makers)
    if days.empty:
        raise DataError(
            f"{source}: nothing is known as of {snapshot.as_of}; load transactions with product and quantity, or holdings"
        )
    free = calendar.holidays(snapshot.warehouse.company)
    begin, end = calendar.with_idle_ends(days, free=free, since=since or dt.date(1900, 1, 1), until=until)
    first, last = max(begin, since or begin), min(end, until)
    if first > last:
        raise DataError(f"{source}: since {since}, until {until}: the records run from {begin} to {end}")
    known = pd.DatetimeIndex(days["day"])
    times, notes = whole_periods(first, last, step, recorded=(known.min().date(), known.max().date()))
    rows = snapshot.warehouse.read(records.periods_of(snapshot, source, keys, step, makers))
    rows = rows[rows["period"].isin(times)]
    if rows.empty:
        raise DataError(f"{source}: nothing of the makers {', '.join(map(repr, makers))} between {first} and {last}")
    business = calendar.business(days, times, step=step, free=free)
    ended = products.set_index("product_id")["withdrawn_on"] if "product_id" in keys else None
    table = rolling.table_of_sums(rows, by=keys, business=business, step=step, ended=ended, free=free)
    table.attrs["notes"] = notes
    return table
