"""The desk prompt: the family of T2, what rests after an answer, and features equal to those of the whole snapshot."""

from __future__ import annotations

import datetime as dt
import math
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import features_random
import made_desk
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from crmlib import features
from crmlib.decisions import call_list, desk, desk_events, desk_history, desk_offers, eligibility, value
from crmlib.decisions.desk_history import Past
from crmlib.decisions.desk_offers import Pauses
from crmlib.errors import DataError, NotFoundError, UsageError
from crmlib.features import single
from crmlib.models import explain, labels, live, registry
from crmlib.warehouse import build, dossier, snapshot

NOW = made_desk.NOW
QUICK = settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)


def same(found: Any, wanted: Any) -> bool:
    if found is None or wanted is None or isinstance(found, str):
        return (found is None and pd.isna(wanted)) or found == wanted
    return (math.isnan(found) and pd.isna(wanted)) or math.isclose(found, wanted, rel_tol=1e-9)


@given(seed=st.integers(0, 10**6), spec=features_random.specifications(), ago=st.sampled_from([0, 31, 396]))
@QUICK
def test_features_of_one_customer_equal_those_of_the_whole_snapshot(
    seed: int, spec: features.Specification, ago: int
) -> None:
    as_of = features_random.AS_OF - dt.timedelta(days=ago)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "v000001.duckdb"
        build.from_frames(path, features_random.frames(features_random.tables(seed)))
        known = snapshot.Snapshot(snapshot.open_file(path), as_of)
        fixed = features.resolve(spec, known)
        whole = features.build(known, fixed)
        one = single.prepare(known, fixed)
        reader = dossier.open(known, single.readable(one.columns))
        sizes = features.build(known, features.Specification((features.household_size(),)))
        for row, size in zip(whole.to_dict("records"), sizes["customer_household_size"], strict=True):
            rows = reader.read(reader.key(row["customer_id"]))
            found = one.values(rows, household=int(size))
            assert list(found) == list(whole.columns[2:])
            assert [name for name in found if not same(found[name], row[name])] == []


@given(seed=st.integers(0, 10**6), ago=st.sampled_from([0, 200]))
@QUICK
def test_a_dossier_holds_the_rows_of_the_snapshot(seed: int, ago: int) -> None:
    as_of = features_random.AS_OF - dt.timedelta(days=ago)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "v000001.duckdb"
        build.from_frames(path, features_random.frames(features_random.tables(seed)))
        known = snapshot.Snapshot(snapshot.open_file(path), as_of)
        columns = {
            "contacts": ["contact_id", "outcome"],
            "customers": ["region", "closed_on"],
            "holdings": ["closed_on"],
        }
        reader = dossier.open(known, columns)
        for name, listed in columns.items():
            table = known.table(name)
            for customer, rows in table.groupby("customer_id"):
                found = pd.DataFrame(reader.read(reader.key(str(customer)))[name])
                for column in listed:
                    left, right = (
                        sorted(map(str, t[column].astype(object).where(t[column].notna(), None))) for t in (found, rows)
                    )
                    left, right = ([value.removesuffix(" 00:00:00") for value in side] for side in (left, right))
                    assert left == right, (name, column)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_desk.make(tmp_path_factory.mktemp("desk"))


@pytest.fixture(scope="module")
def registered(data: Path) -> registry.Registered:
    return registry.load(data)


@pytest.fixture(scope="module")
def opened(data: Path, registered: registry.Registered) -> desk.Desk:
    spec = features.from_json(registered.specification)
    ready = live.prepare(registered.model, features.describe(spec))
    return desk.open(
        data, desk.Scorer(ready.score, ready.reasons, spec, version=registered.version), as_of=made_desk.AS_OF
    )


@pytest.fixture
def fresh(opened: desk.Desk, tmp_path: Path) -> desk.Desk:
    """The desk with a store of its own."""
    return replace(opened, data=tmp_path)


