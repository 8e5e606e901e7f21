"""Back tests of demand forecasts: no look ahead, weights respected, every figure as its definition says."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from crmlib.errors import DataError, UsageError
from crmlib.models.demand import backtest, metrics

WEEKS = pd.date_range("2024-01-01", periods=120, freq="7D")


def made(count: int = 3, periods: int = 60, seed: int = 1) -> pd.DataFrame:
    """Weekly series with a season of 4 and noise; every tenth value tells nothing."""
    random = np.random.default_rng(seed)
    quantity = 50 + 10 * np.sin(np.arange(periods) * np.pi / 2)[None, :] + random.normal(0, 4, (count, periods))
    return pd.DataFrame(
        {
            "series_id": np.repeat([f"P{i}/North" for i in range(count)], periods),
            "product_id": np.repeat([f"P{i}" for i in range(count)], periods),
            "region": "North",
            "period": np.tile(WEEKS[:periods], count),
            "quantity": quantity.ravel(),
            "weight": np.where(random.random(count * periods) < 0.1, 0.0, 1.0),
        }
    )


def level(train: pd.DataFrame, horizon: int) -> pd.DataFrame:
    """The mean of the past, with normal intervals."""
    past = train.groupby("series_id").agg(mean=("quantity", "mean"), sd=("quantity", "std"), last=("period", "max"))
    rows = past.loc[past.index.repeat(horizon)].reset_index()
    rows["ahead"] = np.tile(np.arange(1, horizon + 1), len(past))
    rows["period"] = rows["last"] + pd.to_timedelta(7 * rows["ahead"], unit="D")
    ends = {
        f"{end}_{nominal}": rows["mean"] + sign * stats.norm.ppf(0.5 + nominal / 200) * rows["sd"]
        for nominal in (80, 95)
        for end, sign in (("low", -1), ("high", 1))
    }
    return rows.assign(**ends, method="level", reason="")[
        ["series_id", "period", "ahead", "mean", *ends, "method", "reason"]
    ]


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return backtest.rolling(made(), level, horizon=4, origins=5, step="week", season=4)


def test_the_method_never_sees_past_the_origin() -> None:
    seen = []

    def spy(train: pd.DataFrame, horizon: int) -> pd.DataFrame:
        seen.append((train["period"].max(), set(train.columns)))
        return level(train, horizon)

    series = made()
    table = backtest.rolling(series, spy, horizon=4, origins=3, every=2, step="week", season=4)
    assert [when for when, _ in seen] == list(WEEKS[[51, 53, 55]]) == sorted(table["origin"].unique())
    assert all(columns == set(series.columns) for _, columns in seen)
    assert (table["period"] == table["origin"] + pd.to_timedelta(7 * table["ahead"], unit="D")).all()
    changed = series.assign(quantity=series["quantity"].where(series["period"] <= WEEKS[55], 1e6))
    later = backtest.rolling(changed, level, horizon=4, origins=3, every=2, step="week", season=4)
    told = ["forecast", "low_95", "high_80", "naive", "naive_spread", "scale"]
    pd.testing.assert_frame_equal(table[told], later[told])


def test_a_row_holds_what_was_forecast_and_what_came(table: pd.DataFrame) -> None:
    series = made().set_index(["series_id", "period"])
    assert len(table) == 3 * 5 * 4 and table["region"].eq("North").all() and table["method"].eq("level").all()
    row = table.iloc[17]
    past = series.loc[row["series_id"]].loc[: row["origin"]]["quantity"]
    assert row["actual"] == series.loc[(row["series_id"], row["period"]), "quantity"]
    assert row["forecast"] == pytest.approx(past.mean())
    assert row["naive"] == past.iloc[-4:].iloc[(row["ahead"] - 1) % 4]
    change = (past - past.shift(4)).dropna()
    assert row["scale"] == pytest.approx(change.abs().mean())
    assert row["naive_spread"] == pytest.approx(np.sqrt((change**2).mean()))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), by=st.sampled_from([(), ("ahead",), ("series_id",), ("product_id", "ahead")]))
def test_the_report_is_what_its_definitions_say(seed: int, by: tuple[str, ...]) -> None:
    random = np.random.default_rng(seed)
    n = 60
    rows = pd.DataFrame(
        {
            "series_id": random.choice(["a", "b", "c"], n),
            "ahead": random.integers(1, 4, n),
            "actual": random.poisson(5, n).astype(float),
            "weight": random.choice([0, 0.5, 1.0], n),
            "forecast": random.gamma(5, 1, n),
            "naive": random.poisson(5, n).astype(float),
            "naive_spread": random.gamma(2, 1, n),
            "scale": random.choice([np.nan, 1.5, 2.0], n),
        }
    ).assign(product_id=lambda t: t["series_id"] + "p")
    for nominal, half in ((80, 2.0), (95, 4.0)):
        rows[f"low_{nominal}"], rows[f"high_{nominal}"] = rows["forecast"] - half, rows["forecast"] + half
    rows.loc[::7, ["low_80", "high_80", "low_95", "high_95"]] = np.nan
    found = backtest.report(rows, by=by)
    scored = rows[rows["weight"] > 0]
    groups = list(scored.groupby(list(by))) if by else [((), scored)]
    assert len(found) == len(groups)
    for (_, part), (_, row) in zip(groups, found.iterrows(), strict=True):
        a, w = part["actual"], part["weight"]
        assert row["series"] == part["series_id"].nunique() and row["values"] == len(part)
        told = part["low_80"].notna()
        for end, name in (("", "forecast"), ("_naive", "naive")):
            f = part[name]
            assert row[f"wape{end}"] == pytest.approx(metrics.wape(a, f, w), nan_ok=True)
            assert row[f"bias{end}"] == pytest.approx(metrics.bias(a, f, w), nan_ok=True)
            some = part["scale"].notna()
            scaled = np.average(((a - f).abs() / part["scale"])[some], weights=w[some]) if some.any() else np.nan
            assert row[f"mase{end}"] == pytest.approx(scaled, nan_ok=True)
            levels = {"low_95": 0.025, "low_80": 0.1, "high_80": 0.9, "high_95": 0.975}
            ends = {
                key: part[key] if end == "" else f + stats.norm.ppf(q) * part["naive_spread"]
                for key, q in levels.items()
            }
            for nominal in (80, 95):
                expected = metrics.coverage(
                    a[told], ends[f"low_{nominal}"][told], ends[f"high_{nominal}"][told], weight=w[told]
                )
                assert row[f"coverage_{nominal}{end}"] == pytest.approx(expected, nan_ok=True)
            if (a * w)[told].sum() > 0:
                losses = [metrics.pinball(a[told], ends[k][told], level=q, weight=w[told]) for k, q in levels.items()]
                pinball = 2 * np.mean(losses) * w[told].sum() / (a * w)[told].sum()
                assert row[f"pinball{end}"] == pytest.approx(pinball)
        assert row["value_added"] == pytest.approx(row["wape_naive"] - row["wape"], nan_ok=True)


def test_a_certain_forecast_has_the_pinball_of_its_wape(table: pd.DataFrame) -> None:
    sure = table.assign(**{name: table["forecast"] for name in backtest.quantile_columns(table)})
    row = backtest.report(sure).iloc[0]
    assert row["pinball"] == pytest.approx(row["wape"])


def test_what_has_no_weight_changes_no_figure(table: pd.DataFrame) -> None:
    silent = table["weight"] == 0
    assert 0 < silent.sum() < len(table)
    changed = table.assign(actual=table["actual"].mask(silent, 1e9), forecast=table["forecast"].mask(silent, -1e9))
    pd.testing.assert_frame_equal(backtest.report(table, by=["ahead"]), backtest.report(changed, by=["ahead"]))


def test_normal_data_are_covered_as_said_and_naive_too() -> None:
    table = backtest.rolling(made(60, 100, seed=3), level, horizon=4, origins=4, step="week", season=4)
    row = backtest.report(table).iloc[0]
    assert row["coverage_95_naive"] == pytest.approx(0.95, abs=0.02)
    assert row["coverage_80_naive"] == pytest.approx(0.80, abs=0.03)
    assert row["poor_95"] < 0.1 and row["series"] == 60


def test_a_series_whose_intervals_are_poor_is_counted() -> None:
    rows = pd.DataFrame(
        {"series_id": np.repeat(["a", "b", "few"], [6, 6, 2]), "weight": 1.0, "forecast": 5.0, "naive": 5.0}
    )
    rows["actual"] = [5.0, 5, 5, 5, 5, 5, 5, 99, 99, 5, 5, 5, 99, 99]
    rows = rows.assign(low_95=4.0, high_95=6.0, low_80=4.0, high_80=6.0)
    row = backtest.report(rows).iloc[0]
    assert row["poor_95"] == 0.5 and row["poor_80"] == 0.0  # b holds 4 of 6; two values do not judge a series
    assert backtest.report(rows, by=["series_id"])["poor_95"].tolist()[:2] == [0, 1]


def test_series_that_begin_late_or_end_early_are_in_the_origins_they_can_be_in() -> None:
    series = made()
    late = series[(series["series_id"] != "P1/North") | (series["period"] > WEEKS[45])]
    gone = late[(late["series_id"] != "P2/North") | (late["period"] <= WEEKS[50])]
    table = backtest.rolling(gone, level, horizon=4, origins=5, step="week", season=4)
    seen = table.groupby("origin")["series_id"].agg(lambda names: "".join(sorted({name[1] for name in names})))
    assert seen.tolist() == ["02", "02", "012", "01", "01"]


def test_levels_are_given_to_the_method_one_at_a_time() -> None:
    series = made()
    both = pd.concat([series.assign(level="product_region"), series.assign(level="copy")])
    table = backtest.rolling(both, level, horizon=4, origins=2, step="week", season=4)
    found = backtest.report(table, by=["level"])
    assert found["level"].tolist() == ["copy", "product_region"]
    assert found["wape"].iloc[0] == found["wape"].iloc[1] and found["series"].tolist() == [3, 3]


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"horizon": 0}, UsageError, "horizon is 0; it is a whole number"),
        ({"origins": 0}, UsageError, "origins is 0"),
        ({"every": 1.5}, UsageError, "every is 1.5"),
        ({"step": "fortnight"}, UsageError, "step is 'fortnight'; take one of"),
        ({"origins": 15}, DataError, "not enough data for 15 origins 4 periods apart .*found 60 periods, need 61"),
    ],
)
def test_what_cannot_be_tested_is_refused(changed: dict[str, object], error: type[Exception], message: str) -> None:
    given = {"horizon": 4, "origins": 5, "step": "week", "season": 4, **changed}
    with pytest.raises(error, match=message):
        backtest.rolling(made(), level, **given)  # type: ignore[arg-type]


def test_bad_tables_and_methods_are_refused(table: pd.DataFrame) -> None:
    given = {"horizon": 4, "origins": 2, "step": "week", "season": 4}
    with pytest.raises(DataError, match="series has 0 rows"):
        backtest.rolling(made().iloc[:0], level, **given)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"no column quantity; give a series table"):
        backtest.rolling(made().drop(columns="quantity"), level, **given)  # type: ignore[arg-type]
    with pytest.raises(
        DataError, match=r"series 'P0/North' has no mean for .* the method has to forecast every series"
    ):
        backtest.rolling(made(), lambda train, horizon: level(train, horizon).iloc[1:], **given)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"period 2024-01-01 00:00 .week. is there twice"):
        backtest.rolling(pd.concat([made(), made().iloc[:1]]), level, **given)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="back test: no column naive"):
        backtest.report(table.drop(columns="naive"))
    with pytest.raises(DataError, match=r"not enough data .found 0 scored values in 60 rows, need 1"):
        backtest.report(table.assign(weight=0))
