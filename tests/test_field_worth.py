"""What a field is worth to the decisions, against cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from crmlib.decisions import field_worth
from crmlib.errors import DataError, UsageError

MARGINS = pd.DataFrame({"product_id": ["a", "b"], "margin_minor": [1000, 2000]})
PEOPLE = pd.DataFrame(
    {
        "customer_id": [f"c{number}" for number in range(100)],
        "income": [1.0, 0.0] * 50,
        "colour": pd.Categorical(["red", "blue"] * 50),
    }
)


def score(features: pd.DataFrame) -> pd.DataFrame:
    """b sells to the rich only (half of the people); a to everybody; colour says nothing."""
    rich = features["income"].fillna(0.5)
    parts = [
        pd.DataFrame({"customer_id": features["customer_id"], "product_id": "a", "score": 0.10}),
        pd.DataFrame({"customer_id": features["customer_id"], "product_id": "b", "score": 0.08 * rich}),
    ]
    return pd.concat(parts, ignore_index=True)


def worth(**given: object) -> pd.DataFrame:
    usual = {"margins": MARGINS, "contact_cost_minor": 50, "entry_cost_minor": 20}
    known = {"income": ["income"], "colour": ["colour"]}
    return field_worth.worth(PEOPLE, known, score, **{**usual, **given})  # type: ignore[arg-type]


def test_a_field_is_worth_what_choosing_without_it_loses() -> None:
    found = worth().set_index("field")
    # The rich are offered b, worth 160, instead of a, worth 100: half of the people lose 60 where income is hidden.
    assert found.loc["income", "worth_minor"] == pytest.approx(30) and found.loc["income", "changes"] == 0.5
    assert found.loc["income", "net_minor"] == pytest.approx(10) and found["pays"].tolist() == [True, False]
    assert found.loc["colour", "worth_minor"] == 0
    assert found.index[0] == "income" and found.loc["income", "low"] < 30 < found.loc["income", "high"]


def test_more_decisions_pay_for_a_dearer_entry_and_an_unclear_case_is_not_decided() -> None:
    assert worth(entry_cost_minor=100, decisions=5)["pays"].tolist() == [True, False]
    assert worth(entry_cost_minor=31)["pays"].isna().tolist() == [True, False]


def test_nobody_is_contacted_at_a_loss() -> None:
    dear = worth(contact_cost_minor=120).set_index("field")
    # Without income b is worth 80 - 120 and a 100 - 120: no offer; the rich lose 160 - 120.
    assert dear.loc["income", "worth_minor"] == pytest.approx(20)


def test_only_those_who_have_the_field_count() -> None:
    some = PEOPLE.assign(income=np.where(np.arange(100) < 40, PEOPLE["income"], np.nan))
    usual = {"margins": MARGINS, "contact_cost_minor": 50, "entry_cost_minor": 20}
    found = field_worth.worth(some, {"income": ["income"]}, score, **usual)  # type: ignore[arg-type]
    assert found["customers"].tolist() == [40]
    with pytest.raises(DataError, match="field income: 20 customers have it, 30 are needed"):
        field_worth.worth(some.head(20), {"income": ["income"]}, score, **usual)  # type: ignore[arg-type]


def test_bad_requests_get_a_sentence() -> None:
    with pytest.raises(UsageError, match="decisions must be 1 or more"):
        worth(decisions=0)
    with pytest.raises(DataError, match="field age: the features have no column age"):
        field_worth.worth(PEOPLE, {"age": ["age"]}, score, margins=MARGINS, contact_cost_minor=0, entry_cost_minor=0)
