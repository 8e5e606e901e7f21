"""Points: the ledger against a naive one, rules of accrual, the run-off against planted behaviour and the bank's own past."""

from __future__ import annotations

import datetime as dt
import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crmlib.errors import DataError, NotFoundError, UsageError
from crmlib.models.points import ledger, liability, rules, triangle

START = pd.Timestamp(2024, 1, 1)


def entries(*rows: tuple[Any, ...]) -> pd.DataFrame:
    """Entries of customer, day (since 2024), points, reason and day of expiry (None: never)."""
    table = pd.DataFrame(rows, columns=["customer_id", "day", "points", "reason", "end"])
    return pd.DataFrame(
        {
            "entry_id": [f"e{number:03d}" for number in range(len(table))],
            "customer_id": table["customer_id"],
            "occurred_at": START + pd.to_timedelta(table["day"], unit="D"),
            "points": table["points"],
            "reason": table["reason"],
            "expires_on": [pd.NaT if pd.isna(end) else START + pd.Timedelta(days=int(end)) for end in table["end"]],
        }
    )


# ---------------------------------------------------------------- the ledger


class Naive:
    """One customer's points as single coins, each with its day and its last day; what a child would do."""

    def __init__(self) -> None:
        self.coins: list[tuple[int, int, int]] = []  # day earned, order, last day
        self.order = 0

    def earn(self, day: int, points: int, end: int | None) -> None:
        self.order += 1
        self.coins += [(day, self.order, 10**6 if end is None else end)] * points

    def take(self, day: int, points: int, *, expiry: bool) -> None:
        lapsed = sorted(coin for coin in self.coins if coin[2] < day)
        good = sorted(coin for coin in self.coins if coin[2] >= day)
        for coin in (lapsed + good if expiry else good + lapsed)[:points]:
            self.coins.remove(coin)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]),
        st.integers(0, 30),
        st.integers(-12, 20).filter(bool),
        st.booleans(),
        st.none() | st.integers(0, 25),
    ),
    max_size=25,
)


@settings(max_examples=80, deadline=None)
@given(STEPS)
def test_balances_equal_the_sum_of_entries_and_a_naive_ledger_of_coins(steps: list[tuple[Any, ...]]) -> None:
    naive = {"a": Naive(), "b": Naive()}
    rows = []
    for customer, day, points, expiry, valid in sorted(steps, key=lambda step: (step[1], -step[2] > 0, step[3])):
        own = naive[customer]
        if points > 0:
            end = None if valid is None else day + valid
            own.earn(day, points, end)
            rows.append((customer, day, points, "purchase", end))
        elif len(own.coins) >= -points:
            own.take(day, -points, expiry=expiry)
            rows.append((customer, day, points, "expiry" if expiry else "redemption", None))
    book = ledger.settle(entries(*rows))
    end = START.date() + dt.timedelta(days=30)
    found = ledger.balances(book, as_of=end, within_days=5).set_index("customer_id")
    lots = ledger.open_lots(book, at=START + pd.Timedelta(days=31))
    for customer, own in naive.items():
        if customer not in found.index:
            assert own.coins == []
            continue
        balance, lapsed, expiring = found.loc[customer, ["balance", "lapsed", "expiring"]]
        assert balance == sum(row[2] for row in rows if row[0] == customer) == len(own.coins)
        assert lapsed == sum(coin[2] < 30 for coin in own.coins)
        assert expiring == sum(30 <= coin[2] <= 35 for coin in own.coins)
        left = lots[lots["customer_id"] == customer]
        days = (left["earned_at"] - START).dt.days.repeat(left["left"])
        assert sorted(days) == sorted(coin[0] for coin in own.coins)
    whole = ledger.balances(ledger.expire(book, as_of=end), as_of=end)
    assert (whole["lapsed"] == 0).all() and whole["balance"].sum() == found["balance"].sum() - found["lapsed"].sum()


