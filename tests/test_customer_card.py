"""The customer card without a browser: credit history, events, relationship, scores that are missing, words."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import made_card
import made_desk
import pandas as pd
import pytest

from crmlib.decisions import desk_events
from crmlib.errors import EnvironmentFault, NotFoundError
from crmlib.store import score_sets
from crmlib.views import (
    customer_card,
    customer_card_bond,
    customer_card_credit,
    customer_card_data,
    customer_card_events,
    customer_card_money,
    customer_card_words,
    texts,
)
from crmlib.views import customer_card_parts as parts
from crmlib.warehouse.company import Company

EN, RU = texts.speak("en"), texts.speak("ru")
AS_OF = made_desk.AS_OF


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_card.make(tmp_path_factory.mktemp("card"))


@pytest.fixture(scope="module")
def loaded(data: Path) -> customer_card_data.Loaded:
    return customer_card_data.load(data)


def card(loaded: customer_card_data.Loaded, customer: str = made_card.FULL) -> customer_card_data.Card:
    return customer_card_data.find(loaded, customer, now=made_card.NOW)


# ---------------------------------------------------------------- credit


def credit(
    holdings: list[dict[str, Any]],
    balances: Sequence[tuple[str, dt.date, int]] = (),
    *,
    applications: Sequence[dict[str, Any]] = (),
    collection: Sequence[dt.date] = (),
) -> customer_card_credit.Credit:
    blank = {"closed_on": None, "matures_on": None, "amount_minor": None, "currency": None}
    asked = {"amount_minor": None, "currency": None, "decided_at": None, "outcome": None}
    rows = {
        "holdings": [{**blank, **one} for one in holdings],
        "balances": [
            {"holding_id": key, "balance_date": day, "balance_minor": minor, "currency": None}
            for key, day, minor in balances
        ],
        "applications": [{**asked, **one} for one in applications],
        "contacts": [
            {"purpose": "collection", "occurred_at": dt.datetime.combine(day, dt.time(9))} for day in collection
        ],
    }
    return customer_card_credit.history(rows, frozenset({"loan", "card"}), company=Company(), as_of=AS_OF)


def codes(found: customer_card_credit.Credit) -> list[str]:
    return [one["code"] for one in found.summary]


LOAN = {"holding_id": "l", "product_id": "loan", "opened_on": dt.date(2024, 7, 1), "matures_on": dt.date(2026, 6, 30)}


def test_a_loan_is_measured_against_its_term() -> None:
    half = credit([{**LOAN, "amount_minor": 1000}], [("l", AS_OF, -500)])
    (one,) = half.contracts
    assert one.elapsed == pytest.approx(0.5, abs=0.01) and one.repaid == 0.5 and one.owed_minor == 500
    assert codes(half) == ["owes", "on_track", "nothing_wrong"]
    late = credit([{**LOAN, "amount_minor": 1000}], [("l", AS_OF, -800)])
    assert codes(late) == ["owes", "behind"]
    over = credit([{**LOAN, "matures_on": dt.date(2025, 3, 1), "amount_minor": 1000}], [("l", AS_OF, -10)])
    assert codes(over) == ["owes", "overdue"]


def test_a_card_is_measured_against_its_limit_and_what_is_closed_owes_nothing() -> None:
    found = credit(
        [
            {"holding_id": "c", "product_id": "card", "opened_on": dt.date(2023, 1, 1), "amount_minor": 2000},
            {**LOAN, "holding_id": "old", "opened_on": dt.date(2020, 1, 1), "closed_on": dt.date(2022, 1, 1)},
        ],
        [("c", dt.date(2025, 5, 31), -100), ("c", AS_OF, -1500), ("old", dt.date(2021, 12, 31), -70)],
    )
    first, second = found.contracts
    assert (first.product_id, first.used, first.elapsed) == ("card", 0.75, None)
    assert second.owed_minor == 0 and second.borrowed_minor == 70, "without an amount on record, the most that was owed"
    assert codes(found) == ["owes", "limit_used", "repaid", "nothing_wrong"]
    assert first.path == ((dt.date(2025, 5, 31), 100.0), (AS_OF, 1500.0))


def test_what_went_wrong_is_in_the_summary() -> None:
    found = credit(
        [{"holding_id": "a", "product_id": "current", "opened_on": dt.date(2020, 1, 1)}],
        [("a", dt.date(2025, 3, 15), -5), ("a", dt.date(2025, 3, 31), -5), ("a", dt.date(2025, 4, 30), 90)],
        applications=[
            {
                "product_id": "card",
                "applied_at": dt.datetime(2024, 1, 1),
                "decided_at": dt.datetime(2024, 1, 5),
                "outcome": "refused",
            },
            {"product_id": "loan", "applied_at": dt.datetime(2025, 6, 1)},
            {"product_id": "current", "applied_at": dt.datetime(2020, 1, 1)},
        ],
        collection=[dt.date(2025, 4, 2)],
    )
    assert found.overdrawn == (dt.date(2025, 3, 1),), "two days of one month are one month"
    assert codes(found) == ["owes_nothing", "overdrawn", "collected", "refused", "pending"]
    assert [one["product_id"] for one in found.applications] == ["loan", "card"], "for credit only, the newest first"
    assert codes(credit([])) == ["no_credit"]


@pytest.mark.parametrize("say", [EN, RU], ids=["en", "ru"])
def test_every_line_of_the_credit_history_has_words(say: texts.Language) -> None:
    told = {"product_id": "loan", "on": AS_OF, "last": AS_OF, "minor": 100, "elapsed": 0.5, "repaid": 0.4, "used": 0.3}
    many = {"contracts": 2, "months": 3, "times": 1}
    known = [*customer_card_words._CREDIT, "owes", "repaid", "overdrawn", "refused", "collected"]
    for code in known:
        words = customer_card_words.credit(say, {"code": code, **told, **many}, {"loan": "Loan"}, currency="EUR")
        assert words and "{" not in words and "None" not in words, code


def test_products_that_are_credit_are_found_in_the_data(loaded: customer_card_data.Loaded) -> None:
    assert loaded.credit == {"mortgage", "education_loan"}, "both of the group of loans; no card was ever in debt here"


# ---------------------------------------------------------------- one customer


def test_the_card_of_the_family_tells_its_story(loaded: customer_card_data.Loaded) -> None:
    found = card(loaded)
    assert found.who["given_name"] == "Maria" and found.left_on is None and not found.objected
    assert found.people["children"] == [17] and found.people["allowed"] == ["mail"]
    assert {
        one["channel"]: (one["came"], one["went"], one["offers"], one["taken"]) for one in found.people["channels"]
    } == {
        "mail": (0, 1, 1, 0),
        "call": (0, 1, 1, 0),
        "branch": (1, 0, 0, 0),
    }
    assert found.effort == {"contacts": 3, "minutes": 28.0, "timed": 0, "complaints": 0}, "a call of 8, a visit of 20"
    assert [one["code"] for one in found.credit.summary] == ["owes_nothing", "repaid", "overdrawn", "pending"]
    assert all(found.scores.values()) and found.scores["churn"]["risk_90"] == 0.071
    assert customer_card_data.reasons(found)[0]["code"] == "count"


def test_reasons_are_read_row_by_row_too(loaded: customer_card_data.Loaded) -> None:
    found = card(loaded)
    table = pd.DataFrame(
        {
            "customer_id": [made_card.FULL],
            "code": ["count"],
            "direction": ["for"],
            "parameters": ['{"table": "contacts"}'],
        }
    )
    found.tables["churn.reasons"] = table
    assert customer_card_data.reasons(found) == [{"code": "count", "direction": "for", "table": "contacts"}]


def test_events_are_those_of_the_tables_and_of_our_decisions(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "data")
    told = {"outcome": "refused", "channel": "call", "actor": "eve", "now": made_card.NOW - dt.timedelta(hours=1)}
    desk_events.record(tmp_path / "data", made_card.FULL, "fund", **told)
    found = customer_card_events.events(card(customer_card_data.load(tmp_path / "data")))
    lanes = {lane: [one["code"] for one in found if one["lane"] == lane] for lane in customer_card_events.LANES}
    assert lanes["product"] == ["opened", "closed", "opened", "opened"]
    assert lanes["application"] == ["applied", "applied"] and lanes["campaign"] == ["chosen"]
    assert sorted(lanes["decision"]) == ["desk", "retention"], "what was decided is seen at the next look (T4)"
    assert [one["on"] for one in found] == sorted((one["on"] for one in found), reverse=True)
    marks = {(one["lane"], one["outcome"]): one["mark"] for one in found if one.get("outcome") is not None}
    assert marks["application", "refused"] == "bad" and marks["application", ""] == "open"
    recent = customer_card_events.events(card(customer_card_data.load(tmp_path / "data")), since=dt.date(2025, 6, 1))
    assert recent and all(one["on"] >= dt.date(2025, 6, 1) for one in recent)


@pytest.mark.parametrize("say", [EN, RU], ids=["en", "ru"])
def test_every_event_has_words(loaded: customer_card_data.Loaded, say: texts.Language) -> None:
    day = {"on": AS_OF, "mark": ""}
    others = [
        {"lane": "complaint", "code": "complained", "topic": "fees", "days": 3, "resolution": "compensated", **day},
        {"lane": "complaint", "code": "complained", "topic": "fees", **day},
        {"lane": "answer", "code": "answered", "score": 9.0, "survey": "loyalty", **day},
        {"lane": "answer", "code": "mentioned", "sentiment": -0.5, **day},
        {"lane": "campaign", "code": "left_alone", "campaign_id": "K1", "outcome": "", **day},
        {"lane": "decision", "code": "best_offer", "product_id": "fund", "channel": "call", "value_minor": 500, **day},
        {"lane": "decision", "code": "desk", "product_id": "fund", "channel": "call", "outcome": "later", **day},
        {"lane": "decision", "code": "retention", "channel": "call", **day},
    ]
    for one in [*customer_card_events.events(card(loaded)), *others]:
        words = customer_card_words.event(say, one, loaded)
        assert words and "{" not in words and "None" not in words, one
    assert customer_card_words.event(EN, others[0], loaded) == "fees, resolved in 3 days (compensated)"


def test_to_begin_with_those_are_named_whose_leaving_would_cost_most(
    loaded: customer_card_data.Loaded,
) -> None:
    table = score_sets.read(loaded.data, loaded.sets["retention"])
    cost = (table["risk_90"] * table["value_at_stake_minor"]).set_axis(table["customer_id"]).dropna()
    first = customer_card_data.most_at_stake(loaded, count=1)
    assert len(first) == 1 and cost[first[0]] == cost.max()
    assert customer_card_data.most_at_stake(replace(loaded, sets={})) == []


def test_an_unknown_customer_and_one_who_left(loaded: customer_card_data.Loaded) -> None:
    with pytest.raises(NotFoundError, match="customer nobody is not in the warehouse"):
        card(loaded, "nobody")
    gone = card(loaded, made_desk.LEFT)
    assert gone.left_on == dt.date(2025, 3, 1)
    assert "The customer has left" in customer_card_bond.risk(EN, gone, loaded).body


def test_who_objects_to_profiling_is_not_predicted(loaded: customer_card_data.Loaded) -> None:
    found = card(loaded, made_desk.OBJECTOR)
    assert found.objected and found.scores["points"] is not None
    assert [model for model, row in found.scores.items() if row is not None] == ["points"]
    assert all(table.empty for table in found.tables.values()) and found.decided == []
    for part in (customer_card_money.value, customer_card_bond.risk, customer_card_bond.life):
        shown = part(EN, found, loaded)
        assert "objected to profiling" in shown.body and all(figure is None for figure in shown.figures)


def test_household_members_are_named_by_number_only(data: Path, loaded: customer_card_data.Loaded) -> None:
    people = made_card.rows(data, "customers")
    pairs = people[people["household_id"].duplicated(keep=False)].sort_values("household_id")
    first, second = pairs["customer_id"].iloc[:2]
    found = card(loaded, first)
    assert second in [one["customer_id"] for one in found.people["household"]]
    shown = parts.people(EN, found, loaded).body
    assert f"customer_card.ipynb?customer={second}" in shown and "Novák" not in shown


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bank without any set of scores."""
    return made_desk.make(tmp_path_factory.mktemp("bank"), customers=60)


