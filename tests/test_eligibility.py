"""Rules of eligibility: each rule by hand, all of them against a naive reading, and what contradictory ones get."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crmlib import samples, warehouse
from crmlib.decisions import customer_facts, eligibility
from crmlib.decisions import rules as stated
from crmlib.errors import DataError, NotFoundError, UsageError
from crmlib.warehouse import build, company, load, snapshot
from crmlib.warehouse.company import Company

DAY = dt.date(2025, 6, 30)
ONE = {"customer_id": "c", "valid_from": dt.date(2020, 1, 1), "birth_date": dt.date(1985, 7, 1)}


def known(tmp_path: Path, *, company: Company | None = None, **frames: list[dict[str, Any]]) -> snapshot.Snapshot:
    """A small warehouse: by default one customer, with products and whatever rows a test gives."""
    frames = {"customers": [ONE], **frames}
    frames["transactions"] = [
        {"transaction_id": f"t{day}", "customer_id": "c", "occurred_at": day, "amount_minor": 1}
        for day in (dt.datetime(2024, 1, 1), dt.datetime(2025, 7, 9))
    ]
    tables = {name: pd.DataFrame(rows) for name, rows in frames.items()}
    for start in ("customers", "products"):
        tables[start] = tables[start].assign(valid_from=dt.date(2020, 1, 1))
    path = tmp_path / f"v{len(list(tmp_path.iterdir()))}.duckdb"
    build.from_frames(path, tables, company=company)
    return snapshot.open_file(path).snapshot(DAY)


def product(product_id: str = "loan", **terms: Any) -> dict[str, Any]:
    if "attributes" in terms and not isinstance(terms["attributes"], str):
        terms["attributes"] = json.dumps(terms["attributes"])
    return {"product_id": product_id, "name": product_id.title(), **terms}


def holding(product_id: str, opened: dt.date = dt.date(2024, 1, 1), **more: Any) -> dict[str, Any]:
    return {"holding_id": f"h{product_id}", "customer_id": "c", "product_id": product_id, "opened_on": opened, **more}


def asked(product_id: str, applied: dt.datetime, decided: dt.datetime | None = None, outcome: str | None = None) -> Any:
    row = {"application_id": f"a{applied}", "customer_id": "c", "product_id": product_id, "applied_at": applied}
    return row | {"decided_at": decided, "outcome": outcome}


def answer(found: snapshot.Snapshot, product_id: str = "loan", **more: Any) -> str:
    """The reason code of the first refusal of a product to the one customer."""
    table = eligibility.eligible(found, **more).set_index("product_id")
    assert bool(table.loc[product_id, "allowed"]) == (table.loc[product_id, "code"] == "")
    return str(table.loc[product_id, "code"])


# ---------------------------------------------------------------- each rule by hand


@pytest.mark.parametrize(
    ("customer", "terms", "code"),
    [
        ({}, {}, ""),
        ({}, {"minimum_age": 39}, ""),  # born on 1 July 1985, so 39 on 30 June 2025
        ({}, {"minimum_age": 40}, "age_below"),
        ({}, {"maximum_age": 39}, ""),
        ({}, {"maximum_age": 38}, "age_above"),
        ({"birth_date": None}, {"maximum_age": 38}, "age_unknown"),
        ({"birth_date": None}, {}, ""),  # no rule asks for it
        ({"income_minor": 99_999}, {"minimum_income_minor": 100_000}, "income_below"),
        ({"income_minor": 100_000}, {"minimum_income_minor": 100_000}, ""),
        ({}, {"minimum_income_minor": 100_000}, "income_unknown"),
        # 4,000 crowns are worth 160 euros
        (
            {"income_minor": 400_000, "currency": "CZK"},
            {"minimum_income_minor": 16_001, "currency": "EUR"},
            "income_below",
        ),
        ({"income_minor": 400_000, "currency": "CZK"}, {"minimum_income_minor": 16_000, "currency": "EUR"}, ""),
        ({"income_minor": 15_999}, {"minimum_income_minor": 400_000, "currency": "CZK"}, "income_below"),
        ({"customer_since": dt.date(2024, 12, 30)}, {"attributes": {"minimum_tenure_months": 6}}, ""),
        ({"customer_since": dt.date(2024, 12, 31)}, {"attributes": {"minimum_tenure_months": 6}}, "tenure_below"),
        ({}, {"attributes": {"minimum_tenure_months": 6}}, "tenure_unknown"),
        ({}, {"attributes": {"documents": ["identity"]}}, "document_missing"),
        ({"person_id": "p"}, {"attributes": {"documents": ["identity"]}}, ""),
        ({"person_id": "p"}, {"attributes": {"documents": ["identity", "income"]}}, "document_missing"),
        ({"risk_class": "high"}, {"attributes": {"accepts": {"risk_class": ["low"]}}}, "attribute_not_accepted"),
        ({"risk_class": "low"}, {"attributes": {"accepts": {"risk_class": ["low"]}}}, ""),
        ({}, {"attributes": {"accepts": {"risk_class": ["low"]}}}, ""),  # not known: not refused
        ({}, {"attributes": {"colour": "blue"}}, ""),  # attributes that are no rules
        ({}, {"withdrawn_on": dt.date(2025, 6, 30)}, "withdrawn"),
        ({}, {"withdrawn_on": dt.date(2025, 7, 1)}, ""),  # not known yet
        ({}, {"supply_limit": 0}, "sold_out"),
    ],
)
def test_what_the_product_table_states(tmp_path: Path, customer: dict, terms: dict, code: str) -> None:
    bank = Company(currency="EUR", exchange_rates={"CZK": 0.04})
    assert answer(known(tmp_path, customers=[ONE | customer], products=[product(**terms)], company=bank)) == code


def test_holdings_decide_by_what_was_open_and_known_at_the_day(tmp_path: Path) -> None:
    def code(*held: dict[str, Any], name: str = "loan", **terms: Any) -> str:
        goods = [product("loan", **terms), product("account"), product("card", requires_product_id="account")]
        return answer(known(tmp_path, products=goods, holdings=list(held)), name)

    assert code(holding("loan")) == "already_held"
    assert code(holding("loan"), repeatable=True) == ""
    assert code(holding("loan", closed_on=DAY)) == ""
    assert code(holding("loan", closed_on=dt.date(2025, 7, 1))) == "already_held"  # its closing is not known yet
    assert code(holding("loan", opened=dt.date(2025, 7, 1))) == ""
    assert code(holding("account"), name="card") == ""
    assert code(holding("loan"), name="card") == "required_missing"
    assert code(holding("account", closed_on=DAY), name="card") == "required_missing"


def test_a_substitute_is_not_offered_an_alternative_is(tmp_path: Path) -> None:
    goods = [product("loan"), product("card"), product("overdraft")]
    pairs = [
        {"product_id": "loan", "substitute_id": "card", "relation": "substitute"},
        {"product_id": "loan", "substitute_id": "overdraft", "relation": "alternative"},
    ]
    found = known(tmp_path, products=goods, product_substitutes=pairs, holdings=[holding("card")])
    assert answer(found) == "substitute_held"
    assert eligibility.explain(found, "c")["loan"] == [
        {"code": "substitute_held", "kind": "suitability", "product_id": "card"}
    ]
    found = known(tmp_path, products=goods, product_substitutes=pairs, holdings=[holding("overdraft"), holding("loan")])
    assert answer(found, "card") == ""  # the loan can be replaced by the card, not the card by the loan
    assert answer(found, "loan") == "already_held"


def test_applications_open_and_refused(tmp_path: Path) -> None:
    def code(*rows: Any, **attributes: Any) -> str:
        goods = [product(attributes=attributes), product("card")]
        return answer(known(tmp_path, products=goods, applications=list(rows)))

    day = dt.datetime
    assert code(asked("loan", day(2025, 6, 20))) == "application_open"
    assert code(asked("loan", day(2025, 6, 20), day(2025, 7, 2), "signed")) == "application_open"  # not decided then
    assert code(asked("loan", day(2025, 1, 20))) == ""  # forgotten: older than 90 days
    assert code(asked("card", day(2025, 6, 20))) == ""
    assert code(asked("loan", day(2025, 1, 2), day(2025, 1, 3), "refused")) == "refused_recently"
    assert code(asked("loan", day(2024, 12, 2), day(2024, 12, 30, 9), "refused")) == ""  # six months are over
    assert code(asked("loan", day(2024, 12, 2), day(2024, 12, 30), "refused"), refused_within_months=7)
    assert code(asked("loan", day(2025, 1, 2), day(2025, 1, 3), "abandoned")) == ""
    assert code(asked("card", day(2025, 1, 2), day(2025, 1, 3), "refused")) == ""


def test_the_stated_appetite_for_risk_where_known(tmp_path: Path) -> None:
    def said(when: int, answer: str | None, score: float | None = None, question: str = "risk_appetite") -> Any:
        row = {"answer_id": f"{when}", "customer_id": "c", "survey": "investor", "question": question}
        return row | {"answered_at": dt.datetime(2025, 1, when), "answer": answer, "score": score}

    def code(*rows: Any, unknown: str = "allow") -> str:
        found = known(tmp_path, products=[product(attributes={"risk": "medium"})], surveys=list(rows))
        table = stated.added(eligibility.rules(found), [], unknown={"risk_above_appetite": unknown})
        return answer(found, rules=table)

    assert code(said(1, "low")) == "risk_above_appetite"
    assert code(said(1, "low"), said(2, "medium")) == ""
    assert code(said(1, "high"), said(2, None, 1.0)) == "risk_above_appetite"
    assert code(said(1, "low"), said(2, "no idea")) == "risk_above_appetite"
    assert code(said(1, None, 9.0, "nps")) == ""
    assert code(said(1, None, 9.0, "nps"), unknown="refuse") == "appetite_unknown"


def test_a_customer_who_left_is_refused_when_named_and_left_out_otherwise(tmp_path: Path) -> None:
    left = ONE | {"customer_id": "gone", "closed_on": dt.date(2025, 6, 1)}
    later = ONE | {"customer_id": "later", "closed_on": dt.date(2025, 7, 1)}
    found = known(tmp_path, customers=[ONE, left, later], products=[product()])
    assert eligibility.eligible(found)["customer_id"].tolist() == ["c", "later"]
    named = eligibility.eligible(found, customers=["gone"])
    assert named[["allowed", "code"]].to_numpy().tolist() == [[False, "customer_left"]]


def test_every_reason_is_explained_with_parameters_and_the_customers_own_value(tmp_path: Path) -> None:
    terms = product(
        minimum_age=45,
        minimum_income_minor=100_000,
        currency="EUR",
        requires_product_id="account",
        attributes={"minimum_tenure_months": 12, "documents": ["income"]},
    )
    customer = ONE | {"income_minor": None, "customer_since": dt.date(2025, 1, 1)}
    found = known(tmp_path, customers=[customer], products=[terms, product("account")])
    reasons = eligibility.explain(found, "c")
    assert reasons["account"] == []
    assert reasons["loan"] == [
        {"code": "age_below", "kind": "eligibility", "years": 45, "value": 39},
        {"code": "income_unknown", "kind": "eligibility", "minor": 100_000, "currency": "EUR"},
        {"code": "tenure_below", "kind": "eligibility", "months": 12, "value": 5},
        {"code": "required_missing", "kind": "eligibility", "product_id": "account"},
        {"code": "document_missing", "kind": "eligibility", "document": "income"},
    ]
    first = eligibility.eligible(found, customers=["c"], products=["loan"])
    assert first["code"].tolist() == ["age_below"]
    json.dumps(reasons)


# ---------------------------------------------------------------- rules as data


def test_the_rules_are_a_readable_table(tmp_path: Path) -> None:
    goods = [product(minimum_age=18, attributes={"risk": "high"}), product("account", repeatable=True)]
    table = eligibility.rules(known(tmp_path, products=goods))
    assert list(table.columns) == stated.COLUMNS
    loan = table[table["product_id"] == "loan"].set_index("code")
    assert loan.loc["age_below", ["kind", "parameters", "unknown"]].tolist() == ["eligibility", {"years": 18}, "refuse"]
    assert loan.loc["risk_above_appetite", ["kind", "unknown"]].tolist() == ["suitability", "allow"]
    assert "already_held" not in set(table.loc[table["product_id"] == "account", "code"])


def test_company_rules_are_added_from_a_file_and_replace_what_they_are_about(tmp_path: Path) -> None:
    found = known(tmp_path, products=[product(minimum_age=18), product("account", minimum_age=18)])
    file = tmp_path / "eligibility.toml"
    assert eligibility.rules(found, file=file).equals(eligibility.rules(found))  # no file, no rules
    file.write_text(
        '[unknown]\nage_below = "allow"\n\n[[rule]]\nproduct = "loan"\ncode = "age_below"\nyears = 40\n\n'
        '[[rule]]\ncode = "attribute_not_accepted"\ncolumn = "region"\naccepted = ["South"]\nunknown = "refuse"\n'
    )
    table = eligibility.rules(found, file=file)
    assert table.loc[table["code"] == "age_below", "parameters"].tolist() == [{"years": 18}, {"years": 40}]
    assert answer(found, "loan", rules=table) == "age_below"
    assert answer(found, "account", rules=table) == "attribute_unknown"
    assert set(table.loc[table["code"] == "age_below", "unknown"]) == {"allow"}
    nobody = known(
        tmp_path, customers=[ONE | {"birth_date": None, "region": "South"}], products=[product(minimum_age=18)]
    )
    assert answer(nobody, rules=eligibility.rules(nobody)) == "age_unknown"
    treated = stated.added(eligibility.rules(nobody), [], unknown={"age_below": "allow"})
    assert answer(nobody, rules=treated) == ""


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"code": "too_blond"}, "rule of product 'loan': code is 'too_blond'; known are customer_left"),
        ({"code": "age_below"}, "rule age_below of product 'loan' has no years; give it"),
        (
            {"code": "age_below", "years": "old"},
            "rule age_below of product 'loan': years is 'old'; give a whole number",
        ),
        ({"code": "tenure_below", "months": -1}, "months is -1; give a whole number, zero or more"),
        ({"code": "already_held", "unknown": "refuse"}, "unknown is 'refuse'; it needs nothing that may be missing"),
        ({"code": "age_below", "years": 1, "unknown": "no"}, 'unknown is \'no\'; use "refuse" or "allow"'),
        ({"code": "document_missing", "document": "x"}, "document is 'x'; known are identity, income, address"),
        ({"code": "risk_above_appetite", "risk": "huge"}, "risk is 'huge'; use one of low, medium, high"),
        (
            {"code": "attribute_not_accepted", "column": "shoe", "accepted": ["a"]},
            "the table customers has no column 'shoe'",
        ),
        ({"code": "attribute_not_accepted", "column": "region", "accepted": []}, r"accepted is \[\]; give a list"),
    ],
)
def test_an_impossible_rule_gets_one_sentence(entry: dict[str, Any], message: str) -> None:
    table = pd.DataFrame([stated.rule("loan", "customer_left", {})])
    with pytest.raises(UsageError, match=message):
        stated.added(table, [{"product": "loan", **entry}])


@pytest.mark.parametrize(
    ("goods", "pairs", "message"),
    [
        (
            [product(minimum_age=60, maximum_age=50)],
            [],
            "product 'loan': the minimum age 60 is above the maximum age 50, so nobody may buy it",
        ),
        ([product(requires_product_id="loan")], [], "product 'loan' requires itself, so nobody may buy it"),
        (
            [product("a", requires_product_id="b"), product("b", requires_product_id="c"), product("c", requires_product_id="a")],
            [],
            r"product 'a' requires itself in a circle \(a → b → c → a\), so nobody may buy it",
        ),
        (
            [product("z", requires_product_id="a"), product("a", requires_product_id="b"), product("b", requires_product_id="a")],
            [],
            "product 'a' requires itself in a circle",
        ),
        (
            [product(requires_product_id="card"), product("card")],
            [{"product_id": "loan", "substitute_id": "card", "relation": "substitute"}],
            "product 'loan' requires 'card' and is not sold to who holds 'card', its substitute",
        ),
        ([product(attributes="{not json")], [], "table products, column attributes of 'loan': not JSON"),
        ([product(attributes="[1]")], [], r"column attributes of 'loan': \[1\] is no JSON object"),
        ([product(attributes={"documents": "identity"})], [], "documents is 'identity'; write a list"),
        ([product(attributes={"accepts": ["x"]})], [], r"accepts is \['x'\]; write column and values"),
    ],
)  # fmt: skip
def test_contradictory_and_unreadable_terms_get_one_sentence(
    tmp_path: Path, goods: Any, pairs: Any, message: str
) -> None:
    more = {"product_substitutes": pairs} if pairs else {}
    with pytest.raises(DataError, match=message):
        eligibility.eligible(known(tmp_path, products=goods, **more))


def test_unknown_names_and_files_get_one_sentence(tmp_path: Path) -> None:
    found = known(tmp_path, products=[product()])
    with pytest.raises(NotFoundError, match="customer 'nobody' is not known as of 2025-06-30; check the id"):
        eligibility.explain(found, "nobody")
    with pytest.raises(NotFoundError, match="no product boat is known; known are loan"):
        eligibility.eligible(found, products=["boat"])
    with pytest.raises(NotFoundError, match="a rule names product 'boat', which is unknown; known are loan"):
        stated.added(eligibility.rules(found), [{"product": "boat", "code": "age_below", "years": 1}])
    with pytest.raises(UsageError, match="unknown names rule 'age'; use one of age_below"):
        stated.added(eligibility.rules(found), [], unknown={"age": "allow"})
    with pytest.raises(UsageError, match="rules has no column unknown; take the table"):
        eligibility.eligible(found, rules=eligibility.rules(found).drop(columns="unknown"))
    with pytest.raises(UsageError, match="size is 0; judge at least one customer"):
        next(eligibility.chunks(found, size=0))
    file = tmp_path / "eligibility.toml"
    file.write_text("[rules]\n")
    with pytest.raises(DataError, match=r"unknown section rules; known are \[\[rule\]\] and \[unknown\]"):
        eligibility.rules(found, file=file)
    file.write_text("rule = \n")
    with pytest.raises(DataError, match="not a readable TOML file"):
        eligibility.rules(found, file=file)
    priced = known(tmp_path, products=[product(minimum_income_minor=1, currency="XAU")])
    with pytest.raises(DataError, match="income in XAU, which has no exchange rate; add it to exchange_rates"):
        eligibility.eligible(priced)


# ---------------------------------------------------------------- supply


def test_supply_counts_the_quarter_in_which_the_offers_fall(tmp_path: Path) -> None:
    sold = [holding("loan", day) | {"holding_id": str(day)} for day in (dt.date(2025, 3, 31), dt.date(2025, 4, 1), DAY)]
    found = known(tmp_path, products=[product(supply_limit=2), product("card")], holdings=sold)
    table = eligibility.supply(found).set_index("product_id")
    # Offers of the 30th of June are delivered in the third quarter, in which nothing is sold yet.
    assert table.loc["loan", ["sold", "remaining"]].tolist() == [0, 2]
    assert str(table.loc["loan", "period_start"])[:10] == "2025-07-01"
    within = eligibility.supply(found.warehouse.snapshot("2025-06-29")).set_index("product_id")
    assert within.loc["loan", ["supply_limit", "sold", "remaining"]].tolist() == [2, 1, 1]
    assert pd.isna(within.loc["card", "remaining"])
    assert str(within.loc["loan", "period_end"])[:10] == "2025-06-30"


def test_what_cannot_be_delivered_is_not_offered(tmp_path: Path) -> None:
    sold = [holding("loan", dt.date(2025, 7, 1)) | {"customer_id": "other"}]
    found = known(
        tmp_path, customers=[ONE, ONE | {"customer_id": "other"}], products=[product(supply_limit=1)], holdings=sold
    )
    after = found.warehouse.snapshot("2025-07-05")
    assert eligibility.explain(after, "c")["loan"] == [
        {"code": "sold_out", "kind": "eligibility", "limit": 1, "sold": 1}
    ]
    assert eligibility.explain(found, "c")["loan"] == []


# ---------------------------------------------------------------- against a naive reading


def years(birth: pd.Timestamp, today: pd.Timestamp) -> int:
    return today.year - birth.year - ((birth.month, birth.day) > (today.month, today.day))


def naive(day: dt.date, customer: dict[str, Any], term: dict[str, Any], tables: dict[str, pd.DataFrame]) -> bool:
    """May one customer be offered one product, read row by row from the snapshot's tables."""
    who, what, today = customer["customer_id"], term["product_id"], pd.Timestamp(day)
    holdings, pairs, asked = (tables[name] for name in ("holdings", "product_substitutes", "applications"))
    own = set(holdings[(holdings["customer_id"] == who) & holdings["closed_on"].isna()]["product_id"])
    serves = pairs[(pairs["product_id"] == what) & (pairs["relation"] == "substitute")]["substitute_id"]
    asked = asked[(asked["customer_id"] == who) & (asked["product_id"] == what)]
    more = json.loads(term["attributes"]) if isinstance(term["attributes"], str) else {}
    born, limits = customer["birth_date"], (term["minimum_age"], term["maximum_age"])
    age = None if pd.isna(born) else years(born, today)
    lowest, income = term["minimum_income_minor"], customer["income_minor"]
    seen = {"identity": customer["person_id"], "income": income}
    accepted, risk = more.get("accepts", {}).get("risk_class"), customer["risk_class"]
    since = today - pd.DateOffset(months=more.get("refused_within_months", 6))
    waiting = asked["decided_at"].isna() & (today - asked["applied_at"].dt.normalize() <= pd.Timedelta(days=90))
    against = [
        pd.notna(customer["closed_on"]) or pd.notna(term["withdrawn_on"]),
        what in own and not term["repeatable"],
        pd.notna(term["requires_product_id"]) and term["requires_product_id"] not in own,
        bool(set(serves) & own),
        pd.notna(limits[0]) and (age is None or age < limits[0]),
        pd.notna(limits[1]) and (age is None or age > limits[1]),
        pd.notna(lowest) and (pd.isna(income) or income < lowest),
        customer["customer_since"] + pd.DateOffset(months=more.get("minimum_tenure_months", 0)) > today,
        any(pd.isna(seen[name]) for name in more.get("documents", [])),
        bool(accepted) and pd.notna(risk) and risk not in accepted,
        bool(waiting.any()),
        bool(((asked["outcome"] == "refused") & (asked["decided_at"].dt.normalize() > since)).any()),
    ]
    return not any(against)


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> warehouse.Warehouse:
    folder = tmp_path_factory.mktemp("bank")
    sample = samples.bank(customers=1_200, months=12, seed=11, folder=folder / "files")
    data = folder / "data"
    data.mkdir()
    settings = company.read(sample.company)
    load(sample.files, sample.mapping, data=data, recorded_at=dt.datetime(2026, 1, 1), company=settings)
    return warehouse.open(data / "warehouse")


