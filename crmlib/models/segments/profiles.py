"""What sets a segment apart from all other customers, with intervals, as codes that views turn into words."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from crmlib.errors import DataError, EnvironmentFault, NotFoundError
from crmlib.models.segments import behavioural, rfm
from crmlib.models.segments.behaviour import Measure, need
from crmlib.models.segments.behavioural import Behavioural
from crmlib.models.segments.rfm import RFM

Segmentation = Behavioural | RFM
LEAST = 10
"""Fewer known values than this in a segment, or outside it, say nothing about a measure."""
TELLING = 0.2
"""Standardised differences below this are small (Cohen 1988) and are not told."""
_Z = float(stats.norm.ppf(0.975))
_STATISTICS = {
    "share": "mean",
    "flag": "share",
    "count": "median",
    "minor units": "median",
    "years": "median",
    "days": "median",
}


def profile(segmentation: Segmentation, table: pd.DataFrame, members: pd.DataFrame) -> pd.DataFrame:
    """Return how each segment differs from all other customers in each measure, the largest difference first.

    In: the table of measures and the memberships of the same customers. Out, a row a segment and measure: segment,
    customers, share (of all customers), measure, block, level, months, kind, statistic (mean, share or median), value,
    low, high (95%), others (the same of all others), difference (standardised: of the means of transformed values, in
    standard deviations; Cohen 1988), difference_low, difference_high. Measures known of fewer than ten customers inside
    or outside a segment are left out.
    """
    need(table, [one.name for one in segmentation.described])
    joined = table.merge(members[["customer_id", "segment"]], on="customer_id", how="inner", validate="one_to_one")
    if len(joined) != len(members):
        raise DataError(
            f"{len(members) - len(joined)} members have no row in the table of measures; take both as of one date"
        )
    segment = joined["segment"].to_numpy(dtype=object)
    rows = []
    for name in segmentation.segments:
        inside = segment == name
        for one in segmentation.described:
            found = _compared(joined[one.name].to_numpy(float), inside, one)
            if found:
                about = {"segment": name, "customers": int(inside.sum()), "share": float(inside.mean())}
                rows.append({**about, **_about(one), **found})
    out = pd.DataFrame(rows)
    if out.empty:
        raise DataError(f"no segment has {LEAST} customers; take a date with more customers")
    order = out.assign(size=out["difference"].abs(), place=out["segment"].map(list(segmentation.segments).index))
    return out.loc[order.sort_values(["place", "size"], ascending=[True, False], kind="stable").index].reset_index(
        drop=True
    )


def _about(one: Measure) -> dict[str, Any]:
    kind = "flag" if _is_flag(one) else one.kind
    about = {"measure": one.name, "block": one.block, "level": one.level, "months": one.months}
    return {**about, "kind": kind, "statistic": _STATISTICS[kind]}


def _is_flag(one: Measure) -> bool:
    """Say whether a measure is told as the share of customers who have it at all."""
    return one.kind == "flag" or one.block == "held" or one.name == "children"


def _compared(values: np.ndarray, inside: np.ndarray, one: Measure) -> dict[str, float] | None:
    known = ~np.isnan(values)
    own, rest = values[inside & known], values[~inside & known]
    if min(len(own), len(rest)) < LEAST:
        return None
    if _is_flag(one):
        own, rest = (own > 0).astype(float), (rest > 0).astype(float)
        value, low, high, others = float(own.mean()), *_wilson(own), float(rest.mean())
        scaled = own, rest
    elif one.kind == "share":
        value, others = float(own.mean()), float(rest.mean())
        spread = _Z * own.std(ddof=1) / np.sqrt(len(own))
        low, high, scaled = value - spread, value + spread, (own, rest)
    else:
        value, others = float(np.median(own)), float(np.median(rest))
        low, high = _median_interval(own)
        scaled = _even(own), _even(rest)
    difference, error = _standardised(*scaled)
    told = {"value": value, "low": low, "high": high, "others": others, "difference": difference}
    return {**told, "difference_low": difference - _Z * error, "difference_high": difference + _Z * error}


def _even(values: np.ndarray) -> np.ndarray:
    """Return counts, amounts and times on a scale where a few large ones do not outweigh all others."""
    return np.sign(values) * np.log1p(np.abs(values))


def _standardised(own: np.ndarray, rest: np.ndarray) -> tuple[float, float]:
    spread = float(np.sqrt((own.var(ddof=1) + rest.var(ddof=1)) / 2))
    if spread < 1e-12:  # alike within both groups: what is left is the difference between them
        spread = float(np.concatenate([own, rest]).std())
    if spread < 1e-12:
        return 0.0, 0.0
    difference = float((own.mean() - rest.mean()) / spread)
    both = len(own) + len(rest)
    return difference, float(np.sqrt(both / (len(own) * len(rest)) + difference**2 / (2 * both)))


def _wilson(flags: np.ndarray) -> tuple[float, float]:
    found = stats.binomtest(int(flags.sum()), len(flags)).proportion_ci(method="wilson")
    return float(found.low), float(found.high)


def _median_interval(values: np.ndarray) -> tuple[float, float]:
    """Return the 95% interval of a median from order statistics: no assumption about the distribution."""
    ordered, half = np.sort(values), _Z * np.sqrt(len(values)) / 2
    low, high = int(np.floor(len(values) / 2 - half)), int(np.ceil(len(values) / 2 + half))
    return float(ordered[max(low, 0)]), float(ordered[min(high, len(values) - 1)])


def traits(found: pd.DataFrame, segment: str, *, most: int = 6) -> list[dict[str, Any]]:
    """Return what sets a segment apart most, as codes with parameters: at most two of each side of behaviour.

    In: a table of ``profile``. Only differences of ``TELLING`` and more, whose interval excludes zero, count.
    """
    own = found[(found["segment"] == segment) & (found["difference"].abs() >= TELLING)]
    own = own[np.sign(own["difference_low"]) == np.sign(own["difference_high"])]
    named = own.assign(side=own["block"].where(own["block"] != "", own["measure"]))
    named = named[named.groupby("side").cumcount() < 2].head(most)
    columns = ["measure", "level", "months", "kind", "statistic", "value", "low", "high", "others", "difference"]
    return [{"code": row["side"], **{name: _plain(row[name]) for name in columns}} for _, row in named.iterrows()]


def _plain(value: Any) -> Any:
    return value if isinstance(value, str) else int(value) if isinstance(value, (int, np.integer)) else float(value)


def describe(segmentation: Segmentation, found: pd.DataFrame) -> dict[str, Any]:
    """Return what is saved beside memberships: the fitted segmentation, its checksum, a profile of each segment."""
    model = json.loads(json.dumps(segmentation.to_dict()))
    sizes = found.groupby("segment", sort=False)[["customers", "share"]].first()
    told = {
        str(name): {
            "customers": int(row["customers"]),
            "share": float(row["share"]),
            "traits": traits(found, str(name)),
        }
        for name, row in sizes.iterrows()
    }
    return {"kind": segmentation.name, "model": model, "checksum": _checksum(model), "segments": told}


def restore(description: dict[str, Any]) -> Segmentation:
    """Return the segmentation that ``describe`` wrote.

    Raises NotFoundError for an unknown kind, EnvironmentFault where its checksum does not fit.
    """
    kinds = {behavioural.NAME: Behavioural, rfm.NAME: RFM}
    if description.get("kind") not in kinds:
        raise NotFoundError(f"unknown segmentation {description.get('kind')!r}; there are {', '.join(kinds)}")
    if _checksum(description["model"]) != description["checksum"]:
        raise EnvironmentFault(
            f"the saved segmentation {description['kind']!r} was changed since it was fitted; fit it again with `crm segment`"
        )
    made: Segmentation = kinds[description["kind"]].from_dict(description["model"])  # type: ignore[attr-defined]
    return made


def _checksum(model: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(model, sort_keys=True).encode()).hexdigest()
