"""Days that follow the weeks: `crm demand` forecasts outlets by day from the last year, and moves them to the level of the weeks.

A year of days cannot tell what the season does to them; three years of weeks, with their trees, can. So the days of a product
and region are multiplied by one factor: what its whole weeks ahead are forecast to bring, over what the days say for them.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from crmlib.models import demand
from crmlib.models.demand import backtest, calendar
from crmlib.runs import demand_nodes
from crmlib.runs.demand_nodes import Grid
from crmlib.warehouse.snapshot import Snapshot

LEVEL = "product_region_week"
BOUNDS = (0.5, 2.0)
"""How far weeks may move days: a product's first or last weeks are no ground for more."""
_BY = ["product_id", "region"]


def follow(days: pd.DataFrame, weeks: pd.DataFrame, outlets: pd.DataFrame) -> pd.DataFrame:
    """Return forecasts of outlet × product days whose whole weeks bring what product × region weeks are forecast to bring.

    In: a forecast table with outlet_id and product_id; one of weeks with product_id, region, period, mean; outlets with
    outlet_id and region. Intervals and quantiles move along. A product and region without a whole week or without
    forecast of weeks stays as it is; so does an outlet of no known region.
    """
    region = days["outlet_id"].map(outlets.set_index("outlet_id")["region"]).astype("str")
    told = days.assign(region=region, week=calendar.starts(days["period"], "week"))
    whole = told.groupby("week")["period"].nunique()
    told = told[told["week"].isin(whole.index[whole == 7])]
    said = told.groupby([*_BY, "week"])["mean"].sum()
    wanted = weeks.groupby([*_BY, "period"])["mean"].sum().rename_axis([*_BY, "week"])
    both = pd.concat([said.rename("days"), wanted.rename("weeks")], axis=1, join="inner").groupby(level=_BY).sum()
    both = both[both["days"] > 0]
    factor = (both["weeks"] / both["days"]).clip(*BOUNDS)
    own = factor.reindex(pd.MultiIndex.from_arrays([days["product_id"].astype("str"), region])).fillna(1.0)
    columns = ["mean", *backtest.quantile_columns(days)]
    return days.assign(**{name: days[name] * own.to_numpy() for name in columns})


def weeks_then(
    snapshot: Snapshot, weeks: Grid, nodes: pd.DataFrame, *, horizon: int, source: str, seed: int
) -> pd.DataFrame:
    """Return the forecasts of product × region weeks that were possible at a day: from the whole weeks before it.

    In: the snapshot of that day, the series of all weeks (those of later weeks are left out), ``horizon`` in days.
    """
    table = nodes[nodes["level"] == LEVEL]
    ends = calendar.ends(pd.DatetimeIndex(table["period"]), "week")
    table = table[ends <= pd.Timestamp(snapshot.as_of)]
    table = table[table["series_id"].isin(table.loc[table["period"] == table["period"].max(), "series_id"])]
    ahead = int(np.ceil(horizon / 7)) + 1
    grid = Grid("week", {LEVEL: tuple(_BY)}, horizon=ahead, origins=0, every=1, methods=weeks.methods)
    known = demand_nodes.joined(demand_nodes.known_ahead(snapshot, table, grid, source))
    fitted = demand.fit(demand_nodes.joined(table), horizon=ahead, step="week", methods=grid.methods, seed=seed)
    out = demand_nodes.split(fitted.forecast(future=known))
    keys = table[["series_id", *_BY]].drop_duplicates("series_id")
    return out[["series_id", "period", "mean"]].merge(keys, on="series_id", how="left", validate="many_to_one")
