"""The series that `crm demand` forecasts of one step of time: those of all levels as one panel, and what is known ahead of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from crmlib.models.demand import future, hierarchy, rolling
from crmlib.models.demand.hierarchy import Structure
from crmlib.warehouse.snapshot import Snapshot

KEYS = ("product_id", "product_group", "region", "outlet_id", "customer_id")
"""Key columns of every table saved; "" where a series is a sum over them."""
_JOIN = "\x1f"  # between level and series where both are one name: no name has it
_RECENT = 8  # periods that say how the parts of a sum weigh in its price


@dataclass(frozen=True)
class Grid:
    """One step of time to be forecast.

    Attributes: ``step``; ``levels`` by name with their keys, the bottom last; ``horizon``; the back test has at most so many
    ``origins``, ``every`` so many periods; ``learned`` periods of history at most (0: all) and ``kept`` of them saved;
    ``methods`` tried (None: all that suit); ``quantiles``.
    """

    step: str
    levels: Mapping[str, tuple[str, ...]]
    horizon: int
    origins: int
    every: int
    learned: int = 0
    kept: int = 0
    methods: tuple[str, ...] | None = None
    quantiles: tuple[float, ...] = ()

    @property
    def bottom(self) -> str:
        """The level that all others are sums of."""
        return list(self.levels)[-1]


def living(grid: Grid, built: Mapping[str, pd.DataFrame]) -> tuple[pd.DataFrame, Structure | None]:
    """Return the bottom series that reach the newest period, and how they add up."""
    bottom = built[grid.bottom]
    last = bottom["period"].max()
    living = bottom[bottom["series_id"].isin(bottom.loc[bottom["period"] == last, "series_id"])]
    return living, hierarchy.structure(living, grid.levels) if len(grid.levels) > 1 else None


def nodes_of(
    grid: Grid, built: Mapping[str, pd.DataFrame], living: pd.DataFrame, structure: Structure | None
) -> pd.DataFrame:
    """Return the series of all levels that are forecast, the total first, their ids as the structure has them."""
    tables = []
    for level, columns in grid.levels.items():
        rows = living if level == grid.bottom else built[level]
        rows = rows if columns else rows.assign(series_id=hierarchy.TOTAL)
        if structure is not None:
            there = structure.nodes.loc[structure.nodes["level"] == level, "series_id"]
            rows = rows[rows["series_id"].isin(there)]
        if grid.learned:
            rows = rows[rows["period"].isin(np.sort(rows["period"].unique())[-grid.learned :])]
        tables.append(rows.assign(level=level))
    out = pd.concat(tables, ignore_index=True)
    return with_keys(out.astype({"series_id": "str"}))


def with_keys(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with all of ``KEYS``, "" where it has none."""
    keys = {name: table[name].fillna("").astype("str") if name in table else "" for name in KEYS}
    out = table.assign(**keys)
    first = ["level", "series_id", *KEYS]
    return out[[*first, *[name for name in out if name not in first]]].astype(dict.fromkeys(KEYS, "str"))


def known_ahead(snapshot: Snapshot, nodes: pd.DataFrame, grid: Grid, source: str) -> pd.DataFrame:
    """Return what the snapshot knows of the periods ahead: read for the bottom series, brought together for their sums."""
    bottom = nodes[nodes["level"] == grid.bottom]
    columns = list(grid.levels[grid.bottom])
    told = future.known(
        snapshot, bottom[["series_id", *columns, "period"]], horizon=grid.horizon, step=grid.step, source=source
    )
    recent = bottom.groupby("series_id")["quantity"].apply(lambda sold: max(float(sold.tail(_RECENT).mean()), 1e-9))
    parts = [told.assign(level=grid.bottom)]
    for level, keys in list(grid.levels.items())[:-1]:
        parts.append(_sum_known(told, told["series_id"].map(recent), keys).assign(level=level))
    return with_keys(pd.concat(parts, ignore_index=True))


def _sum_known(told: pd.DataFrame, pieces: pd.Series, keys: tuple[str, ...]) -> pd.DataFrame:
    """Return what is known of sums: promotion by open days, prices by the ``pieces`` sold of late, as in their history."""
    by = [told[name] for name in (*keys, "period")]
    out = told.groupby(by, sort=True).agg(ahead=("ahead", "first"), holiday=("holiday", "max")).reset_index()
    days = told["open_days"]
    outlets = "promotion" in told
    grouped = days.groupby(by, sort=True)
    out["open_days"] = (grouped.sum() if outlets else grouped.max()).to_numpy()
    if outlets:
        promoted = (told["promotion"] * days).groupby(by, sort=True).sum().to_numpy()
        out["promotion"] = promoted / np.maximum(out["open_days"], 1e-9)
        priced = pieces.where(told["price_minor"].notna(), 0.0)
        worth = (told["price_minor"].fillna(0.0) * priced).groupby(by, sort=True).sum().to_numpy()
        total = priced.groupby(by, sort=True).sum().to_numpy()
        out["price_minor"] = np.where(total > 0, worth / np.maximum(total, 1e-12), np.nan)
    return out.assign(series_id=rolling.series_ids(out[list(keys)].astype("str")))


def joined(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose series_id holds the level too: one panel, from which all levels are learned together."""
    return table.drop(columns="level").assign(series_id=table["level"] + _JOIN + table["series_id"])


def split(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of such ids with level and series_id apart."""
    parts = table["series_id"].astype("str").str.split(_JOIN, n=1, expand=True)
    return table.assign(level=parts[0].astype("str"), series_id=parts[1].astype("str"))


def ordered(table: pd.DataFrame, nodes: pd.DataFrame, grid: Grid) -> pd.DataFrame:
    """Return a forecast table with the keys of its series, by level (the total first), series and period."""
    keys = nodes[["level", "series_id", *KEYS]].drop_duplicates(["level", "series_id"])
    place = {level: number for number, level in enumerate(grid.levels)}
    out = table.drop(columns=[name for name in KEYS if name in table])
    out = out.merge(keys, on=["level", "series_id"], how="left", validate="many_to_one")
    out = out.assign(place=out["level"].map(place)).sort_values(["place", "series_id", "period"], ignore_index=True)
    return with_keys(out.drop(columns="place"))