def test_a_live_model_scores_and_explains_as_the_model_does(opened: desk.Desk, registered: registry.Registered) -> None:
    spec = features.from_json(registered.specification)
    ready = live.prepare(registered.model, features.describe(spec))
    table = features.build(opened.snapshot, spec).head(40)
    whole = registered.model.score(table)
    rows = [desk.values(opened, name) for name in table["customer_id"]]
    found = ready.score(rows)
    assert found["product_id"].tolist() == whole["product_id"].astype(str).tolist()
    for name in ("score", "low", "high"):  # single precision adds up differently for one row and for many
        np.testing.assert_allclose(found[name], whole[name], rtol=1e-4)
    chosen = whole[["customer_id", "as_of", "product_id"]].head(16)
    wanted = explain.reasons(registered.model, table, chosen, meanings=features.describe(spec))
    wanted = wanted[wanted["direction"] == "for"]
    for (customer, product), group in wanted.groupby(["customer_id", "product_id"], observed=True):
        own = rows[table["customer_id"].tolist().index(customer)]
        said = ready.reasons(own, [str(product)])[str(product)]
        assert [one["code"] for one in said] == group["code"].tolist()
        np.testing.assert_allclose([one["contribution"] for one in said], group["contribution"], rtol=1e-3, atol=1e-5)
        assert [one["feature"] for one in said] == [told["feature"] for told in group["parameters"]]
    with pytest.raises(NotFoundError, match="the model knows no product yacht"):
        ready.reasons(rows[0], ["yacht"])


def test_the_family_is_told_at_a_glance(fresh: desk.Desk) -> None:
    shown = desk.prompt(fresh, made_desk.FAMILY, now=NOW)
    assert (shown.who["given_name"], shown.who["age_years"], shown.who["since_years"]) == ("Maria", 47, 13)
    assert [(one["product_id"], one["amount_minor"]) for one in shown.pending] == [("mortgage", 9_000_000)]
    codes = {one["code"]: one for one in shown.occasions}
    assert codes["child_turned"]["years"] == 17 and codes["child_turned"]["on"] == dt.date(2025, 5, 20)
    assert (codes["changed"]["column"], codes["changed"]["after"]) == ("marital_status", "divorced")
    hinted = [one for one in (*shown.offers, *shown.hints) if one.product_id == "education_loan"]
    assert hinted[0].occasions[0]["code"] == "child_turned", "the son's studies point to the education loan"
    assert [one["product_id"] for one in shown.endings] == ["savings"]
    assert shown.credit["repaid"] == 1 and shown.credit["overdrawn_months"] == 1
    assert shown.credit["owed_minor"] == 12_000 and shown.credit["debts"] == ["current"]
    assert [one["product_id"] for one in shown.credit["refusals"]] == ["credit_card"]
    assert [(one.product_id, one.outcome) for one in shown.before] == [("pension", "refused"), ("fund", "unanswered")]
    assert shown.follow_up == {"code": "channel_cheapest", "channel": "mail"} or shown.follow_up["channel"] == "mail"


def test_what_is_not_offered_has_a_reason(fresh: desk.Desk) -> None:
    shown = desk.prompt(fresh, made_desk.FAMILY, now=NOW)
    reasons = {one.product_id: one.reason["code"] for one in shown.avoid}
    assert reasons["current"] == "already_held" and reasons["pension"] == "offer_refused"
    assert reasons["gold_card"] == "required_missing" and reasons["mortgage"] == "application_open"
    assert not {one.product_id for one in (*shown.offers, *shown.hints)} & set(reasons)


def test_rules_refuse_the_same_as_eligibility_does(opened: desk.Desk, tmp_path: Path) -> None:
    whole = eligibility.eligible(opened.snapshot, rules=eligibility.rules(opened.snapshot))
    groups = dict(list(whole.groupby("customer_id")))
    for customer in [*list(groups)[:60], made_desk.FAMILY]:
        rows = groups[customer]
        found = desk.prompt(replace(opened, data=tmp_path), str(customer), now=NOW)
        refused = {
            one.product_id: one.reason["code"] for one in found.avoid if not one.reason["code"].startswith("offer_")
        }
        wanted = dict(rows.loc[~rows["allowed"], ["product_id", "code"]].itertuples(index=False))
        assert refused == wanted, customer


