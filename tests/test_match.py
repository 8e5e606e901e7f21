"""The product match: answers checked, comparable customers, what to ask next, and that asking so pays."""

from __future__ import annotations

import datetime as dt
import itertools
from dataclasses import replace
from typing import Any

import made_desk
import numpy as np
import pandas as pd
import pytest

from crmlib import features
from crmlib.decisions import desk, eligibility, match, match_questions
from crmlib.decisions.match_questions import Question
from crmlib.errors import DataError, NotFoundError, UsageError
from crmlib.models import live, registry

PRODUCTS = list(made_desk.PRODUCTS)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> desk.Desk:
    data = made_desk.make(tmp_path_factory.mktemp("match"))
    registered = registry.load(data)
    spec = features.from_json(registered.specification)
    ready = live.prepare(registered.model, features.describe(spec))
    return desk.open(data, desk.Scorer(ready.score, ready.reasons, spec, version=registered.version))


@pytest.fixture(scope="module")
def asker(opened: desk.Desk) -> match.Match:
    return match.open(opened, seed=1)


def chances(rows: Any) -> pd.DataFrame:
    """A score function with a story: income decides between fund and card, a pension is for those above fifty."""
    out = []
    for place, row in enumerate(rows):
        rich = float(row["customer_income_minor"]) > 300_000
        old = float(row["customer_age_years"]) > 50
        told = {"fund": 0.2 if rich else 0.01, "credit_card": 0.02 if rich else 0.3, "pension": 0.1 if old else 0.001}
        out += [(place, name, told.get(name, 0.0001)) for name in PRODUCTS]
    table = pd.DataFrame(out, columns=["row", "product_id", "score"])
    return table.assign(low=table["score"], high=table["score"])


@pytest.fixture(scope="module")
def story(asker: match.Match) -> match.Match:
    scorer = asker.desk.scorer
    assert scorer is not None
    plain = replace(scorer, score=chances, reasons=lambda row, products: {name: [] for name in products})
    return replace(asker, desk=replace(asker.desk, scorer=plain))


def test_the_questions_are_those_the_model_can_use(asker: match.Match) -> None:
    names = [one.name for one in asker.questions]
    assert names == [
        *("age_years", "income_minor", "children", "marital_status", "employment_status", "gender", "region", "plan")
    ]
    assert next(one for one in asker.questions if one.name == "region").options == ("North", "South")


def test_a_prospect_is_ranked_from_answers_alone(story: match.Match) -> None:
    rich = match.rank(story, {"income_minor": 400_000, "age_years": 30, "plan": "none"})
    poor = match.rank(story, {"income_minor": 120_000, "age_years": 30, "plan": "none"})
    assert rich.offers["product_id"][0] == "fund" and poor.offers["product_id"][0] == "credit_card"
    assert set(rich.offers["product_id"]) <= set(PRODUCTS) and rich.recorded == {}
    young = match.rank(story, {"income_minor": 120_000, "age_years": 19, "plan": "none"}).offers.set_index("product_id")
    assert young.loc["credit_card", ["allowed", "value_minor"]].eq(0).all(), "from 21 years on"


def test_the_questions_that_decide_come_first(story: match.Match) -> None:
    nothing = match.rank(story, {"plan": "none"})
    worth = nothing.ask.set_index("question")["worth_minor"]
    deciding = ["age_years", "income_minor"]
    assert set(nothing.ask["question"].head(2)) == set(deciding)
    assert worth[deciding].min() > 2 * worth.drop(deciding).max()
    told = match.rank(story, {"plan": "none", "income_minor": 400_000})
    assert told.next == "age_years"
    assert match.rank(story, {"plan": "none", "income_minor": 400_000, "age_years": 60}).next is None


def test_the_worth_of_a_question_is_the_expected_value_of_its_answer(story: match.Match) -> None:
    """A naive reference: value every comparable person by hand, then take means by answer."""
    people = match.comparable(story, {}).assign(plan="none")
    found = match.rank(story, {"plan": "none"})
    assert story.desk.scorer is not None
    terms, value = story.desk.terms, {}
    for place, person in enumerate(people.to_dict("records")):
        row = {f"customer_{name}": person[name] for name in people if name != "plan"}
        for product, chance in zip(PRODUCTS, chances([row])["score"], strict=True):
            term = terms[product]
            young = product in ("credit_card", "mortgage") and person["age_years"] < 21
            late = product == "pension" and np.floor(person["age_years"]) > 60
            allowed = not young and not late and product != "gold_card"
            value[place, product] = chance * term["margin_minor"] * term["retention"] * term["lever"] * allowed
    table = pd.Series(value).unstack()
    first = lambda rows: (rows.mean().nlargest(3).to_numpy() / np.log2([2, 3, 4])).sum()  # noqa: E731
    groups = table.groupby(people["region"])
    wanted = sum(len(rows) / len(table) * first(rows) for _, rows in groups) - first(table)
    worth = found.ask.set_index("question")["worth_minor"]
    np.testing.assert_allclose(worth["region"], wanted, rtol=1e-6, atol=1e-6)
    listed = found.offers.set_index("product_id")["value_minor"]
    np.testing.assert_allclose(listed, table.mean()[listed.index], rtol=1e-9)


def test_no_answer_is_worth_less_than_nothing(asker: match.Match) -> None:
    for answers in ({}, {"age_years": 40}, {"age_years": 40, "income_minor": 200_000, "region": "North"}):
        found = match.rank(asker, answers)
        assert (found.ask["worth_minor"] >= 0).all() and found.ask["changes"].between(0, 1).all()
        assert not set(found.ask["question"]) & set(answers)
        assert found.offers["value_minor"].is_monotonic_decreasing


