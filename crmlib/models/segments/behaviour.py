"""What a behavioural segmentation looks at: activity, categories, channels, balances and contracts of each customer.

The list of measures is readable on its own; what describes a segment without making it (age, tenure, income, salary
elsewhere) is measured beside it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from crmlib import features
from crmlib.errors import DataError
from crmlib.features import plan
from crmlib.features.spec import Specification, lenient
from crmlib.warehouse.snapshot import Snapshot

MONTHS = 12
"""The window of behaviour: a year, so that seasons do not make segments."""
REMAINING = 9
"""Of that window, what will still be in it a quarter later."""
SALARY = "salary"
EMPLOYED = "employed"

SPEC: Specification = lenient(
    (
        features.windowed("transactions", months=(REMAINING, MONTHS)),
        features.windowed("transactions", by="category", months=(REMAINING, MONTHS)),
        features.windowed("transactions", by="channel", months=(REMAINING, MONTHS)),
        features.balance("average", months=(3,), by="product_group"),
        features.held(by="product_group"),
        features.since("birth_date", years=True, name="age"),
        features.since("customer_since", name="tenure"),
        features.attribute("income_minor"),
        features.attribute("children"),
        features.attribute("employment_status"),
    )
)
"""The features that behaviour is measured by."""

BLOCKS = ("activity", "category", "channel", "balance", "held")
"""The sides of behaviour; each has the same weight in the distance between two customers."""


@dataclass(frozen=True)
class Measure:
    """One number about a customer's behaviour.

    Attributes: ``name`` its column; ``block`` the side of behaviour it belongs to, "" for what only describes; ``kind``
    says its unit: count, share (of the transactions), minor units, years or flag; ``level`` the category, channel or
    product group; ``months`` the window (0: at the date).
    """

    name: str
    block: str
    kind: str
    level: str = ""
    months: int = 0

    def code(self) -> dict[str, Any]:
        """Return the measure as a code with parameters, for words."""
        return {"code": self.block or self.name, "measure": self.name, "level": self.level, "months": self.months}


DESCRIBING = (
    Measure("age", "", "years"),
    Measure("tenure", "", "years"),
    Measure("income", "", "minor units"),
    Measure("children", "", "count"),
    Measure("salary_elsewhere", "", "flag", months=MONTHS),
)
_KINDS = {"category": "share", "channel": "share", "balance": "minor units", "held": "count"}


def measures(spec: Iterable[features.Declaration]) -> list[Measure]:
    """Return the measures that a resolved specification gives, those that make segments first.

    >>> [one.name for one in measures(features.Specification((features.windowed("transactions", months=(12,)),)))][:1]
    ['activity']
    """
    found = [Measure("activity", "activity", "count", months=MONTHS)]
    found += [
        Measure(f"{block}_{plan.slug(feature.level)}", block, _KINDS[block], feature.level, feature.months or 0)
        for feature in plan.expand(spec)
        if (block := _block(feature)) and feature.months != REMAINING and feature.level
    ]
    return [*found, *DESCRIBING]


def _block(feature: plan.Feature) -> str:
    if feature.table == "transactions":
        return feature.by
    return {"balances": "balance", "holdings": "held"}.get(feature.table, "")


def resolve(snapshot: Snapshot) -> Specification:
    """Return ``SPEC`` with the categories, channels and product groups known at the snapshot, for use on other dates."""
    return features.resolve(SPEC, snapshot)


def measure(snapshot: Snapshot, spec: Specification | None = None) -> pd.DataFrame:
    """Return the behaviour of each customer known and not closed at the snapshot.

    Out, one row a customer: customer_id, as_of, then ``measures``: ``activity`` (transactions in a year), shares of
    categories and channels in it (0 to 1, NaN without transactions), average balances of three months by product group
    (minor units), open contracts by product group; ``age`` and ``tenure`` (years), ``income`` (minor units a month),
    ``children``, ``salary_elsewhere`` (1 for employed customers without a salary in a year, NaN for others). Last, with
    ``remaining_`` before their names, activity (scaled to a year) and shares of the last nine months: what will be left
    of today's behaviour a quarter later.

    ``spec`` is what ``resolve`` returned for the date of the fit; left out, it is resolved at the snapshot.
    """
    fixed = resolve(snapshot) if spec is None else spec
    table = features.build(snapshot, fixed)
    columns = {"customer_id": table["customer_id"], "as_of": table["as_of"], **_measured(table, fixed, MONTHS)}
    columns |= _described(table)
    later = _measured(table, fixed, REMAINING)
    later["activity"] = later["activity"] * (MONTHS / REMAINING)
    left = {f"remaining_{name}": values for name, values in later.items() if _of_transactions(name)}
    return pd.DataFrame({**columns, **left})


def projected(table: pd.DataFrame) -> pd.DataFrame:
    """Return the behaviour a quarter later if the last nine months went on: the ``remaining_`` columns in place."""
    prefix = "remaining_"
    return table.assign(
        **{str(name).removeprefix(prefix): table[name] for name in table if str(name).startswith(prefix)}
    )


def need(table: pd.DataFrame, columns: Iterable[str]) -> None:
    """Raise DataError unless a table of behaviour has the columns."""
    missing = [column for column in columns if column not in table]
    if missing:
        raise DataError(
            f"the table of behaviour has no column {', '.join(missing[:3])}; make it with segments.measure and the "
            "specification of the segmentation"
        )


def _of_transactions(name: str) -> bool:
    return name == "activity" or name.startswith(("category_", "channel_"))


def _measured(table: pd.DataFrame, spec: Specification, months: int) -> dict[str, pd.Series]:
    total = table[f"transactions_count_{months}m"].astype(float)
    out = {"activity": total}
    for feature in plan.expand(spec):
        block = _block(feature)
        if not block or not feature.level or (feature.table == "transactions" and feature.months != months):
            continue
        values = table[feature.name].astype(float)
        out[f"{block}_{plan.slug(feature.level)}"] = (
            values / total.where(total > 0) if _KINDS[block] == "share" else values
        )
    return out


def _described(table: pd.DataFrame) -> dict[str, pd.Series]:
    salary = table.get(f"transactions_count_{SALARY}_{MONTHS}m")
    employed = table["customer_employment_status"].astype("str") == EMPLOYED
    elsewhere = pd.Series(np.nan, index=table.index) if salary is None else (salary == 0).astype(float)
    return {
        "age": table["age"],
        "tenure": table["tenure"] / 365.25,
        "income": table["customer_income_minor"],
        "children": table["customer_children"],
        "salary_elsewhere": elsewhere.where(employed),
    }
