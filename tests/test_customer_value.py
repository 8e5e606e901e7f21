"""Actual value: against a naive reading in plain Python, exact to the cent; settings; what bad input gets."""

from __future__ import annotations

import datetime as dt
import math
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crmlib.errors import DataError, UsageError
from crmlib.models.customer_value import actual, pyramid, terms
from crmlib.models.lifetime import alive
from crmlib.views import plots_value
from crmlib.warehouse import build, company_value, snapshot
from crmlib.warehouse import company as companies
from crmlib.warehouse.company import Company
from crmlib.warehouse.company_value import CustomerValue

VALUE = CustomerValue(
    balance_margins={"accounts": 0.0123, "loans": 0.03, "mortgage": 0.0015, "pension": 0},
    fee_margins={"accounts": 0.5, "gold": 0.75},
    holding_costs_minor={"accounts": 611, "mortgage": 1234},
    transaction_margins={"groceries": 0.0043, "exchange": 0.011, "fee": 1.0},
    both_directions=("exchange",),
    transaction_costs_minor={"branch": 150, "card": 2.5},
    incoming_minutes={"branch": 12.5},
    incoming_costs_minor={"internet": 1, "branch": 7},
    service_minute_minor=61,
    complaint_minutes=17,
)
BANK = Company(
    exchange_rates={"CZK": 0.041, "USD": 0.93},
    contact_costs_minor={"call": 500, "email": 2},
    contact_minutes={"visit": 30.0},
    customer_value=VALUE,
)
PRODUCTS = {
    "current": ("accounts", None, None),
    "gold": ("cards", None, None),
    "cash": ("loans", 30_000, 24),
    "mortgage": ("loans", None, None),
    "pension": ("investment", 40_000, 120),
}
CURRENCIES = ["EUR", "CZK", "USD", None]
FIRST, LAST = dt.date(2025, 1, 1), dt.date(2025, 12, 31)


def days_from(random: np.random.Generator, size: int, start: str = "2024-09-01", length: int = 520) -> np.ndarray:
    return np.datetime64(start) + random.integers(0, length, size).astype("timedelta64[D]")


def made_up(seed: int, *, customers: int = 6, rows: int = 60) -> dict[str, pd.DataFrame]:
    """Random rows of every table that counts, with corrections and late records."""
    random = np.random.default_rng(seed)
    ids = np.array([f"c{number}" for number in range(customers)])

    def events(name: str, key: str, when: str, size: int, **more: Any) -> pd.DataFrame:
        moments = days_from(random, size).astype("datetime64[s]") + random.integers(0, 86_400, size).astype(
            "timedelta64[s]"
        )
        frame = pd.DataFrame({key: [f"{name}{n}" for n in range(size)], "customer_id": random.choice(ids, size)})
        frame[when] = moments
        late = random.integers(0, 40, size).astype("timedelta64[D]")
        frame["recorded_at"] = moments + np.where(random.random(size) < 0.3, late, np.timedelta64(0, "D"))
        gone = np.where(random.random(size) < 0.1, moments + late, np.datetime64("NaT"))
        frame["superseded_at"] = gone
        return frame.assign(**more)

    held = 3 * customers
    opened = days_from(random, held, "2023-06-01", 900)
    closed = np.where(random.random(held) < 0.4, opened + random.integers(0, 500, held), np.datetime64("NaT"))
    holdings = pd.DataFrame(
        {
            "holding_id": [f"h{n}" for n in range(held)],
            "customer_id": random.choice(ids, held),
            "product_id": random.choice(list(PRODUCTS), held),
            "opened_on": opened,
            "closed_on": closed,
            "premium_minor": pd.array(random.choice([None, 3_601, 17_999], held), dtype="Int64"),
            "currency": random.choice(np.array(CURRENCIES, dtype=object), held),
        }
    )
    place = np.repeat(np.arange(held), 14)
    dates = np.tile(pd.date_range("2024-11-30", periods=14, freq="ME").to_numpy(), held)
    dates = dates - random.integers(0, 3, len(dates)).astype("timedelta64[D]")
    balances = pd.DataFrame(
        {
            "holding_id": holdings["holding_id"].to_numpy()[place],
            "customer_id": holdings["customer_id"].to_numpy()[place],
            "balance_date": dates,
            "balance_minor": random.integers(-(10**7), 10**7, len(place)),
            "currency": holdings["currency"].to_numpy(object)[place],
        }
    )[random.random(len(place)) < 0.8]
    categories, channels = ["groceries", "exchange", "fee", "salary"], ["branch", "card", "mobile"]
    return {
        "customers": pd.DataFrame({"customer_id": ids, "valid_from": np.datetime64("2020-01-01")}),
        "products": pd.DataFrame(
            [
                {"product_id": k, "valid_from": np.datetime64("2020-01-01"), "name": k, "product_group": g}
                | {"margin_minor": m, "margin_months": n, "currency": "EUR"}
                for k, (g, m, n) in PRODUCTS.items()
            ]
        ),
        "holdings": holdings,
        "balances": balances,
        "transactions": events(
            "t",
            "transaction_id",
            "occurred_at",
            rows,
            amount_minor=random.integers(-100_000, 50_000, rows),
            currency=random.choice(np.array(CURRENCIES, dtype=object), rows),
            category=random.choice(categories, rows),
            channel=random.choice(channels, rows),
        ),
        "contacts": events(
            "k",
            "contact_id",
            "occurred_at",
            rows,
            channel=random.choice(["call", "email", "visit", "branch", "internet"], rows),
            direction=random.choice(np.array(["in", "out", None], dtype=object), rows),
            duration_seconds=pd.array(random.choice([None, 75, 301], rows), dtype="Int64"),
            cost_minor=pd.array(random.choice([None, 0, 333], rows), dtype="Int64"),
            currency=random.choice(np.array(CURRENCIES, dtype=object), rows),
        ),
        "complaints": events("p", "complaint_id", "opened_at", 5),
    }


