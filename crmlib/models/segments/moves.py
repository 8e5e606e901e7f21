"""Moves between segments: how many, why, and whether the habit of staying drifts."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy import stats

from crmlib.errors import DataError
from crmlib.models.segments.profiles import Segmentation

_Z = float(stats.norm.ppf(0.975))


def counts(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """Return what became of the customers of each segment between two memberships of one segmentation.

    Out, a row a move: kind (stayed, moved, joined, left), from ("" for who joined), to ("" for who left), customers. Who
    joined was no customer at the first date, who left is none at the second.
    """
    joined = _paired(before, after, how="outer")
    start, end = joined["from"].fillna(""), joined["to"].fillna("")
    kind = np.select([start == "", end == "", start == end], ["joined", "left", "stayed"], "moved")
    table = pd.DataFrame({"kind": kind, "from": start.astype("str"), "to": end.astype("str")})
    return table.groupby(["kind", "from", "to"], sort=True).size().rename("customers").reset_index()


def transitions(before: pd.DataFrame, after: pd.DataFrame, *, segments: Sequence[str]) -> pd.DataFrame:
    """Return the transition matrix of those who were customers at both dates, in rows.

    Out, a row a pair of segments: from, to, customers, share (of those in ``from``), low, high (Wilson, 95%; NaN where
    nobody was in ``from``).
    """
    matrix = crosstab(before, after, segments=segments)
    size = matrix.sum(axis=1, keepdims=True).astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(size > 0, matrix / size, np.nan)
        low, high = _wilson(share, np.where(size > 0, size, np.nan))
    pairs = pd.MultiIndex.from_product([segments, segments], names=["from", "to"]).to_frame(index=False).astype("str")
    return pairs.assign(customers=matrix.ravel(), share=share.ravel(), low=low.ravel(), high=high.ravel())


def crosstab(before: pd.DataFrame, after: pd.DataFrame, *, segments: Sequence[str]) -> np.ndarray:
    """Return the counts of customers (segments before × segments after) of those who are in both memberships."""
    joined = _paired(before, after, how="inner")
    first, second = (pd.Index(segments).get_indexer(pd.Index(joined[side])) for side in ("from", "to"))
    if (first < 0).any() or (second < 0).any():
        stray = sorted((set(joined["from"]) | set(joined["to"])) - set(segments))
        raise DataError(f"memberships hold segments that are not among those given: {', '.join(map(str, stray))}")
    k = len(segments)
    return np.bincount(first * k + second, minlength=k * k).reshape(k, k)


def habit(memberships: Sequence[pd.DataFrame], *, segments: Sequence[str]) -> pd.DataFrame:
    """Return the share of customers who stay where they are, by period and segment.

    In: memberships of successive dates. Out: before, after (dates), segment ("(all)" for all), customers, stayed
    (share), low, high (Wilson, 95%).
    """
    rows = []
    for first, second in itertools.pairwise(memberships):
        matrix = crosstab(first, second, segments=segments)
        period = (first["as_of"].iloc[0], second["as_of"].iloc[0])
        for name, size, stay in [
            ("(all)", matrix.sum(), np.trace(matrix)),
            *zip(segments, matrix.sum(axis=1), np.diag(matrix), strict=True),
        ]:
            share = stay / size if size else np.nan
            low, high = _wilson(share, float(size)) if size else (np.nan, np.nan)
            rows.append((*period, name, int(size), float(share), float(low), float(high)))
    return pd.DataFrame(rows, columns=["before", "after", "segment", "customers", "stayed", "low", "high"])


@dataclass(frozen=True)
class Drift:
    """A test of whether transition probabilities stay the same over periods.

    Attributes: Pearson's ``chi_square`` and the ``likelihood_ratio`` statistic with their common ``degrees`` of freedom
    and p-values; ``change`` the mean absolute change of a transition probability between a period and the next, weighted by customers:
    with many customers small changes are significant.
    """

    chi_square: float
    likelihood_ratio: float
    degrees: int
    p: float
    likelihood_ratio_p: float
    change: float


def drift(matrices: Sequence[np.ndarray]) -> Drift:
    """Test whether the transition matrix is the same in all periods (Anderson & Goodman 1957, sections 3.2 and 3.4).

    In: counts of each period (from × to). Transitions that nobody ever made take no degree of freedom.
    """
    if len(matrices) < 2:
        raise DataError(f"drift needs the moves of at least two periods, there is {len(matrices)}; take more dates")
    count = np.stack(matrices).astype(float)
    chi, ratio, degrees = _homogeneity(count)
    size = count.sum(axis=2, keepdims=True)
    share = np.divide(count, size, out=np.full_like(count, np.nan), where=size > 0)
    weight = np.minimum(size[1:], size[:-1])
    change = np.nansum(weight * np.abs(np.diff(share, axis=0))) / max(float(weight.sum()) * count.shape[2], 1.0)
    tail = stats.chi2.sf([chi, ratio], degrees) if degrees else np.ones(2)
    return Drift(chi, ratio, degrees, float(tail[0]), float(tail[1]), float(change))


def order(memberships: Sequence[pd.DataFrame], *, segments: Sequence[str]) -> Drift:
    """Test whether the segment before the last one still matters (Anderson & Goodman 1957, section 3.3).

    In: memberships of three successive dates. For each segment at the middle date, the moves from it are compared between
    those who had come from different segments: no difference means that the present segment tells all.
    """
    first, second, third = memberships[-3:]
    known = _paired(first, second, how="inner").merge(third, on="customer_id", validate="one_to_one")
    k, place = len(segments), pd.Index(segments)
    codes = [place.get_indexer(pd.Index(known[side])) for side in ("from", "to", "segment")]
    flat = (codes[0] * k + codes[1]) * k + codes[2]
    matrices = list(np.bincount(flat, minlength=k**3).reshape(k, k, k))
    return drift(matrices)


def _homogeneity(count: np.ndarray) -> tuple[float, float, int]:
    """Return Pearson's and the likelihood ratio statistic of equal rows over the first axis, and the degrees of freedom."""
    size = count.sum(axis=2, keepdims=True)
    total = count.sum(axis=0)
    pooled = np.divide(
        total, total.sum(axis=1, keepdims=True), out=np.zeros_like(total), where=total.sum(axis=1, keepdims=True) > 0
    )
    expected = size * pooled
    some = expected > 0
    chi = float((((count - expected) ** 2)[some] / expected[some]).sum())
    seen = count > 0
    ratio = float(2 * (count[seen] * np.log(count[seen] / expected[seen])).sum())
    periods = (size[:, :, 0] > 0).sum(axis=0)
    reached = (total > 0).sum(axis=1)
    return chi, ratio, int(((periods - 1).clip(0) * (reached - 1).clip(0)).sum())


