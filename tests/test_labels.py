"""Who could buy what after a date, and who did."""

import datetime as dt

import pandas as pd
import pytest

from crmlib.errors import DataError, NotFoundError
from crmlib.models import labels
from crmlib.warehouse import build, snapshot
from crmlib.warehouse.company import Company

AS_OF = dt.date(2025, 3, 31)


def customers() -> pd.DataFrame:
    rows = [
        # customer_id, birth_date, income_minor, currency, closed_on
        ("adult", "1985-05-05", 300_000, "EUR", None),
        ("child", "2015-05-05", None, "EUR", None),
        ("birthday", "2007-04-01", 300_000, "EUR", None),  # turns 18 the day after
        ("poor", "1985-05-05", 50_000, "EUR", None),
        ("rich_abroad", "1985-05-05", 50_000, "USD", None),
        ("unknown", None, None, None, None),
        ("left", "1985-05-05", 300_000, "EUR", "2025-03-01"),
        ("leaving", "1985-05-05", 300_000, "EUR", "2025-04-20"),
        ("private", "1985-05-05", 300_000, "EUR", None),
    ]
    names = ["customer_id", "birth_date", "income_minor", "currency", "closed_on"]
    table = pd.DataFrame(rows, columns=names)
    return table.assign(valid_from="2024-01-01", birth_date=pd.to_datetime(table["birth_date"]))


def products() -> pd.DataFrame:
    rows = [
        # product_id, minimum_age, maximum_age, minimum_income_minor, requires_product_id, repeatable, withdrawn_on
        ("account", None, None, None, None, None, None),
        ("card", 18, 70, 100_000, "account", False, None),
        ("deposit", None, None, None, None, True, None),
        ("junior", None, 17, None, None, False, None),
        ("old", None, None, None, None, False, "2025-01-31"),
    ]
    names = [
        "product_id", "minimum_age", "maximum_age", "minimum_income_minor", "requires_product_id", "repeatable",
        "withdrawn_on",
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=names)
    return table.assign(valid_from="2024-01-01", name=table["product_id"], currency="EUR")


def holdings() -> pd.DataFrame:
    rows = [
        ("h1", "adult", "account", "2024-02-01", None),
        ("h2", "adult", "deposit", "2024-02-01", None),
        ("h3", "poor", "account", "2024-02-01", None),
        ("h4", "rich_abroad", "account", "2024-02-01", "2025-04-02"),  # closed after the snapshot: still held
        ("h5", "unknown", "account", "2024-02-01", "2025-03-31"),  # closed on the day: no longer held
        ("h6", "adult", "card", "2025-04-01", None),  # first day of the outcome
        ("h7", "adult", "deposit", "2025-06-29", None),  # last day
        ("h8", "unknown", "account", "2025-06-30", None),  # one day late
        ("h9", "birthday", "account", "2025-03-31", None),  # the day itself is the past
        ("h10", "poor", "card", "2025-05-01", None),  # bought although not eligible by the table
        ("h11", "child", "account", "2025-07-15", None),
    ]
    return pd.DataFrame(rows, columns=["holding_id", "customer_id", "product_id", "opened_on", "closed_on"])


def consents() -> pd.DataFrame:
    rows = [
        ("private", "all", "profiling", "2024-05-01", False),
        ("poor", "email", "profiling", "2024-05-01", False),
        ("poor", "all", "profiling", "2024-06-01", True),  # overrules the earlier word for one channel
        ("adult", "all", "marketing", "2024-05-01", False),  # another purpose
        ("child", "all", "profiling", "2025-05-01", False),  # later
    ]
    return pd.DataFrame(rows, columns=["customer_id", "channel", "purpose", "changed_at", "granted"])


@pytest.fixture(scope="module")
def wh(tmp_path_factory):
    path = tmp_path_factory.mktemp("labels") / "v000001.duckdb"
    frames = {"customers": customers(), "products": products(), "holdings": holdings(), "consents": consents()}
    build.from_frames(path, frames, company=Company(exchange_rates={"USD": 3.0}))
    return snapshot.open_file(path)