def test_the_oldest_points_go_first_and_those_past_their_day_cannot_be_spent() -> None:
    book = ledger.settle(
        entries(("1", 0, 100, "gift", 10), ("1", 5, 50, "purchase", 400), ("1", 20, -30, "redemption", None))
    )
    left = ledger.open_lots(book, at=START + pd.Timedelta(days=21)).set_index("entry_id")["left"]
    assert left.to_dict() == {"e000": 100, "e001": 20}, "the gift had lapsed, so the purchase paid"
    settled = ledger.expire(book, as_of=START.date() + dt.timedelta(days=21))
    assert settled.entries["points"].sum() == 20 and (settled.entries["reason"] == "expiry").sum() == 1
    assert ledger.expire(settled, as_of=START.date() + dt.timedelta(days=21)) is settled, "nothing is booked twice"


def test_points_last_to_the_end_of_their_last_day() -> None:
    book = ledger.settle(entries(("1", 0, 10, "gift", 5), ("1", 5.9, -10, "redemption", None)))
    assert ledger.balances(book, as_of=START.date() + dt.timedelta(days=6))["balance"].tolist() == [0]
    alone = ledger.settle(entries(("1", 0, 10, "gift", 5)))
    days = [ledger.balances(alone, as_of=START.date() + dt.timedelta(days=day))["lapsed"].item() for day in (5, 6)]
    assert days == [0, 10]


def test_the_past_of_a_ledger_does_not_change_with_what_comes_later() -> None:
    rows = [("1", 0, 100, "purchase", 90), ("1", 30, -40, "redemption", None), ("1", 60, 70, "purchase", 200)]
    early, late = ledger.settle(entries(*rows[:2])), ledger.settle(entries(*rows, ("1", 70, -90, "redemption", None)))
    at = START + pd.Timedelta(days=50)
    pd.testing.assert_frame_equal(ledger.open_lots(early, at=at), ledger.open_lots(late, at=at))


def test_points_below_zero_are_refused_in_a_clear_sentence() -> None:
    bad = entries(("7", 0, 100, "purchase", None), ("8", 0, 5, "gift", None), ("7", 3, -150, "redemption", None))
    with pytest.raises(DataError, match=r"customer 7 would have -50 points after entry e002 .*mend the source"):
        ledger.settle(bad)
    first = ledger.below_zero(bad)
    assert first[["customer_id", "entry_id", "balance"]].to_numpy().tolist() == [["7", "e002", -50]]
    assert ledger.below_zero(bad[bad["customer_id"] == "8"]).empty


def test_spending_books_what_expired_and_refuses_more_than_there_is() -> None:
    book = ledger.settle(entries(("1", 0, 100, "gift", 10), ("1", 1, 60, "purchase", 300)))
    at = START + pd.Timedelta(days=40)
    after = ledger.spend(book, customer_id="1", points=60, at=at, entry_id="now")
    assert ledger.balances(after, as_of=at.date())["balance"].tolist() == [0]
    assert after.entries["reason"].tolist() == ["gift", "purchase", "expiry", "redemption"]
    with pytest.raises(
        DataError, match="has 60 points on 2024-02-10 and cannot spend 61; a balance never goes below zero"
    ):
        ledger.spend(book, customer_id="1", points=61, at=at, entry_id="now")
    with pytest.raises(UsageError, match="points is 0; give a whole number above zero"):
        ledger.spend(book, customer_id="1", points=0, at=at, entry_id="now")
    with pytest.raises(NotFoundError, match="customer 9 has no entries"):
        ledger.spend(book, customer_id="9", points=1, at=at, entry_id="now")
    with pytest.raises(DataError, match="points cannot be spent at 2023-12-01 00:00:00 any more"):
        ledger.spend(book, customer_id="1", points=1, at=pd.Timestamp(2023, 12, 1), entry_id="now")


def test_entries_that_are_none_are_named() -> None:
    good = entries(("1", 0, 100, "gift", None))
    with pytest.raises(DataError, match="lacks the columns reason"):
        ledger.settle(good.drop(columns="reason"))
    with pytest.raises(DataError, match=r"entry e000 of customer 1 .* has 1.5 points"):
        ledger.settle(good.assign(points=1.5))
    with pytest.raises(DataError, match="entry e000 is there twice"):
        ledger.settle(pd.concat([good, good]))
    assert ledger.balances(ledger.settle(good.iloc[:0]), as_of=START.date()).empty


