"""Matrices: intervals against published numbers, cells against a naive reading, planted associations recovered."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats.contingency import relative_risk

from crmlib import samples, warehouse
from crmlib.decisions import (
    audiences,
    call_list,
    cells,
    eligibility,
    matrices,
    matrices_hidden,
    memberships,
    proportions,
)
from crmlib.errors import DataError, NotFoundError, UsageError
from crmlib.store import segment_sets
from crmlib.warehouse import build, company, load, snapshot
from crmlib.warehouse.company import Company

DAY = dt.date(2025, 9, 30)
NOW = dt.datetime(2026, 1, 2, 9)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bank")
    sample = samples.bank(customers=4_000, months=12, seed=7, folder=folder / "files")
    (folder / "data").mkdir()
    bank = company.read(sample.company)
    load(sample.files, sample.mapping, data=folder / "data", recorded_at=dt.datetime(2026, 1, 1), company=bank)
    return folder / "data"


@pytest.fixture(scope="module")
def bank(data: Path) -> warehouse.Warehouse:
    return warehouse.open(data / "warehouse")


@pytest.fixture(scope="module")
def known(bank: warehouse.Warehouse) -> snapshot.Snapshot:
    return bank.snapshot(DAY)


@pytest.fixture(scope="module")
def scores(known: snapshot.Snapshot) -> pd.DataFrame:
    """Made-up probabilities of most customers and products."""
    rng = np.random.default_rng(3)
    names = known.table("customers", ["customer_id"])["customer_id"]
    goods = known.table("products", ["product_id"])["product_id"]
    table = names.to_frame().merge(goods.to_frame(), how="cross")
    table = table[rng.random(len(table)) < 0.9]
    score = np.clip(rng.gamma(0.5, 0.04, len(table)), 0, 0.9)
    return table.assign(
        score=score, low=score * 0.8, high=np.minimum(score * 1.3, 1), product_id=table["product_id"].astype("category")
    )


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> snapshot.Snapshot:
    return small(tmp_path_factory.mktemp("few"))


# ---------------------------------------------------------------- intervals


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_newcombe_1998_statistics_in_medicine_17_table_1_method_3(
    successes: int, trials: int, low: float, high: float
) -> None:
    found = [float(one) for one in proportions.wilson(successes, trials)]
    assert [round(one, 4) for one in found] == [low, high]


def test_agresti_2007_categorical_data_section_2_2_2_aspirin_relative_risk() -> None:
    # Physicians' health study: 189 of 11,034 with placebo, 104 of 11,037 with aspirin had a heart attack.
    estimate, low, high = proportions.ratio(189, 11_034, 104, 11_037)
    assert [round(float(one), 2) for one in (estimate, low, high)] == [1.82, 1.43, 2.31]


@given(st.integers(1, 60), st.integers(0, 60), st.integers(1, 300), st.integers(0, 300))
def test_the_ratio_agrees_with_scipy_and_lift_lies_within_its_bounds(x: int, more: int, y: int, rest: int) -> None:
    n, m = x + more, y + rest
    estimate, low, high = (float(one) for one in proportions.ratio(x, n, y, m))
    peer = relative_risk(x, n, y, m)
    assert estimate == pytest.approx(peer.relative_risk)
    if not (more == 0 and rest == 0):
        bounds = peer.confidence_interval(0.95)
        assert (low, high) == pytest.approx((bounds.low, bounds.high))
    lift, below, above = (float(one) for one in proportions.lift(x, n, x + y, n + m))
    assert below <= lift + 1e-12 and lift <= above + 1e-12
    assert (low > 1) == (below > 1) or lift == pytest.approx(1)


def test_lift_covers_the_planted_one_in_95_of_100() -> None:
    rng = np.random.default_rng(5)
    group, everybody, rate, other = 300, 3_000, 0.09, 0.03
    hits = rng.binomial(group, rate, 4_000), rng.binomial(everybody - group, other, 4_000)
    low, high = proportions.lift(hits[0], group, hits[0] + hits[1], everybody)[1:]
    true = rate / ((group * rate + (everybody - group) * other) / everybody)
    assert 0.94 <= np.mean((low <= true) & (true <= high)) <= 0.97


def test_intervals_at_the_edges() -> None:
    low, high = proportions.wilson([0, 5, 0], [5, 5, 0])
    assert (low[0], high[1]) == (0.0, 1.0)
    assert np.isnan([low[2], high[2]]).all()
    estimate, below, above = proportions.lift([0, 4, 2, 0], [9, 9, 5, 3], [5, 4, 2, 0], [90, 90, 5, 30])
    assert (estimate[0], below[0]) == (0.0, 0.0)
    assert 0 < above[0] < 10
    assert above[1] == 10.0  # nobody else took it: no lift over everybody is larger
    assert (estimate[2], below[2], above[2]) == (1.0, 1.0, 1.0)
    assert np.isnan([estimate[3], below[3], above[3]]).all()
    with pytest.raises(DataError, match="a share needs 0 <= successes <= trials"):
        proportions.wilson(3, 2)
    with pytest.raises(DataError, match="larger than everybody; count everybody with the group included"):
        proportions.lift(3, 5, 2, 9)


# ---------------------------------------------------------------- product × segment


def test_product_segment_is_that_of_a_naive_reading(known: snapshot.Snapshot, scores: pd.DataFrame) -> None:
    members = memberships.members(known, "region")
    found = matrices.product_segment(known, members, scores=scores).set_index(["segment", "product_id"])
    people = known.table("customers")
    people = people[people["closed_on"].isna()]
    held = known.table("holdings")
    held = held[held["closed_on"].isna()][["customer_id", "product_id"]].drop_duplicates()
    rules = eligibility.eligible(known)
    allowed = call_list.permitted(known.table("consents"), people["customer_id"], company=known.warehouse.company)
    cost = allowed.assign(cost=allowed["channel"].map(known.warehouse.company.contact_costs_minor))
    cheapest = cost.groupby("customer_id")["cost"].min()
    margin = known.table("products").set_index("product_id")["margin_minor"]
    could = rules[rules["allowed"]].merge(scores.astype({"product_id": "str"}), on=["customer_id", "product_id"])
    could["region"] = could["customer_id"].map(people.set_index("customer_id")["region"])
    seen = 0
    for region, product in [("Eastvale", "credit_card"), ("Westholm", "mortgage"), ("Hillford", "deposit")]:
        cell = found.loc[(region, product)]
        inside = people.loc[people["region"] == region, "customer_id"]
        holding = held[(held["product_id"] == product) & held["customer_id"].isin(inside)]
        assert cell["customers"] == len(inside)
        if cell["holders_hidden"]:
            assert min(len(holding), len(inside) - len(holding)) < 10
            continue
        assert cell["holders"] == len(holding)
        assert cell["penetration"] == pytest.approx(len(holding) / len(inside))
        rows = could[(could["region"] == region) & (could["product_id"] == product)]
        assert cell["candidates"] == len(rows)
        assert cell["propensity"] == pytest.approx(rows["score"].mean())
        assert cell["propensity_low"] == pytest.approx(rows["low"].mean())
        profit = rows["score"] * margin[product] - rows["customer_id"].map(cheapest)
        if cell["contacts_hidden"]:
            assert min((profit > 0).sum(), (profit <= 0).sum()) < 10
            continue
        seen += 1
        assert cell["contacts"] == (profit > 0).sum()
        assert cell["expected_profit_minor"] == pytest.approx(profit[profit > 0].sum())
        assert cell["cost_minor"] == pytest.approx(rows["customer_id"].map(cheapest)[profit > 0].sum())
    assert seen >= 2


def test_a_row_of_everybody_is_the_sum_of_the_rows_of_a_partition(
    known: snapshot.Snapshot, scores: pd.DataFrame
) -> None:
    members = memberships.members(known, "region")
    parts = matrices.product_segment(known, members, scores=scores)
    whole = matrices.product_segment(known, members.assign(segment="all"), scores=scores)
    assert not parts["hidden"].any()
    for name, hidden in (
        ("customers", "hidden"),
        ("holders", "holders_hidden"),
        ("candidates", "scores_hidden"),
        ("contacts", "contacts_hidden"),
        ("expected_profit_minor", "contacts_hidden"),
    ):
        full = ~parts.groupby("product_id")[hidden].any()
        assert full.sum() >= 10
        summed = parts.groupby("product_id")[name].sum()[full]
        np.testing.assert_allclose(
            summed.astype(float), whole.set_index("product_id")[name][summed.index].astype(float)
        )


@pytest.mark.parametrize("by", ["region", "service_segment", "age", memberships.HOLDS])
def test_who_knows_all_other_cells_and_every_sum_cannot_tell_a_hidden_count(
    known: snapshot.Snapshot, scores: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    members = memberships.members(known, by)
    shown = matrices.product_segment(known, members, scores=scores)
    monkeypatch.setattr(matrices_hidden, "groups", lambda counts, **_: np.zeros(counts.shape, bool))
    monkeypatch.setattr(matrices_hidden, "parts", lambda _, part, **__: np.zeros(part.shape, bool))
    true = matrices.product_segment(known, members, scores=scores)
    pairs = [("customers", "holders", "holders_hidden"), ("customers", "candidates", "scores_hidden")]
    for whole, part, name in [*pairs, ("candidates", "contacts", "contacts_hidden")]:
        hidden = shown[name]
        rest = true[whole] - true[part]
        priced = true[part].notna()
        for counts in (true[part], rest):
            assert not (counts.between(1, 9) & ~hidden & priced).any(), "a small count is shown"
        if by == memberships.HOLDS:
            continue
        left = true[part].where(hidden).groupby(true["product_id"]).sum()  # what the sums tell of all hidden together
        others = rest.where(hidden).groupby(true["product_id"]).sum()
        whole_column = hidden.groupby(true["product_id"]).all()  # where a sum is small itself, nothing is shown
        for together in (left, others):
            assert not (together.between(1, 9) & ~whole_column).any()


def test_cells_of_fewer_than_10_customers_are_hidden(known: snapshot.Snapshot, scores: pd.DataFrame) -> None:
    members = memberships.members(known, "region").assign(segment="rest")
    members.loc[members.index[:9], "segment"] = "nine"
    members.loc[members.index[20:30], "segment"] = "ten"
    members.loc[members.index[40:42], "segment"] = "two"  # so that the total gives neither of the two away
    found = matrices.product_segment(known, members, scores=scores)
    nine, ten = found[found["segment"] == "nine"], found[found["segment"] == "ten"]
    told = [name for name in found if name not in ("segment", "product_id") and not name.endswith("hidden")]
    assert nine["hidden"].all()
    assert nine["scores_hidden"].all()
    assert nine[told].isna().all().all()
    assert not ten["hidden"].any()
    assert (ten["customers"] == 10).all()
    few = ten[ten["scores_hidden"]]
    assert len(few)
    assert few[["candidates", "propensity", "contacts", "expected_profit_minor"]].isna().all().all()
    assert few.loc[~few["holders_hidden"], "penetration"].notna().all()


def test_no_total_gives_a_small_cell_away(known: snapshot.Snapshot, scores: pd.DataFrame) -> None:
    members = memberships.members(known, "region").assign(segment="rest")
    members.loc[members.index[:4], "segment"] = "four"
    pair = matrices.product_segment(known, members, scores=scores)
    assert pair["hidden"].all(), "all customers less the rest are four"
    members.loc[members.index[20:40], "segment"] = "twenty"
    found = matrices.product_segment(known, members, scores=scores)
    assert set(found.loc[found["hidden"], "segment"]) == {"four", "twenty"}
    for shown, count in (("hidden", "customers"), ("holders_hidden", "holders"), ("scores_hidden", "candidates")):
        whole = matrices.product_segment(known, members.assign(segment="all"), scores=scores)
        told = found[~found[shown]].groupby("product_id")[count].sum()
        rest = whole.set_index("product_id")[count].dropna().astype(int).sub(told, fill_value=0)
        assert ((rest == 0) | (rest >= 10) | ~rest.index.isin(told.index)).all()
    overlapping = matrices.product_segment(known, pd.concat([members, members.assign(segment="all")]), scores=scores)
    assert set(overlapping.loc[overlapping["hidden"], "segment"]) == {"four"}, "rows that overlap have no total"


def test_without_scores_there_is_penetration_alone_and_without_margin_no_profit(tmp_path: Path) -> None:
    found = small(tmp_path)
    members = memberships.members(found, "region")
    assert "propensity" not in matrices.product_segment(found, members)
    rows = [(f"c{number:02d}", name, 0.5) for number in range(12) for name in ("loan", "free")]
    scores = pd.DataFrame(rows, columns=["customer_id", "product_id", "score"])
    bare = matrices.product_segment(found, members, scores=scores).set_index("product_id")
    assert bare.loc["free", ["contacts", "cost_minor", "expected_profit_minor"]].isna().all()
    assert bare.loc["loan", "expected_profit_minor"] == pytest.approx(12 * (0.5 * 9_000 - 2))  # an e-mail costs 2
    assert (bare["propensity"] == 0.5).all()


def small(folder: Path, *, customers: int = 12) -> snapshot.Snapshot:
    names = [f"c{number:02d}" for number in range(customers)]
    frames = {
        "customers": pd.DataFrame({"customer_id": names, "valid_from": dt.date(2020, 1, 1), "region": "South"}),
        "products": pd.DataFrame(
            {
                "product_id": ["loan", "free"],
                "valid_from": dt.date(2020, 1, 1),
                "name": "P",
                "margin_minor": [9_000, None],
            }
        ),
        "transactions": pd.DataFrame(
            {
                "transaction_id": ["t"],
                "customer_id": ["c00"],
                "occurred_at": [dt.datetime(2025, 1, 1)],
                "amount_minor": [1],
            }
        ),
        "consents": pd.DataFrame(
            {
                "customer_id": names,
                "channel": "all",
                "purpose": "marketing",
                "changed_at": dt.datetime(2021, 1, 1),
                "granted": True,
            }
        ),
    }
    path = folder / f"v{len(list(folder.iterdir()))}.duckdb"
    build.from_frames(path, frames)
    return snapshot.open_file(path).snapshot("2025-01-01")


# ---------------------------------------------------------------- cross-product


@pytest.mark.parametrize("next_only", [False, True])
def test_cross_product_is_that_of_a_naive_reading(bank: warehouse.Warehouse, next_only: bool) -> None:
    found = matrices.cross_product(bank, DAY, within_days=60, next_only=next_only).set_index(["holds", "takes"])
    state = bank.snapshot(DAY)
    people = state.table("customers").set_index("customer_id")
    people = people[people["closed_on"].isna()]
    held = state.table("holdings")
    held = held[held["closed_on"].isna()]
    have = (
        held.groupby("customer_id")["product_id"]
        .agg(set)
        .reindex(people.index)
        .map(lambda x: x if isinstance(x, set) else set())
    )
    later = bank.table("holdings")
    last = pd.Timestamp(DAY) + pd.Timedelta(days=60)
    later = later[(later["opened_on"] > pd.Timestamp(DAY)) & (later["opened_on"] <= last)]
    if next_only:
        later = later[later["opened_on"] == later.groupby("customer_id")["opened_on"].transform("min")]
    took = later.groupby("customer_id")["product_id"].agg(set)
    goods = state.table("products").set_index("product_id")
    today = pd.Timestamp(DAY)
    born = people["birth_date"]
    passed = (born.dt.month < today.month) | ((born.dt.month == today.month) & (born.dt.day <= today.day))
    age = today.year - born.dt.year - (~passed)
    holds_of = {name: have.map(lambda own, name=name: name in own) for name in goods.index}
    seen = 0
    for holds, takes in [
        ("current", "credit_card"),
        ("credit_card", "deposit"),
        ("mortgage", "home_insurance"),
        ("current", "premium"),
        ("deposit", "deposit"),
    ]:
        term = goods.loc[takes]
        can = pd.Series(True, index=people.index)
        if not term["repeatable"]:
            can &= ~holds_of[takes]
        if pd.notna(term["requires_product_id"]):
            can &= holds_of[term["requires_product_id"]]
        for column, bad in (("minimum_age", age < term["minimum_age"]), ("maximum_age", age > term["maximum_age"])):
            if pd.notna(term[column]):
                can &= ~bad.fillna(False).astype(bool)
        if pd.notna(term["minimum_income_minor"]):
            can &= ~(people["income_minor"] < term["minimum_income_minor"]).fillna(False).astype(bool)
        who = can & holds_of[holds]
        taken = pd.Series([takes in took.get(name, set()) for name in people.index], index=people.index)
        cell = found.loc[(holds, takes)]
        counts = [int(who.sum()), int((who & taken).sum()), int(can.sum()), int((can & taken).sum())]
        others, other_takers = counts[2] - counts[0], counts[3] - counts[1]
        told = [counts[0], counts[1], counts[0] - counts[1], others, other_takers, others - other_takers]
        assert cell["hidden"] == any(0 < count < 10 for count in told), "hidden is what is small, and nothing else"
        if cell["hidden"]:
            continue
        seen += 1
        assert cell[["customers", "takers", "base_customers", "base_takers"]].tolist() == counts
        assert cell["rate"] == pytest.approx(counts[1] / counts[0])
        assert cell["lift"] == pytest.approx(counts[1] / counts[0] / (counts[3] / counts[2]))
    assert seen >= 2


def test_the_planted_associations_are_recovered(bank: warehouse.Warehouse) -> None:
    # docs/sample_bank.md: holding a mortgage adds 2.0 to the log-odds of home insurance, a car loan 1.6 to those of
    # car insurance; nothing ties a child's account to a deposit.
    found = matrices.cross_product(bank, DAY).set_index(["holds", "takes"])
    home, car = found.loc[("mortgage", "home_insurance")], found.loc[("car_loan", "car_insurance")]
    assert home["lift_low"] > 2
    assert car["lift_low"] > 2
    child = found.loc[("child", "deposit")]
    assert child["lift_low"] < 1
    assert home["lift"] > 3


def test_cross_product_knows_at_the_date_only_what_was_known_then(bank: warehouse.Warehouse) -> None:
    found = matrices.cross_product(bank, DAY)
    later = matrices.cross_product(bank, "2025-08-31")
    assert not found["customers"].equals(later["customers"])
    # Recorded late: held on the day, but not known to be.
    late = bank.table("holdings")
    state = bank.snapshot(DAY).table("holdings")
    then = late[(late["opened_on"] <= pd.Timestamp(DAY)) & ~late["holding_id"].isin(state["holding_id"])]
    assert len(then)


def test_small_cross_cells_are_hidden_but_the_base_stays(bank: warehouse.Warehouse) -> None:
    found = matrices.cross_product(bank, DAY)
    few = found[found["hidden"]]
    assert few[["customers", "takers", "rate", "rate_low", "lift", "lift_high"]].isna().all().all()
    assert few["base_customers"].notna().all()
    assert (found.loc[~found["hidden"], "customers"] >= 10).all()
    assert len(few)


# ---------------------------------------------------------------- who is in which row


def test_members_by_age_attribute_holdings_audience_and_segmentation(data: Path, known: snapshot.Snapshot) -> None:
    people = known.table("customers")
    people = people[people["closed_on"].isna()].set_index("customer_id")
    ages = memberships.members(known, "age").set_index("customer_id")["segment"]
    assert set(ages.index) == set(people.index)
    unknown = ages[ages == ""].index
    assert set(unknown) == set(people.index[people["birth_date"].isna()])
    old = ages[ages == "75+"].index
    assert (people.loc[old, "birth_date"] <= pd.Timestamp("1950-09-30")).all()
    held = memberships.members(known, "holds")
    assert held.duplicated().sum() == 0
    assert held["customer_id"].duplicated().any()
    wanted = audiences.where(region="Eastvale")
    audiences.save(data, "East", wanted.data, now=NOW, actor="test")
    inside = memberships.members(known, "audience:East", data=data)
    assert (inside["segment"] == "in").sum() == (people["region"] == "Eastvale").sum()
    table = pd.DataFrame({"customer_id": people.index[:500], "as_of": DAY, "segmentation": "rfm", "segment": "loyal"})
    for day in (DAY, dt.date(2025, 12, 31)):
        more = {"fitted_as_of": DAY, "as_of": day, "warehouse_version": 1, "description": {}, "now": NOW}
        segment_sets.save(table.assign(as_of=day, segment=f"loyal {day}"), data=data, segmentation="rfm", **more)
    found = memberships.members(known, "rfm", data=data)["segment"].value_counts()
    assert found.to_dict() == {f"loyal {DAY}": 500, "": len(people) - 500}
    with pytest.raises(NotFoundError, match="'rfm' has no members as of 2025-03-31 or before, only later"):
        memberships.members(known.warehouse.snapshot("2025-03-31"), "rfm", data=data)


@pytest.mark.parametrize("by", ["region", "age", "holds", "gender", "employment_status", "risk_class"])
def test_the_conditions_of_a_segment_choose_its_members(data: Path, known: snapshot.Snapshot, by: str) -> None:
    members = memberships.members(known, by)
    for segment, own in members.groupby("segment"):
        found = audiences.customers(known, memberships.conditions(by, str(segment)), data=data)
        assert set(found["customer_id"]) == set(own["customer_id"]), (by, segment)


@pytest.mark.parametrize(
    "product", ["credit_card", "mortgage", "overdraft", "premium", "brokerage", "deposit", "car_loan"]
)
def test_the_audience_of_a_cell_holds_everybody_who_may_be_offered_it(
    data: Path, known: snapshot.Snapshot, product: str
) -> None:
    rules = eligibility.rules(known)
    cell = cells.audience("region", "Eastvale", product, rules=rules, company=known.warehouse.company)
    chosen = set(audiences.customers(known, cell.conditions, data=data)["customer_id"])
    left = rules[
        ~rules["code"].isin(cell.unchecked)
        | ((rules["code"] == "document_missing") & (rules["parameters"] == {"document": "income"}))
    ]
    table = eligibility.eligible(known, products=[product], rules=left)
    region = memberships.members(known, "region").set_index("customer_id")["segment"]
    want = set(table.loc[table["allowed"] & (table["customer_id"].map(region) == "Eastvale"), "customer_id"])
    assert chosen == want
    assert {"application_open", "refused_recently"} <= set(cell.unchecked)


def test_the_audience_of_an_expected_profit_cell_asks_for_the_score(data: Path, known: snapshot.Snapshot) -> None:
    rules = eligibility.rules(known)
    cell = cells.audience(
        "holds", "mortgage", "home_insurance", rules=rules, company=known.warehouse.company, score_at_least=0.02
    )
    assert cell.conditions["all"][-1] == {
        "field": "score",
        "where": {"model": "propensity", "product_id": "home_insurance"},
        "operator": "ge",
        "value": 0.02,
    }
    row = audiences.save(data, "Home insurance to mortgages", cell.conditions, now=NOW, actor="test")
    assert audiences.load(data, row.name).conditions["all"][0]["where"] == {"product_id": "mortgage"}


# ---------------------------------------------------------------- bad input


def test_bad_input_gets_one_sentence(
    data: Path, bank: warehouse.Warehouse, known: snapshot.Snapshot, tmp_path: Path
) -> None:
    members = memberships.members(known, "region")
    scores = pd.DataFrame({"customer_id": ["x"], "product_id": ["loan"], "score": [0.1]})
    with pytest.raises(UsageError, match="within_days is 0; give at least one day"):
        matrices.cross_product(bank, DAY, within_days=0)
    with pytest.raises(DataError, match="200 days after 2025-09-30 run to 2026-04-18, but the last record"):
        matrices.cross_product(bank, DAY, within_days=200)
    with pytest.raises(UsageError, match="members has no column segment; it has customer_id"):
        matrices.product_segment(known, members[["customer_id"]])
    with pytest.raises(UsageError, match="scores has no column score; it has customer_id, product_id"):
        matrices.product_segment(known, members, scores=scores[["customer_id", "product_id"]])
    with pytest.raises(NotFoundError, match="no product boat is known; known are brokerage"):
        matrices.product_segment(known, members, products=["boat"])
    with pytest.raises(DataError, match="no customer with an open relationship is in a segment"):
        matrices.product_segment(known, members.assign(customer_id="x"))
    twice = pd.DataFrame({"customer_id": [members["customer_id"][0]] * 2, "product_id": "deposit", "score": 0.1})
    with pytest.raises(UsageError, match="scores hold a customer and product more than once"):
        matrices.product_segment(known, members, scores=twice)
    with pytest.raises(UsageError, match="unknown attribute 'shoe_size'; use region, service_segment"):
        memberships.members(known, "shoe_size")
    with pytest.raises(NotFoundError, match="unknown segmentation 'shoe_size'"):
        memberships.members(known, "shoe_size", data=data)
    with pytest.raises(NotFoundError, match="there is no audience 'Wst'"):
        memberships.members(known, "audience:Wst", data=data)
    with pytest.raises(UsageError, match="there is no age band '3-4'; use one of 00-17"):
        memberships.conditions("age", "3-4")
    bare = small(tmp_path)
    rows = pd.DataFrame({"customer_id": ["c00"], "product_id": ["free"], "score": [0.5]})
    with pytest.raises(DataError, match="product free has no margin; give margin_minor in the table products"):
        matrices.product_segment(bare, memberships.members(bare, "region"), scores=rows, products=["free"])
    rules = eligibility.rules(known)
    with pytest.raises(NotFoundError, match="there is no product 'boat'; known are brokerage"):
        cells.audience("region", "Eastvale", "boat", rules=rules, company=Company())
    gone = pd.concat([rules, pd.DataFrame([dict(rules.iloc[0], product_id="deposit", code="withdrawn")])])
    with pytest.raises(DataError, match="product 'deposit' is withdrawn from sale, so there is nobody to offer it to"):
        cells.audience("region", "Eastvale", "deposit", rules=gone, company=Company())


@settings(max_examples=15, deadline=None)
@given(rows=st.lists(st.tuples(st.integers(0, 14), st.sampled_from("ABC")), min_size=1, max_size=40))
def test_members_named_twice_count_once(few: snapshot.Snapshot, rows: list[tuple[int, str]]) -> None:
    rows = [*rows, (0, "A")]
    members = pd.DataFrame(
        [(f"c{number:02d}", segment) for number, segment in rows], columns=["customer_id", "segment"]
    )
    sizes = pd.Series([segment for number, segment in set(rows) if number < 12]).value_counts()
    table = matrices.product_segment(few, members).drop_duplicates("segment").set_index("segment")
    assert table["hidden"].to_dict() == (sizes < 10).to_dict()
    assert table.loc[~table["hidden"], "customers"].to_dict() == sizes[sizes >= 10].to_dict()
