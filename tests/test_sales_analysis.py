"""Sales analysis: sums against a plain count on two engines, shares, price position, a decomposition that adds up exactly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from crmlib.errors import DataError, UsageError
from crmlib.models.sales import cube, mix, position
from crmlib.warehouse import build, schema, snapshot
from crmlib.warehouse.company import Company

COMPANY = Company(currency="EUR", exchange_rates={"USD": 0.5})
FRAMES = {
    "products": pd.DataFrame({"product_id": ["own1", "own2", "hill"], "maker": [None, None, "Hill"]}).assign(
        name="x", product_group=["milk", "milk", "milk"], valid_from="2024-01-01", recorded_at="2024-01-01"
    ),
    "outlets": pd.DataFrame(
        {"outlet_id": ["s1", "s2"], "region": ["north", None], "format": ["kiosk", "hyper"]}
    ).assign(valid_from="2024-01-01", recorded_at="2024-01-01"),
    "outlet_sales": pd.DataFrame(
        [
            ("s1", "own1", "2025-01-30", 10.0, 1000, 100, "EUR"),
            ("s1", "own1", "2025-02-01", -2.0, None, 100, "EUR"),
            ("s1", "hill", "2025-02-01", 5.0, 900, None, "USD"),
            ("s2", "own2", "2025-02-03", 4.0, None, 50, None),
            ("s2", "own1", "2025-02-28", 6.0, 540, 90, "EUR"),
            ("s2", "lost", "2025-02-28", 1.0, 70, 70, "EUR"),
        ],
        columns=["outlet_id", "product_id", "sold_on", "quantity", "revenue_minor", "price_minor", "currency"],
    ).assign(recorded_at="2025-02-28 20:00"),
}


@pytest.fixture(scope="module")
def snap(tmp_path_factory: pytest.TempPathFactory) -> snapshot.Snapshot:
    path = tmp_path_factory.mktemp("sales") / "v.duckdb"
    build.from_frames(path, FRAMES, company=COMPANY)
    return snapshot.open_file(path).snapshot("2025-02-28")


def rows(table: pd.DataFrame) -> list[tuple[object, ...]]:
    return [tuple(row) for row in table.drop(columns="period").itertuples(index=False)]


def test_sums_by_anything(snap: snapshot.Snapshot) -> None:
    february = cube.sales(snap, by=["maker"], since="2025-02-01")
    assert rows(february) == [("Hill", 5.0, 450.0), ("own", 9.0, -200.0 + 200.0 + 540.0 + 70.0)]
    by_place = cube.sales(snap, by=["region", "product_id"], step="year")
    assert rows(by_place) == [
        ("", "lost", 1.0, 70.0),
        ("", "own1", 6.0, 540.0),
        ("", "own2", 4.0, 200.0),
        ("north", "hill", 5.0, 450.0),
        ("north", "own1", 8.0, 800.0),
    ]
    assert by_place["period"].eq(pd.Timestamp("2025-01-01")).all()
    total = cube.sales(snap, by=[], step="month")
    assert total["pieces"].tolist() == [10.0, 14.0]
    weeks = cube.sales(snap, by=["format"], step="week")
    assert weeks["period"].dt.day_of_week.eq(0).all()


def test_every_slice_sums_to_the_whole(snap: snapshot.Snapshot) -> None:
    whole = cube.sales(snap, by=[], step="year")["revenue_minor"].iloc[0]
    for key in cube.KEYS:
        assert cube.sales(snap, by=[key])["revenue_minor"].sum() == pytest.approx(whole)


def test_only_what_was_known(tmp_path: Path) -> None:
    late = FRAMES["outlet_sales"].assign(recorded_at="2025-03-05")
    later = FRAMES | {"outlet_sales": pd.concat([FRAMES["outlet_sales"].iloc[:5], late.iloc[5:]])}
    build.from_frames(tmp_path / "v.duckdb", later, company=COMPANY)
    known = snapshot.open_file(tmp_path / "v.duckdb")
    assert "lost" not in cube.sales(known.snapshot("2025-02-28"))["product_id"].tolist()


def test_bad_questions_are_refused(snap: snapshot.Snapshot, tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match="by names colour; sales can be told apart by product_id, product_group, maker"
    ):
        cube.sales(snap, by=["colour"])
    with pytest.raises(UsageError, match="by names a column twice"):
        cube.sales(snap, by=["region", "region"])
    with pytest.raises(UsageError, match="step is 'hour'; choose one of week, month, quarter, year"):
        cube.sales(snap, step="hour")
    with pytest.raises(
        DataError, match=r"outlet_sales holds no sales as of 2025-02-28 from 2025-02-28 until 2025-02-01"
    ):
        cube.sales(snap, since="2025-02-28", until="2025-02-01")
    build.from_frames(tmp_path / "v.duckdb", FRAMES, company=Company(currency="EUR"))
    with pytest.raises(DataError, match="column currency: no exchange rate for USD; add it to exchange_rates"):
        cube.sales(snapshot.open_file(tmp_path / "v.duckdb").snapshot("2025-02-28"))


@pytest.mark.postgres
def test_postgresql_sums_the_same(snap: snapshot.Snapshot) -> None:
    statement = cube._query(snap, ["maker", "region"], "month", None, None)
    wanted = snap.warehouse.read(statement)
    assert len(wanted) == 5
    from postgres import server

    with server() as url:
        engine = sa.create_engine(url)
        with engine.connect() as connection:
            schema.metadata.create_all(connection, tables=[schema.tables()[name] for name in FRAMES])
            for name, table in FRAMES.items():
                values = table.astype(object).where(table.notna(), None).assign(load_id=1)
                connection.execute(sa.insert(schema.tables()[name]), values.to_dict("records"))
            got = [tuple(row) for row in connection.execute(statement)]
        engine.dispose()
    plain = [(row[0], row[1], row[2].to_pydatetime(), *row[3:]) for row in wanted.itertuples(index=False)]
    clean = lambda found: sorted(tuple("" if pd.isna(value) else value for value in row) for row in found)  # noqa: E731
    assert clean(got) == clean(plain)


# ---------------------------------------------------------------- shares and prices


TABLE = pd.DataFrame(
    {
        "product_id": ["a", "b", "x", "a", "b", "x"],
        "maker": ["own", "own", "Hill", "own", "own", "Hill"],
        "product_group": "milk",
        "period": pd.to_datetime(["2024-01-01"] * 3 + ["2025-01-01"] * 3),
        "pieces": [10.0, 30.0, 60.0, 20.0, 40.0, 40.0],
        "revenue_minor": [1000.0, 6000.0, 6600.0, 2200.0, 7600.0, 4000.0],
    }
)


def test_shares_sum_to_one_and_change() -> None:
    found = position.share(TABLE)
    assert found.groupby("period")["value_share"].sum().tolist() == pytest.approx([1.0, 1.0])
    own = found[found["maker"] == "own"]
    assert own["pieces_share"].tolist() == [0.4, 0.6]
    assert own["pieces_change"].tolist()[1] == pytest.approx(0.2)
    products = position.share(TABLE, within=["period", "maker"], of="product_id")
    assert products.groupby(["period", "maker"])["pieces_share"].sum().tolist() == pytest.approx([1.0] * 4)
    none = position.share(TABLE.assign(pieces=0.0))
    assert none["pieces_share"].isna().all()


def test_the_price_index_and_like_for_like() -> None:
    index = position.price_index(TABLE, within=["period"])
    assert index["own_minor"].tolist() == [175.0, pytest.approx(9800 / 60)]
    assert index["index"].tolist() == pytest.approx([100 * 175 / 110, 100 * (9800 / 60) / 100])
    assert position.price_index(TABLE[TABLE["maker"] == "own"], within=["period"])["index"].isna().all()
    pairs = pd.DataFrame({"product_id": ["a", "x"], "substitute_id": ["x", "a"]})
    like = position.matched(TABLE, pairs)
    assert like["index"].tolist() == pytest.approx([100 * 100 / 110, 100 * 110 / 100])
    assert like["maker"].tolist() == ["Hill", "Hill"]
    with pytest.raises(DataError, match="sales has no column region; it has product_id"):
        position.share(TABLE, within=["region"])
    with pytest.raises(DataError, match="within names maker, of which the shares are asked"):
        position.share(TABLE, within=["maker"])


# ---------------------------------------------------------------- price, volume, mix


def test_the_decomposition_by_hand() -> None:
    own = TABLE[TABLE["maker"] == "own"]
    row = mix.decompose(own, before="2024-01-01", after="2025-01-01").iloc[0]
    # a: 10 at 100, then 20 at 110; b: 30 at 200, then 40 at 190. The average price before is 175.
    assert row["price_minor"] == pytest.approx(20 * 10 - 40 * 10)
    assert row["volume_minor"] == pytest.approx(20 * 175)
    assert row["mix_minor"] == pytest.approx((20 - 15) * 100 + (40 - 45) * 200)
    assert row["change_minor"] == pytest.approx(2800)
    assert (row["new_minor"], row["gone_minor"], row["common"]) == (0, 0, 2)


def test_new_and_gone_products_are_kept_apart() -> None:
    table = TABLE.iloc[[0, 2, 4, 5]]  # a goes, b comes
    row = mix.decompose(table, before="2024-01-01", after="2025-01-01").iloc[0]
    assert (row["new_minor"], row["gone_minor"], row["common"]) == (7600, -1000, 1)
    detail = mix.by_part(table, before="2024-01-01", after="2025-01-01").set_index("product_id")
    assert detail["status"].to_dict() == {"a": "gone", "b": "new", "x": "both"}
    with pytest.raises(
        DataError, match=r"before: there are no sales in the period 2020-01-01; the table has those from 2024-01-01"
    ):
        mix.decompose(table, before="2020-01-01", after="2025-01-01")
    with pytest.raises(DataError, match="sales has no column region"):
        mix.decompose(table, parts=["region"], before="2024-01-01", after="2025-01-01")


cell = st.tuples(
    st.sampled_from("abcd"), st.sampled_from("ns"), st.booleans(), st.integers(-3, 50), st.integers(-200, 9000)
)


@settings(max_examples=150, deadline=None)
@given(cells=st.lists(cell, min_size=2, max_size=30))
def test_the_parts_add_up_exactly_whatever_was_sold(cells: list[tuple[str, str, bool, int, int]]) -> None:
    table = pd.DataFrame(cells, columns=["product_id", "region", "later", "pieces", "revenue_minor"])
    table["period"] = np.where(table.pop("later"), pd.Timestamp("2025-01-01"), pd.Timestamp("2024-01-01"))
    table["period"] = pd.to_datetime(table["period"])
    if table["period"].nunique() < 2:
        return
    for within in ((), ("region",)):
        found = mix.decompose(table, within=within, before="2024-01-01", after="2025-01-01")
        parts = found[[f"{name}_minor" for name in mix.EFFECTS]].sum(axis=1)
        np.testing.assert_allclose(parts, found["change_minor"], atol=1e-6)
        change = table.loc[table["period"].dt.year == 2025, "revenue_minor"].sum()
        change -= table.loc[table["period"].dt.year == 2024, "revenue_minor"].sum()
        assert found["change_minor"].sum() == pytest.approx(change)


def test_a_share_changes_against_the_period_before_even_from_nothing() -> None:
    """A maker that pauses for a month has a share of nothing then; the changes of a period sum to nothing."""
    table = pd.DataFrame(
        [("own", 1, 50.0), ("Hill", 1, 50.0), ("own", 2, 80.0), ("own", 3, 75.0), ("Hill", 3, 25.0)],
        columns=["maker", "month", "pieces"],
    )
    table = table.assign(
        period=pd.to_datetime("2025-01-01") + pd.to_timedelta(31 * (table["month"] - 1), unit="D"),
        revenue_minor=2 * table["pieces"],
    )
    found = position.share(table.drop(columns="month"), within=["period"]).set_index(["maker", "period"])
    assert found.loc["Hill", "value_share"].tolist() == [0.5, 0.0, 0.25]
    assert found.loc["Hill", "value_change"].tolist()[1:] == [-0.5, 0.25]
    assert found["value_change"].groupby("period").sum().to_numpy() == pytest.approx(0.0)