@pytest.mark.parametrize("missing", made_card.MODELS)
def test_each_missing_set_of_scores_is_an_empty_state_in_words(tmp_path: Path, bank: Path, missing: str) -> None:
    data = tmp_path / "data"
    shutil.copytree(bank, data)
    others = tuple(model for model in made_card.MODELS if model != missing)
    made_card.save(data, [made_card.FULL], models=others)
    panel = customer_card.Panel(data, made_card.FULL, "en")
    assert panel.frame._trouble.value == "" and panel.card is not None and panel.card.scores[missing] is None
    shown = panel.tiles.value + "".join(one.body.value + one.head.value for one in panel.sections.values())
    command = {"customer_value": "value"}.get(missing, missing)
    if missing != "points":  # without it the points are those of the ledger
        assert f"run `crm {command}`" in shown
    assert "None" not in shown and "nan" not in shown


def test_the_rows_of_one_customer_are_those_of_the_whole_set(data: Path, tmp_path: Path) -> None:
    found = score_sets.newest(data, "churn")
    whole = score_sets.read(data, found)
    one = score_sets.of_customer(data, found, made_card.FULL)
    pd.testing.assert_frame_equal(one, whole[whole["customer_id"] == made_card.FULL].reset_index(drop=True))
    beside = score_sets.of_customer(data, found, made_card.FULL, name="by_reason")
    assert beside["risk_90"].tolist() == [0.05, 0.021]
    assert score_sets.of_customer(data, found, made_card.FULL, name="nothing").empty
    assert score_sets.of_customer(data, found, "stranger").empty
    shutil.copytree(data, tmp_path / "data")
    (tmp_path / "data" / found.file).unlink()
    with pytest.raises(EnvironmentFault, match="missing; score again"):
        score_sets.of_customer(tmp_path / "data", found, made_card.FULL)