# ---------------------------------------------------------------- rules


def paid(*rows: tuple[str, str, int, str]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["customer_id", "occurred_at", "amount_minor", "category"])
    moments = pd.to_datetime(table["occurred_at"])
    return table.assign(occurred_at=moments, transaction_id=[f"t{number}" for number in range(len(table))])


MEMBERS = pd.DataFrame({"customer_id": ["1", "2"], "joined_on": pd.to_datetime(["2024-01-01", "2024-02-01"])})


def test_rules_as_data_earn_what_they_say() -> None:
    programme = rules.parse(
        {
            "valid_months": 6,
            "rules": [
                {"name": "food", "categories": ["groceries"], "points": 2, "per_minor": 1000, "minimum_minor": 1500}
                | {"most_per_month": 10, "ends_on": dt.date(2024, 3, 31)},
                {"name": "card", "kind": "opening", "products": ["gold"], "points": 500},
                {"name": "birthday", "kind": "birthday", "points": 50},
                {"name": "welcome", "kind": "joining", "points": 200},
            ],
        }
    )
    transactions = paid(
        ("1", "2024-01-05 10:00", -3999, "groceries"),  # 3 full thousands: 6 points
        ("1", "2024-01-06 10:00", -1499, "groceries"),  # below the minimum
        ("1", "2024-01-07 10:00", -9000, "travel"),  # another category
        ("1", "2024-01-08 10:00", 5000, "groceries"),  # money that came in
        ("1", "2024-01-09 10:00", -9000, "groceries"),  # 18, of which 4 are left of this month's 10
        ("1", "2024-01-10 10:00", -9000, "groceries"),  # the month is full
        ("1", "2024-04-01 10:00", -9000, "groceries"),  # the rule has ended
        ("2", "2024-01-20 10:00", -9000, "groceries"),  # not a member yet
        ("3", "2024-01-20 10:00", -9000, "groceries"),  # never a member
    )
    holdings = pd.DataFrame(
        {
            "holding_id": ["h1", "h2"],
            "customer_id": ["1", "1"],
            "product_id": ["gold", "plain"],
            "opened_on": [pd.Timestamp(2024, 2, 2)] * 2,
        }
    )
    customers = pd.DataFrame({"customer_id": ["1", "2"], "birth_date": pd.to_datetime(["1992-02-29", None])})
    found = rules.earn(
        programme,
        transactions=transactions,
        holdings=holdings,
        customers=customers,
        members=MEMBERS,
        until=dt.date(2025, 1, 31),
    )
    told = found.assign(day=found["occurred_at"].dt.strftime("%m-%d"))[["customer_id", "rule", "day", "points"]]
    assert sorted(told.to_numpy().tolist()) == [
        ["1", "birthday", "02-29", 50],
        ["1", "card", "02-02", 500],
        ["1", "food", "01-05", 6],
        ["1", "food", "01-09", 4],
        ["1", "welcome", "01-01", 200],
        ["2", "welcome", "02-01", 200],
    ]
    assert found.loc[found["rule"] == "birthday", "expires_on"].dt.date.tolist() == [dt.date(2024, 8, 29)]
    assert found["entry_id"].is_unique and set(found["reason"]) == {"purchase", "opening", "gift"}
    assert ledger.settle(found).entries["points"].sum() == 960


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("12"), st.integers(0, 80), st.integers(-4000, 1000)), max_size=20),
    st.integers(1, 900),
    st.integers(0, 5),
)
def test_accrual_against_a_plain_loop(steps: list[tuple[str, int, int]], per: int, most: int) -> None:
    rows = [(who, str(START + pd.Timedelta(days=day, hours=1)), amount, "x") for who, day, amount in steps]
    programme = rules.Programme((rules.Rule("all", per_minor=per, most_per_month=most),))
    members = MEMBERS.assign(joined_on=START)
    found = rules.earn(programme, transactions=paid(*rows), members=members, until=dt.date(2024, 12, 31))
    given_points: dict[tuple[str, int], int] = {}
    for who, moment, amount, _ in sorted(rows, key=lambda row: row[1]):
        key = (who, pd.Timestamp(moment).month)
        room = most - given_points.get(key, 0) if most else 10**9
        given_points[key] = given_points.get(key, 0) + min(max(-amount, 0) // per, room)
    months = found.groupby([found["customer_id"], found["occurred_at"].dt.month])["points"].sum()
    assert months.to_dict() == {key: points for key, points in given_points.items() if points}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"valid_months": -1}, "valid_months is -1; give a whole number from 0"),
        ({"point_minor": "one"}, "point_minor is 'one'; give what a point costs"),
        ({"point": 1}, "unknown setting point; known are point_minor, rules, valid_months"),
        ({"rules": []}, r"rules is \[\]; write each rule as a section"),
        ({"rules": [{"name": ""}]}, "rule 1: name is ''; give the rule a name"),
        ({"rules": [{"name": "a", "kind": "magic"}]}, r"rule 1 \(a\): kind is 'magic'; use purchase, opening"),
        ({"rules": [{"name": "a", "points": 0}]}, r"\(a\): points is 0; give a whole number, 1 or more"),
        ({"rules": [{"name": "a", "per_minor": 2.5}]}, "per_minor is 2.5; give a whole number"),
        ({"rules": [{"name": "a", "categories": "food"}]}, "categories is 'food'; give a list of names"),
        ({"rules": [{"name": "a", "starts_on": "2025"}]}, "starts_on is '2025'; write a date"),
        ({"rules": [{"name": "a"}, {"name": "a"}]}, "two rules are named 'a'"),
        (
            {"rules": [{"name": "a", "starts_on": dt.date(2025, 2, 1), "ends_on": dt.date(2025, 1, 1)}]},
            "before it starts",
        ),
    ],
)
def test_bad_rules_are_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        rules.parse(values)