def booked(amount: float) -> int:
    return int(math.copysign(math.floor(abs(amount) + 0.5), amount))


def whole(value: object) -> int | None:
    return None if pd.isna(value) else int(value)  # type: ignore[call-overload]


def naive(frames: dict[str, pd.DataFrame], as_of: dt.date, first: dt.date, company: Company) -> dict[Any, int]:
    """The account by customer, month and line, row by row in plain Python."""
    end = pd.Timestamp(as_of) + pd.Timedelta(days=1)
    start = pd.Timestamp(first)
    rates = {company.currency: 1.0, **company.exchange_rates}
    value = company.customer_value
    out: dict[Any, int] = defaultdict(int)

    def rows(name: str, when: str) -> list[dict[str, Any]]:
        found = []
        for row in frames[name].to_dict("records"):
            happened = pd.Timestamp(row[when])
            recorded = pd.Timestamp(row.get("recorded_at", happened))
            gone = row.get("superseded_at")
            if happened < end and recorded < end and (gone is None or pd.isna(gone) or pd.Timestamp(gone) >= end):
                found.append(row | {"when": happened})
        return found

    def rate(row: dict[str, Any]) -> float:
        return rates[row["currency"] if isinstance(row["currency"], str) else company.currency]

    def share(given: dict[str, float], product: str) -> float:
        return given.get(product, given.get(PRODUCTS[product][0], 0.0))

    def add(customer: str, day: pd.Timestamp, line: str, amount: float) -> None:
        out[customer, (day.year, day.month), line] += booked(amount) * (1 if line in actual.INCOME else -1)

    held = {}
    for row in rows("holdings", "opened_on"):
        closed = pd.NaT if pd.isna(row["closed_on"]) or row["closed_on"] >= end else pd.Timestamp(row["closed_on"])
        held[row["holding_id"]] = row
        product = row["product_id"]
        fee, balance = share(value.fee_margins, product), share(value.balance_margins, product)
        _, margin, months = PRODUCTS[product]
        stated = margin * 12 / months if margin and not fee and not balance else 0.0
        cost = share(value.holding_costs_minor, product)
        last = min(end - pd.Timedelta(days=1), closed) if not pd.isna(closed) else end - pd.Timedelta(days=1)
        days: dict[Any, int] = defaultdict(int)
        for day in pd.date_range(max(start, row["when"]), last):
            days[day.year, day.month] += 1
        for (year, month), number in days.items():
            at = pd.Timestamp(year, month, 1)
            add(row["customer_id"], at, "fees", (whole(row["premium_minor"]) or 0) * number * (fee * rate(row) / 365))
            add(row["customer_id"], at, "products", number * (stated / 365))
            add(row["customer_id"], at, "contracts", number * (cost / 365))
    before: dict[str, pd.Timestamp] = {}
    for row in sorted(rows("balances", "balance_date"), key=lambda row: row["when"]):
        holding = held.get(row["holding_id"])
        if holding is None:
            continue
        day = pd.Timedelta(days=1)
        since = max(start - day, holding["when"] - day, before.get(row["holding_id"], pd.Timestamp.min))
        before[row["holding_id"]] = row["when"]
        number = max(min((row["when"] - since).days, 31), 0)
        price = share(value.balance_margins, holding["product_id"]) / 365 * rate(row)
        if row["when"] >= start:
            add(row["customer_id"], row["when"], "interest", abs(row["balance_minor"]) * number * price)
    for row in rows("transactions", "occurred_at"):
        if row["when"] >= start:
            amount, kind = row["amount_minor"], row["category"]
            moved = abs(amount) if kind in value.both_directions else -amount
            earned = moved * (value.transaction_margins.get(kind, 0.0) * rate(row))
            add(row["customer_id"], row["when"], "commissions", earned)
            add(row["customer_id"], row["when"], "operations", value.transaction_costs_minor.get(row["channel"], 0))
    for row in rows("contacts", "occurred_at"):
        if row["when"] >= start:
            incoming, channel = row["direction"] == "in", row["channel"]
            usual = (value.incoming_minutes if incoming else company.contact_minutes).get(channel, 0.0)
            seconds = whole(row["duration_seconds"])
            time = (60 * usual if seconds is None else seconds) * (value.service_minute_minor / 60)
            own = time + value.incoming_costs_minor.get(channel, 0) if incoming else None
            cost = own if own is not None else company.contact_costs_minor.get(channel, time)
            recorded = whole(row["cost_minor"])
            paid = cost if recorded is None else recorded * rate(row)
            add(row["customer_id"], row["when"], "service" if incoming else "contacts", paid)
    for row in rows("complaints", "opened_at"):
        if row["when"] >= start:
            add(row["customer_id"], row["when"], "complaints", value.complaint_minutes * value.service_minute_minor)
    return {key: amount for key, amount in out.items() if amount}


