"""Demand series from the warehouse: against naive sums, as known at a date, and what bad input gets."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import made_demand as made
import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from crmlib.errors import DataError, UsageError
from crmlib.models.demand import calendar, future, records, series, treatment
from crmlib.warehouse import schema, snapshot
from crmlib.warehouse.company import Company

SUMS = ["quantity", "recorded", "returns", "lost", "filled", "removed", "open_days"]


@pytest.fixture(scope="module")
def supplier() -> made.Made:
    return made.make()


@pytest.fixture(scope="module")
def known(supplier: made.Made, tmp_path_factory: pytest.TempPathFactory) -> snapshot.Snapshot:
    return made.opened(tmp_path_factory.mktemp("known"), supplier.frames).snapshot(made.LAST)


@pytest.fixture(scope="module")
def levels(known: snapshot.Snapshot) -> dict[str, pd.DataFrame]:
    wanted: dict[str, series.Level] = {
        "regions": (("product_id", "region"), "week"),
        "groups": (("product_group",), "week"),
        "total": ((), "week"),
        "outlets": (("outlet_id", "product_id"), "day"),
        "customers": (("customer_id",), "month"),
        "months": (("product_id",), "month"),
        "formats": (("format", "region"), "quarter"),
    }
    return series.build_levels(known, wanted)


def own_sales(supplier: made.Made) -> pd.DataFrame:
    sales = supplier.frames["outlet_sales"]
    return sales[sales["product_id"] != "X1"].merge(supplier.frames["outlets"], on="outlet_id", validate="many_to_one")


# ---------------------------------------------------------------- agreement with naive sums


def test_what_was_recorded_is_the_plain_sum_of_the_sales(supplier: made.Made, levels: dict[str, pd.DataFrame]) -> None:
    sales = own_sales(supplier)
    table = levels["regions"]
    week = sales["sold_on"] - pd.to_timedelta(sales["sold_on"].dt.day_of_week, unit="D")
    plain = sales.groupby(["product_id", "region", week.rename("period")])["quantity"].sum().reset_index()
    plain = plain[(plain["period"] >= table["period"].min()) & (plain["period"] <= table["period"].max())]
    both = table.merge(plain, on=["product_id", "region", "period"], suffixes=("", "_plain"), how="outer")
    assert len(both) == len(table) == len(plain)
    np.testing.assert_allclose(both["recorded"], both["quantity_plain"])


def test_every_series_is_complete_and_named_by_its_keys(levels: dict[str, pd.DataFrame]) -> None:
    for name, step in (("regions", "week"), ("outlets", "day"), ("months", "month"), ("formats", "quarter")):
        table = levels[name]
        for _, one in table.groupby("series_id"):
            assert list(one["period"]) == list(calendar.periods(one["period"].iloc[0], one["period"].iloc[-1], step))
    assert levels["regions"]["series_id"].unique().tolist()[:2] == ["P1/north", "P1/south"]
    assert levels["outlets"]["series_id"].iloc[0] == "O00/P1"
    assert set(levels["total"]["series_id"]) == {"all"}
    assert set(levels["formats"]["series_id"]) == {"shop/north", "shop/south"}


def test_levels_add_up_to_each_other(levels: dict[str, pd.DataFrame]) -> None:
    bottom = levels["regions"].groupby("period")[SUMS].sum()
    for name in ("groups", "total"):
        np.testing.assert_allclose(levels[name].groupby("period")[SUMS].sum(), bottom, atol=1e-6)
    days = levels["outlets"].assign(period=calendar.starts(levels["outlets"]["period"], "week"))
    weeks = days.groupby(["product_id", "period"])[SUMS].sum()
    regions = levels["regions"].groupby(["product_id", "period"])[SUMS].sum()
    np.testing.assert_allclose(weeks.loc[regions.index], regions, atol=1e-6)


def test_demand_is_what_was_recorded_and_what_the_treatment_says(levels: dict[str, pd.DataFrame]) -> None:
    for table in levels.values():
        made_up = table["recorded"] + table["returns"] + table["lost"] + table["filled"] - table["removed"]
        np.testing.assert_allclose(table["quantity"], made_up, atol=1e-6)
        assert table["weight"].between(0, 1).all()
        assert set(table["status"]) <= set(treatment.STATUSES)


def test_promotions_prices_stock_outs_and_opening_days_are_plain_shares(
    supplier: made.Made, levels: dict[str, pd.DataFrame]
) -> None:
    sales = own_sales(supplier)
    month = sales["sold_on"].dt.to_period("M").dt.start_time.astype("datetime64[us]").rename("period")
    paid = sales.assign(worth=sales["quantity"] * sales["price_minor"])
    plain = paid.groupby(["product_id", month]).agg(
        promotion=("on_promotion", "mean"), stocked_out=("stocked_out", "mean"), open_days=("quantity", "size"),
        worth=("worth", "sum"), pieces=("quantity", "sum"),
    )  # fmt: skip
    table = levels["months"].set_index(["product_id", "period"])
    plain = plain.loc[table.index]
    for name in ("promotion", "stocked_out", "open_days"):
        np.testing.assert_allclose(table[name], plain[name], atol=1e-9, err_msg=name)
    np.testing.assert_allclose(table["price_minor"], plain["worth"] / plain["pieces"])
    holidays = table["holiday"].xs(pd.Timestamp("2024-12-01"), level="period")
    assert (holidays == 1).all()


def test_many_batches_give_what_one_gives(
    known: snapshot.Snapshot, levels: dict[str, pd.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crmlib.models.demand.cells.MOST_CELLS", 1)
    for name, level in (("regions", (("product_id", "region"), "week")), ("total", ((), "week"))):
        found = series.build(known, by=level[0], step=level[1])
        pd.testing.assert_frame_equal(found, levels[name])


def test_competitors_are_asked_for_by_name(known: snapshot.Snapshot) -> None:
    assert set(series.build(known, by=("product_id",), makers=("Rival",))["product_id"]) == {"X1"}
    assert series.build(known, by=("product_id",), makers=("", "Rival"))["product_id"].nunique() == 4


# ---------------------------------------------------------------- only what was known


def test_rows_that_came_later_change_nothing(supplier: made.Made, tmp_path: Path) -> None:
    as_of = dt.date(2025, 3, 31)
    sales = supplier.frames["outlet_sales"].assign(recorded_at=lambda rows: rows["sold_on"])
    past = sales[sales["sold_on"] <= pd.Timestamp(as_of)]
    late = past[past["sold_on"] >= "2025-03-01"].head(40).assign(sold_on=pd.Timestamp("2025-01-05"), quantity=5_000.0)
    late = late.drop_duplicates(["outlet_id", "product_id", "sold_on"]).assign(recorded_at=pd.Timestamp("2025-06-01"))
    frames = {**supplier.frames, "outlet_sales": pd.concat([sales, late])}
    (tmp_path / "all").mkdir()
    (tmp_path / "past").mkdir()
    with_future = made.opened(tmp_path / "all", frames).snapshot(as_of)
    without = made.opened(tmp_path / "past", {**supplier.frames, "outlet_sales": past}).snapshot(as_of)
    pd.testing.assert_frame_equal(series.build(with_future), series.build(without))


def test_the_running_period_is_left_out_and_said_so(known: snapshot.Snapshot) -> None:
    table = series.build(known, step="month")
    assert table["period"].max() == pd.Timestamp("2025-11-01")
    assert {"code": "running_period_left_out", "from": "2025-12-01", "until": "2025-12-29"} in treatment.notes(table)
    earlier = series.build(known, step="week", since="2024-02-01", until="2024-05-05")
    assert earlier["period"].min() == pd.Timestamp("2024-02-05")
    assert earlier["period"].max() == pd.Timestamp("2024-04-29")
    assert treatment.notes(earlier)[0]["code"] == "partial_first_period_left_out"


def test_a_month_that_begins_with_a_holiday_is_whole(levels: dict[str, pd.DataFrame]) -> None:
    """The records begin on 2 January 2024, because everything was closed on the first."""
    assert levels["months"]["period"].min() == pd.Timestamp("2024-01-01")


def test_products_and_outlets_come_and_go(supplier: made.Made, tmp_path: Path) -> None:
    sales, products = supplier.frames["outlet_sales"], supplier.frames["products"]
    sales = sales[~((sales["product_id"] == "P2") & (sales["sold_on"] < "2024-06-05"))]
    sales = sales[~((sales["product_id"] == "P3") & (sales["sold_on"] > "2025-03-12"))]
    sales = sales[~((sales["outlet_id"] == "O01") & (sales["sold_on"] > "2025-06-10"))]
    products = products.assign(withdrawn_on=[None, None, "2025-03-12", None])
    outlets = supplier.frames["outlets"].assign(closed_on=[None, "2025-06-10", *[None] * 10])
    frames = {**supplier.frames, "outlet_sales": sales, "products": products, "outlets": outlets}
    found = series.build(made.opened(tmp_path, frames).snapshot(made.LAST), by=("outlet_id", "product_id"), step="day")
    spans = found.groupby("series_id")["period"].agg(["min", "max"])
    assert spans.loc["O00/P2", "min"] == pd.Timestamp("2024-06-05")
    assert spans.loc["O00/P3", "max"] == pd.Timestamp("2025-03-12")
    assert spans.loc["O01/P1", "max"] == pd.Timestamp("2025-06-10")
    assert spans.loc["O00/P1", "max"] == pd.Timestamp(made.LAST)
    weeks = series.build(made.opened_again(tmp_path).snapshot(made.LAST), by=("product_id",))
    launch = weeks[weeks["product_id"] == "P2"].iloc[0]
    assert launch["period"] == pd.Timestamp("2024-06-03")
    assert launch["weight"] <= 5 / 7, "a week in which it was on sale for five days tells less"


# ---------------------------------------------------------------- opening days


def test_opening_days_follow_the_calendar_and_sales_overrule_it(supplier: made.Made, tmp_path: Path) -> None:
    closures = pd.DataFrame(
        {
            "outlet_id": "O02",
            "announced_on": "2025-04-01",
            "closed_from": ["2025-05-05"],
            "closed_until": ["2025-05-17"],
        }
    )
    frames = {**supplier.frames, "outlet_closures": closures}
    sales = frames["outlet_sales"]
    frames["outlet_sales"] = sales[
        ~((sales["outlet_id"] == "O02") & sales["sold_on"].between("2025-05-05", "2025-05-14"))
    ]
    wh = made.opened(tmp_path, frames)
    known = wh.snapshot(made.LAST)
    records_ = records.presence(known)
    days = calendar.open_days(known, since=dt.date(2025, 5, 1), until=dt.date(2026, 1, 7), records=records_)
    mine = days[days["outlet_id"] == "O02"].set_index("day")["reason"]
    assert mine["2025-05-04"] == "weekday"
    assert (mine["2025-05-05":"2025-05-10"] == "closure").all()
    assert (mine["2025-05-15":"2025-05-17"] == "").all(), "something was sold, so it was open"
    assert mine["2025-12-25"] == "holiday"
    assert mine["2026-01-01"] == "holiday"
    assert not days["inferred"].any()
    found = series.build(known, by=("outlet_id",), step="day")
    closed = found[(found["outlet_id"] == "O02") & found["period"].between("2025-05-05", "2025-05-14")]
    assert (closed["status"] == "closed").all()
    assert (closed[["quantity", "weight", "open_days"]] == 0).all().all()


def test_without_opening_days_the_weekdays_without_records_are_closed_and_it_is_said(
    supplier: made.Made, tmp_path: Path
) -> None:
    frames = {**supplier.frames, "outlets": supplier.frames["outlets"].drop(columns="open_weekdays")}
    wh = made.opened(tmp_path, frames, company=Company(name="No calendar"))
    found = series.build(wh.snapshot(made.LAST), by=("outlet_id", "product_id"), step="day")
    sundays = found[found["period"].dt.day_of_week == 6]
    assert (sundays["status"] == "closed").all()
    codes = {note["code"]: note for note in treatment.notes(found)}
    assert codes["opening_days_from_records"]["outlets"] == 12
    assert "no_holidays_known" in codes
    short = series.build(wh.snapshot("2024-02-03"), by=("outlet_id", "product_id"), step="day")
    assert {"code": "all_days_taken_for_open", "outlets": 12} in treatment.notes(short)
    assert (short.loc[short["period"].dt.day_of_week == 6, "status"] == "gap").all()


def test_opening_days_that_are_no_weekdays_are_refused(supplier: made.Made, tmp_path: Path) -> None:
    frames = {**supplier.frames, "outlets": supplier.frames["outlets"].assign(open_weekdays="Mo-Fr")}
    with pytest.raises(DataError, match=r"open_weekdays is 'Mo-Fr'; write the open days as digits"):
        series.build(made.opened(tmp_path, frames).snapshot(made.LAST))


# ---------------------------------------------------------------- calendar


@given(
    first=st.dates(dt.date(2000, 1, 1), dt.date(2030, 1, 1)),
    days=st.integers(0, 900),
    step=st.sampled_from(series.STEPS),
)
@settings(deadline=None, max_examples=60)
def test_periods_tile_the_days(first: dt.date, days: int, step: str) -> None:
    last = first + dt.timedelta(days=days)
    found = calendar.periods(first, last, step)
    ends = calendar.ends(found, step)
    assert found[0] <= pd.Timestamp(first) <= ends[0]
    assert found[-1] <= pd.Timestamp(last) <= ends[-1]
    assert (found[1:] == ends[:-1] + pd.Timedelta(days=1)).all()
    assert (calendar.starts(pd.date_range(first, last), step).isin(found)).all()
    assert calendar.following(last, step, 2)[0] == ends[-1] + pd.Timedelta(days=1)
    if step == "week":
        assert (found.day_of_week == 0).all()


def test_regressors_know_holidays_before_and_after() -> None:
    days = pd.date_range("2025-12-22", "2025-12-31", unit="us")
    found = calendar.regressors(days, "day", free=pd.DatetimeIndex(["2025-12-25", "2025-12-26"])).set_index("period")
    assert found.index[found["holiday"] == 1].day.tolist() == [25, 26]
    assert found.index[found["before_holiday"] == 1].day.tolist() == [24, 25]
    assert found.index[found["after_holiday"] == 1].day.tolist() == [26, 27]
    assert found["weekday"].tolist()[:3] == [0, 1, 2]
    months = calendar.regressors(calendar.periods("2024-01-01", "2024-12-01", "month"), "month", waves=2)
    waves = months[["sin_1", "cos_1", "sin_2", "cos_2"]].to_numpy()
    np.testing.assert_allclose(waves.T @ waves, np.diag([6] * 4), atol=0.1)  # one year: waves at right angles
    assert "sin_1" not in calendar.regressors(calendar.periods("2020-01-01", "2024-01-01", "year"), "year")


def test_a_horizon_of_zero_and_unknown_steps_are_refused() -> None:
    with pytest.raises(UsageError, match=r"horizon is 0; give a whole number of periods, 1 or more"):
        calendar.following("2025-01-01", "week", 0)
    with pytest.raises(UsageError, match=r"step is 'hour'; use day, week, month, quarter, year"):
        calendar.starts(["2025-01-01"], "hour")
    with pytest.raises(UsageError, match=r"waves is -1"):
        calendar.regressors(pd.DatetimeIndex(["2025-01-01"]), "day", waves=-1)
    with pytest.raises(DataError, match=r"company file: holidays: .*write each as YYYY-MM-DD"):
        calendar.holidays(Company(holidays=("25.12.2025",)))


# ---------------------------------------------------------------- orders and contracts


@pytest.fixture(scope="module")
def ordered() -> dict[str, pd.DataFrame]:
    rng = np.random.default_rng(3)
    days = pd.bdate_range("2024-01-02", "2025-06-30")
    size = 12_000
    rows = pd.DataFrame(
        {
            "transaction_id": [f"T{number}" for number in range(size)],
            "customer_id": rng.choice(["C1", "C2", "C3"], size),
            "product_id": rng.choice(["P1", "P2"], size),
            "occurred_at": rng.choice(days.to_numpy(), size) + pd.Timedelta(hours=9),
            "quantity": rng.poisson(4, size) + 1.0,
        }
    )
    back = rng.random(size) < 0.02
    rows["category"] = np.where(back, "return", "order")
    rows.loc[back & (rng.random(size) < 0.5), "quantity"] *= -1  # some sources give returns a sign
    rows["amount_minor"] = (-150 * rows["quantity"].abs()).astype(int)
    rows = rows[rows["occurred_at"].dt.normalize() != "2025-03-11"]  # a day the feed lost
    return {
        "transactions": rows,
        "products": pd.DataFrame(
            {"product_id": ["P1", "P2"], "valid_from": "2023-01-01", "name": ["a", "b"], "product_group": "milk"}
        ),
        "customers": pd.DataFrame(
            {"customer_id": ["C1", "C2", "C3"], "valid_from": "2023-01-01", "region": ["north", "south", None]}
        ),
        "holdings": pd.DataFrame(
            {"holding_id": [f"H{number}" for number in range(400)], "customer_id": rng.choice(["C1", "C2"], 400),
             "product_id": rng.choice(["P1", "P2"], 400), "opened_on": rng.choice(days.to_numpy(), 400)}
        ),
    }  # fmt: skip


@pytest.fixture(scope="module")
def orders(
    ordered: dict[str, pd.DataFrame], tmp_path_factory: pytest.TempPathFactory
) -> tuple[snapshot.Snapshot, pd.DataFrame]:
    wh = made.opened(tmp_path_factory.mktemp("orders"), ordered, company=Company(name="c", holidays=("2024-01-01",)))
    return wh.snapshot("2025-06-30"), ordered["transactions"]


def test_orders_are_summed_by_product_and_region_and_returns_are_no_demand(
    orders: tuple[snapshot.Snapshot, pd.DataFrame],
) -> None:
    known, rows = orders
    found = series.build(known, by=("product_id", "region"), step="month", source="orders")
    region = rows["customer_id"].map({"C1": "north", "C2": "south", "C3": ""})
    back = (rows["category"] == "return") | (rows["quantity"] < 0)
    size = rows["quantity"].abs()
    month = rows["occurred_at"].dt.to_period("M").dt.start_time.astype("datetime64[us]").rename("period")
    plain = pd.DataFrame(
        {
            "sold": size.where(~back, 0),
            "returns": size.where(back, 0),
            "product_id": rows["product_id"],
            "region": region,
        }
    )
    plain = plain.groupby(["product_id", "region", month])[["sold", "returns"]].sum()
    table = found.set_index(["product_id", "region", "period"])
    plain = plain.loc[table.index]
    np.testing.assert_allclose(table["recorded"], plain["sold"] - plain["returns"])
    np.testing.assert_allclose(table["returns"], plain["returns"])
    assert set(found["series_id"]) == {f"{p}/{r}" for p in ("P1", "P2") for r in ("north", "south", "unknown")}
    # March 2025 lost one of its 21 days of business: the month is scaled up, and says what share was seen.
    march = table.xs(pd.Timestamp("2025-03-01"), level="period")
    np.testing.assert_allclose(march["weight"], 20 / 21)
    np.testing.assert_allclose(
        march["quantity"], plain.xs(pd.Timestamp("2025-03-01"), level="period")["sold"] * 21 / 20
    )
    whole = table.drop(pd.Timestamp("2025-03-01"), level="period")
    np.testing.assert_allclose(whole["quantity"], whole["recorded"] + whole["returns"])
    np.testing.assert_allclose(found["price_minor"], 150)


def test_a_lost_day_of_orders_is_a_gap_and_a_weekend_is_closed(
    orders: tuple[snapshot.Snapshot, pd.DataFrame],
) -> None:
    found = series.build(orders[0], by=("product_id",), step="day", source="orders").set_index("period")
    lost = found.loc["2025-03-11"]
    assert (lost["status"] == "gap").all()
    assert (lost["weight"] == 0).all()
    assert (lost["quantity"] > 10).all(), "filled in by the days around"
    weekend = found[found.index.day_of_week >= 5]
    assert (weekend["status"] == "closed").all()
    assert (weekend[["quantity", "open_days"]] == 0).all().all()
    months = series.build(orders[0], by=("product_id",), step="month", source="orders")
    assert months["period"].min() == pd.Timestamp("2024-01-01"), "only a holiday lies before the first order"


def test_contracts_are_counted(orders: tuple[snapshot.Snapshot, pd.DataFrame]) -> None:
    known = orders[0]
    found = series.build(known, by=("product_id",), step="quarter", source="contracts")
    holdings = known.table("holdings")
    quarter = holdings["opened_on"].dt.to_period("Q").dt.start_time.astype("datetime64[us]")
    plain = holdings.groupby(["product_id", quarter]).size()
    table = found.set_index(["product_id", "period"])["quantity"]
    assert table.to_dict() == plain.loc[table.index].astype(float).to_dict()
    assert found["price_minor"].isna().all()


@pytest.mark.postgres
def test_every_engine_gives_the_same_records(
    orders: tuple[snapshot.Snapshot, pd.DataFrame],
    postgres_engine: sa.Engine,
    supplier: made.Made,
    known: snapshot.Snapshot,
) -> None:
    as_of = known.as_of
    sales, of = (snapshot.known(schema.tables()[name], as_of).subquery(name) for name in ("outlet_sales", "products"))
    first, last = dt.date(2025, 10, 1), dt.date(2025, 10, 31)
    statements = [
        records.span(sales, ("",), of),
        records.pairs(sales, of, ("",)),
        records.outlet_rows(sales, of, ["P1", "P3"], first=first, last=last),
        calendar.recorded_days(sales),
        future._recent(sales, of, ("",), as_of),
        future._usual_prices(sales, as_of),
    ]
    with postgres_engine.connect() as connection:
        for statement in statements:
            there = {tuple(row) for row in connection.execute(statement)}
            here = {tuple(row.values()) for row in known.warehouse.arrow(statement).to_pylist()}
            assert there == here
            assert here
    for source in ("orders", "contracts"):
        bank = orders[0]
        statement = records.periods_of(bank, source, ("product_id", "region"), "week", ("",))
        with postgres_engine.connect() as connection:
            there = {tuple(row) for row in connection.execute(statement)}
        here = {tuple(row.values()) for row in bank.warehouse.arrow(statement).to_pylist()}
        assert there == here
        assert here


@pytest.fixture(scope="module")
def postgres_engine(supplier: made.Made, ordered: dict[str, pd.DataFrame]) -> Iterator[sa.Engine]:
    from postgres import server

    with server() as url:
        engine = sa.create_engine(url)
        with engine.begin() as connection:
            schema.metadata.create_all(connection)
            for name, frame in (ordered | supplier.frames).items():  # the products of both have the same numbers
                table = schema.tables()[name]
                dates = {column.name for column in table.columns if isinstance(column.type, sa.Date)} & set(frame)
                given = frame.assign(recorded_at=pd.to_datetime(frame[table.info["happened"]]))
                given = given.assign(**{day: pd.to_datetime(frame[day]).dt.date for day in dates})
                rows = given.astype(object).where(given.notna(), None).to_dict("records")
                connection.execute(table.insert(), rows)
        yield engine
        engine.dispose()


# ---------------------------------------------------------------- the future


def test_planned_promotions_prices_and_opening_days_are_known_ahead(supplier: made.Made, tmp_path: Path) -> None:
    promotions = supplier.frames["promotions"]
    planned = pd.DataFrame(
        {
            "promotion_id": ["N1", "N2", "N3"],
            "product_id": ["P1", "P2", "P3"],
            "region": ["north", "all", "north"],
            "announced_on": ["2025-12-01", "2025-12-01", "2026-01-02"],  # the last is not known yet
            "starts_on": ["2026-01-05", "2026-01-08", "2026-01-05"],
            "ends_on": ["2026-01-18", "2026-01-14", "2026-01-18"],
            "price_minor": [70, 90, 60],
        }
    )
    dates = ["announced_on", "starts_on", "ends_on"]
    planned[dates] = planned[dates].apply(pd.to_datetime)
    prices = pd.DataFrame(
        {"product_id": ["P1"], "seller": "own", "region": "all", "valid_from": "2023-01-01", "price_minor": 125}
    )
    frames = {**supplier.frames, "promotions": pd.concat([promotions, planned]), "prices": prices}
    known = made.opened(tmp_path, frames).snapshot(made.LAST)
    table = series.build(known)
    found = future.known(known, table, horizon=4).set_index(["series_id", "ahead"])
    assert found["period"].xs("P1/north").tolist() == list(pd.date_range("2025-12-29", periods=4, freq="W-MON"))
    assert found["promotion"].xs("P1/north").tolist() == [0, 1, 1, 0]
    assert found["promotion"].xs("P1/south").tolist() == [0, 0, 0, 0]
    assert found["promotion"].xs("P3/north").tolist() == [0, 0, 0, 0]
    np.testing.assert_allclose(found["promotion"].xs("P2/south"), [0, 3 / 6, 3 / 6, 0])  # Thursday to Wednesday
    # The shelf asks 100 where the list says 125: a promotion at 70 is sold at 56; P2 has no list price.
    np.testing.assert_allclose(found["price_minor"].xs("P1/north"), [100, 56, 56, 100])
    np.testing.assert_allclose(found["price_minor"].xs("P2/north"), [100, 95, 95, 100], rtol=1e-6)
    assert found["open_days"].xs("P1/north").tolist() == [5 * 6, 36, 36, 36], "six outlets, New Year closed"
    assert found["holiday"].xs("P1/north").tolist() == [1, 0, 0, 0]
    days = future.known(known, series.build(known, by=("outlet_id", "product_id"), step="day"), horizon=10)
    assert days.groupby("period")["open_days"].max()["2026-01-01"] == 0
    assert not days[["price_minor", "promotion", "open_days"]].isna().any().any()


def test_sales_that_come_later_than_other_records_leave_the_outlets_open(supplier: made.Made, tmp_path: Path) -> None:
    late = made.LAST + dt.timedelta(days=60)
    stocks = supplier.frames["outlet_sales"][["outlet_id", "product_id"]].head(1)
    frames = {**supplier.frames, "stocks": stocks.assign(counted_on=pd.Timestamp(late), quantity=5.0)}
    wh = made.opened(tmp_path, frames)
    found, usual = (
        future.known(known, series.build(known), horizon=4) for known in map(wh.snapshot, (late, made.LAST))
    )
    pd.testing.assert_frame_equal(found, usual)
    assert (found["open_days"] > 0).all()


def test_a_promotion_that_never_happened_before_is_named(supplier: made.Made, tmp_path: Path) -> None:
    promotions = supplier.frames["promotions"].iloc[[0]].assign(
        product_id="P3", starts_on=pd.Timestamp("2026-01-05"), ends_on=pd.Timestamp("2026-01-11"),
        announced_on=pd.Timestamp("2025-12-01"),
    )  # fmt: skip
    sales = supplier.frames["outlet_sales"].assign(on_promotion=False)
    frames = {**supplier.frames, "promotions": promotions, "outlet_sales": sales}
    wh = made.opened(tmp_path, frames, company=replace(made.COMPANY, holidays=made.HOLIDAYS[:-1]))
    known = wh.snapshot(made.LAST)
    found = future.known(known, series.build(known), horizon=3)
    assert treatment.notes(found) == [
        {"code": "first_promotion", "series": ["P3/north"]},
        {"code": "holidays_known_until", "until": "2025-12-25"},
    ]


def test_orders_know_their_days_of_business_ahead(orders: tuple[snapshot.Snapshot, pd.DataFrame]) -> None:
    known = orders[0]
    table = series.build(known, by=("product_id",), step="month", source="orders")
    found = future.known(known, table, horizon=2, source="orders")
    assert found.groupby("period")["open_days"].first().tolist() == [23, 21]


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"by": ("colour",)}, r"by: unknown key 'colour' for outlet_sales; known are product_id, product_group"),
        ({"by": ("outlet_id",), "source": "orders"}, r"unknown key 'outlet_id' for orders"),
        ({"by": "region"}, r"by is 'region'; give a list of columns, such as by=\('region',\)"),
        ({"by": ("region", "region")}, r"by names a key twice: region, region"),
        ({"step": "hour"}, r"step is 'hour'; demand series have day, week, month, quarter"),
        ({"source": "tills"}, r"source is 'tills'; use outlet_sales, orders, contracts"),
        ({"since": "1.1.2025"}, r"since is '1.1.2025', which is not a date"),
        ({"since": "2026-02-01"}, r"since is 2026-02-01, after 2025-12-29, the last day that counts"),
    ],
)
def test_wrong_questions_get_an_answer_that_helps(
    known: snapshot.Snapshot, wrong: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        series.build(known, **wrong)  # type: ignore[arg-type]


def test_nothing_found_is_said(known: snapshot.Snapshot, orders: tuple[snapshot.Snapshot, pd.DataFrame]) -> None:
    with pytest.raises(DataError, match=r"table products has no product of the makers 'Nobody' .* it has '', 'Rival'"):
        series.build(known, makers=("Nobody",))
    with pytest.raises(DataError, match=r"outlet_sales holds nothing of the makers '' as of .*take another source"):
        series.build(orders[0])
    with pytest.raises(DataError, match=r"orders: nothing is known as of 2025-12-29; load transactions"):
        series.build(known, source="orders")
    with pytest.raises(DataError, match=r"hold no whole month: not enough data \(found 0, need 1\)"):
        series.build(known, step="month", since="2025-02-03", until="2025-02-20")
    with pytest.raises(DataError, match=r"the sales known as of 2025-12-29 run from 2024-01-02"):
        series.build(known, until="2023-05-01")


def test_broken_records_are_refused_with_what_to_do(supplier: made.Made, tmp_path: Path) -> None:
    sales = supplier.frames["outlet_sales"]
    twice = {**supplier.frames, "outlet_sales": pd.concat([sales, sales.iloc[[100]]])}
    stock = pd.DataFrame({"outlet_id": ["O00"], "product_id": ["P1"], "counted_on": ["2025-05-05"], "quantity": [-3.0]})
    strange = {**supplier.frames, "outlet_sales": pd.concat([sales, sales.iloc[[5]].assign(outlet_id="O99")])}
    promotion = supplier.frames["promotions"].assign(ends_on=lambda rows: rows["starts_on"] - pd.Timedelta(days=2))
    cases = {
        r"outlet_sales: outlet O\d\d, product P\d has 2 rows on .*leave one row a day": twice,
        r"stocks: outlet O00, product P1 has -3 pieces on 2025-05-05 .*cannot be negative": {
            **supplier.frames,
            "stocks": stock,
        },
        r"outlet_sales: outlet_id 'O99' is in no row of its own table": strange,
        r"promotions: A\d+ ends on .*, before it starts on": {**supplier.frames, "promotions": promotion},
        r"table outlets is empty": {name: frame for name, frame in supplier.frames.items() if name != "outlets"},
    }
    for number, (message, frames) in enumerate(cases.items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        with pytest.raises(DataError, match=message):
            series.build(made.opened(folder, frames).snapshot(made.LAST))


def test_tables_of_another_kind_are_refused(known: snapshot.Snapshot, levels: dict[str, pd.DataFrame]) -> None:
    with pytest.raises(DataError, match=r"series table lacks the columns series_id; make it by series.build"):
        future.known(known, levels["regions"].drop(columns="series_id"), horizon=2)
    with pytest.raises(DataError, match=r"series table has none of the columns product_id"):
        future.known(known, levels["regions"].drop(columns=["product_id", "region"]), horizon=2)
    with pytest.raises(UsageError, match=r"horizon is 0"):
        future.known(known, levels["regions"], horizon=0)
    with pytest.raises(UsageError, match=r"source is 'tills'"):
        future.known(known, levels["regions"], horizon=2, source="tills")
    with pytest.raises(DataError, match=r"lacks the columns status, recorded"):
        treatment.report(levels["regions"].drop(columns=["status", "recorded"]))
    with pytest.raises(DataError, match=r"lacks the columns lost"):
        treatment.causes(levels["regions"].drop(columns="lost"))


def test_a_closure_ahead_counts_from_the_day_it_was_announced(supplier: made.Made, tmp_path: Path) -> None:
    closures = pd.DataFrame({"outlet_id": "O01", "closed_from": ["2026-01-05"], "closed_until": ["2026-01-11"]})
    told = {}
    for day in ("2025-12-01", "2026-01-02"):
        frames = {**supplier.frames, "outlet_closures": closures.assign(announced_on=pd.Timestamp(day))}
        folder = tmp_path / day
        folder.mkdir()
        known = made.opened(folder, frames).snapshot(made.LAST)
        found = future.known(known, series.build(known, by=("outlet_id", "product_id")), horizon=3)
        own = found[found["series_id"].str.startswith("O01/") & (found["period"] == "2026-01-05")]
        told[day] = own["open_days"].tolist()
    assert set(told["2025-12-01"]) == {0}
    assert set(told["2026-01-02"]) == {6}, "announced after the day of the snapshot"