def test_points_and_mentions_of_a_member(loaded: customer_card_data.Loaded) -> None:
    found = card(loaded)
    at = dt.datetime(2025, 5, 1)
    rows = {
        **found.rows,
        "loyalty_entries": [
            {"occurred_at": at, "points": 640, "reason": "purchase", "expires_on": dt.date(2026, 5, 1)}
        ],
        "mentions": [{"occurred_at": at, "author": "x", "text": "<b>slow</b>", "sentiment": -0.7}],
        "surveys": [{"question": "nps", "score": 6.0, "answered_at": at, "survey": "loyalty"}],
    }
    told = customer_card_data.Card(**{**found.__dict__, "rows": rows})
    shown = customer_card_bond.loyalty(EN, told, loaded)
    assert "Points: 640 · 120 expire within 90 days" in shown.body and "1 May 2026" in shown.body
    assert "&lt;b&gt;slow" in shown.body and "cross" in shown.body and "<b>slow" not in shown.body
    assert shown.figures[0] is not None and list(shown.figures[0].data[0].y) == [6.0]
    assert "Not a member" in customer_card_bond.loyalty(EN, found, loaded).body
    spent = {**rows, "loyalty_entries": [{**rows["loyalty_entries"][0], "points": -5}]}
    below = customer_card_data.Card(**{**found.__dict__, "rows": spent, "scores": {**found.scores, "points": None}})
    assert "below zero; mend the source" in customer_card_bond.loyalty(EN, below, loaded).body


