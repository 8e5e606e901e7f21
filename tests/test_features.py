"""What features are called, what they hold on a hand-made company, and how slips are answered."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa

from crmlib import features
from crmlib.errors import DataError, NotFoundError, UsageError
from crmlib.features import kernel, plan, source
from crmlib.warehouse import build, snapshot

AS_OF = dt.date(2025, 3, 31)


def day(text: str) -> pd.Timestamp:
    return pd.Timestamp(text)


@pytest.fixture
def frames() -> dict[str, pd.DataFrame]:
    """Three customers: one lively, one silent, one who left in February; a fourth who leaves in May."""
    return {
        "customers": pd.DataFrame(
            {
                "customer_id": ["a", "b", "gone", "leaving"],
                "valid_from": [day("2024-01-01")] * 4,
                "closed_on": [pd.NaT, pd.NaT, day("2025-02-10"), day("2025-05-01")],
                "region": ["north", None, "south", "south"],
                "email": ["a@example.org"] * 4,
            }
        ),
        "transactions": pd.DataFrame(
            [
                ("1", "a", day("2025-03-31 23:59:59.999999"), 1000, "groceries", "card"),
                ("2", "a", day("2025-03-01 00:00"), 30, "groceries", "atm"),
                ("3", "a", day("2025-02-28 23:59:59.999999"), -200, "cash", "atm"),
                ("4", "a", day("2025-01-01 00:00"), 5, "cash", "atm"),
                ("5", "a", day("2024-12-31 23:59:59"), 7, "groceries", "card"),
                ("6", "a", day("2025-04-01 00:00"), 99, "travel", "card"),
                ("7", "leaving", day("2024-04-01 00:00"), 11, None, None),
            ],
            columns=["transaction_id", "customer_id", "occurred_at", "amount_minor", "category", "channel"],
        ),
        "contacts": pd.DataFrame(
            {
                "contact_id": ["1", "2"],
                "customer_id": ["a", "a"],
                "occurred_at": [day("2025-03-30 12:00"), day("2025-03-21 12:00")],
                "channel": ["call", "email"],
                "direction": ["in", "out"],
            }
        ),
    }


def open_at(folder: Path, frames: dict[str, pd.DataFrame], as_of: dt.date = AS_OF) -> snapshot.Snapshot:
    path = folder / f"v{len(list(folder.iterdir())):06}.duckdb"
    build.from_frames(path, frames)
    return snapshot.Snapshot(snapshot.open_file(path), as_of)


@pytest.fixture
def taken(tmp_path: Path, frames: dict[str, pd.DataFrame]) -> snapshot.Snapshot:
    return open_at(tmp_path, frames)


def test_windows_are_calendar_months_half_open_at_midnight_utc(taken: snapshot.Snapshot) -> None:
    spec = [features.windowed("transactions", "amount_minor", by="category", months=(1, 3, 12, None))]
    found = features.build(taken, spec).set_index("customer_id")
    assert found.index.tolist() == ["a", "b", "leaving"]
    assert found.loc["a"].drop("as_of").to_dict() == {
        "transactions_count_cash_1m": 0,
        "transactions_count_cash_3m": 2,
        "transactions_count_cash_12m": 2,
        "transactions_count_cash": 2,
        "transactions_sum_cash_1m": 0,
        "transactions_sum_cash_3m": -195,
        "transactions_sum_cash_12m": -195,
        "transactions_sum_cash": -195,
        "transactions_count_groceries_1m": 2,
        "transactions_count_groceries_3m": 2,
        "transactions_count_groceries_12m": 3,
        "transactions_count_groceries": 3,
        "transactions_sum_groceries_1m": 1030,
        "transactions_sum_groceries_3m": 1030,
        "transactions_sum_groceries_12m": 1037,
        "transactions_sum_groceries": 1037,
    }


def test_customers_without_rows_have_zeros_and_no_recency(taken: snapshot.Snapshot) -> None:
    spec = [
        features.windowed("transactions", "amount_minor", months=(12,)),
        features.recency("contacts", where={"direction": "out"}),
        features.variance("transactions", "amount_minor"),
        features.trend("transactions"),
    ]
    found = features.build(taken, spec).set_index("customer_id")
    assert found.loc["b", ["transactions_count_12m", "transactions_sum_12m"]].tolist() == [0, 0]
    assert found.loc["b", ["contacts_out_recency_days", "transactions_variance_12m"]].isna().all()
    assert found.loc["a", "contacts_out_recency_days"] == 10
    assert found.loc["a", "transactions_count_trend_3m"] == pytest.approx((4 - 1) / (4 + 1))
    assert (found["as_of"] == pd.Timestamp(AS_OF)).all()
    assert found.dtypes.astype(str)[["transactions_count_12m", "transactions_sum_12m"]].tolist() == ["int32", "int64"]


def test_a_notebook_extends_the_default_with_a_line(taken: snapshot.Snapshot) -> None:
    spec = features.DEFAULT + [  # noqa: RUF005  (the README writes it so)
        features.windowed("transactions", "amount_minor", by="channel", months=(1,)),
        features.ratio("transactions_sum_1m", "transactions_sum_12m", name="recent_turnover"),
    ]
    found = features.build(taken, spec)
    assert found.columns[:2].tolist() == ["customer_id", "as_of"]
    assert found.columns[-1] == "recent_turnover"
    assert found.set_index("customer_id").loc["a", "recent_turnover"] == pytest.approx(1030 / 842)
    assert found.columns.is_unique


def test_a_company_with_customers_and_holdings_alone(tmp_path: Path) -> None:
    taken = open_at(
        tmp_path,
        {
            "customers": pd.DataFrame({"customer_id": ["a", "b"], "valid_from": [day("2024-01-01")] * 2}),
            "holdings": pd.DataFrame(
                {
                    "holding_id": ["1", "2", "3"],
                    "customer_id": ["a", "a", "b"],
                    "product_id": ["loan", "card", "card"],
                    "opened_on": [day("2025-01-01"), day("2024-01-01"), day("2024-06-01")],
                    "matures_on": [day("2025-06-30"), pd.NaT, pd.NaT],
                    "closed_on": [pd.NaT, pd.NaT, day("2025-03-31")],
                }
            ),
        },
    )
    found = features.build(taken).set_index("customer_id")
    assert found["holdings_open_count_product_card"].tolist() == [1, 0]
    assert found["holdings_open_newest_recency_days"].tolist()[0] == 89
    assert found["holdings_open_oldest_age_days"].tolist()[0] == 455
    assert found["holdings_closed_count_12m"].tolist() == [0, 1]
    assert found["holdings_maturing_3m"].tolist() == [1, 0]
    assert found["holdings_maturing_1m"].tolist() == [0, 0]
    assert (found["transactions_count_12m"] == 0).all()
    assert found["transactions_recency_days"].isna().all()


def test_no_customers_at_all_make_a_table_without_rows(tmp_path: Path, frames: dict[str, pd.DataFrame]) -> None:
    before = open_at(tmp_path, frames, dt.date(2023, 6, 30))
    for engine in ("local", "sql"):
        found = features.build(before, engine=engine)
        assert len(found) == 0
        assert "transactions_count_12m" in found


def test_resolved_levels_hold_for_other_snapshots(tmp_path: Path, frames: dict[str, pd.DataFrame]) -> None:
    early, late = (open_at(tmp_path, frames, as_of) for as_of in (AS_OF, dt.date(2025, 4, 30)))
    spec = [features.attribute("region"), features.windowed("transactions", by="category", months=(1,))]
    fixed = features.resolve(spec, early)
    assert [one.levels for one in fixed] == [("north", "south"), ("cash", "groceries")]
    kept = features.from_json(features.to_json(fixed))
    assert kept == fixed
    train, test = features.build(early, kept), features.build(late, kept)
    assert train.columns.tolist() == test.columns.tolist()
    assert train.dtypes.tolist() == test.dtypes.tolist()
    # Travel came in April: open levels take it in, fixed ones leave it to the totals.
    assert "transactions_count_travel_1m" in features.build(late, spec)
    assert "transactions_count_travel_1m" not in test


def test_json_keeps_every_kind_of_declaration() -> None:
    where: dict[str, Any] = {"channel": ["call", None], "direction": "out"}
    spec = features.DEFAULT + [features.windowed("contacts", where=where, by="outcome", levels=["later"])]  # noqa: RUF005
    assert features.from_json(features.to_json(spec)) == spec
    with pytest.raises(UsageError, match=r"not a feature specification: .*write it with features\.to_json"):
        features.from_json('{"declarations": []}')
    with pytest.raises(UsageError, match="format 99, this release reads 1"):
        features.from_json('{"format": 99, "declarations": []}')


def test_levels_that_look_alike_get_names_of_their_own() -> None:
    one = features.windowed("transactions", by="category", months=(3,), levels=["Cash ATM", "cash-atm", "???"])
    assert [feature.name for feature in plan.expand([one])] == [
        "transactions_count_cash_atm_3m",
        "transactions_count_cash_atm_2_3m",
        "transactions_count_blank_3m",
    ]


def test_describe_says_what_each_feature_means() -> None:
    spec = [
        features.windowed("transactions", "amount_minor", by="category", months=(3,), levels=["groceries"]),
        features.recency("contacts", where={"direction": "out"}),
        features.attribute("gender"),
    ]
    found = features.describe(spec).set_index("name")
    row = found.loc["transactions_sum_groceries_3m"]
    assert row.tolist() == [
        "sum",
        "minor units",
        "transactions",
        "amount_minor",
        "",
        "category",
        "groceries",
        3,
        "none",
    ]
    assert found.loc["contacts_out_recency_days", "where"] == '{"direction": "out"}'
    assert found.loc["customer_gender", "sensitivity"] == "personal"
    assert "transactions_sum_*_12m" in set(features.describe()["name"])
    assert features.describe([]).empty


def test_customers_named_are_computed_as_among_all(taken: snapshot.Snapshot) -> None:
    everyone = features.build(taken)
    for engine in ("local", "sql"):
        some = features.build(taken, customers=["leaving", "a"], engine=engine)
        expected = everyone[everyone["customer_id"] != "b"].reset_index(drop=True)
        pd.testing.assert_frame_equal(some, expected, rtol=1e-9, atol=0)
    with pytest.raises(NotFoundError, match=r"customers gone, nobody: not known or closed at 2025-03-31"):
        features.build(taken, customers=["a", "nobody", "gone"])
    with pytest.raises(NotFoundError, match=r"customers nobody: not known or closed at 2025-03-31"):
        features.build(taken, customers=["nobody"])
    with pytest.raises(UsageError, match="customers is the text 'a'; give a list"):
        features.build(taken, customers="a")
    for wrong in (1, None):
        with pytest.raises(UsageError, match=f"customers holds {wrong}, which is no text"):
            features.build(taken, customers=["a", wrong])  # type: ignore[list-item]


def test_blocks_of_customers_make_no_difference(taken: snapshot.Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = features.build(taken)
    monkeypatch.setattr(kernel, "BLOCK", 1)
    pd.testing.assert_frame_equal(whole, features.build(taken))


def test_sums_beyond_double_precision_are_exact(tmp_path: Path, frames: dict[str, pd.DataFrame]) -> None:
    frames["transactions"]["amount_minor"] = [2**53 + 1, 2**53 + 3, 1, 1, 1, 1, 1]
    taken = open_at(tmp_path, frames)
    for engine in ("local", "sql"):
        found = features.build(taken, [features.windowed("transactions", "amount_minor", months=(1,))], engine=engine)
        assert found["transactions_sum_1m"].tolist() == [2**54 + 4, 0, 0]


def test_amounts_that_could_overflow_are_refused(tmp_path: Path, frames: dict[str, pd.DataFrame]) -> None:
    frames["transactions"]["amount_minor"] = 2**57
    with pytest.raises(DataError, match=f"amounts up to {2**57} are too large to be added exactly; check the unit"):
        features.build(open_at(tmp_path, frames), [features.windowed("transactions", "amount_minor")])


def test_variance_of_large_amounts_keeps_its_digits(tmp_path: Path, frames: dict[str, pd.DataFrame]) -> None:
    frames["transactions"] = frames["transactions"].head(3).assign(amount_minor=[10**12, 10**12 + 1, 10**12 + 2])
    for engine in ("local", "sql"):
        found = features.build(
            open_at(tmp_path, frames), [features.variance("transactions", "amount_minor")], engine=engine
        )
        assert found["transactions_variance_12m"].tolist()[0] == 1.0


def test_sums_of_pieces_are_doubles(tmp_path: Path, frames: dict[str, pd.DataFrame]) -> None:
    frames["transactions"]["quantity"] = [0.5, 0.25, None, 2.0, 1.0, 1.0, 1.0]
    for engine in ("local", "sql"):
        spec = [features.windowed("transactions", "quantity", months=(3,))]
        found = features.build(open_at(tmp_path, frames), spec, engine=engine)
        assert found["transactions_sum_quantity_3m"].tolist() == [2.75, 0.0, 0.0]


def test_balances_in_force(tmp_path: Path, frames: dict[str, pd.DataFrame]) -> None:
    frames["holdings"] = pd.DataFrame(
        {
            "holding_id": ["1", "2", "3"],
            "customer_id": ["a", "a", "a"],
            "product_id": ["saving", "loan", "saving"],
            "opened_on": [day("2024-01-01")] * 3,
            "closed_on": [pd.NaT, pd.NaT, day("2025-02-15")],
        }
    )
    frames["balances"] = pd.DataFrame(
        [
            ("1", day("2025-03-31"), 700),
            ("1", day("2025-02-28"), 400),
            ("1", day("2025-01-31"), 100),
            ("2", day("2025-01-15"), -50),  # in force for three months, then stale
            ("3", day("2025-01-31"), 10_000),  # closed in February
        ],
        columns=["holding_id", "balance_date", "balance_minor"],
    ).assign(customer_id="a")
    spec = [
        features.balance("latest"),
        features.balance("latest", by="product_id"),
        features.balance("average", months=(3,)),
        features.balance("change", months=(2,), by="product_id"),
    ]
    found = features.build(open_at(tmp_path, frames), spec).set_index("customer_id").loc["a"]
    assert found["balances_latest"] == 650
    assert found["balances_latest_product_loan"] == -50
    assert found["balances_average_3m"] == pytest.approx((650 + 350 + 10_050) / 3)
    assert found["balances_change_product_saving_2m"] == 700 - 10_100
    stale = features.build(open_at(tmp_path, frames, dt.date(2025, 4, 30)), spec).set_index("customer_id").loc["a"]
    assert stale["balances_latest"] == 700


@pytest.mark.parametrize(
    ("declare", "error", "message"),
    [
        (lambda: features.windowed("transaction"), NotFoundError, "no table 'transaction'.*did you mean 'transactions'"),
        (lambda: features.windowed("branches"), NotFoundError, "there is no table 'branches' of customers' rows"),
        (lambda: features.windowed("transactions", "amount"), NotFoundError, "no column 'amount'; did you mean 'amount_minor'"),
        (lambda: features.windowed("transactions", by="categorie"), NotFoundError, "'categorie'; did you mean 'category'"),
        (lambda: features.windowed("transactions", by="amount_minor"), UsageError, "amount_minor has no levels"),
        (lambda: features.windowed("contacts", where={"direction": "outward"}), NotFoundError, "contacts.direction is never 'outward'; did you mean 'out'"),
        (lambda: features.windowed("contacts", months=(0,)), UsageError, "months holds 0; give 1 to 1200"),
        (lambda: features.windowed("contacts", counts=False), UsageError, "declares nothing: name a value to sum"),
        (lambda: features.attribute("email"), UsageError, "customers.email is of sensitivity 'contact'; leave it out"),
        (lambda: features.attribute("regoin"), NotFoundError, "no column 'regoin'; did you mean 'region'"),
        (lambda: features.balance("lastest"), NotFoundError, "no balance 'lastest'; did you mean 'latest'"),
        (lambda: features.share("contacts"), UsageError, "share of 'contacts': by is missing"),
        (lambda: features.trend("contacts", before=0), UsageError, "before is 0; give at least one month"),
        (lambda: features.Declaration("window", "contacts"), NotFoundError, "no kind of feature 'window'; did you mean 'windowed'"),
    ],
)  # fmt: skip
def test_a_slip_in_a_declaration_is_answered_at_once(declare: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        declare()


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ([features.windowed("transactions", by="category", levels=["grocery"])], NotFoundError, "category is never 'grocery'; did you mean 'groceries'"),
        ([features.recency("transactions", where={"channel": "cards"})], NotFoundError, "channel is never 'cards'; did you mean 'card'"),
        ([features.trend("contacts", recent=3, before=3), features.trend("contacts", recent=3, before=6)], UsageError, "two different features would be named contacts_count_trend_3m"),
        ([features.ratio("a", "b")], NotFoundError, "a_per_b: there is no number 'a' declared before it"),
        ([features.attribute("region"), features.ratio("customer_region", "customer_region")], NotFoundError, "no number 'customer_region'"),
        ([features.attribute("birth_date")], UsageError, r"birth_date is a date; declare features.since\('birth_date'\)"),
        ([features.since("region")], UsageError, r"region is no date; declare features.attribute\('region'\)"),
        ([features.variance("transactions", "quantity")], UsageError, "quantity: only whole numbers have one"),
    ],
)  # fmt: skip
def test_a_slip_in_a_specification_is_answered(
    taken: snapshot.Snapshot, spec: list[features.Declaration], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        features.build(taken, spec)


def test_an_unknown_engine_is_answered(taken: snapshot.Snapshot) -> None:
    with pytest.raises(NotFoundError, match="no engine 'locally'; did you mean 'local'"):
        features.build(taken, engine="locally")
    with pytest.raises(DataError, match="as_of is 'soon', which is not a date"):
        features.build_sql(sa.create_engine("sqlite://"), "soon")


def test_levels_of_empty_tables_and_lenient_declarations_pass(taken: snapshot.Snapshot) -> None:
    spec = [
        features.windowed("complaints", by="topic", levels=["fees"], months=(3,)),
        replace(features.windowed("contacts", by="channel", levels=["fax"], months=(3,)), strict=False),
    ]
    found = features.build(taken, spec)
    assert (found[["complaints_count_topic_fees_3m", "contacts_count_channel_fax_3m"]] == 0).all(axis=None)


def test_no_default_feature_uses_names_or_addresses() -> None:
    for feature in plan.expand(features.DEFAULT):
        assert plan.sensitivity(feature) in ("none", "personal")
    assert set(features.describe()["sensitivity"]) == {"none", "personal"}


def document() -> str:
    """The table of default features at the end of docs/features.md."""
    lines = ["| feature | meaning | unit | table | rows | months | sensitivity |", "|---|---|---|---|---|---|---|"]
    for row in features.describe().astype(object).fillna("").to_dict("records"):
        names = ("name", "code", "unit", "table", "where", "months", "sensitivity")
        quoted = [f"`{row[name]}`" if name in ("name", "where") and row[name] else str(row[name]) for name in names]
        lines.append("| " + " | ".join(quoted) + " |")
    return "\n".join(lines) + "\n"


DOCUMENT = Path(__file__).parents[1] / "docs" / "features.md"
TABLE_BEGINS = "| feature |"


def test_the_document_lists_the_default_features() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert text[text.index(TABLE_BEGINS) :] == document(), "run `python tests/test_features.py` to write it anew"


@pytest.mark.parametrize("text", ["1969-12-31", "1970-01-01", "2024-02-29"])
def test_days_are_counted_from_1970(text: str) -> None:
    assert source.day_number(dt.date.fromisoformat(text)) == (np.datetime64(text) - np.datetime64("1970-01-01")).astype(
        int
    )


if __name__ == "__main__":
    before = DOCUMENT.read_text(encoding="utf-8")
    DOCUMENT.write_text(before[: before.index(TABLE_BEGINS)] + document(), encoding="utf-8")