def test_offers_are_ranked_by_the_value_of_the_whole_batch(
    opened: desk.Desk, registered: registry.Registered, tmp_path: Path
) -> None:
    spec = features.from_json(registered.specification)
    scores = registered.model.score(features.build(opened.snapshot, spec, customers=[made_desk.FAMILY]))
    terms = value.terms(opened.snapshot.table("products"), company=opened.company)
    worth = value.table(scores, terms=terms, company=opened.company, channels=["mail"])
    shown = desk.prompt(replace(opened, data=tmp_path), made_desk.FAMILY, now=NOW)
    blocked = {one.product_id for one in shown.avoid}
    worth = worth[~worth["product_id"].isin(blocked)].assign(value=lambda t: t["value_minor"] + t["cost_minor"])
    wanted = worth.sort_values("value", ascending=False).head(3)
    assert [one.product_id for one in shown.offers] == wanted["product_id"].tolist()
    np.testing.assert_allclose([one.value_minor for one in shown.offers], wanted["value"], rtol=1e-4)
    assert [one.rank for one in shown.offers] == [1, 2, 3] and all(one.reasons for one in shown.offers)


@pytest.mark.parametrize(
    ("outcome", "code", "days"),
    [("refused", "offer_refused", 90), ("accepted", "offer_accepted", 90), ("later", "offer_later", 30)],
)
def test_an_answer_at_the_desk_is_seen_at_the_next_contact(
    fresh: desk.Desk, outcome: str, code: str, days: int
) -> None:
    before = desk.prompt(fresh, made_desk.FAMILY, now=NOW)
    product = before.offers[0].product_id
    told = {"channel": "call", "actor": "operator", "now": NOW}
    desk.answer(fresh, before, product, outcome=outcome, **told)
    soon = NOW + dt.timedelta(minutes=1)
    after = desk.prompt(fresh, made_desk.FAMILY, now=soon)
    assert product not in [one.product_id for one in after.offers]
    rests = next(one for one in after.avoid if one.product_id == product)
    assert rests.reason["code"] == code and rests.until == NOW.date() + dt.timedelta(days=days)
    assert (after.before[0].product_id, after.before[0].outcome, after.before[0].source) == (product, outcome, "desk")
    much_later = desk.prompt(fresh, made_desk.FAMILY, now=NOW + dt.timedelta(days=days))
    assert product in [one.product_id for one in much_later.offers], "the pause is over"
    earlier = desk.prompt(fresh, made_desk.FAMILY, now=NOW - dt.timedelta(days=1))
    assert product in [one.product_id for one in earlier.offers], "what comes later is not known before"


def test_an_offer_that_was_only_made_may_be_made_again_but_not_for_ever(fresh: desk.Desk) -> None:
    shown = desk.prompt(fresh, made_desk.FAMILY, now=NOW)
    product = shown.offers[1].product_id  # the first was offered by letter before
    for _ in range(2):
        assert product in [one.product_id for one in shown.offers]
        desk.answer(fresh, shown, product, outcome="offered", channel="call", actor="operator", now=NOW)
        shown = desk.prompt(fresh, made_desk.FAMILY, now=NOW)
    rests = next(one for one in shown.avoid if one.product_id == product)
    assert rests.reason == {"code": "offer_ignored", "times": 2, "on": NOW.date()}


def test_the_log_of_an_answer_holds_the_prompt_as_it_stood(fresh: desk.Desk) -> None:
    from crmlib.store import session, tables

    shown = desk.prompt(fresh, made_desk.FAMILY, now=NOW)
    number = desk.answer(
        fresh, shown, shown.offers[1].product_id, outcome="refused", channel="call", actor="me", now=NOW
    )
    with session.session(fresh.data) as store:
        kept = store.get(tables.DeskEvent, number)
    assert kept is not None and kept.shown["rank"] == 2 and kept.shown["warehouse_version"] == 1
    assert [one["product_id"] for one in kept.shown["offers"]] == [one.product_id for one in shown.offers]
    assert kept.shown["not_offered"]["current"] == "already_held" and kept.shown["model_version"] == 1