def reasons(segmentation: Segmentation, before: pd.DataFrame, after: pd.DataFrame, *, most: int = 3) -> pd.DataFrame:
    """Return why each customer moved between two dates: the measures that drew it most to its new segment.

    In: two tables of ``segmentation.measure``. Out, up to ``most`` rows a mover: customer_id, from, to, rank, measure,
    code (block), level, months, kind, before, after (values of the measure), part (share of the whole pull, 0 to 1).
    """
    start, end = segmentation.assign(before), segmentation.assign(after)
    joined = _paired(start, end, how="inner")
    moved = joined[joined["from"] != joined["to"]].sort_values("customer_id").reset_index(drop=True)
    one = before.set_index("customer_id").loc[moved["customer_id"]].reset_index()
    other = after.set_index("customer_id").loc[moved["customer_id"]].reset_index()
    pull = segmentation.pulls(one, other, moved["from"].to_numpy(), moved["to"].to_numpy())
    positive = np.clip(pull, 0, None)
    part = positive / np.maximum(positive.sum(axis=1, keepdims=True), 1e-12)
    rank = np.argsort(-part, axis=1, kind="stable")[:, :most]
    measures = segmentation.measures
    tables = []
    for place in range(rank.shape[1]):
        chosen, row = rank[:, place], np.arange(len(moved))
        values = [frame[[one.name for one in measures]].to_numpy(float)[row, chosen] for frame in (one, other)]
        about = {
            name: pd.Series([getattr(measures[number], name) for number in chosen], dtype=kind)
            for name, kind in _ABOUT.items()
        }
        found = moved.assign(rank=place + 1, **about, before=values[0], after=values[1], part=part[row, chosen])
        tables.append(found[found["part"] > 0])
    out = pd.concat(tables, ignore_index=True).rename(columns={"name": "measure", "block": "code"})
    return out.sort_values(["customer_id", "rank"], kind="stable").reset_index(drop=True)


