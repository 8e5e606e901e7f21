"""How widely promotions run: uplifts are those of a promotion where it runs, not of a share of outlets that hardly sell."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from crmlib.errors import DataError
from crmlib.models.effects import elasticity, reach

WEEKS = pd.date_range("2022-01-03", periods=156, freq="W-MON")


def series(shown: float = 0.8) -> pd.DataFrame:
    """Milk promoted every ninth week in places with all sales, but only part of the outlets; the planted uplift is 0.3."""
    random = np.random.default_rng(7)
    promoted = (np.arange(156) % 9 == 4).astype(float)
    sold = 5000 * np.exp(0.3 * promoted + random.normal(0, 0.05, 156))
    keys = {"series_id": "milk/north", "product_id": "milk", "region": "north", "period": WEEKS}
    return pd.DataFrame({**keys, "quantity": sold, "promotion": shown * promoted})


def dated(days: int = 7, **change: object) -> pd.DataFrame:
    starts = WEEKS[np.arange(156) % 9 == 4]
    rows = {
        "product_id": "milk",
        "region": "north",
        "starts_on": starts,
        "ends_on": starts + pd.Timedelta(days=days - 1),
    }
    return pd.DataFrame(rows | change)


def test_an_uplift_is_that_of_a_promotion_where_it_runs() -> None:
    found = elasticity.estimate(reach.widened(series(), dated())).set_index("measure").loc["promotion_uplift"]
    assert found["low"] <= 0.3 <= found["high"]
    assert found["estimate"] == pytest.approx(0.3, abs=0.03)
    plain = elasticity.estimate(series()).set_index("measure").loc["promotion_uplift"]
    assert plain["low"] > 0.3  # without it the uplift is made too large


@pytest.mark.parametrize("place", ["north", "all", None])
def test_part_of_a_week_stays_part_of_a_week(place: str | None) -> None:
    table = reach.widened(series(0.8 * 3 / 7), dated(3, region=place))
    assert sorted(set(table["promotion"].round(6))) == [0.0, round(3 / 7, 6)]


def test_without_dates_the_widest_week_is_one() -> None:
    elsewhere = dated(region="south")
    assert reach.widened(series(), elsewhere)["promotion"].max() == 1.0
    assert reach.widened(series(), dated().head(0))["promotion"].max() == 1.0
    assert (reach.widened(series(0.0), dated())["promotion"] == 0).all()


def test_missing_columns_are_named() -> None:
    with pytest.raises(DataError, match="series has no column promotion"):
        reach.widened(series().drop(columns="promotion"), dated())
    with pytest.raises(DataError, match="promotions has no column region"):
        reach.widened(series(), dated().drop(columns="region"))
