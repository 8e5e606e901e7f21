"""Days that follow the weeks, and intervals as wide as other origins say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from crmlib.errors import DataError
from crmlib.models.demand import recalibrate
from crmlib.runs import demand_days

OUTLETS = pd.DataFrame({"outlet_id": ["A", "B", "C"], "region": ["North", "North", None]})


def daily(first: str, *, days: int, each: float = 10.0) -> pd.DataFrame:
    """Forecasts of two outlets of a region and one of none, the same every day."""
    periods = pd.date_range(first, periods=days)
    parts = [
        pd.DataFrame({"series_id": f"{outlet}/milk", "outlet_id": outlet, "product_id": "milk", "period": periods})
        for outlet in OUTLETS["outlet_id"]
    ]
    table = pd.concat(parts, ignore_index=True).assign(mean=each)
    return table.assign(low_80=0.8 * each, high_80=1.5 * each, **{"q_0.9": 1.4 * each})


def weekly(**means: float) -> pd.DataFrame:
    """Forecasts of weeks of milk in the North, by their Monday (2026_01_05=...)."""
    periods = pd.to_datetime([name.strip("w").replace("_", "-") for name in means])
    return pd.DataFrame({"product_id": "milk", "region": "North", "period": periods, "mean": list(means.values())})


def test_whole_weeks_of_days_bring_what_the_weeks_say_and_intervals_move_along() -> None:
    days = daily("2026-01-01", days=14)  # Thursday to Wednesday: only the week of 5 January is whole
    told = demand_days.follow(days, weekly(w2025_12_29=999.0, w2026_01_05=70.0, w2026_01_12=999.0), OUTLETS)
    north = told[told["outlet_id"].isin(["A", "B"])]
    week = north[north["period"].between("2026-01-05", "2026-01-11")]
    assert week["mean"].sum() == pytest.approx(70.0)
    np.testing.assert_allclose(north["mean"], 5.0)  # the days of other weeks by the same factor
    np.testing.assert_allclose(north[["low_80", "high_80", "q_0.9"]].to_numpy()[0], [4.0, 7.5, 7.0])
    pd.testing.assert_frame_equal(told[told["outlet_id"] == "C"], days[days["outlet_id"] == "C"])
    assert list(told.index) == list(days.index)


@pytest.mark.parametrize(("wanted", "factor"), [(1e6, 2.0), (1.0, 0.5)])
def test_weeks_move_days_no_further_than_the_bounds(wanted: float, factor: float) -> None:
    told = demand_days.follow(daily("2026-01-05", days=7), weekly(w2026_01_05=wanted), OUTLETS)
    np.testing.assert_allclose(told.loc[told["outlet_id"] == "A", "mean"], 10.0 * factor)


@pytest.mark.parametrize(
    ("days", "weeks"),
    [
        (daily("2026-01-01", days=10), weekly(w2025_12_29=50.0)),
        (daily("2026-01-05", days=7), weekly(w2026_01_05=50.0).assign(product_id="cheese")),
        (daily("2026-01-05", days=7, each=0.0), weekly(w2026_01_05=50.0)),
    ],
    ids=["no whole week forecast", "another product", "nothing to scale"],
)
def test_days_without_weeks_to_follow_stay_as_they_are(days: pd.DataFrame, weeks: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(demand_days.follow(days, weeks, OUTLETS), days)


def back_test(spread: dict[str, float], *, values: int = 400, seed: int = 3) -> pd.DataFrame:
    """A back test whose intervals suit errors of standard deviation 1, with other errors by origin."""
    rng = np.random.default_rng(seed)
    parts = [
        pd.DataFrame({"origin": pd.Timestamp(origin), "actual": 100 + rng.normal(0, size, values)})
        for origin, size in spread.items()
    ]
    ends = {"low_80": 100 - 1.2816, "high_80": 100 + 1.2816, "low_95": 100 - 1.96, "high_95": 100 + 1.96}
    return pd.concat(parts, ignore_index=True).assign(forecast=100.0, weight=1.0, **ends)


def test_crossed_intervals_of_an_origin_are_set_by_the_others_alone() -> None:
    table = back_test({"2025-01-31": 2.0, "2025-02-28": 2.0, "2025-03-31": 0.5})
    found = recalibrate.crossed(table)
    assert list(found.index) == list(table.index)
    width = found.assign(width=found["high_95"] - found["low_95"]).groupby("origin")["width"].first()
    assert width["2025-03-31"] == pytest.approx(2 * 2 * 1.96, rel=0.1)  # by the two wide ones
    assert width["2025-01-31"] < width["2025-03-31"]
    changed = table.copy()
    changed.loc[changed["origin"] == "2025-03-31", "actual"] = 1e6
    again = recalibrate.crossed(changed)
    same = again["origin"] == "2025-03-31"
    pd.testing.assert_frame_equal(again.loc[same].drop(columns="actual"), found.loc[same].drop(columns="actual"))


def test_one_origin_cannot_set_and_test_intervals() -> None:
    with pytest.raises(DataError, match=r"found 1 origin, need 2"):
        recalibrate.crossed(back_test({"2025-01-31": 1.0}))
