"""Members compared with customers who did as much before they joined, and a placebo that says whether that is fair."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import sqlalchemy as sa

from crmlib.models.points.comparison import MEASURES, PERIOD_DAYS, Effect, Means, compared, enough, needed
from crmlib.warehouse.snapshot import Snapshot

BEFORE_MONTHS, PLACEBO_MONTHS, AFTER_MONTHS = 6, 3, 6
"""Members are matched by the first, tested by the second (both before the month of joining), measured by the third."""
COHORTS = 6
"""Months of joining that are compared, the last that the records allow."""
CLASSES = 8
"""Classes of each measure before joining (and one for nothing), within which members and others are matched."""


def effects(
    snapshot: Snapshot, joined: pd.DataFrame, *, categories: Sequence[str] = (), level: float = 0.95
) -> pd.DataFrame:
    """Return the table of ``matched`` for the members of a snapshot; ``joined``: customer_id, joined_at."""
    table = histories(snapshot, joined, categories=categories)
    return matched(table, before=len(table) > 0 or joined.empty, level=level)


def histories(snapshot: Snapshot, joined: pd.DataFrame, *, categories: Sequence[str] = ()) -> pd.DataFrame:
    """Return what members and others did around each month of joining; see ``matched``.

    Compared are the last ``COHORTS`` months in which somebody joined and around which there are records. The others are
    customers who had not joined by the end of the last window; all have been customers for all of the first.
    """
    paid = _monthly(snapshot, categories)
    people = snapshot.table("customers", ["customer_id", "customer_since", "closed_on"])
    people = people.merge(joined, on="customer_id", how="left", validate="one_to_one")
    month = people["joined_at"].dt.year * 12 + people["joined_at"].dt.month - 1
    after = snapshot.as_of + dt.timedelta(days=1)
    now = after.year * 12 + after.month - 1
    first = int(paid["month"].min()) if len(paid) else now
    cohorts = [
        int(one)
        for one in sorted(month.dropna().unique())
        if one - PLACEBO_MONTHS - BEFORE_MONTHS >= first and one + 1 + AFTER_MONTHS <= now
    ]
    return pd.concat([_empty(), *[_cohort(people, month, paid, one) for one in cohorts[-COHORTS:]]], ignore_index=True)


def _empty() -> pd.DataFrame:
    names = [name for one in MEASURES for name in (f"{one}_before", f"{one}_placebo", one)]
    types = {"cohort": "int64", "member": "bool", **dict.fromkeys(names, "float64")}
    return pd.DataFrame({name: pd.Series(dtype=type_) for name, type_ in types.items()})


def _cohort(people: pd.DataFrame, joined: pd.Series, paid: pd.DataFrame, month: int) -> pd.DataFrame:
    spans = {
        "_before": (month - PLACEBO_MONTHS - BEFORE_MONTHS, month - PLACEBO_MONTHS),
        "_placebo": (month - PLACEBO_MONTHS, month),
        "": (month + 1, month + 1 + AFTER_MONTHS),
    }
    begin = pd.Timestamp(year=spans["_before"][0] // 12, month=spans["_before"][0] % 12 + 1, day=1)
    start = pd.Timestamp(year=month // 12, month=month % 12 + 1, day=1)
    here = (people["customer_since"] < begin) & ~(people["closed_on"] < start)
    chosen = here & ((joined == month) | joined.isna() | (joined >= spans[""][1]))
    out = people.loc[chosen, ["customer_id"]].assign(cohort=month, member=(joined == month)[chosen])
    for ending, (first, last) in spans.items():
        inside = paid[(paid["month"] >= first) & (paid["month"] < last)]
        sums = inside.groupby("customer_id")[list(MEASURES)].sum() * PERIOD_DAYS / ((last - first) * 30.4375)
        sums.columns = pd.Index([f"{name}{ending}" for name in sums.columns])
        out = out.merge(sums.reset_index(), on="customer_id", how="left", validate="one_to_one")
    return out.drop(columns="customer_id").fillna(0.0)


def _monthly(snapshot: Snapshot, categories: Sequence[str]) -> pd.DataFrame:
    """Return payments by customer and month: customer_id, month (year × 12 + month − 1), purchases, spent_minor."""
    rows = snapshot.select("transactions").subquery("rows")
    month = (sa.extract("year", rows.c.occurred_at) * 12 + sa.extract("month", rows.c.occurred_at) - 1).label("month")
    sums = (sa.func.count().label("purchases"), (-sa.func.sum(rows.c.amount_minor)).label("spent_minor"))
    query = sa.select(rows.c.customer_id, month, *sums).where(rows.c.amount_minor < 0)
    if categories:
        query = query.where(rows.c.category.in_(list(categories)))
    found = snapshot.warehouse.read(query.group_by(rows.c.customer_id, month))
    return found.astype({"purchases": "float64", "spent_minor": "float64", "month": "int64"})


def matched(table: pd.DataFrame, *, before: bool = True, level: float = 0.95) -> pd.DataFrame:
    """Return members compared with customers who did as much before, and a placebo that shows whether that is fair.

    In, a row per member or other customer: cohort (compared only within one), member, and of each measure ``MEASURE_before``
    (by which they are matched), ``MEASURE_placebo`` (after it, still before joining) and the measure itself (after joining), all per
    30 days; ``before`` false: there are no records from before anybody joined. Out: as ``randomised``, methods "matched",
    "placebo" and "members".
    """
    columns = [name for one in MEASURES for name in (f"{one}_before", f"{one}_placebo", one)]
    needed(table, ("cohort", "member", *columns))
    rows: list[Effect] = []
    members = table["member"].to_numpy(bool)
    for measure in MEASURES:
        sizes = int(members.sum()), int((~members).sum())
        if not before:
            rows.append(Effect(measure, "matched", customers=sizes[0], others=sizes[1], code="nothing_before"))
            continue
        kept, weight = _alike(table)
        size = enough(measure, "matched", (int((members & kept).sum()), int((~members & kept).sum())))
        if size.code:
            rows.append(size)
            continue
        placebo = replace(size, method="placebo")
        placebo = _weighted(placebo, table[f"{measure}_placebo"], members, weight, code="", level=level)
        code = "matched_only" if placebo.low <= 0 <= placebo.high else "placebo_differs"
        rows.append(_weighted(size, table[measure], members, weight, code=code, level=level))
        rows.append(replace(placebo, code=code))
        plain = Effect(measure, "members", customers=sizes[0], others=sizes[1])
        rows.append(_weighted(plain, table[measure], members, np.ones(len(table)), code="self_selected", level=level))
    return pd.DataFrame([asdict(row) for row in rows])


def _alike(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return who is in a cell with members and others, and weights that make the others of each cell as many as its members."""
    cell = table["cohort"].astype("str")
    for name in (f"{one}_before" for one in MEASURES):
        values = table[name].to_numpy(float)
        paid = values[values > 0]
        cuts = np.unique(np.quantile(paid, np.arange(1, CLASSES) / CLASSES)) if len(paid) else np.zeros(0)
        cell = cell + "|" + pd.Series(np.digitize(values, [1e-9, *cuts]), index=table.index).astype("str")
    code = pd.factorize(cell)[0]
    members = table["member"].to_numpy(bool)
    own, others = np.bincount(code, weights=members), np.bincount(code, weights=~members)
    kept = (own[code] > 0) & (others[code] > 0)
    weight = np.where(members, 1.0, own[code] / np.maximum(others[code], 1.0))
    return kept, np.where(kept, weight, 0.0)


def _weighted(
    size: Effect, outcome: pd.Series, members: np.ndarray, weight: np.ndarray, *, code: str, level: float
) -> Effect:
    return compared(size, Means(outcome.to_numpy(float) * weight, weight, members), code=code, level=level)
