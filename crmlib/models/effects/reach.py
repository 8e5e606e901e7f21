"""How widely promotions run: the share of the time that one ran, in the outlets that promotions of the product reach.

A series by region has the share of its outlet-days on promotion. Where kiosks, few of whose sales count, never take part,
a week promoted throughout shows as 0.85, and an uplift per full promotion would be made too large by as much.
"""

from __future__ import annotations

import pandas as pd

from crmlib.errors import DataError

_WEEK = pd.Timedelta(days=7)


def widened(series: pd.DataFrame, promotions: pd.DataFrame) -> pd.DataFrame:
    """Return the series by week with ``promotion`` as the share of the time that one ran where promotions of the series run.

    In: a series table by product_id, region and week (series_id, period, promotion); ``promotions`` (product_id, region or "all",
    starts_on, ends_on). The reach of a series is the median, over weeks in which one ran, of its promoted share over the share of days
    that it ran; of a series whose promotions have no dates (competitors'), it is that of its widest week. Raises DataError for a missing
    column.

    >>> week = pd.Timestamp("2025-01-06")
    >>> table = pd.DataFrame({"series_id": "milk/north", "product_id": "milk", "region": "north", "period": [week], "promotion": [0.4]})
    >>> ran = pd.DataFrame({"product_id": ["milk"], "region": ["all"], "starts_on": [week], "ends_on": [week + pd.Timedelta(days=6)]})
    >>> widened(table, ran)["promotion"].tolist()
    [1.0]
    """
    for name, table, needed in (
        ("series", series, ("series_id", "product_id", "region", "period", "promotion")),
        ("promotions", promotions, ("product_id", "region", "starts_on", "ends_on")),
    ):
        missing = [column for column in needed if column not in table]
        if missing:
            raise DataError(f"{name} has no column {', '.join(missing)}; it has {', '.join(map(str, table))}")
    shown = series["promotion"].astype(float)
    ran = _ran(series, promotions)
    both = (ran > 0) & (shown > 0)
    reach = (shown[both] / ran[both]).groupby(series.loc[both, "series_id"]).median().clip(upper=1.0)
    widest = shown.groupby(series["series_id"]).transform("max").clip(upper=1.0)
    over = series["series_id"].map(reach).astype(float).fillna(widest.where(widest > 0, 1.0))
    return series.assign(promotion=(shown / over).clip(upper=1.0))


def _ran(series: pd.DataFrame, promotions: pd.DataFrame) -> pd.Series:
    """Return the share of each row's days on which a promotion of its product and region ran."""
    places = series[["product_id", "region"]].drop_duplicates()
    given = promotions.assign(place=promotions["region"].fillna("all").replace("", "all").astype("str"))
    dates = given[["product_id", "place", "starts_on", "ends_on"]]
    there = places.merge(dates, on="product_id", how="inner", validate="many_to_many")
    there = there[(there["place"] == "all") | (there["place"] == there["region"])]
    there = there.dropna(subset=["starts_on", "ends_on"]).reset_index(drop=True)
    starts, ends = (pd.to_datetime(there[name]) for name in ("starts_on", "ends_on"))
    length = ((ends - starts).dt.days + 1).clip(lower=0)
    days = there.assign(start=starts).loc[there.index.repeat(length)]
    day = days["start"] + pd.to_timedelta(days.groupby(level=0).cumcount(), unit="D")
    days = days.assign(day=day)[["product_id", "region", "day"]].drop_duplicates()
    monday = days["day"] - pd.to_timedelta(days["day"].dt.day_of_week, unit="D")
    days = days.assign(period=monday.dt.as_unit("us"))
    counted = days.groupby(["product_id", "region", "period"]).size().div(_WEEK.days).rename("ran").reset_index()
    keys = series[["product_id", "region", "period"]].assign(period=series["period"].dt.as_unit("us"))
    found = keys.merge(counted, on=["product_id", "region", "period"], how="left", validate="many_to_one")
    return pd.Series(found["ran"].fillna(0.0).to_numpy(float), index=series.index)