def opened(folder: Path, frames: dict[str, pd.DataFrame], company: Company = BANK) -> snapshot.Warehouse:
    path = folder / f"v{len(list(folder.glob('*.duckdb'))):06d}.duckdb"
    build.from_frames(path, frames, company=company)
    return snapshot.open_file(path)


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), back=st.integers(0, 200), length=st.integers(1, 400))
def test_the_account_is_exactly_that_of_a_naive_reading(tmp_path: Path, seed: int, back: int, length: int) -> None:
    frames = made_up(seed)
    as_of = LAST - dt.timedelta(days=back)
    first = as_of - dt.timedelta(days=length - 1)
    state = opened(tmp_path, frames).snapshot(as_of)
    found = actual.lines(state, first=first, by="month")
    expected = naive(frames, as_of, first, BANK)
    months = [(when.year, when.month) for when in found["period"]]
    got = dict(zip(zip(found["customer_id"], months, found["line"], strict=True), found["amount_minor"], strict=True))
    assert got == expected
    assert found["amount_minor"].dtype == np.int64


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> snapshot.Warehouse:
    return opened(tmp_path_factory.mktemp("bank"), made_up(3, customers=30, rows=600))


def test_lines_months_quarters_and_years_add_up_to_the_total(bank: snapshot.Warehouse) -> None:
    state = bank.snapshot("2025-11-20")
    tables = {by: actual.lines(state, first=dt.date(2024, 12, 10), by=by) for by in ("", "month", "quarter", "year")}
    assert set(tables[""]["line"]) == set(actual.LINES)
    whole_period = tables[""].groupby(["customer_id", "line"], observed=True)["amount_minor"].sum()
    for by, table in tables.items():
        sums = table.groupby(["customer_id", "line"], observed=True)["amount_minor"].sum()
        pd.testing.assert_series_equal(sums[sums != 0], whole_period, obj=f"sums by {by}")
    assert sorted(tables["year"]["period"].astype(str).unique()) == ["2024-12-10", "2025-01-01"]
    assert tables["quarter"]["period"].nunique() == 5
    total = actual.summary(tables[""])
    costs = total["contact_cost_minor"] + total["service_cost_minor"]
    assert (total["income_minor"] - costs == total["actual_minor"]).all()
    assert total["actual_minor"].sum() == sum(table["amount_minor"].sum() for table in tables.values()) // 4
    by_quarter = actual.summary(tables["quarter"])
    assert by_quarter["actual_minor"].sum() == total["actual_minor"].sum() and "period" in by_quarter


def test_every_second_customer_has_the_same_account_as_among_all(bank: snapshot.Warehouse) -> None:
    state = bank.snapshot("2025-11-20")
    everybody, some = actual.monthly(state), actual.monthly(state, every=2)
    wanted = everybody[everybody["customer_key"] % 2 == 0].reset_index(drop=True)
    pd.testing.assert_frame_equal(some, wanted)