def able(table: pd.DataFrame) -> dict[str, set[str]]:
    return {str(name): set(part["customer_id"]) for name, part in table.groupby("product_id", observed=True)}


def test_candidates_are_who_could_buy_by_what_was_known(wh):
    found = labels.candidates(wh.snapshot(AS_OF))
    assert able(found) == {
        "account": {"child", "unknown", "leaving"},  # the others hold it
        "card": {"adult", "rich_abroad"},  # 18-70, income 1,000 EUR or 500 USD at 3, an account
        "deposit": {"adult", "child", "birthday", "poor", "rich_abroad", "unknown", "leaving"},  # repeatable
        "junior": {"child", "birthday", "unknown"},
    }
    assert list(found.columns) == ["customer_id", "as_of", "product_id"]
    assert found["as_of"].unique().tolist() == [pd.Timestamp(AS_OF)]


def test_purchases_are_strictly_after_the_date_and_only_of_who_could_buy(wh):
    found = labels.purchases(wh, after=wh.snapshot(AS_OF), within_days=90)
    bought = found[found["bought"]]
    assert set(zip(bought["customer_id"], bought["product_id"], strict=True)) == {
        ("adult", "card"),
        ("adult", "deposit"),
    }
    pairs = labels.candidates(wh.snapshot(AS_OF))
    pd.testing.assert_frame_equal(found.drop(columns="bought"), pairs)
    assert labels.sold(found) == ["card", "deposit"]


def test_a_later_day_takes_in_what_was_one_day_late(wh):
    found = labels.purchases(wh, after=wh.snapshot(AS_OF), within_days=91)
    assert found.set_index(["customer_id", "product_id"])["bought"]["unknown", "account"]


def test_only_the_products_asked_for(wh):
    found = labels.candidates(wh.snapshot(AS_OF), products=["junior"])
    assert set(found["product_id"]) == {"junior"}
    with pytest.raises(NotFoundError, match="product old was not on sale as of 2025-03-31; on sale were account, card"):
        labels.candidates(wh.snapshot(AS_OF), products=["old"])


def test_outcomes_that_would_be_cut_off_are_refused(wh):
    with pytest.raises(DataError, match="the last record of version 1 is of 2025-07-15; take an earlier snapshot"):
        labels.purchases(wh, after=wh.snapshot(AS_OF), within_days=120)
    with pytest.raises(DataError, match="within_days is 0"):
        labels.purchases(wh, after=wh.snapshot(AS_OF), within_days=0)


def test_a_product_nobody_bought_is_named(wh):
    with pytest.raises(DataError, match="nobody who could buy junior did so from 2025-04-01 to 2025-06-29"):
        labels.purchases(wh, after=wh.snapshot(AS_OF), products=["junior"])


def test_a_company_where_everybody_objects_or_nothing_is_sold(tmp_path):
    objecting = pd.DataFrame(
        {"customer_id": ["a"], "channel": "all", "purpose": "profiling", "changed_at": "2024-05-01", "granted": False}
    )
    one = pd.DataFrame({"customer_id": ["a"], "valid_from": ["2024-01-01"]})
    event = pd.DataFrame({"transaction_id": ["t"], "customer_id": "a", "occurred_at": "2025-07-01", "amount_minor": 1})
    frames = {"customers": one, "consents": objecting, "transactions": event, "products": products()}
    build.from_frames(tmp_path / "a.duckdb", frames)
    known = snapshot.open_file(tmp_path / "a.duckdb").snapshot(AS_OF.replace(month=6, day=30))
    assert len(labels.objectors(known)) == 1
    with pytest.raises(DataError, match="no customer to score: of 1 with an open relationship"):
        labels.candidates(known)
    build.from_frames(tmp_path / "b.duckdb", {"customers": one, "transactions": event, "consents": objecting.iloc[:0]})
    with pytest.raises(DataError, match="no product was on sale"):
        labels.candidates(snapshot.open_file(tmp_path / "b.duckdb").snapshot("2025-07-01"))
