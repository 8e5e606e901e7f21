"""Churn definitions and spells: who left, when and why, against naive references; what bad input gets."""

from __future__ import annotations

import datetime as dt
import itertools
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crmlib.errors import DataError, NotFoundError, UsageError
from crmlib.models.churn import definitions, inputs, shares, spells
from crmlib.models.churn.definitions import Fading, Holding, Relationship
from crmlib.warehouse import build, snapshot

# ---------------------------------------------------------------- definitions

DEFINITIONS = [
    Relationship(),
    Relationship(reasons=(("price", ("price", "fees")),)),
    Holding(product_id="card", renewed_within_days=0),
    Holding(product_group="cards"),
    Fading(window_days=90, share=0.25, before_days=180, fewest=3, left_out=()),
]


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_a_definition_is_data_that_goes_to_json_and_back(definition: definitions.Definition) -> None:
    assert definitions.from_json(definitions.to_json(definition)) == definition
    told = definitions.described(definition)
    assert told["code"] == f"leaving_{definition.kind}"
    assert [one["reason"] for one in told["reasons"]] == [name for name, _ in definition.reasons]


def test_definitions_that_are_none_are_refused() -> None:
    with pytest.raises(UsageError, match="needs a product_id or a product_group, one of the two"):
        Holding()
    with pytest.raises(UsageError, match="one of the two"):
        Holding(product_id="card", product_group="cards")
    with pytest.raises(UsageError, match="renewed_within_days is -1; give a whole number of at least 0"):
        Holding(product_id="card", renewed_within_days=-1)
    with pytest.raises(UsageError, match="window_days is 0"):
        Fading(window_days=0)
    with pytest.raises(UsageError, match="before_days is 30; give a whole number of at least 60"):
        Fading(before_days=30)
    with pytest.raises(UsageError, match="share is 1; the part of the own pace"):
        Fading(share=1)
    with pytest.raises(UsageError, match="the recorded reason 'price' stands twice"):
        Relationship(reasons=(("a", ("price",)), ("b", ("price",))))
    with pytest.raises(UsageError, match="cannot be called 'other'"):
        Relationship(reasons=(("other", ("x",)),))
    with pytest.raises(UsageError, match="needs at least one reason"):
        Relationship(reasons=())
    with pytest.raises(UsageError, match="JSON with a kind"):
        definitions.from_json("churn")
    with pytest.raises(UsageError, match="unknown kind 'contract' of leaving; there are relationship, holding, fading"):
        definitions.from_json('{"kind": "contract"}')
    with pytest.raises(UsageError, match=r"of kind fading has window_days, share.*found days"):
        definitions.from_json('{"kind": "fading", "days": 3}')
    with pytest.raises(UsageError, match="of another format than 1"):
        definitions.from_json('{"kind": "fading", "format": 2}')


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "JSON with a kind"),
        ('{"kind": ["fading"]}', "unknown kind"),
        ('{"kind": "relationship", "reasons": 5}', "reasons is 5; write a list"),
        ('{"kind": "relationship", "reasons": [["price"]]}', "write a list such as"),
        ('{"kind": "relationship", "reasons": [["price", "price"]]}', "the reason 'price' holds 'price'; write a list"),
        ('{"kind": "fading", "left_out": "fee"}', "left_out holds 'fee'; write a list of texts"),
        ('{"kind": "holding", "product_id": 5}', "product_id is 5; write it as text"),
    ],
)
def test_definitions_written_wrongly_by_hand_get_a_clear_sentence(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        definitions.from_json(text)


def test_the_name_of_a_definition_is_one_folder() -> None:
    assert Holding(product_id="../../card/gold").name == "churn_-card-gold"
    assert Holding(product_id="карта_1").name == "churn_карта_1"


# ---------------------------------------------------------------- spells

DAY = dt.date(2025, 3, 31)
LAST = dt.date(2025, 12, 31)


def bank(folder: Path, **frames: pd.DataFrame) -> snapshot.Warehouse:
    """A warehouse of the frames given, whose records run from 2024 to the end of 2025."""
    customers = frames["customers"]
    marks = pd.DataFrame(
        {
            "contact_id": ["first", "last"],
            "customer_id": customers["customer_id"].iloc[0],
            "occurred_at": [dt.datetime(2024, 1, 1), dt.datetime(2025, 12, 31, 12)],
        }
    )
    path = folder / "v000001.duckdb"
    path.unlink(missing_ok=True)
    build.from_frames(path, {"contacts": marks, **frames})
    return snapshot.open_file(path)


def people(*closed: dt.date | None, reasons: tuple[str | None, ...] = ()) -> pd.DataFrame:
    """Customers a, b, c … who left on the days given, or did not."""
    ids = [chr(97 + number) for number in range(len(closed))]
    why = reasons or tuple(None if day is None else "price" for day in closed)
    return pd.DataFrame(
        {
            "customer_id": ids,
            "valid_from": dt.date(2023, 1, 1),
            "closed_on": pd.Series(closed, dtype=object),
            "closed_reason": pd.Series(why, dtype=object),
        }
    )


def test_who_ends_the_relationship_is_followed_to_the_day(tmp_path: Path) -> None:
    table = people(
        None,
        DAY + dt.timedelta(days=1),
        DAY,
        LAST,
        DAY + dt.timedelta(days=90),
        DAY + dt.timedelta(days=91),
        reasons=(None, "moving", "price", "whim", None, "death"),
    )
    wh = bank(tmp_path, customers=table)
    found = spells.follow(wh.snapshot(DAY), Relationship()).set_index("customer_id")
    rest = (LAST - DAY).days
    assert found["days"].to_dict() == {"a": rest, "b": 1, "d": rest, "e": 90, "f": 91}  # c had left by then
    assert found["reason"].to_dict() == {
        "a": "",
        "b": "death_or_moving",
        "d": "other",
        "e": "other",
        "f": "death_or_moving",
    }
    assert (found["as_of"] == pd.Timestamp(DAY)).all()
    within = spells.left_within(found.reset_index(), 90)
    assert dict(zip(found.index, within.tolist(), strict=True)) == {"a": 0, "b": 1, "d": 0, "e": 1, "f": 0}
    early = spells.follow(wh.snapshot(DAY), Relationship(), until=DAY + dt.timedelta(days=30))
    assert early["days"].max() == 30 and (early["reason"] != "").sum() == 1


def test_a_closing_recorded_later_is_not_a_leaving_afterwards_and_hides_nobody_before(tmp_path: Path) -> None:
    """Who had left by the date, recorded only later, is at risk by what was known but is no case to learn from."""
    known_then = people(None, None).assign(
        recorded_at=dt.datetime(2024, 1, 1), superseded_at=[None, dt.datetime(2025, 4, 9)]
    )
    corrected = people(None, DAY - dt.timedelta(days=2)).iloc[[1]]
    corrected = corrected.assign(recorded_at=dt.datetime(2025, 4, 9), superseded_at=None)
    wh = bank(tmp_path, customers=pd.concat([known_then, corrected], ignore_index=True))
    assert spells.at_risk(wh.snapshot(DAY), Relationship())["customer_id"].tolist() == ["a", "b"]
    assert spells.follow(wh.snapshot(DAY), Relationship())["customer_id"].tolist() == ["a"]


def test_objectors_to_profiling_are_left_out(tmp_path: Path) -> None:
    said = pd.DataFrame(
        {
            "customer_id": ["a"],
            "channel": ["all"],
            "purpose": ["profiling"],
            "changed_at": [dt.datetime(2024, 5, 1)],
            "granted": [False],
        }
    )
    wh = bank(tmp_path, customers=people(None, None), consents=said)
    assert spells.follow(wh.snapshot(DAY), Relationship())["customer_id"].tolist() == ["b"]


def contracts(spans: dict[str, list[tuple[int, int | None]]], product: str = "card") -> pd.DataFrame:
    """Contracts of each customer from and to days counted from DAY; the reason is the day of the end."""
    begin = pd.Timestamp(DAY)
    rows = [(name, first, last) for name, own in spans.items() for first, last in own]
    return pd.DataFrame(
        {
            "holding_id": [f"h{number}" for number in range(len(rows))],
            "customer_id": [name for name, _, _ in rows],
            "product_id": product,
            "opened_on": [(begin + pd.Timedelta(days=first)).date() for _, first, _ in rows],
            "closed_on": pd.Series(
                [None if last is None else (begin + pd.Timedelta(days=last)).date() for _, _, last in rows],
                dtype=object,
            ),
            "closed_reason": [None if last is None else f"r{last}" for _, _, last in rows],
        }
    )


PRODUCTS = pd.DataFrame(
    {"product_id": ["card"], "valid_from": dt.date(2020, 1, 1), "name": "Card", "product_group": "cards"}
)


def naive_holding(spans: list[tuple[int, int | None]], wait: int, observed: int) -> tuple[int, str] | None:
    """Day by day: holds at the end of a day, or opens again within ``wait`` days; None where nobody is at risk."""
    held = [(first, np.inf if last is None else last) for first, last in spans]
    if not any(first <= 0 < last for first, last in held):
        return None
    day = 0
    while day < observed:
        day += 1
        if any(first <= day < last for first, last in held):
            continue
        again = [first for first, last in held if day < first <= day + wait]
        if not again:
            own = {last: reason for (_, last), reason in zip(held, range(len(held)), strict=True) if last == day}
            assert own
            return day, f"r{day}"
        day = min(again)
    return observed, ""


@pytest.mark.parametrize("wait", [0, 10, 30])
def test_the_chain_of_contracts_ends_as_counted_day_by_day(tmp_path: Path, wait: int) -> None:
    rng = np.random.default_rng(wait)
    spans: dict[str, list[tuple[int, int | None]]] = {}
    for number in range(400):
        first = rng.integers(-80, 120, rng.integers(1, 5))
        length = np.where(rng.random(len(first)) < 0.15, -1, rng.integers(0, 120, len(first)))
        ends = zip(first.tolist(), length.tolist(), strict=True)
        spans[f"c{number:03d}"] = [(begin, None if long < 0 else begin + 1 + long) for begin, long in ends]
    table = pd.DataFrame({"customer_id": list(spans), "valid_from": dt.date(2023, 1, 1)})
    wh = bank(tmp_path, customers=table, holdings=contracts(spans), products=PRODUCTS)
    raw = sorted({last for own in spans.values() for _, last in own if last is not None})
    reasons = tuple((f"r{last}", (f"r{last}",)) for last in raw)
    definition = Holding(product_id="card", renewed_within_days=wait, reasons=reasons)
    found = spells.follow(wh.snapshot(DAY), definition, until=DAY + dt.timedelta(days=200))
    expected = {name: naive_holding(own, wait, 200 - wait) for name, own in spans.items()}
    at_risk = {name: ended for name, ended in expected.items() if ended is not None}
    told = dict(zip(found["customer_id"], zip(found["days"].tolist(), found["reason"], strict=True), strict=True))
    assert told == at_risk and 200 < len(told) < 400 and (found["reason"] == "").any()
    by_group = spells.follow(
        wh.snapshot(DAY),
        Holding(product_group="cards", renewed_within_days=wait, reasons=reasons),
        until=DAY + dt.timedelta(days=200),
    )
    pd.testing.assert_frame_equal(by_group, found)


def test_the_end_of_the_relationship_ends_contracts_that_a_source_leaves_open(tmp_path: Path) -> None:
    gone = DAY + dt.timedelta(days=20)
    spans: dict[str, list[tuple[int, int | None]]] = {"a": [(-50, None)], "b": [(-50, None)]}
    wh = bank(tmp_path, customers=people(gone, None), holdings=contracts(spans), products=PRODUCTS)
    found = spells.follow(wh.snapshot(DAY), Holding(product_id="card", renewed_within_days=0)).set_index("customer_id")
    assert found.loc["a", "days"] == 20 and found.loc["a", "reason"] != ""
    assert found.loc["b", "reason"] == ""


def naive_faded(days: list[int], bound: int, window: int) -> float:
    for day in range(1, 1_000):
        if sum(day - window < moved <= day for moved in days) <= bound:
            return float(day)
    return float("inf")


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.lists(st.integers(-29, 200), max_size=12), min_size=1, max_size=4),
    st.integers(0, 3),
    st.integers(1, 60),
)
def test_the_first_faded_day_is_that_counted_day_by_day(moves: list[list[int]], bound: int, window: int) -> None:
    key = np.repeat(np.arange(len(moves)), [len(days) for days in moves])
    day = np.array([moved for days in moves for moved in sorted(days)], dtype=np.int64)
    found = spells.first_faded(key, day, np.arange(len(moves)), np.full(len(moves), bound), window)
    assert found.tolist() == [naive_faded(days, bound, window) for days in moves]


