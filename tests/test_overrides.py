"""Overrides of forecasts: who, when and why; withdrawn but not deleted; people who write at once do not lose each other."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import postgres
import pytest
import sqlalchemy as sa

from crmlib.errors import DataError, NotFoundError, UsageError
from crmlib.store import overrides, session

NOW = dt.datetime(2026, 1, 5, 6, 0)
HOUR = dt.timedelta(hours=1)
WEEK = dt.date(2026, 1, 12)


def put(data: Path, quantity: float = 120, **changed: Any) -> int:
    given: dict[str, Any] = {
        **{"level": "product_region_week", "series_id": "milk/North", "period": WEEK, "previous": 100.5},
        **{"reason": "a new school opens", "now": NOW, "actor": "anna"},
    }
    return overrides.put(data, quantity=quantity, **{**given, **changed})


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres.server() as url:
        yield url


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def data(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    if request.param == "sqlite":
        yield tmp_path
        return
    monkeypatch.setenv("CRM_STORE", request.getfixturevalue("server"))
    yield tmp_path
    engine = session.engine(tmp_path)
    with engine.begin() as connection:  # the next test finds the server empty
        connection.execute(sa.text("TRUNCATE forecast_overrides RESTART IDENTITY"))
    engine.dispose()


def test_an_override_says_who_when_and_why(data: Path) -> None:
    number = put(data)
    (row,) = overrides.table(data).to_dict("records")
    assert row == {
        **{"override_id": number, "level": "product_region_week", "series_id": "milk/North", "revision": 1},
        **{"period": pd.Timestamp(WEEK), "quantity": 120.0, "previous": 100.5, "reason": "a new school opens"},
        **{
            "made_at": pd.Timestamp(NOW),
            "made_by": "anna",
            "withdrawn_at": pd.NaT,
            "withdrawn_by": row["withdrawn_by"],
        },
        "in_force": True,
    }
    assert pd.isna(row["withdrawn_by"])


def test_the_newest_counts_and_a_withdrawn_one_brings_no_older_back(data: Path) -> None:
    first, second = put(data), put(data, 90, now=NOW + HOUR, actor="boris")
    other = put(data, 7, series_id="milk/South")
    assert overrides.in_force(data)["override_id"].tolist() == [other, second]
    with pytest.raises(DataError, match=f"override {first} was followed by {second} of boris"):
        overrides.withdraw(data, first, now=NOW, actor="anna")
    overrides.withdraw(data, second, now=NOW + 2 * HOUR, actor="anna")
    assert overrides.in_force(data)["override_id"].tolist() == [other]
    kept = overrides.table(data, series_id="milk/North")
    assert kept["override_id"].tolist() == [second, first] and kept["withdrawn_by"].tolist()[0] == "anna"
    with pytest.raises(DataError, match=f"override {second} was withdrawn by anna at 2026-01-05 08:00"):
        overrides.withdraw(data, second, now=NOW + 3 * HOUR, actor="boris")
    third = put(data, 95, now=NOW + 4 * HOUR)
    assert overrides.table(data, series_id="milk/North")["revision"].tolist() == [3, 2, 1]
    past = {hours: overrides.in_force(data, at=NOW + hours * HOUR + HOUR / 2) for hours in (0, 1, 2, 4)}
    of_north = {h: rows.loc[rows["series_id"] == "milk/North", "override_id"].tolist() for h, rows in past.items()}
    assert of_north == {0: [first], 1: [second], 2: [], 4: [third]}


def test_somebody_who_saw_an_older_one_is_told_and_nothing_is_written(data: Path) -> None:
    put(data, seen=0)
    with pytest.raises(DataError, match=r"not the one you saw: anna put 120 at 2026-01-05 06:00; look again"):
        put(data, 80, seen=0, actor="boris")
    put(data, 80, seen=1, actor="boris")
    assert overrides.table(data)["quantity"].tolist() == [80, 120]
    with pytest.raises(DataError, match="not the one you saw: there is none"):
        put(data, 80, seen=1, series_id="cheese/North")


def at_once(write: Callable[[str], Any], *actors: str) -> list[Any]:
    """What several people who write at the same moment get: the number of their override or an error."""
    gate = threading.Barrier(len(actors))

    def one(actor: str) -> Any:
        gate.wait()
        try:
            return write(actor)
        except DataError as error:
            return error

    with ThreadPoolExecutor(len(actors)) as pool:
        return list(pool.map(one, actors))


def test_people_who_write_at_once_lose_nothing(data: Path) -> None:
    put(data, actor="before")
    for turn in range(5):
        assert len(set(at_once(lambda actor, turn=turn: put(data, turn, actor=actor), "anna", "boris", "clara"))) == 3
    rows = overrides.table(data)
    assert sorted(rows["revision"]) == list(range(1, 17))
    assert rows.loc[rows["in_force"], "revision"].tolist() == [16]
    assert rows.groupby("made_by")["quantity"].apply(list).to_dict() == {
        **{name: [4, 3, 2, 1, 0] for name in ("anna", "boris", "clara")},
        "before": [120],
    }


def test_of_two_who_saw_the_same_exactly_one_is_written(data: Path) -> None:
    for turn in range(4):
        said = at_once(lambda actor, turn=turn: put(data, seen=turn, actor=actor), "anna", "boris")
        (lost,) = [error for error in said if isinstance(error, DataError)]
        assert "not the one you saw" in str(lost) and len(overrides.table(data)) == turn + 1


def test_of_two_who_withdraw_the_second_is_told(data: Path) -> None:
    number = put(data)
    said = at_once(lambda actor: overrides.withdraw(data, number, now=NOW, actor=actor), "anna", "boris")
    assert sorted(type(each) for each in said if each is not None) == [DataError]
    (by,) = overrides.table(data)["withdrawn_by"]
    assert f"withdrawn by {by}" in str(next(each for each in said if each is not None))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"reason": "  "}, "the reason of the override is '  '; say in 1 to 500 characters why"),
        ({"reason": "x" * 501}, "say in 1 to 500 characters"),
        ({"quantity": -1}, "the quantity is -1; give a number of zero or more"),
        ({"quantity": np.nan}, "the quantity is nan; give a number"),
        ({"period": pd.NaT}, "the period is NaT; give the first day"),
        ({"period": dt.datetime(2026, 1, 12, 5)}, "give the first day of the period"),
        ({"series_id": ""}, "series_id is ''; give 1 to 256"),
        ({"level": "x" * 65}, "level is 'xxx.*; give 1 to 64"),
    ],
)
def test_what_cannot_be_meant_is_refused(changed: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        put(tmp_path, **changed)


def test_an_unknown_override_is_not_withdrawn(tmp_path: Path) -> None:
    assert overrides.table(tmp_path).empty and overrides.in_force(tmp_path).empty
    with pytest.raises(NotFoundError, match="there is no override 17"):
        overrides.withdraw(tmp_path, 17, now=NOW, actor="anna")


def test_overrides_are_put_into_a_forecast_and_leave_the_rest(tmp_path: Path) -> None:
    weeks = pd.to_datetime([WEEK, WEEK + dt.timedelta(days=7)] * 2)
    forecasts = pd.DataFrame({"series_id": ["milk/North"] * 2 + ["milk/South"] * 2, "period": weeks, "mean": 10.0})
    untouched = overrides.apply(forecasts, overrides.in_force(tmp_path))
    assert untouched["override"].isna().all() and untouched["final"].tolist() == [10] * 4
    put(tmp_path, 14)
    put(tmp_path, 99, level="product_month")
    put_in = overrides.apply(forecasts, overrides.in_force(tmp_path, level="product_region_week"))
    assert put_in["final"].tolist() == [14, 10, 10, 10] and put_in["mean"].tolist() == [10] * 4
    again = overrides.apply(put_in, overrides.in_force(tmp_path, level="product_region_week"))
    pd.testing.assert_frame_equal(again, put_in)
    with pytest.raises(DataError, match=r"overrides: milk/North 2026-01-12 00:00:00 is there twice"):
        overrides.apply(forecasts, overrides.in_force(tmp_path))