def test_the_matrix_of_the_sample_bank_is_that_of_a_naive_reading(bank: warehouse.Warehouse) -> None:
    found = bank.snapshot("2025-08-14")
    names = ("customers", "products", "holdings", "applications", "product_substitutes")
    tables = {name: found.table(name) for name in names}
    matrix = eligibility.matrix(found)
    people = tables["customers"].set_index("customer_id", drop=False)
    chosen = matrix.customer_ids.sample(50, random_state=1)
    goods = tables["products"].sort_values("product_id").to_dict("records")
    assert matrix.product_ids == [term["product_id"] for term in goods]
    place = pd.Index(matrix.customer_ids).get_indexer(pd.Index(chosen))
    want = [[naive(found.as_of, people.loc[one].to_dict(), term, tables) for term in goods] for one in chosen]
    np.testing.assert_array_equal(matrix.allowed[place], np.array(want))
    codes = {matrix.meanings[code] for code in np.unique(matrix.codes)}
    assert {"already_held", "age_above", "income_unknown", "required_missing", "document_missing"} <= codes
    assert {"substitute_held", "tenure_below", "attribute_not_accepted", "refused_recently"} <= codes


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(size=st.integers(1, 1_300), few=st.lists(st.integers(0, 800), min_size=1, max_size=6))
def test_chunks_pairs_and_single_customers_agree(bank: warehouse.Warehouse, size: int, few: list[int]) -> None:
    found = bank.snapshot("2025-08-14")
    table = eligibility.rules(found)
    whole = eligibility.matrix(found, rules=table)
    parts = list(eligibility.chunks(found, rules=table, size=max(size, 150)))
    np.testing.assert_array_equal(np.concatenate([part.codes for part in parts]), whole.codes)
    names = whole.customer_ids.iloc[few].tolist()
    pairs = pd.DataFrame({"customer_id": names, "product_id": [whole.product_ids[number % 20] for number in few]})
    answers = eligibility.eligible(found, pairs, rules=table)
    assert answers[["customer_id", "product_id"]].equals(pairs.astype(answers["customer_id"].dtype))
    want = [whole.meanings[whole.codes[number, number % 20]] for number in few]
    assert answers["code"].tolist() == want
    reasons = eligibility.explain(found, names[0], rules=table)
    first = [own[0]["code"] if own else "" for own in reasons.values()]
    assert first == [whole.meanings[code] for code in whole.codes[few[0]]]