def movements(days: dict[str, list[int]], category: str = "groceries") -> pd.DataFrame:
    begin = dt.datetime.combine(DAY, dt.time(12))
    rows = [(name, begin + dt.timedelta(days=day)) for name, own in days.items() for day in own]
    table = pd.DataFrame(rows, columns=["customer_id", "occurred_at"])
    return table.assign(
        transaction_id=[f"t{category}{number}" for number in range(len(table))], amount_minor=-100, category=category
    )


def test_activity_fades_when_the_window_empties_and_a_closed_relationship_comes_first(tmp_path: Path) -> None:
    steady = list(range(-300, 270, 15))
    moves = movements(
        {
            "a": steady,
            "b": list(range(-300, 1, 15)),  # nothing after day 0
            "c": list(range(-300, -70, 15)),  # silent already
            "d": [-10, -5],  # too few to have a pace
            "e": list(range(-300, 1, 15)),
        }
    )
    fees = movements({"b": list(range(1, 270, 30))}, category="fee")
    table = people(None, None, None, None, DAY + dt.timedelta(days=20))
    wh = bank(tmp_path, customers=table, transactions=pd.concat([moves, fees], ignore_index=True))
    definition = Fading(window_days=60, share=0, before_days=300, fewest=12)
    found = spells.follow(wh.snapshot(DAY), definition).set_index("customer_id")
    assert found["reason"].to_dict() == {"a": "", "b": "faded", "e": "closed"}
    assert found["days"].to_dict() == {"a": (LAST - DAY).days, "b": 60, "e": 20}
    people_then = spells.at_risk(wh.snapshot(DAY), Fading(before_days=300, share=0.5))
    assert people_then["bound"].tolist() == [np.floor(0.5 * pace * 60 / 300) for pace in people_then["pace"]]