def test_effort_prices_the_contacts_that_the_lines_count(bank: snapshot.Warehouse) -> None:
    state = bank.snapshot("2025-11-20")
    table, spent = actual.lines(state), actual.effort(state)
    for direction, line in (("in", "service"), ("out", "contacts")):
        cost = spent.loc[spent["direction"] == direction, "cost_minor"].sum()
        assert cost == -table.loc[table["line"] == line, "amount_minor"].sum() > 0
    branch = spent[(spent["channel"] == "branch") & (spent["direction"] == "in")]
    assert 0 < branch["minutes"].sum() < 13 * branch["contacts"].sum()


def test_a_customer_with_no_transactions_has_an_account_of_zeros() -> None:
    empty = pd.DataFrame(
        {
            "customer_id": pd.Series(dtype="str"),
            "period": pd.Series(dtype="datetime64[us]"),
            "line": pd.Categorical([], categories=list(actual.LINES), ordered=True),
            "amount_minor": pd.Series(dtype="int64"),
        }
    )
    found = actual.summary(empty, customers=pd.Series(["anna"]))
    assert found.iloc[0].to_dict() == {
        **dict.fromkeys(["income_minor", "contact_cost_minor", "service_cost_minor", "actual_minor"], 0),
        "customer_id": "anna",
    }


def test_no_balances_at_all_leave_the_other_lines_as_they_are(tmp_path: Path) -> None:
    frames = made_up(5)
    full = actual.lines(opened(tmp_path, frames).snapshot(LAST))
    without = actual.lines(opened(tmp_path, {**frames, "balances": frames["balances"].iloc[:0]}).snapshot(LAST))
    assert "interest" not in set(without["line"])
    pd.testing.assert_frame_equal(without, full[full["line"] != "interest"].reset_index(drop=True))


def test_a_later_correction_changes_no_earlier_account(tmp_path: Path) -> None:
    frames = made_up(8)
    as_of = dt.date(2025, 6, 30)
    before = actual.lines(opened(tmp_path, frames).snapshot(as_of), by="quarter")
    later = frames["transactions"].assign(
        transaction_id=lambda t: t["transaction_id"] + "x",
        recorded_at=np.datetime64("2025-07-01T00:00:00"),
        superseded_at=pd.NaT,
    )
    frames["transactions"] = pd.concat([frames["transactions"], later], ignore_index=True)
    changed = opened(tmp_path, frames)
    pd.testing.assert_frame_equal(actual.lines(changed.snapshot(as_of), by="quarter"), before)
    assert len(actual.lines(changed.snapshot("2025-07-01"))) >= len(before[["customer_id"]].drop_duplicates())


# ---------------------------------------------------------------- bad input


def test_a_currency_without_a_rate_is_refused(tmp_path: Path) -> None:
    state = opened(tmp_path, made_up(1), replace(BANK, exchange_rates={"CZK": 0.04})).snapshot(LAST)
    with pytest.raises(DataError, match=r"table balances, column currency: no exchange rate for USD; add it"):
        actual.lines(state)


def test_an_unknown_product_group_in_the_settings_is_refused(bank: snapshot.Warehouse) -> None:
    wrong = replace(BANK, customer_value=replace(VALUE, fee_margins={"acounts": 0.5}))
    with pytest.raises(
        DataError, match=r"customer_value.fee_margins: 'acounts' is neither a product group nor a product; groups are"
    ):
        actual.lines(bank.snapshot(LAST), company=wrong)
    # The defaults may name groups that a company does not have.
    assert len(terms.products(bank.snapshot(LAST), company=Company())) == len(PRODUCTS)


def test_a_first_day_after_the_snapshot_and_an_unknown_period_are_refused(bank: snapshot.Warehouse) -> None:
    with pytest.raises(DataError, match=r"the first day 2025-12-01 is after the snapshot of 2025-11-20"):
        actual.lines(bank.snapshot("2025-11-20"), first=dt.date(2025, 12, 1))
    with pytest.raises(UsageError, match=r"by is 'week'; use month, quarter, year or nothing"):
        actual.lines(bank.snapshot("2025-11-20"), by="week")


# ---------------------------------------------------------------- settings


