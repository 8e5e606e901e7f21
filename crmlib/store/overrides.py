"""What people put in place of forecasts: by whom, when, why. Nothing is deleted; the newest revision counts."""

from __future__ import annotations

import datetime as dt
import math
from pathlib import Path

import numpy as np
import pandas as pd
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from crmlib.errors import DataError, NotFoundError, UsageError
from crmlib.store import session
from crmlib.store.tables import ForecastOverride

COLUMNS = tuple(column.name for column in ForecastOverride.__table__.columns)
"""The columns of a table of overrides: what the row holds, in the order of the store."""

KEY = ["level", "series_id", "period"]
LONGEST_REASON = 500
_LONGEST = {"level": 64, "series_id": 256}
_ATTEMPTS = 20


def put(
    data: Path,
    *,
    level: str,
    series_id: str,
    period: dt.date,
    quantity: float,
    previous: float | None,
    reason: str,
    now: dt.datetime,
    actor: str,
    seen: int | None = None,
) -> int:
    """Put a quantity in place of the forecast of one series and period; return the number of the override.

    ``previous`` is the forecast it replaces, ``reason`` says why. ``seen`` is the revision the person looked at (0: there
    was none): where somebody has put another meanwhile, nothing is written. Without it the override follows whatever
    is there. Raises UsageError for a missing reason or impossible quantity, DataError for one that came in between.
    """
    day = _day(period)
    values = {
        **{"level": _known(level, "level"), "series_id": _known(series_id, "series_id"), "period": day},
        **{"quantity": _quantity(quantity), "previous": _previous(previous), "reason": _reason(reason)},
        **{"made_at": now, "made_by": actor},
    }
    for _ in range(_ATTEMPTS):
        with session.session(data) as opened:
            last = opened.scalar(_last(level, series_id, day))
            revision = last.revision if last else 0
            if seen is not None and seen != revision:
                raise DataError(_changed(level, series_id, day, last))
            row = ForecastOverride(**values, revision=revision + 1)
            opened.add(row)
            try:
                opened.commit()
            except IntegrityError:  # somebody took this revision between the question and the answer: ask again
                continue
            return row.override_id
    raise DataError(
        f"the override of {level} {series_id} on {day} met {_ATTEMPTS} others written at the same moment; try again"
    )


def withdraw(data: Path, override_id: int, *, now: dt.datetime, actor: str) -> None:
    """Take an override back, so that the forecast counts again; the row stays.

    Raises NotFoundError for an unknown one, DataError where it was withdrawn or followed by another already.
    """
    with session.session(data) as opened:
        row = opened.get(ForecastOverride, override_id)
        if row is None:
            raise NotFoundError(f"there is no override {override_id}; list them to see which there are")
        last = opened.scalar(_last(row.level, row.series_id, row.period))
        if last is not None and last.override_id != override_id:
            raise DataError(
                f"override {override_id} was followed by {last.override_id} of {last.made_by} at {last.made_at:%Y-%m-%d %H:%M}; "
                "withdraw that one"
            )
        mine = sa.update(ForecastOverride).where(
            ForecastOverride.override_id == override_id, ForecastOverride.withdrawn_at.is_(None)
        )
        connection = opened.connection()
        done = connection.execute(mine.values(withdrawn_at=now, withdrawn_by=actor)).rowcount
        opened.commit()
        if not done:
            opened.refresh(row)
            raise DataError(
                f"override {override_id} was withdrawn by {row.withdrawn_by} at {row.withdrawn_at:%Y-%m-%d %H:%M}; "
                "nothing is left to take back"
            )


def table(data: Path, *, level: str | None = None, series_id: str | None = None) -> pd.DataFrame:
    """Return all overrides ever put (``COLUMNS``, and ``in_force``), the newest first, of a level or a series where given."""
    query = sa.select(ForecastOverride.__table__).order_by(ForecastOverride.override_id.desc())
    if level is not None:
        query = query.where(ForecastOverride.level == level)
    if series_id is not None:
        query = query.where(ForecastOverride.series_id == series_id)
    with session.engine(data).connect() as connection:
        rows = pd.DataFrame(connection.execute(query).mappings().all(), columns=list(COLUMNS))
    times = {name: pd.to_datetime(rows[name]) for name in ("period", "made_at", "withdrawn_at")}
    numbers = {name: rows[name].astype(float) for name in ("quantity", "previous")}
    words = {name: rows[name].astype("str") for name in ("level", "series_id", "reason", "made_by", "withdrawn_by")}
    rows = rows.assign(**times, **numbers, **words)
    newest = rows["revision"] == rows.groupby(KEY)["revision"].transform("max")
    return rows.assign(in_force=newest & rows["withdrawn_at"].isna())