def test_what_is_recorded_after_the_last_day_looked_at_changes_nothing(tmp_path: Path) -> None:
    days = {"a": list(range(-200, 200, 10)), "b": list(range(-200, 40, 10))}
    table, until = people(None, DAY + dt.timedelta(days=150)), DAY + dt.timedelta(days=120)
    cards = contracts({"a": [(-50, 140)]})
    frames = {"customers": table, "transactions": movements(days), "holdings": cards, "products": PRODUCTS}
    later = movements({"a": [130], "b": [131]}, category="late")
    wh = bank(tmp_path, **frames)
    before = [
        spells.follow(wh.snapshot(DAY), one, until=until)
        for one in (Relationship(), Holding(product_id="card"), Fading())
    ]
    more = pd.concat([frames["transactions"], later], ignore_index=True)
    folder = tmp_path / "more"
    folder.mkdir()
    wh = bank(folder, **{**frames, "transactions": more, "customers": table.assign(closed_reason="death")})
    after = [
        spells.follow(wh.snapshot(DAY), one, until=until)
        for one in (Relationship(), Holding(product_id="card"), Fading())
    ]
    for one, other in zip(before, after, strict=True):
        pd.testing.assert_frame_equal(one, other)


def test_spells_without_anybody_or_any_time_are_refused(tmp_path: Path) -> None:
    wh = bank(tmp_path, customers=people(None, None), products=PRODUCTS)
    with pytest.raises(
        NotFoundError, match=r"names the product_id 'crad', which the table products does not have.*mean 'card'"
    ):
        spells.at_risk(wh.snapshot(DAY), Holding(product_id="crad"))
    with pytest.raises(NotFoundError, match=r"names the product_group 'loans'.*there are cards"):
        spells.at_risk(wh.snapshot(DAY), Holding(product_group="loans"))
    with pytest.raises(
        DataError, match=r"nobody can leave in the sense of churn_fading: not enough data \(found 0 customers"
    ):
        spells.at_risk(wh.snapshot(DAY), Fading())  # customers without a transaction have no activity that could fade
    with pytest.raises(DataError, match="nothing is observed after 2025-12-31: the records run to 2025-12-31"):
        spells.follow(wh.snapshot(LAST), Relationship())
    with pytest.raises(DataError, match="a renewal is waited for during 30 days; take a date before 2025-12-01"):
        spells.follow(wh.snapshot(dt.date(2025, 12, 5)), Holding(product_id="card"))