def test_rules_are_read_from_a_file(tmp_path: Any) -> None:
    assert rules.read(tmp_path / "points.toml") == rules.Programme()
    (tmp_path / "points.toml").write_text('point_minor = 0.5\n[[rules]]\nname = "all"\nper_minor = 100\n')
    assert rules.read(tmp_path / "points.toml").rules == (rules.Rule("all", per_minor=100),)
    (tmp_path / "points.toml").write_text("[[rules]\n")
    with pytest.raises(DataError, match=r"points.toml: not a readable TOML file"):
        rules.read(tmp_path / "points.toml")
    with pytest.raises(DataError, match="rule purchases: it is about a purchase, and no such table is given"):
        rules.earn(rules.Programme(), members=MEMBERS, until=dt.date(2025, 1, 1))


# ---------------------------------------------------------------- liability


def made(seed: int, *, customers: int = 400, months: int = 30, chance: float = 0.08) -> pd.DataFrame:
    """A ledger in which each month a customer earns, and with ``chance`` spends half of what there is; a year of validity."""
    rng = np.random.default_rng(seed)
    book: list[tuple[Any, ...]] = []
    for number in range(customers):
        lots: list[list[int]] = []  # month, points
        size = int(rng.integers(5, 200))
        for month in range(months):
            day = month * 30.4375
            over = sum(left for earned, left in lots if earned + 12 <= month)
            if over:
                book.append((str(number), day, -over, "expiry", None))
                lots = [lot for lot in lots if lot[0] + 12 > month]
            total = sum(left for _, left in lots)
            if total > 1 and rng.random() < chance:
                wanted = total // 2
                book.append((str(number), day + 10, -wanted, "redemption", None))
                for lot in lots:
                    part = min(lot[1], wanted)
                    lot[1] -= part
                    wanted -= part
            lots.append([month, size])
            book.append((str(number), day + 20, size, "purchase", int((month + 12) * 30.4375) - 1))
    return entries(*book)


def test_the_forecast_covers_what_comes_in_nineteen_of_twenty_ledgers() -> None:
    day = (START + pd.Timedelta(days=round(18 * 30.4375) - 1)).date()
    inside = []
    for seed in range(25):
        book = ledger.settle(made(seed, customers=120))
        runoff = liability.fit(book, as_of=day)
        row = liability.forecast(runoff, book, as_of=day, point_minor=1.0).iloc[6]
        past = triangle.Past(book, day)
        actual = past.spent_of(past.open(0, runoff.edges), 0, 6).sum()
        inside.append(row["spent_low"] <= actual <= row["spent_high"])
    assert np.mean(inside) >= 0.84, "25 ledgers: 21 or more is what nineteen in twenty gives with 99%"


