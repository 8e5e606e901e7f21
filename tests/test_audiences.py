"""Audiences: conditions as data and in Python, bad input, the acceptance example, versions in the store."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import threading
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from crmlib import samples, warehouse
from crmlib.decisions import audiences as audience
from crmlib.decisions.audiences import compile as compiler
from crmlib.decisions.audiences import conditions as rules
from crmlib.errors import CrmError, DataError, NotFoundError, UsageError
from crmlib.store import session
from crmlib.store.tables import Audience
from crmlib.warehouse import Snapshot, build, snapshot

AS_OF = dt.date(2025, 12, 31)
NOW = dt.datetime(2026, 1, 5, 9, 0)
LEAF = {"field": "region", "operator": "eq", "value": "South"}


# ---------------------------------------------------------------- the acceptance example


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """The sample bank, loaded as a user would load it."""
    folder = tmp_path_factory.mktemp("bank")
    made = samples.bank(customers=1200, months=6, folder=folder / "sample", seed=7)
    data = folder / "data"
    data.mkdir()
    warehouse.load(made.files, made.mapping, data=data, recorded_at=dt.datetime(2026, 1, 2))
    return warehouse.open(data / "warehouse").snapshot(AS_OF)


def in_python(region: str, above_minor: int) -> audience.Condition:
    return (
        audience.where(region=region)
        & audience.no_contact(channel=["branch", "visit"], within_months=3)
        & audience.turnover(audience.last_month, above_minor=above_minor)
        & ~audience.holds(group="loans")
    )


def in_json(region: str, above_minor: int) -> dict[str, Any]:
    text = """{"all": [
        {"field": "region", "operator": "eq", "value": "REGION"},
        {"field": "contacts.count", "where": {"channel": ["branch", "visit"]}, "window": {"months": 3},
         "operator": "eq", "value": 0},
        {"field": "transactions.turnover_minor", "window": {"whole_months": 1}, "operator": "gt", "value": 0},
        {"not": {"field": "holdings.count", "where": {"product_group": "loans"}, "operator": "ge", "value": 1}}]}"""
    found = json.loads(text.replace("REGION", region))
    found["all"][2]["value"] = above_minor
    return found


def by_hand(known: Snapshot, region: str, above_minor: int) -> list[str]:
    """The same question asked of data frames."""
    people = known.table("customers")
    people = people[(people["region"] == region) & people["closed_on"].isna()]
    contacts = known.table("contacts")
    recent = contacts[contacts["occurred_at"] >= pd.Timestamp("2025-10-01")]
    met = recent.loc[recent["channel"].isin(["branch", "visit"]), "customer_id"]
    moves = known.table("transactions")
    december = moves[moves["occurred_at"] >= pd.Timestamp("2025-12-01")]
    turnover = december["amount_minor"].abs().groupby(december["customer_id"]).sum()
    held = known.table("holdings").merge(known.table("products", ["product_id", "product_group"]), on="product_id")
    loans = held.loc[(held["product_group"] == "loans") & held["closed_on"].isna(), "customer_id"]
    rich = turnover.index[turnover > above_minor]
    chosen = people[
        people["customer_id"].isin(rich) & ~people["customer_id"].isin(met) & ~people["customer_id"].isin(loans)
    ]
    return sorted(chosen["customer_id"])


def test_the_acceptance_example_in_both_forms_equals_a_reading_by_hand(bank: Snapshot) -> None:
    sizes = []
    for region in sorted(bank.table("customers")["region"].dropna().unique()):
        for above in (100_000, 10_000_000):
            assert in_python(region, above).data == audience.normal(in_json(region, above))
            wanted = by_hand(bank, region, above)
            assert audience.customers(bank, in_python(region, above))["customer_id"].tolist() == wanted
            assert audience.customers(bank, in_json(region, above))["customer_id"].tolist() == wanted
            assert audience.count(bank, in_json(region, above)) == len(wanted)
            sizes.append(len(wanted))
    assert max(sizes) > 10 and len(set(sizes)) > 3
    met = audience.where(region="Eastvale") & audience.not_met_consultant(within_months=3)
    assert met == audience.where(region="Eastvale") & audience.no_contact(channel=["visit", "branch"], within_months=3)


def test_the_steps_count_what_each_condition_leaves(bank: Snapshot) -> None:
    wanted = in_python("Eastvale", 100_000)
    left = audience.steps(bank, wanted)
    parts = wanted.data["all"]
    assert left[0] == audience.count(bank, {})
    assert left[1:] == [audience.count(bank, {"all": parts[: place + 1]}) for place in range(len(parts))]


def test_a_frozen_audience_is_sorted_and_an_empty_one_is_refused(bank: Snapshot) -> None:
    frozen = audience.freeze(bank, in_python("Eastvale", 100_000))
    assert list(frozen.columns) == ["customer_id"] and frozen["customer_id"].is_monotonic_increasing
    with pytest.raises(DataError, match=r"the audience is empty: nobody known on 2025-12-31 fulfils audience\.where"):
        audience.freeze(bank, in_python("Eastvale", 10**12))


# ---------------------------------------------------------------- a small warehouse


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    path = tmp_path_factory.mktemp("small") / "v000001.duckdb"
    day = dt.date(2020, 1, 1)
    people = pd.DataFrame({"customer_id": ["a", "b", "c"], "region": ["South", "North", None], "valid_from": day})
    people["birth_date"] = pd.to_datetime(["1980-02-29", "1995-12-31", "1996-01-01"])
    moves = pd.DataFrame({"transaction_id": ["1", "2", "3", "4"], "customer_id": ["a", "a", "b", "b"]})
    moves["occurred_at"] = pd.to_datetime(
        ["2025-11-30 23:59:59", "2025-12-01 00:00:00", "2025-12-31 23:59:59", "2026-01-01 00:00:00"]
    )
    moves = moves.assign(amount_minor=[100, -200, 300, 10**9], category="cash")
    products = pd.DataFrame({"product_id": ["loan"], "name": "Loan", "product_group": "loans", "valid_from": day})
    build.from_frames(path, {"customers": people, "transactions": moves, "products": products})
    return Snapshot(snapshot.open_file(path), AS_OF)


def who(known: Snapshot, conditions: Any) -> str:
    return "".join(audience.customers(known, conditions)["customer_id"])


def test_windows_are_whole_days_and_last_month_is_the_last_complete_one(small: Snapshot) -> None:
    some = audience.transactions
    assert who(small, some(within_days=1)) == "b" and who(small, some(within_days=31)) == "ab"
    assert who(small, audience.turnover(audience.last_month, equal_minor=200)) == "a"
    earlier = Snapshot(small.warehouse, dt.date(2025, 12, 30))
    assert who(earlier, audience.turnover(audience.last_month, equal_minor=100)) == "a", "December is not over yet"
    assert who(small, audience.turnover(above_minor=299)) == "ab" and who(small, audience.net(below_minor=0)) == "a"


def test_missing_values_are_neither_more_nor_less_and_not_is_everybody_else(small: Snapshot) -> None:
    assert who(small, audience.attribute("region", not_equal="South")) == "bc"
    assert who(small, ~audience.where(region="South")) == "bc" and who(small, audience.where(region=None)) == "c"
    assert who(small, audience.attribute("age_years", at_least=30)) == "ab", "b turns 30 on the day itself"
    assert who(small, audience.attribute("age_years", below=30)) == "c"
    assert who(small, ~audience.transactions()) == "c" and who(small, audience.turnover(at_most_minor=0)) == "c"
    assert who(small, audience.everybody()) == "abc" and audience.count(small, {}) == 3


def test_no_text_of_a_condition_is_in_the_sql(small: Snapshot) -> None:
    evil = "x'; DROP TABLE customers; --"
    conditions = audience.normal(
        {
            "any": [
                {"field": "region", "operator": "in", "value": [evil, "South"]},
                {
                    "field": "transactions.count",
                    "where": {"category": [evil, None]},
                    "operator": "ge",
                    "value": 424_242,
                },
                {"field": "holdings.count", "where": {"product_group": evil}, "operator": "eq", "value": 3},
                {"field": "score", "where": {"model": evil, "product_id": evil}, "operator": "ge", "value": 0.4242},
                {"field": "segment", "where": {"segmentation": evil}, "operator": "ne", "value": evil},
                {"field": "birth_date", "operator": "lt", "value": "1942-04-24"},
            ]
        }
    )
    target = compiler.Target(AS_OF, rates={evil: 4.242}, currency=evil, scores={evil: "s"}, segments={evil: "g"})
    for make in (compiler.count, compiler.customers, compiler.steps):
        text = str(make(conditions, target).compile(dialect=postgresql.dialect()))
        assert "DROP" not in text and "4242" not in text and "4.242" not in text and "1942" not in text
    with pytest.raises(NotFoundError, match='unknown level "x\'; DROP TABLE customers; --"'):
        audience.count(small, audience.where(region=evil))
    assert audience.count(small, {}) == 3


# ---------------------------------------------------------------- bad input: one clear sentence each


def leaf(**given: Any) -> dict[str, Any]:
    return {**LEAF, **given}


@pytest.mark.parametrize(
    ("conditions", "sentence"),
    [
        (leaf(field="regoin"), r"unknown field 'regoin'; did you mean region\?; the fields are gender, region"),
        (leaf(field=7), "unknown field 7"),
        (leaf(operator="like"), "field region: unknown operator 'like'; it takes eq, ne, in, not_in, known"),
        (leaf(operator=["eq"]), "field region: unknown operator"),
        (leaf(value=5), "field region: the value is 5; give a text"),
        (leaf(value="x" * 201), "field region: the text is longer than 200 characters"),
        (leaf(value="a\x00b"), "holds one no table can"),
        (leaf(field="age_years", operator="gt", value="60"), "field age_years: the value is '60'; give a whole number"),
        (leaf(field="age_years", operator="gt", value=True), "the value is True; give a whole number"),
        (leaf(field="age_years", operator="gt", value=200), "the value is 200; it lies between 0 and 150"),
        (leaf(field="age_years", operator="gt", value=float("nan")), "the value is nan; give a whole number"),
        (leaf(field="income_minor", operator="gt", value=1.5), "the value is 1.5; give a whole number of minor units"),
        (leaf(field="income_minor", operator="gt", value=2**70), "give a whole number of minor units"),
        (leaf(field="birth_date", operator="lt", value="31.12.1990"), "give a date as YYYY-MM-DD"),
        (leaf(field="age_years", operator="between", value=[60, 30]), "between 60 and 30 holds nothing"),
        (leaf(field="age_years", operator="between", value=60), "between needs two values, the lower first"),
        (leaf(operator="in", value=[]), "field region: the list of values is empty"),
        (leaf(operator="in", value="South"), "in needs a list of values, not 'South'"),
        (leaf(operator="known", value="yes"), "known is 'yes'; give true or false"),
        (leaf(window={"months": 3}), "field region: has no window; remove it"),
        (leaf(where={"channel": "branch"}), "field region: unknown filter 'channel'; it takes none"),
        (leaf(vlaue=1), r"unknown part 'vlaue'; did you mean value\?"),
        ({"field": "region", "operator": "eq"}, "a condition lacks its value; give field, operator and value"),
        ({"any": []}, "the group 'any' is empty, so nobody is in it"),
        ({"any": [LEAF, {"all": []}]}, "the group 'any' holds a group without conditions, which is everybody"),
        ({"not": {}}, "a condition lacks its field"),
        ({"not": {"all": []}}, "the group 'not' holds no condition"),
        ({"all": LEAF}, "the group 'all' holds .*; give a list of conditions"),
        ({"all": [LEAF], "any": [LEAF]}, "a group has the keys all, any; give just one of all, any, not"),
        ({"all": ["South"]}, "a condition is 'South'; give a group"),
        ("South", "a condition is 'South'"),
    ],
)
def test_conditions_that_are_not_allowed_are_refused_in_one_sentence(conditions: Any, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence) as refused:
        audience.normal(conditions)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("window", "sentence"),
    [
        ({"months": 0}, "field contacts.count: the window is 0 months; give a whole number from 1 to 1200"),
        ({"days": -5}, "the window is -5 days"),
        ({"days": 1.5}, "the window is 1.5 days"),
        ({"months": True}, "the window is True months"),
        ({"weeks": 2}, "give one of days, months, whole_months"),
        (3, "the window is 3; give one of"),
    ],
)
def test_a_window_must_be_a_positive_whole_number_of_a_known_unit(window: Any, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        audience.normal({"field": "contacts.count", "window": window, "operator": "eq", "value": 0})


def test_too_deep_and_too_many() -> None:
    deep: dict[str, Any] = LEAF
    for kind in ["all", "any"] * 5:
        deep = {kind: [deep, {**LEAF, "value": kind}]}
    with pytest.raises(UsageError, match="nested more than 8 deep; put them side by side"):
        audience.normal(deep)
    many = {"any": [leaf(value=str(number)) for number in range(101)]}
    with pytest.raises(UsageError, match="the audience has 101 conditions; use at most 100"):
        audience.normal(many)
    with pytest.raises(UsageError, match="1001 values in a list; use at most 1000"):
        audience.normal(leaf(operator="in", value=[str(number) for number in range(1001)]))


AGE = lambda operator, value: {"field": "age_years", "operator": operator, "value": value}  # noqa: E731


@pytest.mark.parametrize(
    ("conditions", "sentence"),
    [
        (
            {"all": [AGE("gt", 60), AGE("lt", 30)]},
            "nobody can fulfil both: age_years cannot be above 60 and be below 30 at the same time; change one of them",
        ),
        ({"all": [AGE("gt", 30), AGE("lt", 31)]}, "cannot be above 30 and be below 31"),
        ({"all": [LEAF, leaf(value="North")]}, "region cannot be South and be North at the same time"),
        ({"all": [LEAF, {"not": LEAF}]}, "region cannot be South and not be South"),
        ({"all": [LEAF, leaf(operator="known", value=False)]}, "cannot be South and be missing"),
        ({"any": [LEAF, {"all": [AGE("eq", 3), AGE("ne", 3)]}]}, "cannot be 3 and differ from 3"),
        ({"field": "contacts.count", "operator": "lt", "value": 0}, "contacts.count can never be below 0"),
        ({"all": [AGE("between", [30, 40]), AGE("ge", 20), AGE("gt", 40)]}, "cannot be from 30 to 40 and be above 40"),
    ],
)
def test_rules_that_exclude_each_other_are_said_in_words(conditions: Any, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        audience.plain(conditions)


@pytest.mark.parametrize(
    "conditions",
    [
        {"all": [AGE("gt", 60), AGE("lt", 62)]},
        {"any": [AGE("gt", 60), AGE("lt", 30)]},
        {"all": [leaf(operator="ne"), leaf(operator="ne", value="North")]},
        {"all": [{"not": AGE("lt", 30)}, {"not": AGE("ge", 30)}]},
        {"all": [audience.contacted(within_months=1).data, audience.no_contact(within_days=3).data]},
    ],
    ids=["a year between", "either", "a third region", "age not known", "other windows"],
)
def test_rules_that_only_look_contradictory_are_allowed(conditions: Any) -> None:
    audience.plain(conditions)


@pytest.mark.parametrize(
    ("conditions", "sentence"),
    [
        (LEAF | {"value": "Sout"}, r"field region: unknown level 'Sout'; did you mean South\?; there are North, South"),
        (
            audience.holds(product="laon"),
            r"filter product_id: unknown level 'laon'; did you mean loan\?; there are loan",
        ),
        (audience.holds(group="cars"), "filter product_group: unknown level 'cars'; there are loans"),
        (audience.applied(outcome="signde"), "unknown level 'signde'; the column holds no values at all"),
        (audience.transactions(category="car"), r"filter category: unknown level 'car'"),
    ],
)
def test_levels_that_do_not_exist_are_refused_with_the_closest(small: Snapshot, conditions: Any, sentence: str) -> None:
    with pytest.raises(NotFoundError, match=sentence):
        audience.count(small, conditions)


def test_a_derived_level_and_scores_without_a_folder_are_refused(small: Snapshot, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="filter direction: unknown level 'up'; use in or out"):
        audience.transactions(direction="up")
    with pytest.raises(UsageError, match="asks for scores or segments; give the data folder"):
        audience.count(small, audience.score("loan", top_share=0.1))
    with pytest.raises(
        NotFoundError, match="no scores of model 'propensity' up to 2025-12-31; there are no scores at all"
    ):
        audience.count(small, audience.score("loan", at_least=0.1), data=tmp_path)
    with pytest.raises(NotFoundError, match="no members of segmentation 'rfm' up to 2025-12-31"):
        audience.count(small, audience.segment("rfm", "champions"), data=tmp_path)
    with pytest.raises(UsageError, match=r"which product_id\? name it in where"):
        audience.normal({"field": "score", "where": {"model": "m"}, "operator": "ge", "value": 0.1})
    with pytest.raises(UsageError, match=r"top_share is 0\.0; give a share above 0"):
        audience.score("loan", top_share=0)


def test_the_python_form_refuses_words_it_does_not_know() -> None:
    with pytest.raises(UsageError, match=r"unknown word 'chanel'; did you mean channel\?"):
        audience.contacted(chanel="branch")
    with pytest.raises(UsageError, match="turnover: unknown word 'above'; did you mean above_minor"):
        audience.turnover(audience.last_month, above=100_000)
    with pytest.raises(UsageError, match="turnover: no bound is given"):
        audience.turnover(audience.last_month)
    with pytest.raises(UsageError, match="two windows are given; give one"):
        audience.contacted(within_days=3, within_months=1)
    with pytest.raises(UsageError, match=r"where\(\) names no attribute"):
        audience.where()
    with pytest.raises(UsageError, match=r"holdings\.count is no attribute of customers; use holds"):
        audience.attribute("holdings.count", above=1)


# ---------------------------------------------------------------- one form for equal conditions


def test_equal_conditions_have_one_form() -> None:
    a, b, c = (leaf(value=name) for name in "abc")
    assert audience.normal({"all": [a, {"all": [b, a]}]}) == {"all": [a, b]}
    assert audience.normal({"not": {"not": a}}) == a
    assert audience.normal({"not": {"any": [a, {"not": {"all": [b, c]}}]}}) == {"all": [{"not": a}, b, c]}
    assert audience.normal(leaf(operator="not_in", value=["x"])) == leaf(operator="ne", value="x")
    assert audience.normal({"all": []}) == audience.normal({}) == {"all": []}
    assert audience.same({"any": [a, b]}, {"any": [b, a]}) and not audience.same(a, b)
    given = {"all": [a, {"any": [b]}]}
    before = json.dumps(given)
    audience.normal(given)
    assert json.dumps(given) == before, "the input stays as it was"


# ---------------------------------------------------------------- saved audiences


def test_saving_equal_conditions_makes_no_new_version(tmp_path: Path) -> None:
    south = audience.where(region="South") & audience.holds()
    first = audience.save(tmp_path, "South", south, now=NOW, actor="anna")
    again = audience.save(tmp_path, " South ", {"all": south.data["all"][::-1]}, now=NOW, actor="boris")
    assert (first.audience_id, first.audience_version) == (again.audience_id, 1) and again.created_by == "anna"
    second = audience.save(tmp_path, "South", audience.where(region="North"), now=NOW, actor="boris")
    assert second.audience_version == 2
    back = audience.save(tmp_path, "South", south, now=NOW, actor="boris")
    assert back.audience_version == 3, "a return to earlier conditions is a change too"
    assert audience.load(tmp_path, "South", 1).conditions == south.data
    assert audience.load(tmp_path, "South").audience_version == 3
    assert audience.by_id(tmp_path, second.audience_id).conditions["value"] == "North"
    assert audience.saved(tmp_path)["audience_version"].tolist() == [3, 2, 1]


def test_what_cannot_be_saved_or_found(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the name of the audience is ''; give 1 to 128 characters"):
        audience.save(tmp_path, "  ", LEAF, now=NOW, actor="anna")
    with pytest.raises(UsageError, match="nobody can fulfil both"):
        audience.save(tmp_path, "x", {"all": [LEAF, leaf(value="North")]}, now=NOW, actor="anna")
    assert audience.saved(tmp_path).empty
    with pytest.raises(NotFoundError, match="there is no audience 'x'; none was saved yet"):
        audience.load(tmp_path, "x")
    audience.save(tmp_path, "Quiet", LEAF, now=NOW, actor="anna")
    with pytest.raises(NotFoundError, match=r"there is no audience 'Quit'; did you mean Quiet\?"):
        audience.load(tmp_path, "Quit")
    with pytest.raises(NotFoundError, match="audience 'Quiet' has no version 2; the newest is 1"):
        audience.load(tmp_path, "Quiet", 2)
    with pytest.raises(NotFoundError, match="there is no audience number 9"):
        audience.by_id(tmp_path, 9)


def test_many_savers_at_once_get_versions_of_their_own(tmp_path: Path) -> None:
    session.engine(tmp_path)
    failures: list[BaseException] = []

    def save(number: int) -> None:
        try:
            audience.save(tmp_path, "Race", leaf(value=f"region {number % 6}"), now=NOW, actor=str(number))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=save, args=(number,)) for number in range(12)]
    [one.start() for one in threads]
    [one.join() for one in threads]
    assert failures == []
    with session.session(tmp_path) as store:
        rows = store.execute(
            sa.select(Audience.audience_version, Audience.conditions).order_by(Audience.audience_version)
        ).all()
    assert [version for version, _ in rows] == list(range(1, len(rows) + 1)) and len(rows) >= 6
    assert all(not audience.same(a[1], b[1]) for a, b in itertools.pairwise(rows))


def test_every_error_is_one_the_user_can_mend() -> None:
    for given in (
        None,
        3,
        [],
        [LEAF],
        {"field": None},
        {"all": [None]},
        {"not": 3},
        {"field": {}, "operator": {}, "value": {}},
    ):
        with pytest.raises(CrmError):
            audience.normal(given)


def test_closest_names() -> None:
    assert rules.closest("TURNOVER", ["turnover"]) == "; did you mean turnover?"


def test_the_forms_in_the_document_are_equal() -> None:
    page = (Path(__file__).parents[1] / "docs" / "audiences.md").read_text(encoding="utf-8")
    python, as_json = (page.split(f"```{kind}\n")[1].split("```")[0] for kind in ("python", "json"))
    names: dict[str, Any] = {}
    exec(python, names)
    assert names["wanted"].data == audience.normal(json.loads(as_json)) == in_python("South", 10_000_000).data