def test_the_account_adds_up_in_the_picture(loaded: customer_card_data.Loaded) -> None:
    shown = customer_card_money.value(EN, card(loaded), loaded)
    bars = shown.figures[0].data[0]
    assert sum(bars.x[:-1]) == pytest.approx(bars.x[-1]) == pytest.approx(123.45)
    assert list(bars.measure) == ["relative"] * 4 + ["total"]
    ahead = shown.figures[1].data[0]
    assert list(ahead.x) == [400.0, 900.0] and list(ahead.error_x.array) == [120.0, 300.0]
    assert "Fund &lt;b&gt;plan&lt;/b&gt; (€300)" in shown.body


def test_a_row_left_empty_is_one_not_computed(data: Path, tmp_path: Path) -> None:
    """Who objected when the scores were made, and no longer does, has a row of gaps."""
    shutil.copytree(data, tmp_path / "data")
    for model, columns in (
        ("customer_value", ["predicted_minor", "potential_minor", "gap_minor"]),
        ("loyalty", ["index"]),
    ):
        table, beside = made_card.tables([made_card.FULL])[model]
        told = {"model": model, "model_version": 1, "warehouse_version": 1, "as_of": AS_OF, "now": made_card.NOW}
        score_sets.save(
            table.assign(**dict.fromkeys(columns, float("nan"))), data=tmp_path / "data", beside=beside, **told
        )
    panel = customer_card.Panel(tmp_path / "data", made_card.FULL, "en")
    assert panel.frame._trouble.value == ""
    shown = panel.tiles.value + "".join(one.head.value + one.body.value for one in panel.sections.values())
    assert shown.count("This customer was not among those computed.") == 2 and "nan" not in shown


def test_a_damaged_file_of_scores_is_named(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "data")
    found = score_sets.newest(data, "churn")
    (tmp_path / "data" / found.file).write_bytes(b"half a file")
    with pytest.raises(EnvironmentFault, match="cannot be read; score again with `crm churn`"):
        score_sets.of_customer(tmp_path / "data", found, made_card.FULL)


def test_the_phase_of_today_is_as_wide_as_the_others_in_the_picture(loaded: customer_card_data.Loaded) -> None:
    shown = customer_card_bond.life(EN, card(loaded), loaded)
    strips = [
        (pd.Timestamp(one.base[0]), one.x[0], one.name) for one in shown.figures[0].data if one.y[0] == "By rules"
    ]
    assert [name for _, _, name in strips] == ["growing", "mature", "fading", "fading"]
    last, width, _ = strips[-1]
    assert last < pd.Timestamp(AS_OF) < last + pd.Timedelta(milliseconds=width)
    assert width == pytest.approx(91 * 86_400_000), "from halfway since March to as far after June"
    ends = [start + pd.Timedelta(milliseconds=wide) for start, wide, _ in strips]
    assert ends[:-1] == [start for start, _, _ in strips[1:]], "no gaps, no overlaps"