_ABOUT = {"name": "str", "block": "str", "level": "str", "months": "int64", "kind": "str"}


def why(found: pd.DataFrame) -> pd.DataFrame:
    """Return the reasons of each move over its customers, the most frequent first.

    In: a table of ``reasons``. Out, a row a move, measure and direction: from, to, measure, code, level, months, kind,
    direction ("up" or "down"), customers (with it among their reasons), share (of those who moved so), part (its mean
    share of their pull).
    """
    up = found["after"].fillna(0) > found["before"].fillna(0)
    named = found.assign(direction=np.where(up, "up", "down"))
    moved = found[found["rank"] == 1].groupby(["from", "to"]).size().rename("moved").reset_index()
    keys = ["from", "to", "measure", "code", "level", "months", "kind", "direction"]
    table = named.groupby(keys, sort=False).agg(customers=("part", "size"), part=("part", "mean")).reset_index()
    table = table.merge(moved, on=["from", "to"], how="left", validate="many_to_one")
    table = table.assign(share=table["customers"] / table["moved"])
    order_by = ["moved", "from", "to", "customers", "measure"]
    table = table.sort_values(order_by, ascending=[False, True, True, False, True]).reset_index(drop=True)
    return table[[*keys, "customers", "share", "part"]]


def _paired(before: pd.DataFrame, after: pd.DataFrame, *, how: Literal["inner", "outer"]) -> pd.DataFrame:
    kinds = [set(table["segmentation"].unique()) for table in (before, after)]
    if max(map(len, kinds)) > 1:
        raise DataError("memberships of several segmentations in one table; compare one segmentation at a time")
    names = kinds[0] | kinds[1]
    if len(names) > 1:
        raise DataError(
            f"memberships of {' and '.join(sorted(names))} cannot be compared; take two dates of one segmentation"
        )
    sides = [
        pd.Series(table["segment"].to_numpy(object), index=pd.Index(table["customer_id"].to_numpy(object)))
        for table in (before, after)
    ]
    # Looking the customers up is several times faster than a merge of texts.
    there = sides[1].index.get_indexer(sides[0].index)
    found = np.array([*sides[1], None], dtype=object)[there]
    out = pd.DataFrame({"customer_id": sides[0].index, "from": sides[0].to_numpy(), "to": found}, dtype=object)
    if how == "inner":
        return out[there >= 0].reset_index(drop=True).astype("str")
    new = np.ones(len(sides[1]), dtype=bool)
    new[there[there >= 0]] = False
    joined = pd.DataFrame(
        {"customer_id": sides[1].index[new], "from": None, "to": sides[1].to_numpy()[new]}, dtype=object
    )
    return pd.concat([out, joined], ignore_index=True).astype("str")


def _wilson(share: np.ndarray | float, size: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    middle = (share + _Z**2 / (2 * size)) / (1 + _Z**2 / size)
    spread = _Z / (1 + _Z**2 / size) * np.sqrt(share * (1 - share) / size + _Z**2 / (4 * size**2))
    return np.maximum(middle - spread, 0), np.minimum(middle + spread, 1)