@pytest.mark.parametrize(
    ("customer", "code"),
    [
        (made_desk.OBJECTOR, "profiling_objected"),
        (made_desk.COMPLAINER, "complaint_first"),
        (made_desk.HELD_OUT, "holdout"),
    ],
)
def test_who_is_not_to_be_sold_to_still_gets_service(fresh: desk.Desk, customer: str, code: str) -> None:
    shown = desk.prompt(fresh, customer, now=NOW)
    assert [one["code"] for one in shown.notes] == [code] and shown.offers == () == shown.hints
    assert shown.who["since_years"] == 13


def test_a_holdout_by_its_goal_is_left_alone_too(fresh: desk.Desk) -> None:
    named = replace(fresh, campaigns={**fresh.campaigns, "K1": {**fresh.campaigns.get("K1", {}), "goal": "holdout"}})
    rows = desk.rows_of(fresh, made_desk.FAMILY)
    held = {**rows, "campaign_members": [{**row, "control": True} for row in rows["campaign_members"]]}
    assert [one["code"] for one in desk._notes(named, held, [])] == ["holdout"]
    assert desk._notes(fresh, held, []) == [], "the control group of a sale is no hold-out"


def test_an_objector_is_never_scored(fresh: desk.Desk) -> None:
    def fails(_rows: Any) -> pd.DataFrame:
        raise AssertionError("scored")

    assert fresh.scorer is not None
    silent = replace(fresh, scorer=replace(fresh.scorer, score=fails))
    assert desk.prompt(silent, made_desk.OBJECTOR, now=NOW).offers == ()


def test_a_desk_without_a_model_serves_and_says_so(data: Path) -> None:
    plain = desk.open(data, as_of=made_desk.AS_OF)
    shown = desk.prompt(plain, made_desk.FAMILY, now=NOW)
    assert [one["code"] for one in shown.notes] == ["no_model"] and shown.pending and not shown.offers


def test_consents_are_read_as_in_the_batch(opened: desk.Desk) -> None:
    consents = opened.snapshot.table("consents")
    rng = np.random.default_rng(3)
    made = pd.DataFrame(
        {
            "customer_id": rng.choice(["a", "b", "c", "d"], 60),
            "channel": rng.choice(["call", "mail", "all"], 60),
            "purpose": "marketing",
            "changed_at": pd.Timestamp("2025-01-01") + pd.to_timedelta(rng.integers(0, 4, 60), unit="D"),
            "granted": rng.random(60) < 0.5,
        }
    ).drop_duplicates(["customer_id", "channel", "changed_at"])
    assert set(consents.columns) >= set(made.columns)
    for company in (made_desk.COMPANY, replace(made_desk.COMPANY, consent_when_missing="granted")):
        allowed = call_list.permitted(made, pd.Series(["a", "b", "c", "d", "e"]), company=company)
        for customer in "abcde":
            rows = made[made["customer_id"] == customer].to_dict("records")
            wanted = allowed.loc[allowed["customer_id"] == customer, "channel"].tolist()
            assert sorted(desk_history.channels(rows, company=company)) == sorted(wanted)


def test_objections_are_read_as_for_training(opened: desk.Desk) -> None:
    against = labels.objectors(opened.snapshot)
    reader = opened.dossiers
    for customer in (made_desk.OBJECTOR, made_desk.FAMILY):
        key = reader.key(customer)
        assert desk_history.objects(reader.read(key)["consents"], "profiling") == (key in against)


def test_the_last_answer_decides() -> None:
    def past(outcome: str, day: int, source: str = "contact") -> Past:
        return Past("card", dt.datetime(2025, 6, day), "call", outcome, source)

    as_of, now, pauses = dt.date(2025, 6, 30), dt.datetime(2025, 7, 1), Pauses()
    rests = lambda *events: desk_offers.resting(events, pauses, as_of=as_of, now=now)  # noqa: E731
    assert rests(past("refused", 1))["card"].until == dt.date(2025, 8, 30)
    assert rests(past("refused", 1), past("later", 2)) == {}, "put off without a day: it may be brought up again"
    assert rests(past("unanswered", 1)) == {}
    assert rests(past("unanswered", 20), past("unanswered", 25))["card"].reason["times"] == 2
    assert rests(past("accepted", 20), past("refused", 1)) == {}, "a yes known to the warehouse is for eligibility"
    assert rests(past("refused", 1), past("unanswered", 5))["card"].reason["code"] == "offer_refused"


