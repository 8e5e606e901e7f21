"""The sample dairy: determinism, exactness of the planted truth, and files that look like a wholesaler's."""

from __future__ import annotations

import datetime as dt
import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from crmlib import samples
from crmlib.errors import DataError, NotFoundError, UsageError
from crmlib.samples import (
    dairy_calendar,
    dairy_catalogue,
    dairy_document,
    dairy_outlets,
    dairy_plans,
    dairy_stock,
    dairy_world,
)
from crmlib.warehouse import company, mapping
from crmlib.warehouse.load import load

END = pd.Timestamp(2025, 12, 31)
PRODUCTS = {product.product_id: product for product in dairy_catalogue.PRODUCTS}


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> samples.Sample:
    return samples.dairy(outlets=24, years=2, seed=5, folder=tmp_path_factory.mktemp("dairy") / "dairy")


@pytest.fixture(scope="module")
def world() -> dairy_world.World:
    return dairy_world.simulate(outlets=24, years=2, seed=5, end=END.date())


@pytest.fixture(scope="module")
def demand(sample: samples.Sample) -> pd.DataFrame:
    """The truth, with what else is known of the row."""
    rows = samples.truth(sample, "demand")
    outlets = pd.read_csv(sample.folder / "outlets.csv")[["place", "region", "format"]]
    return rows.merge(outlets, left_on="outlet_id", right_on="place", validate="many_to_one")


@pytest.fixture(scope="module")
def tills(sample: samples.Sample) -> pd.DataFrame:
    """What the tills sent, of chains and independent shops in one form, without the bad rows."""
    parts = [pd.read_parquet(path) for path in sorted(sample.folder.glob("scanner_*.parquet"))]
    chains = pd.concat(parts).rename(columns={"store": "shop", "article": "item", "pieces": "qty"})
    own = pd.read_csv(sample.folder / "tills.csv", sep=";", decimal=",")
    own = own[own["date"] != "31.02.2025"].assign(
        day=lambda rows: pd.to_datetime(rows["date"], format="%d.%m.%Y"),
        promo=lambda rows: rows["action"] == "A",
        shelf_empty=lambda rows: rows["sold_out"] == "Y",
        shelf_price_cents=lambda rows: (rows["price"] * 100).round().astype(int),
    )
    names = ["shop", "item", "day", "qty", "shelf_price_cents", "promo", "shelf_empty", "ordered"]
    out = pd.concat([chains.assign(day=pd.to_datetime(chains["day"]))[names], own[names]], ignore_index=True)
    return out[out["item"] != "cottage_cheese"].astype({"promo": bool, "shelf_empty": bool})


@pytest.fixture(scope="module")
def actions(sample: samples.Sample) -> pd.DataFrame:
    return pd.read_csv(sample.folder / "promotions.csv", parse_dates=["agreed", "starts", "ends"])


@pytest.fixture(scope="module")
def orders(sample: samples.Sample) -> pd.DataFrame:
    return pd.read_parquet(sample.folder / "orders.parquet")


# ---------------------------------------------------------------- the folder


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_same_arguments_give_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    one, two, other = (
        digests(samples.dairy(outlets=4, years=1, seed=seed, folder=tmp_path / name).folder)
        for name, seed in (("a", 3), ("b", 3), ("c", 4))
    )
    assert one == two
    assert one["scanner_2025.parquet"] != other["scanner_2025.parquet"]
    assert one["truth/effects/00000.parquet"] == other["truth/effects/00000.parquet"]  # the catalogue is the same