# ---------------------------------------------------------------- dates


@settings(max_examples=200, deadline=None)
@given(st.dates(dt.date(2020, 1, 1), dt.date(2026, 1, 1)), st.integers(200, 1_500), st.sampled_from([0, 30]))
def test_what_is_used_at_a_date_was_known_before_the_next(last: dt.date, days: int, lag: int) -> None:
    definition = Holding(product_id="x", renewed_within_days=lag) if lag else Relationship()
    first = last - dt.timedelta(days=days)
    try:
        found = inputs.dates(first, last, definition)
    except DataError as error:
        assert "not enough data to learn who leaves" in str(error) and days < 360 + 2 * 90 + 5 * lag
        return
    steps = [*found.train, found.calibrate, found.test]
    for one, other in itertools.pairwise(steps):
        assert (other - one).days >= 90 + lag
    assert (found.score - found.test).days >= 180 + lag
    assert (found.test - found.train[-1]).days >= 180 + lag  # the days 91 to 180 of the last date of training
    assert (found.train[0] - first).days >= inputs.HISTORY_DAYS and len(found.train) <= inputs.MOST_DATES


# ---------------------------------------------------------------- shares of reasons


def test_planted_shares_of_reasons_are_found_and_sum_to_one() -> None:
    rng = np.random.default_rng(3)
    planted = np.array([[1.0, 0.0, -1.0], [0.0, -0.8, 0.8], [0.2, 0.0, -0.2]])
    design = rng.normal(size=(6_000, 2))
    chance = np.exp(design @ planted[:-1] + planted[-1])
    chance /= chance.sum(axis=1, keepdims=True)
    code = (rng.random(6_000)[:, None] > chance.cumsum(axis=1)).sum(axis=1)
    found = shares.fit(design[:4_000], code[:4_000], ("a", "b", "c"), held_out=(design[4_000:], code[4_000:]))
    given_shares = found.predict(design)
    assert given_shares.sum(axis=1) == pytest.approx(1)
    assert np.abs(given_shares - chance).mean() < 0.02
    assert np.corrcoef(given_shares[:, 0], chance[:, 0])[0, 1] > 0.99


def test_where_nothing_tells_reasons_apart_everybody_gets_their_shares() -> None:
    away, kept = [], []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        design, code = rng.normal(size=(600, 10)), rng.choice(2, 600, p=[0.7, 0.3])
        found = shares.fit(design[:300], code[:300], ("a", "b"), held_out=(design[300:], code[300:]))
        away.append(np.abs(found.predict(design)[:, 0] - np.bincount(code[:300])[0] / 300).mean())
        kept.append(found.penalty)
    assert np.mean(away) < 0.03 and np.mean(np.isinf(kept)) >= 0.4
    alone = shares.fit(design, np.zeros(300, dtype=int), ("a",), held_out=(design, np.zeros(300, dtype=int)))
    assert (alone.predict(design) == 1).all() and np.isinf(alone.penalty)