def in_force(data: Path, *, level: str | None = None, at: dt.datetime | None = None) -> pd.DataFrame:
    """Return the overrides that count (``COLUMNS``), at most one a level, series and period; ``at`` a past moment where given."""
    rows = table(data, level=level)
    return standing(rows, at=pd.Timestamp.max if at is None else at)[list(COLUMNS)]


def standing(rows: pd.DataFrame, *, at: dt.datetime | pd.Timestamp | pd.Series) -> pd.DataFrame:
    """Return the rows of a table of overrides that counted at a moment, or each at one of its own (a column of moments).

    The newest put before the moment counts, unless it was withdrawn before it.
    """
    made = rows[rows["made_at"] < at]
    newest = made.loc[made.groupby(KEY)["revision"].idxmax()]
    until = at.reindex(newest.index) if isinstance(at, pd.Series) else at
    return newest[~(newest["withdrawn_at"] < until)].sort_index()


def apply(forecasts: pd.DataFrame, overrides: pd.DataFrame) -> pd.DataFrame:
    """Return a forecast table with ``override`` (nan: none) and ``final``, the override where there is one, else the mean.

    Takes series_id, period, mean (and level, where the table holds several) and the overrides in force of the level.
    Intervals stay those of the forecast: nobody knows how sure the person was.
    """
    keys = KEY if "level" in forecasts else KEY[1:]
    if overrides.duplicated(keys).any():
        twice = overrides.loc[overrides.duplicated(keys), keys].iloc[0].tolist()
        raise DataError(f"overrides: {' '.join(map(str, twice))} is there twice; give those in force of one level")
    put_in = overrides[keys].assign(override=overrides["quantity"].astype(float))
    if not len(put_in):
        return forecasts.assign(override=np.nan, final=forecasts["mean"])
    out = forecasts.drop(columns=["override", "final"], errors="ignore")
    out = out.merge(put_in, on=keys, how="left", validate="many_to_one").set_axis(forecasts.index)
    return out.assign(final=out["override"].fillna(out["mean"]))


def _last(level: str, series_id: str, period: dt.date) -> sa.Select[ForecastOverride]:
    of_key = sa.select(ForecastOverride).filter_by(level=level, series_id=series_id, period=period)
    return of_key.order_by(ForecastOverride.revision.desc()).limit(1)


def _changed(level: str, series_id: str, period: dt.date, last: ForecastOverride | None) -> str:
    found = f"{last.made_by} put {last.quantity:g} at {last.made_at:%Y-%m-%d %H:%M}" if last else "there is none"
    return f"the override of {level} {series_id} on {period} is not the one you saw: {found}; look again before you put yours"


def _day(period: dt.date) -> dt.date:
    found = pd.Timestamp(period)
    if pd.isna(found) or found != found.normalize():
        raise UsageError(f"the period is {period!r}; give the first day of the period")
    return found.date()


def _known(value: str, name: str) -> str:
    if not 0 < len(value) <= _LONGEST[name]:
        raise UsageError(f"{name} is {value[:80]!r}; give 1 to {_LONGEST[name]} characters")
    return value


def _quantity(value: float) -> float:
    if not math.isfinite(value) or value < 0:
        raise UsageError(f"the quantity is {value}; give a number of zero or more")
    return float(value)


def _previous(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _reason(given: str) -> str:
    words = " ".join(given.split())
    if not 0 < len(words) <= LONGEST_REASON:
        raise UsageError(
            f"the reason of the override is {given[:80]!r}; say in 1 to {LONGEST_REASON} characters why it is better than the "
            "forecast"
        )
    return words
