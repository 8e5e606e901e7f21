"""Reconciled forecasts add up, equal what the formulas of the papers say, and their errors are told level by level."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crmlib.errors import DataError, UsageError
from crmlib.models.demand import backtest, hierarchy, reconcile, rolling

LEVELS = {
    "total": (),
    "region": ("region",),
    "product": ("product_id",),
    "product_region": ("product_id", "region"),
}
MONTHS = pd.date_range("2023-01-01", periods=48, freq="MS")


def bottom(seed: int = 1, *, products: int = 3, regions: int = 2, periods: int = 48) -> pd.DataFrame:
    """Monthly series of products and regions that share a movement, none negative."""
    random = np.random.default_rng(seed)
    shared = random.normal(0, 6, periods)
    rows = []
    for product in range(products):
        for region in range(regions):
            quantity = np.maximum(40 + 10 * product + shared + random.normal(0, 4, periods), 0)
            rows.append(
                pd.DataFrame(
                    {
                        "series_id": f"P{product}/R{region}",
                        "product_id": f"P{product}",
                        "region": f"R{region}",
                        "period": MONTHS[:periods],
                        "quantity": quantity,
                        "weight": 1.0,
                    }
                )
            )
    return pd.concat(rows, ignore_index=True)


def recent(train: pd.DataFrame, horizon: int) -> pd.DataFrame:
    """The mean of the last six months, with intervals of fixed width."""
    past = train.sort_values("period").groupby("series_id")
    mean, last = past["quantity"].agg(lambda v: v.iloc[-6:].mean()), past["period"].max()
    out = pd.DataFrame({"series_id": np.repeat(mean.index, horizon), "mean": np.repeat(mean.to_numpy(), horizon)})
    ahead = np.tile(np.arange(1, horizon + 1), len(mean))
    months = np.repeat(last.to_numpy("datetime64[M]"), horizon) + ahead.astype("timedelta64[M]")
    ends = {
        "low_80": out["mean"] - 8,
        "high_80": out["mean"] + 8,
        "low_95": out["mean"] - 14,
        "high_95": out["mean"] + 14,
    }
    return out.assign(period=pd.to_datetime(months), ahead=ahead, **ends, **{"q_0.9": out["mean"] + 8})


@pytest.fixture(scope="module")
def structure() -> hierarchy.Structure:
    return hierarchy.structure(bottom(), LEVELS)


@pytest.fixture(scope="module")
def table(structure: hierarchy.Structure) -> pd.DataFrame:
    return backtest.rolling(hierarchy.aggregate(bottom(), structure), recent, horizon=3, origins=8, step="month")


def naive_gain(sums: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """The matrix S (S' W^-1 S)^-1 S' W^-1 of the paper, by inverses."""
    inverse = np.linalg.inv(covariance)
    return sums @ np.linalg.inv(sums.T @ inverse @ sums) @ sums.T @ inverse


# Structure and sums


def test_nodes_are_named_by_their_keys_and_hold_the_right_series(structure: hierarchy.Structure) -> None:
    nodes = structure.nodes
    assert nodes["level"].value_counts().to_dict() == {"product_region": 6, "product": 3, "region": 2, "total": 1}
    assert nodes["series_id"].tolist()[:6] == ["all", "R0", "R1", "P0", "P1", "P2"]
    assert structure.upper == 6 and nodes["never_negative"].all()
    for row, members in zip(nodes.to_dict("records"), structure.sums.toarray(), strict=True):
        held = structure.bottom["series_id"][members == 1].tolist()
        expected = [
            name
            for name in structure.bottom["series_id"]
            if (row["level"] in ("total", "product_region") and row["series_id"] in ("all", name))
            or (row["level"] in ("region", "product") and row["series_id"] in name.split("/"))
        ]
        assert held == expected


def test_nodes_without_a_key_are_named_as_their_series_are() -> None:
    keys = pd.DataFrame({"product_id": ["P1", "P1", "P2"], "region": ["", "north", ""]})
    months = pd.date_range("2025-01-01", periods=2, freq="MS")
    some = keys.assign(series_id=rolling.series_ids(keys)).merge(pd.DataFrame({"period": months}), how="cross")
    found = hierarchy.structure(some.assign(quantity=1.0), {"region": ["region"], "both": ["product_id", "region"]})
    upper = found.nodes[found.nodes["level"] == "region"]
    assert (
        upper["series_id"].tolist()
        == rolling.series_ids(keys[["region"]].drop_duplicates()).tolist()
        == ["unknown", "north"]
    )
    assert found.sums.toarray()[:2].sum(axis=1).tolist() == [2, 1]


def test_sums_are_sums_and_their_weight_is_the_share_that_tells(structure: hierarchy.Structure) -> None:
    series = bottom()
    series["price_minor"], series["promotion"], series["returns"] = 100.0, 0.0, 1.0
    first = series["period"] == MONTHS[0]
    series.loc[first & (series["product_id"] == "P0"), ["weight", "price_minor"]] = [0.0, 200.0]
    out = hierarchy.aggregate(series, structure).set_index(["level", "series_id", "period"])
    for level, keys in LEVELS.items():
        expected = series.groupby([*keys, "period"])["quantity"].sum()
        found = out.loc[level].reset_index().sort_values(["series_id", "period"])["quantity"]
        assert found.tolist() == pytest.approx(expected.tolist())
    january = series[first]
    share = january.loc[january["product_id"] != "P0", "quantity"].sum() / january["quantity"].sum()
    row = out.loc[("total", "all", MONTHS[0])]
    assert row["weight"] == pytest.approx(share) and row["price_minor"] == pytest.approx(200 - 100 * share)
    assert row["returns"] == 6 and out.loc[("product", "P0", MONTHS[0]), "weight"] == 0
    assert out.loc[("product", "P1", MONTHS[0]), "weight"] == 1


def test_series_that_come_and_go_leave_no_hole_in_their_sum() -> None:
    series = bottom(products=1)
    early = (series["region"] == "R0") & (series["period"] < MONTHS[10])
    late = (series["region"] == "R1") & (series["period"] >= MONTHS[12])
    some = series[early | late]
    out = hierarchy.aggregate(
        some, hierarchy.structure(some, {"product": ["product_id"], "both": ["product_id", "region"]})
    )
    whole = out[out["level"] == "product"]
    assert whole["period"].tolist() == list(MONTHS)
    assert whole["quantity"].tolist()[10:12] == [0, 0] and whole["weight"].tolist()[10:12] == [1, 1]
    assert len(out[out["level"] == "both"]) == len(some)


# The matrices


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), method=st.sampled_from(["ols", "wls", "mint"]))
def test_the_projection_is_that_of_wickramasuriya_athanasopoulos_hyndman_2019(seed: int, method: str) -> None:
    random = np.random.default_rng(seed)
    series = bottom(seed, products=int(random.integers(1, 4)), regions=int(random.integers(2, 4)), periods=3)
    given_structure = hierarchy.structure(series.assign(quantity=-1.0), LEVELS)  # may be negative: nothing is cut off
    sums = given_structure.sums.toarray()
    wrong = random.normal(0, 1, (12, len(sums))) @ random.normal(0, 1, (len(sums), len(sums)))
    errors = pd.DataFrame(wrong, columns=given_structure.index)
    made = reconcile.projection(given_structure, method=method, errors=errors)
    variance = (wrong**2).mean(axis=0)
    covariance = {"ols": np.eye(len(sums)), "wls": np.diag(variance)}.get(method)
    if covariance is None:
        correlation, _ = reconcile.shrunk_correlation(wrong / np.sqrt(variance))
        covariance = correlation * np.sqrt(np.outer(variance, variance))
    values = random.normal(20, 5, (len(sums), 4))
    assert made.apply(values) == pytest.approx(naive_gain(sums, covariance) @ values, abs=1e-6)


def test_shrinkage_is_that_of_schaefer_strimmer_2005_target_d() -> None:
    random = np.random.default_rng(4)
    errors = random.normal(0, 1, (15, 5)) @ random.normal(0, 1, (5, 5))
    errors /= np.sqrt((errors**2).mean(axis=0))
    n, p = errors.shape
    above = below = 0.0
    for i in range(p):
        for j in range(p):
            if i != j:
                products = [errors[k, i] * errors[k, j] for k in range(n)]
                mean = sum(products) / n
                above += n / (n - 1) ** 3 * sum((product - mean) ** 2 for product in products)
                below += (n / (n - 1) * mean) ** 2
    found, shrinkage = reconcile.shrunk_correlation(errors)
    assert shrinkage == pytest.approx(above / below) and 0 < shrinkage < 1
    assert np.diag(found).tolist() == [1] * p
    plain = errors.T @ errors / n
    assert found[~np.eye(p, dtype=bool)] == pytest.approx((1 - shrinkage) * plain[~np.eye(p, dtype=bool)])


def test_shrinkage_falls_with_more_errors_and_is_whole_for_independent_ones() -> None:
    random = np.random.default_rng(5)
    mixing = random.normal(0, 1, (6, 6))
    little, much = (reconcile.shrunk_correlation(random.normal(0, 1, (n, 6)) @ mixing)[1] for n in (8, 4000))
    assert much < 0.01 < little
    assert reconcile.shrunk_correlation(random.normal(0, 1, (10, 60)))[1] > 0.8
    assert reconcile.shrunk_correlation(np.zeros((5, 3)))[1] == 1.0


def test_observations_that_go_together_shrink_more_and_single_ones_as_before() -> None:
    """Ten times the same eight errors tell no more than the eight."""
    random = np.random.default_rng(9)
    errors = random.normal(0, 1, (8, 6)) @ random.normal(0, 1, (6, 6))
    once, repeated = reconcile.shrunk_correlation(errors)[1], np.repeat(errors, 10, axis=0)
    assert reconcile.shrunk_correlation(errors, together=[np.arange(8)])[1] == pytest.approx(once)
    assert reconcile.shrunk_correlation(repeated)[1] < 0.2 * once
    assert reconcile.shrunk_correlation(repeated, together=[np.repeat(np.arange(8), 10)])[1] == pytest.approx(once)


def test_what_adds_up_is_left_as_it_is(structure: hierarchy.Structure, table: pd.DataFrame) -> None:
    values = structure.sums @ np.random.default_rng(2).gamma(5, 3, (6, 3))
    errors = reconcile.errors(table, structure)
    for method in reconcile.METHODS:
        made = reconcile.projection(structure, method=method, errors=errors)
        assert made.apply(values) == pytest.approx(values)


def test_mint_recovers_what_only_the_total_knows(structure: hierarchy.Structure) -> None:
    """Bottom errors are large and independent, the total is known exactly: the best bottom takes the total's word."""
    random = np.random.default_rng(6)
    truth = structure.sums @ random.gamma(20, 2, (6, 400))
    noise = np.where(np.arange(len(truth)) == 0, 0.01, 10.0)[:, None] * random.normal(0, 1, truth.shape)
    errors = pd.DataFrame(noise[:, :200].T, columns=structure.index)
    base = truth[:, 200:] - noise[:, 200:]
    made = reconcile.projection(structure, method="mint", errors=errors)
    before, after = (((found - truth[:, 200:]) ** 2).mean(axis=1) for found in (base, made.apply(base)))
    assert after[0] < 0.1 and (after[1:] < before[1:]).all()


# Tables


@pytest.mark.parametrize("method", reconcile.METHODS)
def test_a_reconciled_table_adds_up_and_keeps_its_widths(
    method: str, structure: hierarchy.Structure, table: pd.DataFrame
) -> None:
    forecasts = pd.concat(
        [
            recent(part, 3).assign(level=level)
            for level, part in hierarchy.aggregate(bottom(), structure).groupby("level", sort=False)
        ],
        ignore_index=True,
    )
    forecasts["mean"] *= np.random.default_rng(3).uniform(0.8, 1.2, len(forecasts))
    assert reconcile.incoherence(forecasts, structure) > 1
    out = reconcile.reconcile(forecasts, structure, method=method, errors=reconcile.errors(table, structure))
    assert reconcile.incoherence(out, structure) < 1e-9
    assert out["base"].tolist() == forecasts["mean"].tolist() and out["reconciled"].eq(method).all()
    for name in ("low_80", "high_95", "q_0.9"):
        assert (out[name] - out["mean"]).tolist() == pytest.approx((forecasts[name] - forecasts["mean"]).tolist())


def test_nothing_that_was_never_negative_becomes_so(structure: hierarchy.Structure) -> None:
    values = np.full((12, 1), 1.0)
    values[0] = -30.0  # a total that pulls everything below zero
    made = reconcile.projection(structure, method="ols").apply(values)
    assert (made >= 0).all() and made == pytest.approx(structure.sums @ made[6:])
    series = bottom()
    series.loc[series["series_id"] == "P0/R0", "quantity"] -= 100
    freed = hierarchy.structure(series, LEVELS)
    assert freed.nodes.set_index("series_id")["never_negative"].to_dict() == {
        **{name: False for name in ("all", "R0", "P0", "P0/R0")},
        **{name: True for name in ("R1", "P1", "P2", "P0/R1", "P1/R0", "P1/R1", "P2/R0", "P2/R1")},
    }
    free = reconcile.projection(freed, method="ols").apply(values)
    below = freed.nodes["series_id"][free[:, 0] < 0].tolist()
    assert "P0/R0" in below and set(below) <= {"all", "R0", "P0", "P0/R0"}


def test_values_without_weight_are_no_errors(structure: hierarchy.Structure, table: pd.DataFrame) -> None:
    silent = (table["series_id"] == "P0/R0") & (table["ahead"] == 2)
    changed = table.assign(weight=table["weight"].mask(silent, 0.0), actual=table["actual"].mask(silent, 1e9))
    wide = reconcile.errors(changed, structure)
    assert wide.shape == (24, 12)
    assert wide.isna().sum().sum() == 8 and wide.xs(2, level="ahead")[("product_region", "P0/R0")].isna().all()
    for method in reconcile.LEARNT:
        assert np.isfinite(reconcile.projection(structure, method=method, errors=wide).gain).all()


def test_a_node_that_was_never_wrong_or_never_judged_does_no_harm(
    structure: hierarchy.Structure, table: pd.DataFrame
) -> None:
    errors = reconcile.errors(table, structure)
    errors[("product_region", "P0/R0")] = np.nan
    errors[("product_region", "P1/R0")] = 0.0
    errors[("total", "all")] = 0.0
    for method in reconcile.LEARNT:
        gain = reconcile.projection(structure, method=method, errors=errors).gain
        assert np.isfinite(gain).all() and np.abs(gain).max() < 10


# The back test of reconciliation, and the choice


def test_a_method_learns_from_nothing_later_than_the_origin(
    structure: hierarchy.Structure, table: pd.DataFrame
) -> None:
    tested = reconcile.rolling(table, structure)
    last = tested["origin"].max()
    disturbed = table.assign(actual=table["actual"].where(table["period"] <= last, 1e7))
    again = reconcile.rolling(disturbed, structure)
    pd.testing.assert_series_equal(tested["forecast"], again["forecast"])
    at_last = tested[tested["origin"] == last]
    known = reconcile.errors(table[table["period"] <= last], structure)
    for method, rows in at_last[at_last["reconciled"] != "base"].groupby("reconciled"):
        base = at_last[at_last["reconciled"] == "base"].rename(columns={"forecast": "mean"})
        expected = reconcile.reconcile(base.drop(columns="reconciled"), structure, method=str(method), errors=known)
        assert rows["forecast"].tolist() == pytest.approx(expected["mean"].tolist())


def test_all_methods_are_compared_on_the_same_origins(structure: hierarchy.Structure, table: pd.DataFrame) -> None:
    tested = reconcile.rolling(table, structure)
    origins = tested.groupby("reconciled")["origin"].agg(lambda when: tuple(sorted(set(when))))
    assert (
        set(map(len, origins)) == {6} and len(set(origins)) == 1
    )  # the first two know fewer than four vectors of errors
    assert reconcile.rolling(table, structure, methods=("bottom_up",))["origin"].nunique() == 8


def test_the_choice_counts_every_level_alike_and_names_what_got_worse(structure: hierarchy.Structure) -> None:
    """A perfect total over poor parts: bottom-up must lose, and whoever wins says where it harmed."""
    random = np.random.default_rng(8)
    series = hierarchy.aggregate(bottom(), structure)

    def known_total(train: pd.DataFrame, horizon: int) -> pd.DataFrame:
        out = recent(train, horizon)
        if out["series_id"].eq("all").all():
            truth = series[series["level"] == "total"].set_index("period")["quantity"]
            return out.assign(mean=out["period"].map(truth) + random.normal(0, 0.1, len(out)))
        return out.assign(mean=out["mean"] * random.uniform(0.6, 1.4, len(out)))

    table = backtest.rolling(series, known_total, horizon=3, origins=10, step="month")
    choice = reconcile.choose(table, structure, methods=("bottom_up", "ols"))
    assert choice.method == "ols" and choice.origins == 10
    assert choice.worse["reconciled"].eq(choice.method).all() and choice.worse["level"].tolist() == ["total"]
    assert (choice.worse["change"] > 0).all()
    by = choice.table.set_index(["level", "reconciled"])
    assert len(by) == 4 * 3 and by.index[0] == ("total", "base")
    assert by.loc[("total", "bottom_up"), "wape"] > 10 * by.loc[("total", "base"), "wape"]
    base, best = by.loc[("product_region", "base"), "wape"], by.loc[("product_region", choice.method), "wape"]
    assert by.loc[("product_region", choice.method), "change"] == pytest.approx(best / base - 1) and best < base


def test_series_that_were_not_there_yet_are_left_out_of_their_origin(structure: hierarchy.Structure) -> None:
    series = bottom()
    late = series[(series["series_id"] != "P2/R1") | (series["period"] > MONTHS[40])]
    table = backtest.rolling(
        hierarchy.aggregate(late, hierarchy.structure(late, LEVELS)),
        recent,
        horizon=3,
        origins=8,
        every=1,
        step="month",
    )
    tested = reconcile.rolling(table, structure, methods=("bottom_up", "ols"))
    there = tested[tested["series_id"] == "P2/R1"]["origin"].unique()
    assert set(there) < set(tested["origin"]) and min(there) == MONTHS[41]
    for _, part in tested[tested["reconciled"] == "ols"].groupby("period"):
        first = part[part["origin"] == part["origin"].min()]
        means = first.set_index("series_id")["forecast"]
        assert means["all"] == pytest.approx(means.filter(like="/").sum())


# What cannot be used


def test_bad_structures_are_refused(structure: hierarchy.Structure) -> None:
    series = bottom()
    with pytest.raises(UsageError, match="levels names 1; give at least two, the bottom last"):
        hierarchy.structure(series, {"bottom": ("product_id", "region")})
    with pytest.raises(UsageError, match="product_id does not tell the series apart; put the keys of the series last"):
        hierarchy.structure(series, {"total": (), "product": ("product_id",)})
    with pytest.raises(UsageError, match="level 'again' has the keys of the bottom level"):
        hierarchy.structure(series, {"again": ("product_id", "region"), "bottom": ("region", "product_id")})
    with pytest.raises(DataError, match="series: no column outlet_id; it has series_id"):
        hierarchy.structure(series, {"total": (), "outlet": ("outlet_id",)})
    with pytest.raises(
        DataError, match="series 'P0/R0' has more than one value of product_id, region; a series keeps its keys"
    ):
        hierarchy.structure(series.assign(region=series["region"].mask(series.index == 3, "R9")), LEVELS)
    with pytest.raises(DataError, match="series 'P0/R0': a key of product_id, region is empty"):
        hierarchy.structure(series.assign(region=series["region"].mask(series["series_id"] == "P0/R0")), LEVELS)
    with pytest.raises(DataError, match="5 series are not the 6 of the structure"):
        hierarchy.aggregate(series[series["series_id"] != "P0/R0"], structure)
    with pytest.raises(DataError, match="'X' is none of them"):
        hierarchy.part(structure, ["X"])


def test_bad_forecasts_and_errors_are_refused(structure: hierarchy.Structure, table: pd.DataFrame) -> None:
    forecasts = table[table["origin"] == table["origin"].max()].rename(columns={"forecast": "mean"})
    with pytest.raises(UsageError, match="method is 'magic'; take one of bottom_up, ols, wls, mint"):
        reconcile.reconcile(forecasts, structure, method="magic")
    with pytest.raises(
        UsageError, match="method mint weighs nodes by their errors; give errors of a back test or take ols"
    ):
        reconcile.reconcile(forecasts, structure, method="mint")
    few = reconcile.errors(table, structure).iloc[:3]
    with pytest.raises(DataError, match=r"errors: not enough data .found 3 vectors of errors, need 4"):
        reconcile.reconcile(forecasts, structure, method="wls", errors=few)
    with pytest.raises(DataError, match=r"forecast: region 'R1' has no mean for 2026-10-01; every node needs one"):
        gap = (forecasts["series_id"] == "R1") & (forecasts["ahead"] == 1)
        reconcile.reconcile(forecasts[~gap], structure, method="ols")
    with pytest.raises(DataError, match="forecast: total all 2026-10-01 00:00:00 is there twice"):
        reconcile.reconcile(pd.concat([forecasts, forecasts.iloc[:1]]), structure, method="ols")
    with pytest.raises(DataError, match="forecast: total everything is no node of the structure"):
        reconcile.reconcile(forecasts.replace({"series_id": {"all": "everything"}}), structure, method="ols")
    with pytest.raises(DataError, match="forecast: no column level"):
        reconcile.reconcile(forecasts.drop(columns="level"), structure, method="ols")
    with pytest.raises(DataError, match=r"not enough data to learn from earlier errors .found 1 origins, none with 4"):
        reconcile.rolling(table[table["origin"] == table["origin"].max()], structure)
