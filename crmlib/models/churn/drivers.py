"""What goes with leaving, by reason: hazard ratios of a few covariates that a person can read, known at the time.

The person-periods are quarters: who was here at a date, what was known of him then, whether and why he left before the
next. So the covariates vary with time, and each is as it was known when its quarter began.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from crmlib.errors import DataError
from crmlib.models import pairs
from crmlib.models.churn import spells
from crmlib.models.churn.inputs import LEARNT
from crmlib.models.survival import hazards

Column = Callable[[pd.Series], pd.Series]


def _doublings(column: pd.Series) -> pd.Series:
    return pd.Series(np.log2(1 + column.astype(float).clip(lower=0).fillna(0)), index=column.index)


def _some(column: pd.Series) -> pd.Series:
    return (column.fillna(0) > 0).astype(float)


def _decades(column: pd.Series) -> pd.Series:
    return column.astype(float).fillna(column.median()) / 10


def _recent(column: pd.Series) -> pd.Series:
    return (column <= LEARNT + 2).astype(float)


def _low(column: pd.Series) -> pd.Series:
    return (column <= 6).astype(float)


COVARIATES: dict[str, tuple[str, Column]] = {
    "contracts_doubled": ("holdings_open_count", _doublings),
    "activity_doubled": ("transactions_count_3m", _doublings),
    "fees_doubled": ("transactions_count_fee_12m", _doublings),
    "complaint_last_quarter": ("complaints_count_3m", _some),
    "details_changed_last_quarter": ("customer_attributes_age_days", _recent),
    "detractor": ("surveys_nps_last_score", _low),
    "ten_years_older": ("customer_age_years", _decades),
}
"""Each covariate: the feature it is made of, and how; a ratio is that of one more of it (doubled: one more log2(1 + n))."""
TENURE = "customer_tenure_days"
_BANDS = (365, 1095)


def covariates(features: pd.DataFrame) -> pd.DataFrame:
    """Return the readable covariates that the features allow, a column each; those that never vary are left out."""
    made = {
        name: make(features[feature]) for name, (feature, make) in COVARIATES.items() if feature in features.columns
    }
    return pd.DataFrame(
        {name: column for name, column in made.items() if column.min() < column.max()}, index=features.index
    )


def ratios(features: pd.DataFrame, followed: pd.DataFrame, weight: np.ndarray | None = None) -> hazards.Hazards:
    """Return the hazards of leaving by reason within the 90 days after each date; see ``hazards.fit``.

    In: as ``ChurnModel.fit``. A sampled customer who stayed stands for ``weight`` customers: his days count so often, which
    is exact for the likelihood of the rates; the intervals do not include the chance of that draw.
    Raises DataError where too few left.
    """
    place = pairs.rows_of(followed, features)
    known = (spells.left_within(followed, LEARNT) >= 0) & (place >= 0)
    rows, table = features.iloc[place[known]].reset_index(drop=True), followed[known].reset_index(drop=True)
    counts = np.ones(len(table)) if weight is None else np.asarray(weight, dtype=float)[known]
    columns = covariates(rows)
    if columns.empty:
        raise DataError(
            f"the features have none of {', '.join(feature for feature, _ in COVARIATES.values())} that varies"
        )
    left = (table["reason"] != "") & (table["days"] <= LEARNT)
    tenure = rows[TENURE] if TENURE in rows else pd.Series(0.0, index=rows.index)
    periods = columns.assign(
        tenure=tenure.astype(float).fillna(tenure.median()).clip(lower=0),
        days=table["days"].clip(upper=LEARNT) * np.where(left, 1.0, counts),
        reason=table["reason"].where(left, ""),
    )
    return hazards.fit(periods, [str(name) for name in columns], bands=_BANDS)