def test_a_sample_is_opened_by_the_name_of_its_company_and_replaced_when_complete(tmp_path: Path) -> None:
    samples.dairy(outlets=4, years=1, folder=tmp_path / "made")
    again = samples.dairy(outlets=5, years=1, folder=tmp_path / "made")
    assert samples.open_sample(tmp_path / "made") == again
    assert again.mapping.name == "dairy.toml" and again.company.exists()
    assert len(pd.read_csv(again.folder / "outlets.csv")) == 5 + 4
    bank = samples.bank(customers=50, months=6, folder=tmp_path / "made")
    assert samples.open_sample(tmp_path / "made").mapping.name == bank.mapping.name == "bank.toml"
    assert not (tmp_path / "made" / "outlets.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"outlets": 3}, "outlets is 3; give a number from 4 to 300"),
        ({"outlets": 301}, "outlets is 301"),
        ({"years": 0}, "years is 0; give a number from 1 to 6"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments: dict[str, int], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        samples.dairy(**arguments, folder=tmp_path / "dairy")
    assert not (tmp_path / "dairy").exists()


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(DataError, match="holds other files than a sample"):
        samples.dairy(outlets=4, years=1, folder=tmp_path)
    assert (tmp_path / "letter.txt").read_text() == "mine"


def test_unknown_truths_and_folders_without_a_sample_are_named(sample: samples.Sample, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no truth about churn; there are bad_rows, contacts, cross, demand"):
        samples.truth(sample, "churn")
    with pytest.raises(NotFoundError, match="holds no sample"):
        samples.dairy_future(tmp_path)


def test_the_truth_is_neither_among_the_files_nor_in_the_mapping(sample: samples.Sample) -> None:
    assert not any(path.is_relative_to(sample.truth) for path in sample.files)
    known = mapping.read(sample.mapping)
    assert known is not None
    text = sample.mapping.read_text(encoding="utf-8")
    assert "mean" not in text.split() and "truth" not in text


def test_the_company_file_is_one(sample: samples.Sample) -> None:
    found = company.read(sample.company)
    assert found.time_zone == "Europe/Berlin" and found.contact_costs_minor["visit"] == 4_500
    assert {"2024-03-29", "2025-04-21", "2026-01-01", "2026-04-03"} <= set(found.holidays)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_loader_takes_all_rows_but_the_planted_bad_ones(tmp_path: Path) -> None:
    sample = samples.dairy(outlets=6, years=1, seed=2, folder=tmp_path / "samples" / "dairy")
    report = load(
        sample.files, sample.mapping, data=tmp_path, recorded_at=dt.datetime(2026, 1, 1), now=dt.datetime(2026, 1, 1)
    )
    planted = samples.truth(sample, "bad_rows")
    assert int(report.counts["quarantined"].sum()) == planted["rows"].sum()
    found = pd.concat(pd.read_parquet(path) for path in (tmp_path / "quarantine").glob("*.parquet"))
    rules = found.groupby("rule")["line"].count()
    assert set(rules.index) == {"unknown_reference", "impossible_date", "out_of_range", "missing"}
    assert found.loc[found["rule"] == "out_of_range", "value"].eq("-12").all()


# ---------------------------------------------------------------- calendar


@pytest.mark.parametrize(
    ("year", "day"), [(1818, (3, 22)), (1943, (4, 25)), (1991, (3, 31)), (2000, (4, 23)), (2025, (4, 20))]
)
def test_easter_as_in_meeus_astronomical_algorithms_chapter_8(year: int, day: tuple[int, int]) -> None:
    assert dairy_calendar.easter(year) == dt.date(year, *day)


@given(st.integers(1, 6))
def test_the_calendar_ends_with_the_records_and_goes_on_for_thirteen_weeks(years: int) -> None:
    days = dairy_calendar.days(years, end=END.date())
    assert days.date(days.recorded - 1) == END.date() and days.total - days.recorded == 91
    assert days.date(0) == dt.date(2026 - years, 1, 1) and days.weekday[0] == days.date(0).weekday()
    assert days.season.shape == (4, days.total) and np.abs(days.season).max() < 0.8


def test_shops_are_closed_when_they_say_so(sample: samples.Sample, demand: pd.DataFrame, tills: pd.DataFrame) -> None:
    outlets = pd.read_csv(sample.folder / "outlets.csv", dtype={"open_on": str}).set_index("place")
    weekday = (demand["sold_on"].dt.day_of_week + 1).astype(str)
    open_on = demand["outlet_id"].astype(str).map(outlets["open_on"])
    assert all(day in text for day, text in zip(weekday.iloc[::97], open_on.iloc[::97], strict=True))
    feast = demand[demand["sold_on"].isin(pd.to_datetime(["2025-05-01", "2025-12-25"]))]
    assert set(feast["format"]) == {"kiosk"}
    for closure in pd.read_csv(sample.folder / "closures.csv", parse_dates=["from", "to"]).itertuples():
        inside = tills["day"].between(closure[3], closure[4]) & (tills["shop"] == closure.place)
        assert not inside.any()
    for gap in samples.truth(sample, "gaps").itertuples():
        inside = demand["sold_on"].between(gap.first, gap.last) & (demand["outlet_id"] == gap.outlet_id)
        assert inside.any()  # they sold, but nobody knows what
        assert not (tills["day"].between(gap.first, gap.last) & (tills["shop"] == gap.outlet_id)).any()


# ---------------------------------------------------------------- demand


def test_the_mean_of_demand_follows_from_the_files_and_the_planted_effects(
    sample: samples.Sample, demand: pd.DataFrame, actions: pd.DataFrame
) -> None:
    """The ratio of two Wednesdays, worked out by hand from price lists, promotions and effects."""
    days = dairy_calendar.days(2, end=END.date())
    own = pd.read_csv(sample.folder / "price_list.csv", parse_dates=["valid_from"])
    rivals = pd.read_csv(sample.folder / "rival_prices.csv", parse_dates=["valid_from"])
    lists = pd.concat([own, rivals]).sort_values("valid_from")
    level = dict(zip(dairy_outlets.FORMATS, dairy_outlets.PRICE_LEVEL, strict=True))

    def price(product: str, region: str, kind: str, day: pd.Timestamp) -> int:
        known = lists[(lists["article"] == product) & (lists["region"] == region) & (lists["valid_from"] <= day)]
        running = actions[(actions["article"] == product) & (actions["region"] == region)]
        running = running[(running["starts"] <= day) & (running["ends"] >= day)]
        found = running["price"].iloc[0] if len(running) else known["price"].iloc[-1]
        return int(np.round(np.round(found * 100) * level[kind]))

    def log_effects(product: str, region: str, kind: str, day: pd.Timestamp) -> float:
        facts = PRODUCTS[product]
        number = (day - pd.Timestamp(days.start)).days
        out = days.season[dairy_catalogue.GROUPS.index(facts.group), number] + days.around[number]
        out += facts.trend * number / 365.25
        for other, elasticity in {product: facts.elasticity, **facts.cross}.items():
            out += elasticity * np.log(price(other, region, kind, day))
        own_actions = actions[(actions["article"] == product) & (actions["region"] == region)]
        for action in own_actions.itertuples():
            out += facts.uplift * (action.starts <= day <= action.ends)
            since = (day - action.ends).days
            out -= facts.dip * (1 <= since <= 7) + facts.dip / 2 * (8 <= since <= 14)
        return float(out)

    checked = 0
    for product in ("gouda", "cream_cheese", "sour_cream"):
        rows = demand[(demand["product_id"] == product) & (demand["format"] != "kiosk")]
        rows = rows[(rows["outlet_id"] == rows["outlet_id"].iloc[0]) & (rows["sold_on"].dt.day_of_week == 2)]
        region, kind = rows["region"].iloc[0], rows["format"].iloc[0]
        logs = np.log(rows["mean"].to_numpy())
        wanted = np.array([log_effects(product, region, kind, day) for day in rows["sold_on"]])
        np.testing.assert_allclose(logs - logs[0], wanted - wanted[0], atol=1e-9)
        checked += len(rows)
    assert checked > 200


def test_demand_is_drawn_around_its_mean_and_overdispersed(demand: pd.DataFrame) -> None:
    assert abs(demand["demand"].sum() / demand["mean"].sum() - 1) < 0.01
    large = demand[demand["mean"] > 30]
    spread = ((large["demand"] - large["mean"]) ** 2).mean() / large["mean"].mean()
    assert spread > 2  # a Poisson draw has 1
    small = demand[demand["mean"] < 1]
    assert len(small) > 5_000 and (small["demand"] == 0).mean() > 0.4


def test_the_elasticity_is_found_again_by_a_poisson_regression(demand: pd.DataFrame, tills: pd.DataFrame) -> None:
    rows = demand[(demand["product_id"] == "gouda") & (demand["format"] != "kiosk")]
    rows = rows.merge(tills, left_on=["outlet_id", "sold_on"], right_on=["shop", "day"], validate="one_to_many")
    rows = rows[rows["item"] == "gouda"]
    week = ((rows["sold_on"] - pd.Timestamp(2024, 1, 1)).dt.days // 7).astype(str)
    price = np.log(rows["shelf_price_cents"] / rows.groupby("outlet_id")["shelf_price_cents"].transform("mean"))
    dummies = pd.get_dummies(pd.concat([rows["outlet_id"].astype(str), week], axis=1), dtype=float, drop_first=True)
    inputs = sm.add_constant(dummies.assign(price=price, promo=rows["promo"].astype(float)))
    fit = sm.GLM(rows["demand"], inputs, family=sm.families.Poisson()).fit(cov_type="HC1")
    truth = PRODUCTS["gouda"]
    assert abs(fit.params["price"] - truth.elasticity) < 4 * fit.bse["price"] < 1.5
    assert abs(fit.params["promo"] - truth.uplift) < 4 * fit.bse["promo"] + truth.dip


def test_promotions_lie_in_season_apart_and_are_announced_before(actions: pd.DataFrame) -> None:
    days = dairy_calendar.days(2, end=END.date())
    number = (actions["starts"] - pd.Timestamp(days.start)).dt.days.to_numpy()
    group = [dairy_catalogue.GROUPS.index(PRODUCTS[product].group) for product in actions["article"]]
    chosen = days.season[np.array(group), number]
    weeks = np.arange(28, days.total - 13, 7)
    assert chosen.mean() > np.mean([days.season[place, weeks].mean() for place in group]) + 0.02
    assert (actions["agreed"] < actions["starts"]).all() and (actions["agreed"] <= END).all()
    coming = actions[actions["starts"] > END]
    assert len(coming) > 10 and coming["ends"].max() <= END + pd.Timedelta(days=91)
    ordered = actions.sort_values(["article", "region", "starts"])
    apart = ordered["starts"] - ordered.groupby(["article", "region"])["ends"].shift()
    assert apart.min() >= pd.Timedelta(days=28)
    assert not ((actions["article"] == "spreadable_butter") & (actions["starts"] > "2025-06-30")).any()


def test_the_truth_of_promotions_adds_up(world: dairy_world.World, sample: samples.Sample) -> None:
    """Without one promotion, the mean of its product would be lower by its uplift: worked out shop by shop."""
    rows = samples.truth(sample, "promotions").set_index("promotion_id")
    actions = world.market.promotions
    place = int(np.flatnonzero((actions.product == 0) & (actions.depth > 0))[0])
    product, facts = 0, dairy_catalogue.PRODUCTS[0]
    there = [k for k in range(24) if world.shops.region[k] == actions.region[place] and world.shops.format[k] != 3]
    lost = 0.0
    for shop in there:
        for day in range(actions.first[place], actions.last[place] + 1):
            level = dairy_outlets.PRICE_LEVEL[world.shops.format[shop]]
            usual = np.round(world.market.price[actions.region[place], product, day] * level)
            ratio = world.market.shelf[shop, product, day] / usual
            mean = world.market.mean[shop, product, day]
            lost += mean - mean / (ratio**facts.elasticity * np.exp(facts.uplift))
    assert rows["uplift"].iloc[place] == pytest.approx(lost)
    assert (rows["uplift"] >= 0).all() and (rows["dip"] >= 0).all() and rows["cannibalised"].sum() > 0


def test_the_future_goes_on_where_the_records_end(sample: samples.Sample, demand: pd.DataFrame) -> None:
    future = samples.dairy_future(sample)
    assert list(future.columns) == ["outlet_id", "product_id", "sold_on", "mean", "demand"]
    assert future["sold_on"].min() <= END + pd.Timedelta(days=2) and future["sold_on"].min() > END
    assert future["sold_on"].max() == END + pd.Timedelta(days=91)
    assert abs(future["demand"].sum() / future["mean"].sum() - 1) < 0.03
    before = demand[demand["sold_on"].dt.month.le(3) & (demand["sold_on"].dt.year == 2025)]["mean"].sum()
    assert 0.8 < future["mean"].sum() / before < 1.3


# ---------------------------------------------------------------- stocks


def test_empty_shelves_censor_sales_and_more_often_in_promotions(
    demand: pd.DataFrame, tills: pd.DataFrame, sample: samples.Sample
) -> None:
    keys = ["outlet_id", "product_id", "sold_on"]
    text = demand.astype({"outlet_id": str, "product_id": str})
    rows = tills.merge(text, left_on=["shop", "item", "day"], right_on=keys, validate="one_to_one")
    slips = samples.truth(sample, "outliers").astype({"outlet_id": str, "product_id": str})
    assert len(slips) > 5
    told = rows.merge(slips, on=keys, how="left", validate="one_to_one")
    assert (told.loc[told["quantity"].notna(), "qty"] == 10 * told["quantity"].dropna()).all()
    plain = told[told["quantity"].isna() & (told["qty"] >= 0)]
    empty = plain["shelf_empty"]
    assert (plain.loc[~empty, "qty"] == plain.loc[~empty, "demand"]).all()
    assert (plain.loc[empty, "qty"] < plain.loc[empty, "demand"]).all()
    assert 0.015 < empty.mean() < 0.06
    assert empty[plain["promo"]].mean() > 3 * empty[~plain["promo"]].mean()
    returned = (tills["qty"] < 0).mean()
    assert 0.0005 < returned < 0.003


def test_what_comes_in_goes_out_or_stays(world: dairy_world.World) -> None:
    """A naive account of one shop: nothing is sold or thrown away that did not come in, and nothing is kept too long."""
    stocks = world.stocks
    for shop, product in ((0, 0), (3, 5), (9, 12)):
        sold, wasted, stock = (getattr(stocks, name)[shop, product] for name in ("sold", "wasted", "stock"))
        came = np.diff(stock) + sold[1:] + wasted[1:]
        assert (came >= 0).all() and (stock >= 0).all()
        pack = dairy_catalogue.PRODUCTS[product].pack
        assert (came % pack == 0).all()
        ordered = stocks.ordered[shop, product]
        assert stock[0] + came.sum() <= stock[0] + ordered.sum()
        assert (ordered.sum() - came.sum()) - ordered[0] <= stocks.on_order[shop, product, -1] + 30 * pack
        life = dairy_catalogue.PRODUCTS[product].shelf_life
        recent = [came[max(0, day - life) : day].sum() for day in range(life + 1, came.size)]
        assert (stock[life + 2 :] <= np.array(recent)[: stock.size - life - 2] + came[life + 1 :] + pack).all()


def test_shops_order_only_when_open_and_depots_have_none_in_an_outage(
    world: dairy_world.World, sample: samples.Sample
) -> None:
    ordered = world.stocks.ordered.any(axis=1)
    assert not (ordered & ~world.shops.open).any()
    out = world.stocks.out
    assert 0.004 < out.mean() < 0.03
    assert (world.stocks.depot[out] == 0).all() and (world.stocks.depot[~out] > 0).mean() > 0.98
    rows = pd.read_csv(sample.folder / "depot_stock.csv")
    assert (rows["pieces"] < 0).sum() == samples.truth(sample, "bad_rows").set_index("file").loc["depot_stock", "rows"]
    assert not world.stocks.out[:, :, world.days.recorded - 1].any()
    assert dairy_stock.EXPECTED_UPLIFT > 1


def test_the_last_stocks_are_known_for_every_shop_and_product_sold(
    sample: samples.Sample, demand: pd.DataFrame
) -> None:
    stock = pd.read_parquet(sample.folder / "stock.parquet")
    last = stock[pd.to_datetime(stock["evening_of"]) == END]
    recent = demand[demand["sold_on"] >= END - pd.Timedelta(days=10)]
    recent = recent[~recent["product_id"].astype(str).str.contains("hillside|bluebell")]
    wanted = set(zip(recent["outlet_id"], recent["product_id"], strict=True))
    assert wanted == set(zip(last["place"], last["article"], strict=True))
    daily = stock[pd.to_datetime(stock["evening_of"]) > END - pd.Timedelta(days=60)]
    assert daily.groupby(["place", "article"]).size().min() == 60


# ---------------------------------------------------------------- customers, plans, calls


def test_small_customers_order_by_the_planted_hazard(world: dairy_world.World) -> None:
    """The chance that the next order came by its day is uniform under the Weibull law with the planted parameters."""
    rows, known, days = world.orders, world.habits, world.days
    next_ = np.flatnonzero(rows.habit[1:] == rows.habit[:-1]) + 1
    habit, start, due = rows.habit[next_], rows.day[next_ - 1], rows.due[next_]
    customer, product = known.customer[habit], known.product[habit]
    # Long waits at the end of the records, of a customer or of a product are not seen: none that begin shortly before.
    always = ~np.isin(product, [dairy_catalogue.IDS.index(name) for name in ("skyr", "spreadable_butter")])
    whole = (world.small.left[customer] < 0) & always & (start < days.recorded - 90)
    working = np.flatnonzero((days.weekday < 5) & ~days.holiday)
    before = working[np.searchsorted(working, due) - 1]
    scale = known.median[habit] * (rows.quantity[next_ - 1] / known.usual[habit]) ** 0.7

    def chance(wait: np.ndarray) -> np.ndarray:
        return 1 - 0.5 ** (np.maximum(wait, 0) / scale) ** known.shape[habit]

    low = np.where(before <= start, 0.0, chance(before + 1 - start))
    drawn = low + np.random.default_rng(1).random(low.size) * (chance(due + 1 - start) - low)
    found = drawn[whole & (scale > 4)]
    assert found.size > 10_000
    assert stats.kstest(found, "uniform").statistic < 1.95 / np.sqrt(found.size)
    assert rows.waited.sum() > 50
    assert (rows.day[rows.waited] > rows.due[rows.waited]).all()


def test_nobody_orders_what_the_depot_has_not(world: dairy_world.World) -> None:
    rows, known = world.orders, world.habits
    region = world.small.region[known.customer[rows.habit]]
    assert not world.stocks.out[region, known.product[rows.habit], rows.day].any()


def test_orders_are_paid_and_returns_paid_back(orders: pd.DataFrame) -> None:
    good = orders[orders["client"] != "C9999"]
    assert ((good["kind"] == "return") == (good["pieces"] < 0)).all()
    assert (np.sign(good["booked_cents"]) == -np.sign(good["pieces"])).all()
    assert good["line"].is_unique and good.groupby("order_no")["client"].nunique().max() == 1
    assert (good["kind"] == "return").sum() > 20
    assert good["deliver_to"].notna().mean() > 0.3


def test_plans_are_as_optimistic_as_planted(sample: samples.Sample, demand: pd.DataFrame) -> None:
    plans = pd.read_csv(sample.folder / "plans.csv", sep="\t", parse_dates=["made", "from", "to"])
    true = pd.concat([samples.truth(sample, "future"), demand], ignore_index=True)
    outlets = pd.read_csv(sample.folder / "outlets.csv").set_index("place")["region"]
    true = true.assign(region=true["outlet_id"].astype(str).map(outlets), month=true["sold_on"].dt.to_period("M"))
    monthly = true.groupby(["product_id", "region", "month"], observed=True)["mean"].sum()
    force = plans[plans["region"].notna()]
    keys = pd.MultiIndex.from_arrays([force["article"], force["region"], force["from"].dt.to_period("M")])
    ratio = np.log(force["pieces"].to_numpy() / monthly.reindex(keys).to_numpy())
    found = pd.Series(ratio).groupby(force["by"].to_numpy()).mean()
    planted = samples.truth(sample, "plans").set_index("source")["optimism"]
    for source in found.index:
        assert found[source] == pytest.approx(np.log1p(planted[source]), abs=4 * 0.1 / np.sqrt(300))
    assert set(plans["by"]) == set(dairy_plans.sources())
    assert (plans["made"] < plans["from"]).all() and plans["made"].max() < END < plans["to"].max()


def test_calls_keep_local_time_over_the_change_of_the_clocks(sample: samples.Sample) -> None:
    calls = pd.read_csv(sample.folder / "calls.csv", parse_dates=["began"]).dropna(subset=["began"])
    assert calls["began"].dt.hour.between(6, 17).all() and (calls["hour"] == calls["began"].dt.hour).all()
    mean = samples.truth(sample, "contacts").set_index("starts_at")["mean"]
    past = mean[mean.index <= END + pd.Timedelta(hours=23)]
    assert abs(len(calls) / past.sum() - 1) < 0.03
    by_hour = calls["began"].dt.hour.value_counts(normalize=True)
    true = past.groupby(past.index.hour).sum() / past.sum()
    assert (by_hour - true).abs().max() < 0.01
    assert mean.index.max() > END + pd.Timedelta(days=85)
    monday, sunday = (past[past.index.day_of_week == day].sum() for day in (0, 6))
    assert monday > 0 and sunday == 0


# ---------------------------------------------------------------- the page


def test_the_page_about_the_sample_shows_its_numbers() -> None:
    text = (Path(__file__).parents[1] / "docs" / "sample_dairy.md").read_text(encoding="utf-8")
    assert dairy_document.tables() in text
