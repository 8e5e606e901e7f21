"""Which series add up to which: levels of a hierarchy, or of several crossed ones, from the key columns of series."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from crmlib.errors import DataError, UsageError
from crmlib.models.demand import rolling, steps

TOTAL = rolling.TOTAL
"""The series_id of the sum of everything."""

NODE = ["level", "series_id"]
_SUMS = ("quantity", "recorded", "returns", "lost", "filled", "removed", "open_days")
_MEANS = ("weight", "price_minor", "promotion", "stocked_out", "holiday")


@dataclass(frozen=True)
class Structure:
    """Levels of series and their sums.

    Attributes: ``nodes``, one row a node, upper levels first: level, series_id, the key columns (empty where the node is
    a sum over them), ``never_negative`` (no quantity of the history was below zero); ``sums`` (nodes × bottom series)
    with 1 where a bottom series is part of a node; ``levels``, names and key columns, the bottom last.
    """

    nodes: pd.DataFrame
    sums: sparse.csr_matrix
    levels: dict[str, tuple[str, ...]]

    @property
    def bottom(self) -> pd.DataFrame:
        """The nodes of the last level."""
        return self.nodes.iloc[self.upper :]

    @property
    def upper(self) -> int:
        """How many nodes are sums of others."""
        return len(self.nodes) - self.sums.shape[1]

    @property
    def index(self) -> pd.MultiIndex:
        """Level and series_id of the nodes."""
        return pd.MultiIndex.from_frame(self.nodes[NODE])


def structure(series: pd.DataFrame, levels: Mapping[str, Sequence[str]]) -> Structure:
    """Return how series add up, for example {"total": (), "product": ("product_id",), "product_region": ("product_id", "region")}.

    In: a series table of the bottom level: series_id and the key columns named in ``levels`` (the name of the table's
    own level last; where there is a quantity, it tells which series were never negative). An upper node's series_id is
    that of ``rolling.series_ids``. Raises UsageError for levels that do not lead down to the series, DataError for keys
    that are empty or change within a series.
    """
    names = _checked(series, levels)
    keys = series[["series_id", *names]].drop_duplicates()
    if keys["series_id"].duplicated().any():
        twice = keys.loc[keys["series_id"].duplicated(), "series_id"].iloc[0]
        raise DataError(f"series {twice!r} has more than one value of {', '.join(names)}; a series keeps its keys")
    if keys[names].isna().any().any():
        empty = keys[keys[names].isna().any(axis=1)].iloc[0]
        raise DataError(
            f"series {empty['series_id']!r}: a key of {', '.join(names)} is empty; fill it or leave the series out"
        )
    keys = keys.sort_values("series_id").reset_index(drop=True)
    tables, blocks = [], []
    last = list(levels)[-1]
    for level, columns in levels.items():
        if level == last:
            group, some = np.arange(len(keys)), keys[["series_id", *names]]
        else:
            group, some = _grouped(keys, list(columns))
        ones = np.ones(len(keys))
        blocks.append(sparse.csr_matrix((ones, (group, np.arange(len(keys)))), shape=(len(some), len(keys))))
        tables.append(some.assign(level=level))
    sums = sparse.vstack(blocks).tocsr()
    nodes = pd.concat(tables, ignore_index=True)[[*NODE, *names]]
    least = series.groupby("series_id")["quantity"].min() if "quantity" in series else pd.Series(dtype=float)
    negative = (least.reindex(keys["series_id"]).fillna(-1.0) < 0).to_numpy()
    nodes["never_negative"] = sums @ negative == 0
    return Structure(nodes, sums, {level: tuple(columns) for level, columns in levels.items()})


def part(given: Structure, bottom: Iterable[str]) -> Structure:
    """Return the structure of some of the bottom series: the others, and the sums that hold none of them, are gone."""
    wanted = set(bottom)
    keep = given.bottom["series_id"].isin(wanted).to_numpy()
    unknown = sorted(wanted - set(given.bottom["series_id"]))
    if unknown or not keep.any():
        found = f"{unknown[0]!r} is none of them" if unknown else "none was named"
        raise DataError(f"a part of {len(given.bottom)} bottom series: {found}; name some of the structure's")
    sums = given.sums[:, keep]
    rows = np.asarray(sums.sum(axis=1)).ravel() > 0
    return Structure(given.nodes[rows].reset_index(drop=True), sums[rows], given.levels)


def aggregate(series: pd.DataFrame, given: Structure, *, step: str | None = None) -> pd.DataFrame:
    """Return the series table of all nodes: the bottom series and their sums, with a column level.

    Pieces (quantity, recorded, returns, lost, filled, removed) and open_days are summed; price_minor, promotion,
    stocked_out, holiday and weight are means over the parts, weighted by their quantity: the weight of a sum is the share
    of its quantity that tells demand. A sum runs from the first to the last period of any of its parts; a part that has
    not begun, or has ended, adds nothing.
    """
    step = steps.infer(series["period"]) if step is None else steps.check(step)
    bottom = pd.Index(given.bottom["series_id"])
    row = bottom.get_indexer(pd.Index(series["series_id"]))
    if (row < 0).any() or len(np.unique(row)) < len(bottom):
        raise DataError(
            f"series: {series['series_id'].nunique()} series are not the {len(bottom)} of the structure; make it from the same table"
        )
    number = steps.numbers(series["period"], step)
    column, width = number - number.min(), int(np.ptp(number)) + 1

    def spread(values: np.ndarray) -> np.ndarray:
        out = np.zeros((len(bottom), width))
        out[row, column] = values
        return out

    began = given.sums @ spread(np.ones(len(series))) > 0
    inside = np.maximum.accumulate(began, axis=1) & np.maximum.accumulate(began[:, ::-1], axis=1)[:, ::-1]
    node, place = np.nonzero(inside)
    out = given.nodes.drop(columns="never_negative").iloc[node].reset_index(drop=True)
    out["period"] = pd.to_datetime(steps.moments(place + number.min(), step))
    for name in (name for name in _SUMS if name in series):
        out[name] = (given.sums @ spread(series[name].fillna(0).to_numpy(float)))[node, place]
    size = np.abs(series["quantity"].to_numpy(float))
    for name in (name for name in _MEANS if name in series):
        out[name] = _mean(given.sums, spread, series[name].to_numpy(float, na_value=np.nan), size)[node, place]
        if name == "weight":  # a period between two parts: nothing was sold, and that is known
            out[name] = out[name].where(began[node, place], 1.0)
    return out


def _mean(sums: sparse.csr_matrix, spread: object, values: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Return the means of the parts' values weighted by size, plain means where all sizes are zero, nan for no value."""
    assert callable(spread)
    known = ~np.isnan(values)
    filled = np.where(known, values, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        weighted = (sums @ spread(filled * size)) / (sums @ spread(known * size))
        plain = (sums @ spread(filled)) / (sums @ spread(known.astype(float)))
    return np.where(np.isfinite(weighted), weighted, plain)


def _grouped(keys: pd.DataFrame, columns: list[str]) -> tuple[np.ndarray, pd.DataFrame]:
    """Return the node of each bottom series at one level, and the nodes: series_id and key columns."""
    if not columns:
        return np.zeros(len(keys), int), pd.DataFrame({"series_id": [TOTAL]})
    grouped = keys.groupby(columns, sort=True)
    some = grouped.size().reset_index()[columns]
    return grouped.ngroup().to_numpy(), some.assign(series_id=rolling.series_ids(some.astype("str")))


def _checked(series: pd.DataFrame, levels: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the key columns of all levels, those of the bottom first."""
    if len(levels) < 2:
        raise UsageError(f"levels names {len(levels)}; give at least two, the bottom last")
    bottom = list(levels.values())[-1]
    names = list(dict.fromkeys([*bottom, *(name for columns in levels.values() for name in columns)]))
    missing = [name for name in ["series_id", *names] if name not in series]
    if missing:
        raise DataError(f"series: no column {', '.join(missing)}; it has {', '.join(map(str, series.columns))}")
    for level, columns in list(levels.items())[:-1]:
        if not set(bottom) - set(columns):
            raise UsageError(f"level {level!r} has the keys of the bottom level; leave one of the two out")
    if series.drop_duplicates(["series_id", *bottom]).duplicated(list(bottom)).any():
        raise UsageError(f"levels: {', '.join(bottom)} does not tell the series apart; put the keys of the series last")
    return names