def test_comparable_customers_are_like_the_answers(asker: match.Match) -> None:
    like = match.comparable(asker, {"region": "North", "age_years": 30.0})
    everybody = asker.people
    assert (like["region"] == "North").mean() > (everybody["region"] == "North").mean()
    assert abs(like["age_years"].mean() - 30) < abs(everybody["age_years"].mean() - 30)


def test_the_history_of_a_customer_counts_and_answers_replace_it(asker: match.Match) -> None:
    found = match.rank(asker, {}, customer_id=made_desk.FAMILY)
    assert found.recorded["marital_status"] == "divorced" and found.recorded["income_minor"] == 300_000
    allowed = eligibility.eligible(asker.desk.snapshot, customers=[made_desk.FAMILY]).set_index("product_id")["allowed"]
    listed = found.offers.set_index("product_id")["allowed"]
    assert (listed == allowed[listed.index]).all()
    richer = match.rank(asker, {"income_minor": 480_000}, customer_id=made_desk.FAMILY)
    assert richer.offers["value_minor"].tolist() != found.offers["value_minor"].tolist()
    now = match.rank(asker, {}, customer_id=made_desk.FAMILY, now=made_desk.NOW)
    assert "pension" in set(found.offers["product_id"]) - set(now.offers["product_id"]), "declined a month ago"


def test_with_every_answer_the_list_is_the_models_own(asker: match.Match) -> None:
    person = asker.people.iloc[3].to_dict() | {"plan": "none"}
    found = match.rank(asker, person)
    assert asker.desk.scorer is not None
    row = {one.feature: person[one.name] for one in asker.questions if one.feature}
    chance = asker.desk.scorer.score([row]).set_index("product_id")["score"]
    listed = found.offers.set_index("product_id")["probability"]
    np.testing.assert_allclose(listed, chance[listed.index], rtol=1e-4)
    assert found.ask.empty and found.next is None


def test_a_plan_raises_the_products_it_is_about_by_the_stated_lever(asker: match.Match) -> None:
    person = asker.people.iloc[5].to_dict()
    before = match.rank(asker, {**person, "plan": "none"}).offers.set_index("product_id")["value_minor"]
    after = match.rank(asker, {**person, "plan": "loans"}).offers.set_index("product_id")["value_minor"]
    for name, told in made_desk.PRODUCTS.items():
        factor = match.PLAN_LEVER if told["product_group"] == "loans" else 1.0
        assert after[name] == pytest.approx(factor * before[name])


def test_asking_in_this_order_needs_fewer_questions_than_as_listed_or_at_random(asker: match.Match) -> None:
    others = match.open(asker.desk, seed=2).people.head(12).to_dict("records")
    names = [one.name for one in asker.questions]
    random = np.random.default_rng(5)
    orders = {
        "match": lambda found, left: found.ask["question"].iloc[0],
        "listed": lambda found, left: left[0],
        "random": lambda found, left: left[random.integers(len(left))],
    }
    needed = {name: 0 for name in orders}
    for (order, choose), person in itertools.product(orders.items(), others):
        answers: dict[str, Any] = {}
        lists = []
        while True:
            found = match.rank(asker, answers)
            lists.append(found.offers["product_id"].head(3).tolist())
            left = [name for name in names if name not in answers]
            if not left:
                break
            chosen = choose(found, left)
            answers[chosen] = person[chosen]
        while len(lists) > 1 and lists[-2] == lists[-1]:
            lists.pop()
        needed[order] += len(lists) - 1
    assert needed["match"] < needed["listed"] and needed["match"] < needed["random"], needed


def test_the_same_seed_gives_the_same_list(opened: desk.Desk) -> None:
    first, second = (match.rank(match.open(opened, seed=4), {}) for _ in range(2))
    pd.testing.assert_frame_equal(first.offers, second.offers)


def test_bad_answers_get_one_clear_sentence(asker: match.Match, opened: desk.Desk) -> None:
    with pytest.raises(UsageError, match="there is no question 'shoe_size'; there are age_years"):
        match.rank(asker, {"shoe_size": 43})
    with pytest.raises(UsageError, match="age_years is 'old'; answer with a number from 0 to 120"):
        match.rank(asker, {"age_years": "old"})
    with pytest.raises(UsageError, match="age_years is 200; answer with a number from 0 to 120"):
        match.rank(asker, {"age_years": 200})
    with pytest.raises(UsageError, match="region is 'Moon'; answer with one of North, South"):
        match.rank(asker, {"region": "Moon"})
    with pytest.raises(NotFoundError, match="customer 999 is not in the warehouse"):
        match.rank(asker, {}, customer_id="999")
    with pytest.raises(DataError, match="customer F0002 objected to profiling; no products are matched"):
        match.rank(asker, {}, customer_id=made_desk.OBJECTOR)
    with pytest.raises(UsageError, match="a product match needs a score function"):
        match.open(replace(opened, scorer=None))
    assert dt.date.fromisoformat("2025-06-30") == opened.snapshot.as_of


@pytest.mark.parametrize("kind", ["number", "money"])
def test_numbers_fall_into_quantiles(kind: str) -> None:
    found = match_questions.bins(pd.Series(np.arange(100.0)), Question("x", kind))
    assert found.value_counts().tolist() == [20] * 5