def test_what_is_open_is_spent_or_lost_and_the_parts_add_up() -> None:
    book = ledger.settle(made(1))
    day = (START + pd.Timedelta(days=700)).date()
    runoff = liability.fit(book, as_of=day)
    table = liability.forecast(runoff, book, as_of=day, point_minor=2.0)
    total = triangle.Past(book, day).open(0, runoff.edges).left.sum()
    np.testing.assert_allclose(table["points_open"] + table["spent"] + table["lost"], total)
    assert table["points_open"].iloc[-1] == pytest.approx(0, abs=1e-6), "all expire within a year"
    assert (table["spent"].diff().dropna() >= 0).all() and (table["lost"].diff().dropna() >= -1e-9).all()
    now = table.iloc[0]
    assert now["liability_minor"] == pytest.approx(2 * table["spent"].iloc[-1])
    assert now["breakage"] == pytest.approx(1 - table["spent"].iloc[-1] / total)
    assert now["breakage_low"] < now["breakage"] < now["breakage_high"]
    each = liability.by_customer(runoff, book, as_of=day, point_minor=2.0)
    assert each["liability_minor"].sum() == pytest.approx(now["liability_minor"])
    before = liability.past(runoff, book, as_of=day, point_minor=2.0, months=3)
    assert before["month"].tolist() == [-3, -2, -1, 0]
    assert before["liability_minor"].iloc[-1] == pytest.approx(now["liability_minor"])


def test_a_planted_share_spent_each_month_is_found() -> None:
    book = ledger.settle(made(3, customers=1500, chance=0.10))
    day = (START + pd.Timedelta(days=round(29 * 30.4375) - 1)).date()
    runoff = liability.fit(book, as_of=day)
    monthly = runoff.spent.sum() / runoff.exposed.sum()
    assert monthly == pytest.approx(0.05, rel=0.05), "one in ten spends half"
    table = liability.forecast(runoff, book, as_of=day, point_minor=1.0)
    assert table["spent_low"].iloc[1] < 0.05 * table["points_open"].iloc[0] < table["spent_high"].iloc[1]


def test_a_forecast_is_fitted_on_what_was_known_then() -> None:
    table = made(5)
    day = (START + pd.Timedelta(days=500)).date()
    later = table["occurred_at"] < pd.Timestamp(day) + pd.Timedelta(days=1)
    known = ledger.settle(table[later])
    whole = ledger.settle(table)
    one, other = (
        liability.forecast(liability.fit(book, as_of=day), book, as_of=day, point_minor=1.0) for book in (known, whole)
    )
    pd.testing.assert_frame_equal(one, other)


def test_back_test_names_what_was_said_and_what_came() -> None:
    book = ledger.settle(made(2))
    day = (START + pd.Timedelta(days=880)).date()
    table = liability.backtest(book, as_of=day, origins=3)
    assert table["months"].tolist() == [3, 3, 6, 3, 9] and (table["origin"] < pd.Timestamp(day)).all()
    assert (table["covered"] == ((table["low"] <= table["actual"]) & (table["actual"] <= table["high"]))).all()
    assert table["covered"].sum() >= 4


def test_too_little_is_said() -> None:
    book = ledger.settle(made(1, customers=20))
    with pytest.raises(DataError, match=r"found \d+ customers who spent points in \d+ months, need 30 in 6"):
        liability.fit(book, as_of=(START + pd.Timedelta(days=400)).date())
    with pytest.raises(UsageError, match="level is 2; give a probability"):
        liability.check_level(2)


def test_the_example_of_the_page_runs() -> None:
    page = (Path(__file__).parents[1] / "docs" / "points.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(example, {})
    rules.parse(tomllib.loads(re.findall(r"```toml\n(.*?)```", page, re.DOTALL)[0]))
