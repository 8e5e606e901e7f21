"""Call lists and profit curves, on examples computed by hand and against a naive reference."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crmlib.decisions import call_list, policy
from crmlib.errors import DataError, UsageError
from crmlib.warehouse import build, snapshot
from crmlib.warehouse.company import Company
from crmlib.warehouse.company_policy import ContactPolicy

DAY = dt.date(2025, 6, 30)
BANK = Company(name="Test", currency="EUR", contact_costs_minor={"call": 6000, "mail": 4000, "email": 10})


def consents(*rows: tuple[str, str, str, bool]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["customer_id", "channel", "changed_at", "granted"])
    return frame.assign(purpose="marketing", changed_at=pd.to_datetime(frame["changed_at"]), source="form")


def scored(**score: float) -> pd.DataFrame:
    frame = pd.DataFrame({"customer_id": list(score), "score": list(score.values())})
    low, high = frame["score"] * 0.8, np.minimum(frame["score"] * 1.2, 1)
    return frame.assign(as_of=DAY, model="propensity", product_id="deposit", low=low, high=high)


def known(
    tmp_path: Path, said: pd.DataFrame, *, margin: int | None = 50_000, currency: str = "EUR"
) -> snapshot.Snapshot:
    customers = sorted(set(said["customer_id"]) | {"silent"})
    frames = {
        "customers": pd.DataFrame({"customer_id": customers, "valid_from": dt.date(2020, 1, 1)}),
        "products": pd.DataFrame(
            {"product_id": ["deposit"], "valid_from": dt.date(2020, 1, 1), "name": "Deposit"}
            | {"margin_minor": [margin], "currency": [currency]}
        ),
        "consents": said,
        "transactions": pd.DataFrame(
            {"transaction_id": ["t"], "customer_id": ["silent"], "occurred_at": [dt.datetime(2025, 7, 9)]}
            | {"amount_minor": [1]}
        ),
    }
    path = tmp_path / "v.duckdb"
    build.from_frames(path, frames)
    return snapshot.open_file(path).snapshot(DAY)


def test_a_postcard_not_a_call(tmp_path: Path) -> None:
    # The deposit earns 500 a year and selling may cost a tenth of that, 50 (5,000 minor units).
    # A probability of 0.1 is that tenth: a call at 60 does not pay, a postcard at 40 does and leaves 10.
    said = consents(
        ("both", "call", "2025-01-01", True),
        ("both", "mail", "2025-01-01", True),
        ("caller", "call", "2025-01-01", True),
    )
    lists = call_list.call_lists(known(tmp_path, said), scored(both=0.1, caller=0.1, silent=0.1), company=BANK)
    assert lists[["customer_id", "channel", "rank"]].to_numpy().tolist() == [["both", "mail", 1]]
    assert lists["cost_minor"].tolist() == [4000.0]
    assert lists["expected_profit_minor"].tolist() == pytest.approx([1000.0])
    assert list(lists.columns) == call_list.LIST_COLUMNS


def test_only_consent_as_of_the_day_counts(tmp_path: Path) -> None:
    said = consents(
        ("withdrew", "email", "2025-01-01", True),
        ("withdrew", "email", "2025-05-01", False),
        ("later", "email", "2025-01-01", True),
        ("later", "email", "2025-07-05", False),  # after the day: not known yet
        ("all", "all", "2025-02-01", True),
        ("but_call", "all", "2025-02-01", True),
        ("but_call", "call", "2025-03-01", False),
        ("again", "all", "2025-02-01", False),
        ("again", "mail", "2025-03-01", True),
        ("never", "email", "2025-01-01", True),
        ("never", "all", "2025-03-01", False),
    )
    state = known(tmp_path, said)
    allowed = call_list.permitted(state.table("consents"), pd.Series(sorted(set(said["customer_id"]))), company=BANK)
    pairs = {(row.customer_id, row.channel) for row in allowed.itertuples()}
    assert pairs == {
        *(("later", "email"), ("all", "email"), ("all", "mail"), ("all", "call")),
        *(("but_call", "email"), ("but_call", "mail"), ("again", "mail")),
    }


def test_missing_consent_means_no_unless_the_company_says_otherwise() -> None:
    said = consents(("objects", "email", "2025-01-01", False))
    everyone = pd.Series(["objects", "silent"])
    assert call_list.permitted(said, everyone, company=BANK).empty
    open_company = Company(contact_costs_minor={"email": 10}, consent_when_missing="granted")
    assert call_list.permitted(said, everyone, company=open_company)["customer_id"].tolist() == ["silent"]


def test_an_objection_wins_over_a_grant_of_the_same_moment() -> None:
    said = consents(("c", "email", "2025-01-01", True), ("c", "all", "2025-01-01", False))
    assert call_list.permitted(said, pd.Series(["c"]), company=BANK).empty
    assert call_list.permitted(said[::-1], pd.Series(["c"]), company=BANK).empty


def test_consent_for_another_purpose_is_not_consent_for_marketing() -> None:
    said = consents(("c", "email", "2025-01-01", True)).assign(purpose="service")
    assert call_list.permitted(said, pd.Series(["c"]), company=BANK).empty


def test_the_budget_keeps_the_most_profitable(tmp_path: Path) -> None:
    said = consents(*[(name, "mail", "2025-01-01", True) for name in "abc"])
    lists = call_list.call_lists(known(tmp_path, said), scored(a=0.2, b=0.5, c=0.3), company=BANK, budget_minor=8_500)
    assert lists["customer_id"].tolist() == ["b", "c"]
    assert lists["rank"].tolist() == [1, 2]
    with pytest.raises(UsageError, match="budget_minor is -1; give zero or more"):
        call_list.call_lists(known(tmp_path / "..", said), scored(a=0.2), company=BANK, budget_minor=-1)


def test_a_channel_can_be_asked_for_and_must_have_a_cost(tmp_path: Path) -> None:
    said = consents(("a", "all", "2025-01-01", True))
    state = known(tmp_path, said)
    lists = call_list.call_lists(state, scored(a=0.5), company=BANK, channel="call")
    assert lists[["channel", "cost_minor", "expected_profit_minor"]].to_numpy().tolist() == [["call", 6000.0, 19000.0]]
    with pytest.raises(UsageError, match="channel 'pigeon' has no cost of contact; known are call, email, mail"):
        call_list.call_lists(state, scored(a=0.5), company=BANK, channel="pigeon")


def test_margins_convert_and_are_overridden() -> None:
    products = pd.DataFrame(
        {"product_id": ["a", "b", "c", "d"], "margin_minor": pd.array([100, 100, None, None], "Int64")}
        | {"currency": ["EUR", "CZK", "EUR", "EUR"]}
    )
    company = Company(currency="EUR", exchange_rates={"CZK": 0.04}, margins_minor={"c": 7})
    found = call_list.margins(products, company=company)
    assert found.set_index("product_id")["margin_minor"].to_dict() == {"a": 100.0, "b": 4.0, "c": 7.0}
    with pytest.raises(DataError, match="table products, column currency: no exchange rate for CZK; add it"):
        call_list.margins(products, company=Company(currency="EUR"))


def test_inputs_stay_unchanged() -> None:
    said, scores = consents(("a", "email", "2025-01-01", True)), scored(a=0.5)
    before = said.copy(), scores.copy()
    allowed = call_list.permitted(said, scores["customer_id"], company=BANK)
    earned = pd.DataFrame({"product_id": ["deposit"], "margin_minor": [100.0]})
    call_list.candidates(scores, allowed, margins=earned, company=BANK)
    pd.testing.assert_frame_equal(said, before[0])
    pd.testing.assert_frame_equal(scores, before[1])


@given(
    st.lists(st.tuples(st.floats(0, 1), st.sampled_from([2.0, 100.0, 500.0])), max_size=30),
    st.floats(0, 5000),
    st.floats(0, 6000),
)
def test_profit_curve_agrees_with_a_naive_one(rows: list[tuple[float, float]], margin: float, budget: float) -> None:
    scores = pd.DataFrame({"score": [row[0] for row in rows]}, dtype=float)
    cost = np.array([row[1] for row in rows])
    curve = call_list.profit_curve(scores, margin_minor=margin, contact_cost_minor=cost)
    profits = sorted((score * margin - price for score, price in rows), reverse=True)
    naive = [sum(profits[:n]) for n in range(len(rows) + 1)]
    assert curve["profit_minor"].tolist() == pytest.approx(naive, abs=1e-6)
    best = call_list.best_cutoff(curve)
    assert naive[best] == pytest.approx(max(naive), abs=1e-6)
    n = call_list.affordable(curve, budget)
    assert curve["cost_minor"][n] <= budget
    assert n == len(rows) or curve["cost_minor"][n + 1] > budget


def test_profit_curve_has_a_range() -> None:
    scores = pd.DataFrame({"score": [0.5, 0.1], "low": [0.4, 0.0], "high": [0.6, 0.3]})
    curve = call_list.profit_curve(scores, margin_minor=100, contact_cost_minor=20)
    assert curve["buyers_low"].tolist() == pytest.approx([0, 0.4, 0.4])
    assert curve["profit_high_minor"].tolist() == pytest.approx([0, 40, 50])
    assert call_list.best_cutoff(curve) == 1


def test_the_holdout_and_the_silenced_are_in_no_list(tmp_path: Path) -> None:
    said = consents(*((name, "mail", "2025-01-01", True) for name in ("both", "caller", "silent")))
    state, scores = known(tmp_path, said), scored(both=0.5, caller=0.5, silent=0.5)
    rules = ContactPolicy(holdout_share=0.5, holdout_key="k")
    held = policy.holdout(pd.Series(["both", "caller", "silent"]), share=0.5, key="k")
    assert 0 < held.sum() < 3
    lists = call_list.call_lists(state, scores, company=replace(BANK, contact_policy=rules))
    assert set(lists["customer_id"]) == set(np.array(["both", "caller", "silent"])[~held])
    assert call_list.call_lists(state, scores, company=BANK)["customer_id"].nunique() == 3
