"""Life-cycle phases by rules: what is observed, point in time, against a naive reference; history, moves and what comes next."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crmlib.errors import DataError, UsageError
from crmlib.models.lifecycle import history, observations, phases, sojourn
from crmlib.models.lifecycle.phases import Condition, Rule
from crmlib.warehouse import build, snapshot

LAST = dt.date(2025, 12, 31)
START = pd.Timestamp("2024-01-01")
"""The records begin here."""


def monthly(customer: str, first: str, last: str, each: int = 2) -> list[tuple[str, pd.Timestamp]]:
    """So many transactions in each month from one to another."""
    months = pd.period_range(first, last, freq="M")
    return [(customer, month.to_timestamp() + pd.Timedelta(days=3 + 5 * k)) for month in months for k in range(each)]


def tables() -> dict[str, pd.DataFrame]:
    """One customer for each way of life; "filler" makes the records begin with 2024."""
    rows = [
        *monthly("filler", "2024-01", "2025-12"),
        *monthly("steady", "2024-01", "2025-12", 4),
        *monthly("busier", "2024-01", "2025-09", 1),
        *monthly("busier", "2025-10", "2025-12", 5),
        *monthly("buyer", "2024-01", "2025-12", 4),
        *monthly("slower", "2024-01", "2025-09", 5),
        *monthly("slower", "2025-10", "2025-12", 1),
        *monthly("silent", "2024-01", "2025-08", 3),
        *monthly("gone", "2024-01", "2024-09", 3),
        *monthly("empty", "2024-01", "2025-05", 3),
        *monthly("back", "2024-01", "2025-02", 3),
        *monthly("back", "2025-11", "2025-12", 3),
        *monthly("newcomer", "2025-11", "2025-12", 3),
        *monthly("closed", "2024-01", "2025-07", 3),
        ("closed", pd.Timestamp("2025-08-01")),
        ("filler", pd.Timestamp("2025-12-31")),
    ]
    moved = pd.DataFrame(rows, columns=["customer_id", "occurred_at"])
    moved = moved.assign(transaction_id=np.arange(len(moved)).astype(str), amount_minor=-1_000)
    names = [*sorted(set(moved["customer_id"])), "stranger"]
    people = pd.DataFrame({"customer_id": names, "valid_from": pd.Timestamp("2020-01-01")})
    people["customer_since"] = pd.Timestamp("2020-01-01")
    people.loc[people["customer_id"] == "newcomer", ["customer_since", "valid_from"]] = pd.Timestamp("2025-11-01")
    people.loc[people["customer_id"] == "stranger", "customer_since"] = pd.NaT
    people["closed_on"] = pd.Series(pd.NaT, index=people.index).mask(
        people["customer_id"] == "closed", pd.Timestamp("2025-08-10")
    )
    with_one = [name for name in names if name not in ("stranger", "empty")]
    holdings = pd.DataFrame({"customer_id": [*with_one, "buyer"], "product_id": "account"})
    holdings["holding_id"] = [f"H{number}" for number in range(len(holdings))]
    holdings["opened_on"] = pd.Timestamp("2020-01-01")
    holdings.loc[holdings["customer_id"] == "newcomer", "opened_on"] = pd.Timestamp("2025-11-01")
    holdings.loc[len(holdings) - 1, "opened_on"] = pd.Timestamp("2025-11-20")
    return {"customers": people, "transactions": moved, "holdings": holdings}


@pytest.fixture(scope="module")
def wh(tmp_path_factory: pytest.TempPathFactory) -> snapshot.Warehouse:
    path = tmp_path_factory.mktemp("lifecycle") / "v000001.duckdb"
    build.from_frames(path, tables())
    return snapshot.open_file(path)


@pytest.fixture(scope="module")
def observed(wh: snapshot.Warehouse) -> list[pd.DataFrame]:
    return [observations.observe(wh.snapshot(day)) for day in observations.quarter_ends(wh, LAST)]


def phase_of(assigned: pd.DataFrame) -> dict[str, tuple[str, str]]:
    return {row.customer_id: (row.phase, row.code) for row in assigned.itertuples()}


# ---------------------------------------------------------------- rules


def test_each_way_of_life_gets_its_phase_and_its_reason(observed: list[pd.DataFrame]) -> None:
    found = phase_of(phases.assign(observed[-1]))
    assert found == {
        "filler": ("mature", "steady"),
        "steady": ("mature", "steady"),
        "busier": ("growing", "more_transactions"),
        "buyer": ("growing", "more_products"),
        "slower": ("fading", "fewer_transactions"),
        "silent": ("fading", "silent"),
        "gone": ("lapsed", "long_silent"),
        "empty": ("lapsed", "silent_without_products"),
        "back": ("won_back", "returned"),
        "newcomer": ("new", "joined"),
        "closed": ("lapsed", "closed"),
        "stranger": ("prospect", "never_active"),
    }


def test_reasons_carry_the_numbers_they_are_about(observed: list[pd.DataFrame]) -> None:
    row = observed[-1].set_index("customer_id").loc["slower"]
    assert phases.reason(row, "fewer_transactions") == {
        "code": "fewer_transactions",
        "transactions": 3.0,
        "usual": pytest.approx(15, abs=0.1),
    }
    assert phases.reason(row, "steady") == {"code": "steady"}


def test_observations_are_those_of_a_naive_count(wh: snapshot.Warehouse) -> None:
    rows = tables()["transactions"]
    for day in ("2025-03-31", "2025-11-15"):
        found = observations.observe(wh.snapshot(day)).set_index("customer_id")
        end = pd.Timestamp(day) + pd.Timedelta(days=1)
        now = end - pd.DateOffset(months=3)
        known = rows[rows["occurred_at"] < end]
        recent, year = known[known["occurred_at"] >= now], known[known["occurred_at"] < now]
        year = year[year["occurred_at"] >= end - pd.DateOffset(months=15)]
        for name in ("steady", "slower", "gone", "back", "closed"):
            assert found.loc[name, "transactions"] == (recent["customer_id"] == name).sum()
            assert found.loc[name, "usual"] == pytest.approx((year["customer_id"] == name).sum() / 4, rel=0.05)
            last = known.loc[known["customer_id"] == name, "occurred_at"].max()
            assert found.loc[name, "silent_days"] == (end - last).days


def test_what_happens_or_is_recorded_later_changes_nothing(tmp_path: Path) -> None:
    before = tables()
    later = {name: table.copy() for name, table in before.items()}
    moved, held, people = later["transactions"], later["holdings"], later["customers"]
    moved["recorded_at"] = moved["occurred_at"]
    # A transaction of the quarter that is recorded after its end, one that happens after it, a closure after it.
    extra = pd.DataFrame(
        {"customer_id": ["steady", "gone"], "occurred_at": pd.to_datetime(["2025-09-20", "2025-10-02"])}
    )
    extra = extra.assign(transaction_id=["x1", "x2"], amount_minor=-5, recorded_at=pd.Timestamp("2025-10-05"))
    later["transactions"] = pd.concat([moved, extra], ignore_index=True)
    held["closed_on"] = pd.Series(pd.NaT, index=held.index).mask(
        held["customer_id"] == "slower", pd.Timestamp("2025-10-01")
    )
    people.loc[people["customer_id"] == "buyer", "closed_on"] = pd.Timestamp("2025-10-01")
    taken = []
    for number, frames in enumerate((before, later)):
        path = tmp_path / f"v00000{number}.duckdb"
        build.from_frames(path, frames)
        taken.append(observations.observe(snapshot.open_file(path).snapshot("2025-09-30")))
    pd.testing.assert_frame_equal(taken[0], taken[1])


@given(
    st.lists(st.tuples(*[st.one_of(st.just(np.nan), st.floats(-1e4, 1e4)) for _ in range(12)]), min_size=1, max_size=20)
)
def test_everybody_gets_exactly_one_phase_and_the_first_rule_that_holds(values: list[tuple[float, ...]]) -> None:
    table = pd.DataFrame(values, columns=list(observations.MEASURES))
    table = table.assign(customer_id=np.arange(len(table)).astype(str), as_of=pd.Timestamp(LAST))
    found = phases.assign(table)
    signs = {">=": lambda a, b: a >= b, "<=": lambda a, b: a <= b, ">": lambda a, b: a > b, "<": lambda a, b: a < b}
    for row, code in zip(table.to_dict("records"), found["code"], strict=True):
        first = next(
            rule.code for rule in phases.RULES if all(signs[c.sign](row[c.measure], c.value) for c in rule.conditions)
        )
        assert code == first


def test_rules_of_a_company_are_read_from_its_file_and_decide(tmp_path: Path, observed: list[pd.DataFrame]) -> None:
    path = tmp_path / "lifecycle.toml"
    assert phases.read(path) == phases.RULES
    path.write_text(phases.text(phases.RULES), encoding="utf-8")
    assert phases.read(path) == phases.RULES
    own = '[[rules]]\nphase = "growing"\ncode = "busy"\nconditions = ["transactions >= 12"]\n[[rules]]\nphase = "mature"\ncode = "rest"\n'
    path.write_text(own, encoding="utf-8")
    found = phase_of(phases.assign(observed[-1], phases.read(path)))
    assert found["steady"] == ("growing", "busy") and found["stranger"] == ("mature", "rest")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ('[[rules]]\nphase = "asleep"\ncode = "x"', "there is no phase 'asleep'"),
        ('[[rules]]\nphase = "new"\ncode = "x"\nconditions = ["age > 3"]', "there is no measure 'age'"),
        ('[[rules]]\nphase = "new"\ncode = "x"\nconditions = ["ratio = 3"]', "the sign is '='"),
        ('[[rules]]\nphase = "new"\ncode = "x"\nconditions = ["ratio > many"]', "'ratio > many' is not of the form"),
        ('[[rules]]\nphase = "new"\ncode = "x"\nconditions = ["ratio > 3"]', "end with one without"),
        ('[[rules]]\nphase = "new"\ncode = "x"\n[[rules]]\nphase = "mature"\ncode = "x"', "have the code x"),
        ('[[rules]]\nphase = "new"', "cannot be read"),
        ("rules = 3", "cannot be read"),
        ("[[rules", "cannot be read"),
    ],
)
def test_bad_rules_get_a_clear_sentence(tmp_path: Path, words: str, message: str) -> None:
    path = tmp_path / "lifecycle.toml"
    path.write_text(words, encoding="utf-8")
    with pytest.raises(UsageError, match=message):
        phases.read(path)


def test_bad_conditions_and_tables_get_a_clear_sentence(observed: list[pd.DataFrame]) -> None:
    with pytest.raises(UsageError, match="compared with nan"):
        Condition("ratio", ">", float("nan"))
    with pytest.raises(UsageError, match="the reason has no code"):
        Rule("new", "")
    with pytest.raises(DataError, match="no column ended, ever"):
        phases.assign(observed[-1].drop(columns=["ended", "ever"]))


# ---------------------------------------------------------------- quarters and history


def test_quarters_begin_when_a_year_is_on_record(wh: snapshot.Warehouse) -> None:
    ends = observations.quarter_ends(wh, LAST)
    assert [str(day) for day in ends] == ["2024-12-31", "2025-03-31", "2025-06-30", "2025-09-30", "2025-12-31"]
    assert len(observations.quarter_ends(wh, LAST, before=1)) == 7
    with pytest.raises(DataError, match=r"not enough data \(found transactions from 2024-01-04, need 12 months"):
        observations.quarter_ends(wh, dt.date(2024, 9, 30))


def past(*lines: str) -> history.History:
    """A history from letters: n new, g growing, m mature, f fading, l lapsed, w won back, x closed, . unknown."""
    letters = {"n": "new", "g": "growing", "m": "mature", "f": "fading", "l": "lapsed", "w": "won_back", "x": "lapsed"}
    phase = np.array(
        [[phases.PHASES.index(letters[one]) if one != "." else -1 for one in line] for line in lines], np.int8
    )
    days = tuple(pd.date_range("2020-03-31", periods=len(lines[0]), freq="QE"))
    ids = pd.Index([f"C{number:05}" for number in range(len(lines))])
    return history.History(ids, days, phase, np.array([[one == "x" for one in line] for line in lines]))


def test_histories_follow_customers_through_the_dates(observed: list[pd.DataFrame]) -> None:
    found = history.collect([phases.assign(table) for table in observed], observed)
    table = found.table()
    assert table[table["customer_id"] == "back"]["phase"].tolist() == [
        "mature",
        "mature",
        "fading",
        "fading",
        "won_back",
    ]
    assert table[table["customer_id"] == "newcomer"]["phase"].tolist() == ["new"]
    length, seen = history.runs(found)
    row = found.customer_id.get_loc("back")
    assert length[row].tolist() == [1, 2, 1, 2, 1] and seen[row].tolist() == [False, False, True, True, True]
    with pytest.raises(DataError, match="must rise"):
        history.collect([phases.assign(table) for table in observed[::-1]], observed[::-1])


def test_who_has_left_is_closed_whatever_the_rules_call_it(observed: list[pd.DataFrame]) -> None:
    own = (Rule("lapsed", "goodbye", (Condition("ended", ">=", 1),)), Rule("mature", "steady"))
    found = history.collect([phases.assign(table, own) for table in observed], observed)
    assert found.customer_id[found.closed[:, -1]].tolist() == ["closed"]
    assert not (history.moves(found)["phase"] == "lapsed").any()
    ahead = sojourn.ahead(found, sojourn.times(found)).set_index("customer_id")
    assert ahead.loc["closed", "next_phase"] == "" and np.isnan(ahead.loc["closed", "days_to_next"])


def test_moves_are_counted_with_intervals_and_without_the_closed() -> None:
    table = history.moves(past("mmf", "mml", "mxx", ".nm")).set_index(["phase", "next_phase"])
    assert table["customers"].to_dict() == {
        ("new", "mature"): 1,
        ("mature", "mature"): 2,
        ("mature", "fading"): 1,
        ("mature", "lapsed"): 2,
    }
    assert table.loc[("mature", "mature"), "share"] == pytest.approx(0.4)
    assert ((table["low"] <= table["share"]) & (table["share"] <= table["high"])).all()
    assert table.groupby("phase")["share"].sum().tolist() == pytest.approx([1, 1])


PLANTED = {"m": ("mature", 0.2), "f": ("fading", 0.4), "l": ("lapsed", 0.1)}
"""Chances of moving on within a quarter, whatever the time already spent there; 70% of those who fade lapse."""


def wandering(random: np.random.Generator, customers: int) -> history.History:
    """A history of ten quarters of customers who move by ``PLANTED``, begun well before it."""
    now, columns = np.full(customers, "m"), []
    for _ in range(18):
        columns.append(now)
        moves = random.random(customers) < np.array([PLANTED[one][1] for one in now])
        lapses = random.random(customers) < 0.7
        onward = np.where(now == "m", "f", np.where((now == "f") & lapses, "l", "m"))
        now = np.where(moves, onward, now)
    return past(*["".join(line) for line in np.array(columns[8:]).T])


def test_planted_lengths_of_stay_are_found_and_their_intervals_hold() -> None:
    random = np.random.default_rng(3)
    held, rounds = dict.fromkeys(PLANTED, 0), 40
    for number in range(rounds):
        table = sojourn.times(wandering(random, 400), seed=number).set_index(["phase", "quarters"])
        for letter, (phase, chance) in PLANTED.items():
            truth = (1 / chance - 0.5) * observations.QUARTER_DAYS
            row = table.loc[(phase, 1)]
            held[letter] += int(row["low"] <= truth <= row["high"])
            assert row["days"] == pytest.approx(truth, rel=0.35)
    assert all(0.85 * rounds <= count for count in held.values()) and sum(held.values()) < 3 * rounds
    table = sojourn.times(wandering(random, 8_000)).set_index(["phase", "quarters"])
    fading = table.loc[("fading", 1)]
    assert (fading["next_phase"], table.loc[("mature", 2), "next_phase"]) == ("lapsed", "fading")
    assert fading["next_share"] == pytest.approx(0.7, abs=0.03)
    # 10% and 90% of those who fade have moved: within the first quarter, and after ln(0.1) / ln(0.6) of them.
    assert fading["days_from"] == pytest.approx(0.25 * observations.QUARTER_DAYS, rel=0.1)
    assert fading["days_to"] == pytest.approx(np.log(0.1) / np.log(0.6) * observations.QUARTER_DAYS, rel=0.08)


def test_what_always_ends_after_two_quarters_is_expected_to() -> None:
    lines = ["m" * k + "nnm" + "m" * (5 - k) for k in range(1, 5)] * 40
    table = sojourn.times(past(*lines)).set_index(["phase", "quarters"])
    first, second = table.loc[("new", 1)], table.loc[("new", 2)]
    assert (first["moved"], second["moved"], second["customers"]) == (0, 160, 160)
    assert first["days"] == pytest.approx(1.5 * observations.QUARTER_DAYS, rel=0.01)
    assert second["days"] == pytest.approx(0.5 * observations.QUARTER_DAYS, rel=0.01)
    assert ((table["low"] <= table["days"]) & (table["days"] <= table["high"]))[table["days"].notna()].all()


def test_what_comes_next_of_each_customer_and_nothing_of_the_closed() -> None:
    found = past(*["mfl", "mml", "mfm", "fxx"] * 20)
    ahead = sojourn.ahead(found, sojourn.times(found)).set_index("customer_id")
    closed = ahead.iloc[3]
    assert closed["next_phase"] == "" and np.isnan(closed["days_to_next"]) and np.isnan(closed["days_to"])
    assert ahead.iloc[2]["next_phase"] == "fading" and ahead.iloc[2]["days_to_next"] > 0
    # Nobody was ever seen to leave "lapsed": no date is made up.
    assert np.isnan(ahead.iloc[0]["days_to_next"]) and ahead.iloc[0]["next_phase"] == ""


def test_the_example_of_the_page_runs_and_its_table_of_rules_is_the_one_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[1] / "docs" / "lifecycle.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "docs/lifecycle.md", "exec"), {})
    listed = re.findall(r"^\| (\w+) \| (\w+) \| [^|]+ \|$", page, flags=re.MULTILINE)
    assert listed[1:] == [(rule.phase, rule.code) for rule in phases.RULES]