def test_no_pairs_get_no_answers(bank: warehouse.Warehouse) -> None:
    nothing = pd.DataFrame({"customer_id": [], "product_id": []})
    found = eligibility.eligible(bank.snapshot("2025-08-14"), nothing)
    assert found.empty and found.columns.tolist() == ["customer_id", "product_id", "allowed", "code"]


def test_an_unheard_customer_row_after_the_day_changes_nothing(bank: warehouse.Warehouse) -> None:
    # The same day read from a version that knows later changes and one cut there: history is filtered, not the version.
    early = bank.snapshot("2025-03-31")
    keys = customer_facts.keys(early, None)
    facts = customer_facts.read(early, keys, rules=eligibility.rules(early))
    table = early.table("customers").set_index("customer_id").loc[facts.customer_id]
    assert not facts.left.any()
    np.testing.assert_array_equal(np.isnan(facts.income), table["income_minor"].isna().to_numpy())
    known_income = table["income_minor"].astype("Float64").to_numpy(float, na_value=np.nan)
    np.testing.assert_array_equal(facts.income, known_income)


def test_the_sample_bank_states_limits_documents_and_substitutes(bank: warehouse.Warehouse) -> None:
    found = bank.snapshot("2025-08-14")
    left = eligibility.supply(found).set_index("product_id")
    assert left["supply_limit"].dropna().to_dict() == {"debit_gold": 800, "pension_plan": 240}
    assert (left["remaining"].dropna() > 0).all()
    table = eligibility.rules(found)
    held = table[table["code"] == "substitute_held"]
    pairs = dict(zip(held["product_id"], [one["product_id"] for one in held["parameters"]], strict=True))
    assert pairs == {"credit_card": "travel_card", "overdraft": "credit_card"}
    assert {"document_missing", "tenure_below", "attribute_not_accepted", "risk_above_appetite"} <= set(table["code"])