def written(folder: Path, text: str) -> Path:
    path = folder / "company.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_settings_are_read_and_survive_the_warehouse_file(tmp_path: Path) -> None:
    path = written(
        tmp_path, "[customer_value]\nservice_minute_minor = 80\n[customer_value.fee_margins]\ncards = 0.25\n"
    )
    found = companies.read(path)
    assert found.customer_value.service_minute_minor == 80
    assert found.customer_value.fee_margins == {"cards": 0.25}
    assert found.customer_value.balance_margins == company_value.BALANCE_MARGINS
    assert companies.from_json(found.to_json()) == found
    assert companies.from_json('{"name": "an earlier release"}').customer_value == CustomerValue()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[customer_value]\nminute = 1", r"customer_value: unknown setting minute; known are balance_margins"),
        ("[customer_value.fee_margins]\ncards = 1.5", r"fee_margins.cards is 1.5; give a share from 0 to 1"),
        ("[customer_value.balance_margins]\nx = true", r"balance_margins.x is True; give a share from 0 to 1"),
        ("[customer_value.incoming_minutes]\ncall = -1", r"incoming_minutes.call is -1; give a number, 0 or more"),
        ("[customer_value]\nservice_minute_minor = -60", r"service_minute_minor is -60; give a number, 0 or more"),
        ('[customer_value]\nfee_margins = "all"', r"fee_margins is 'all'; write it as a section"),
        ("[customer_value]\nboth_directions = [1]", r"both_directions is \[1\]; give a list of categories"),
        ("customer_value = 3", r"customer_value is 3; write it as a section"),
        ("annual_discount = 1.5", r"annual_discount is 1.5; give a share from 0 to 1"),
    ],
)
def test_bad_settings_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        companies.read(written(tmp_path, text))


# ---------------------------------------------------------------- the pyramid and the pictures


def test_the_pyramid_takes_each_customer_once() -> None:
    values = pd.Series(np.random.default_rng(2).lognormal(3, 2, 5_000)).mask(lambda v: v < 1)
    found = pyramid.tiers(values)
    assert found["customers"].sum() == values.notna().sum()
    assert found["share"].sum() == pytest.approx(1)
    top = values.nlargest(found["customers"].iloc[0])
    assert found["value"].iloc[0] == pytest.approx(top.sum()) and found["lowest"].iloc[0] == top.min()


def test_a_pyramid_of_nothing_and_shares_that_do_not_rise_are_refused() -> None:
    with pytest.raises(
        DataError, match=r"the 2 values add up to -3; a pyramid needs values that add up to more than 0"
    ):
        pyramid.tiers(pd.Series([-5.0, 2.0, np.nan]))
    with pytest.raises(UsageError, match=r"shares are \[0.5, 0.2\]; give rising shares"):
        pyramid.tiers(pd.Series([1.0]), shares=[0.5, 0.2])


@pytest.mark.parametrize("language", ["en", "ru"])
def test_pictures_show_the_amounts_they_are_given(language: str) -> None:
    account = plots_value.account(pd.Series({"interest": 300, "contacts": -100}), currency="EUR", language=language)
    assert list(account.data[0].x) == pytest.approx([3.0, -1.0, 2.0])
    assert account.data[0].y[0] == ("Interest" if language == "en" else "Проценты")
    tiers = pyramid.tiers(pd.Series([70.0, 20.0, 10.0, 0.0]), shares=[0.25, 0.5])
    drawn = plots_value.pyramid(tiers, language=language)
    assert list(drawn.data[0].x) == pytest.approx([0.7, 0.2, 0.1]) and len(drawn.layout.annotations) == 3
    gaps = pd.DataFrame({"product_id": ["a", "b", "a"], "gap_minor": [100.0, 50.0, 100.0]})
    bars = plots_value.gaps(gaps, products={"a": "Card"}, currency="EUR", language=language).data[0]
    assert list(bars.x) == pytest.approx([0.5, 2.0]) and bars.y[-1] == "Card"


def test_the_break_even_is_marked_where_the_actions_cross() -> None:
    actions = [alive.Action("mail", 0.012, 0.0, 100), alive.Action("call", 0.0, 0.05, 500)]
    marks = alive.thresholds(actions, value_minor=20_000)
    drawn = plots_value.alive(alive.curve(actions, value_minor=20_000), marks, currency="EUR", asked=0.3)
    # mail: 240 p − 100, call: 1000 (1 − p) − 500; they cross at 600 / 1240.
    assert marks["from_alive"].iloc[1] == pytest.approx(600 / 1240)
    assert [shape.x0 for shape in drawn.layout.shapes] == pytest.approx([600 / 1240])
    ring = drawn.data[-1]
    assert ring.x[0] == 0.3 and ring.y[0] == pytest.approx(2.0) and ring.text[0] == "at 30%: call"