def test_the_best_channel_to_come_back_on() -> None:
    won = [Past("card", NOW, "mail", "accepted", "contact"), Past("loan", NOW, "call", "refused", "contact")]
    costs = {"call": 500, "mail": 100, "email": 2}
    follow = desk_offers.follow_up
    assert follow(won, [], preferred=None, costs=costs) == {"code": "no_channel"}
    assert follow(won, ["call", "mail"], preferred="contact centre", costs=costs)["code"] == "channel_preferred"
    assert follow(won, ["call", "mail", "email"], preferred=None, costs=costs)["channel"] == "mail"
    assert follow([], ["call", "email"], preferred="branch", costs=costs)["channel"] == "email"


@pytest.mark.parametrize(("born", "age", "day"), [("2008-02-29", 17, "2025-03-01"), ("2008-05-20", 17, "2025-05-20")])
def test_birthdays(born: str, age: int, day: str) -> None:
    assert desk_history.birthday(dt.date.fromisoformat(born), age) == dt.date.fromisoformat(day)


def test_bad_input_gets_one_clear_sentence(opened: desk.Desk, data: Path, tmp_path: Path) -> None:
    fresh = replace(opened, data=tmp_path)
    with pytest.raises(NotFoundError, match="customer 999 is not in the warehouse; check the number"):
        desk.prompt(fresh, "999", now=NOW)
    with pytest.raises(NotFoundError, match="customer F0003 ended the relationship on 2025-03-01"):
        desk.prompt(fresh, made_desk.LEFT, now=NOW)
    with pytest.raises(DataError, match="as_of 2031-01-01 is outside the records of version 1"):
        desk.open(data, as_of="2031-01-01")
    with pytest.raises(NotFoundError, match="there is no warehouse here"):
        desk.open(tmp_path / "nowhere")
    shown = desk.prompt(fresh, made_desk.FAMILY, now=NOW)
    with pytest.raises(UsageError, match="there is no product 'yacht'; known are"):
        desk.answer(fresh, shown, "yacht", outcome="refused", channel="call", actor="me", now=NOW)
    told = {"channel": "call", "actor": "me", "now": NOW}
    with pytest.raises(UsageError, match="outcome is 'perhaps'; use one of offered, accepted, refused, later"):
        desk.answer(fresh, shown, "fund", outcome="perhaps", **told)
    with pytest.raises(UsageError, match="actor is ''; give a text"):
        desk.answer(fresh, shown, "fund", outcome="refused", channel="call", actor="", now=NOW)
    with pytest.raises(UsageError, match="due is 2025-07-01, which is not in the future"):
        desk.record(tmp_path, "c", "fund", outcome="later", shown={"due": "2025-07-01"}, **told)
    with pytest.raises(UsageError, match="due is 'soon', which is not a date"):
        desk.record(tmp_path, "c", "fund", outcome="later", shown={"due": "soon"}, **told)
    assert desk_events.of_customer(tmp_path, made_desk.FAMILY, before=NOW) == []
    with pytest.raises(UsageError, match="levels of customer_region are open"):
        single.prepare(opened.snapshot, made_desk.SPEC)


def test_the_example_of_the_documentation_runs(data: Path, tmp_path: Path) -> None:
    import re
    import shutil

    page = Path(__file__).resolve().parents[1] / "docs" / "desk.md"
    code = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.S)
    shutil.copytree(data, tmp_path / "data")
    known: dict[str, Any] = {"data": tmp_path / "data", "customer_id": made_desk.FAMILY, "now": NOW}
    exec(code[0], known)
    refused = known["shown"].offers[0].product_id
    again = desk.prompt(known["counter"], made_desk.FAMILY, now=NOW)
    assert refused not in [one.product_id for one in again.offers]
    assert known["found"].next in [one.name for one in known["asking"].questions]
