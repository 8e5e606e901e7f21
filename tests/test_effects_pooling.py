"""Pooling: published figures, planted spread, what products borrow from their group; the cheese data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crmlib.errors import DataError
from crmlib.models.effects import elasticity, pooling, promotions, scanner
from crmlib.samples import public
from crmlib.samples.price_series import Planted, weekly

# Cases with and without tuberculosis of the vaccinated, then of the others, in 13 trials (Colditz et al. 1994).
TRIALS = np.array(
    [
        "4",
        "119",
        "11",
        "128",
        "6",
        "300",
        "29",
        "274",
        "3",
        "228",
        "11",
        "209",
        "62",
        "13536",
        "248",
        "12619",
        "33",
        "5036",
        "47",
        "5761",
        "180",
        "1361",
        "372",
        "1079",
        "8",
        "2537",
        "10",
        "619",
        "505",
        "87886",
        "499",
        "87892",
        "29",
        "7470",
        "45",
        "7232",
        "17",
        "1699",
        "65",
        "1600",
        "186",
        "50448",
        "141",
        "27197",
        "5",
        "2493",
        "3",
        "2338",
        "27",
        "16886",
        "29",
        "17825",
    ],
    float,
).reshape(13, 4)


def test_viechtbauer_2010_journal_of_statistical_software_36_3_section_4_bcg_vaccine() -> None:
    a, b, c, d = TRIALS.T
    found = pooling.pool(np.log(a / (a + b) / (c / (c + d))), np.sqrt(1 / a - 1 / (a + b) + 1 / c - 1 / (c + d)))
    assert (round(found.mean, 4), round(found.between**2, 4)) == (-0.7145, 0.3132)
    assert round(found.heterogeneity, 2) == 152.23


def test_without_spread_the_interval_is_never_narrower_than_the_classical_one() -> None:
    found = pooling.pool(np.full(5, -2.0), np.full(5, 0.3))
    assert found.between == 0.0
    assert found.error == pytest.approx(0.3 / np.sqrt(5))


@settings(max_examples=40, deadline=None)
@given(shift=st.floats(-5, 5), scale=st.floats(0.1, 10), seed=st.integers(0, 100))
def test_pooling_follows_shift_and_scale(shift: float, scale: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    y, s = random.normal(0, 1, 6), random.uniform(0.1, 0.5, 6)
    plain, moved = pooling.pool(y, s), pooling.pool(shift + scale * y, scale * s)
    assert moved.mean == pytest.approx(shift + scale * plain.mean, rel=1e-4, abs=1e-4)
    assert moved.between == pytest.approx(scale * plain.between, rel=1e-2, abs=1e-3)


def test_intervals_of_the_mean_and_of_another_one_cover() -> None:
    random = np.random.default_rng(5)
    hits, new, many = 0, 0, 400
    for _ in range(many):
        truth, errors = random.normal(-2, 0.4, 9), random.uniform(0.15, 0.4, 9)
        found = pooling.pool(truth[:8] + random.normal(size=8) * errors[:8], errors[:8])
        hits += found.low <= -2 <= found.high
        new += found.new_low <= truth[8] <= found.new_high
    assert 0.90 * many < hits < 0.985 * many
    assert 0.90 * many < new < 0.99 * many


def test_shrinking_comes_nearer_to_the_truth_and_covers() -> None:
    random = np.random.default_rng(6)
    truth = random.normal(-2, 0.3, (60, 12))
    table = pd.DataFrame(
        {
            "group": np.repeat(np.arange(60), 12),
            "estimate": (truth + random.normal(0, 0.4, (60, 12))).ravel(),
            "error": 0.4,
            "truth": truth.ravel(),
        }
    )
    drawn = pooling.shrink(table, pooling.table(table, ["group"]), ["group"])
    assert (drawn["estimate"] - drawn["truth"]).std() < 0.7 * (table["estimate"] - table["truth"]).std()
    inside = ((drawn["low"] <= drawn["truth"]) & (drawn["truth"] <= drawn["high"])).mean()
    assert 0.90 < inside < 0.98


def test_one_and_few_estimates() -> None:
    one = pooling.pool(np.array([-1.0]), np.array([0.2]))
    assert (one.mean, one.low, one.series) == (-1.0, pytest.approx(-1.0 - 1.96 * 0.2, abs=1e-3), 1)
    assert one.new_low < one.low
    with pytest.raises(DataError, match="pooling needs at least one estimate"):
        pooling.pool(np.array([]), np.array([]))
    with pytest.raises(DataError, match="a standard error above 0"):
        pooling.pool(np.array([1.0]), np.array([0.0]))


# ---------------------------------------------------------------- products and groups


PRODUCTS = {"a": "cheese", "b": "cheese", "c": "cheese", "d": "cheese", "m": "milk"}


def market(regions: int = 4) -> pd.DataFrame:
    """Four cheeses and a milk in a few regions; one cheese is never promoted, the milk stands alone."""
    parts = []
    for number, (product, group) in enumerate(PRODUCTS.items()):
        table = weekly(Planted(elasticity=-1.5 - 0.2 * number), series=regions, seed=20 + number)
        region = "r" + table["product_id"].str[-1]
        parts.append(
            table.assign(product_id=product, region=region, product_group=group, series_id=product + "/" + region)
        )
    out = pd.concat(parts, ignore_index=True)
    out.loc[out["product_id"] == "c", "promotion"] = 0.0
    return out


def test_products_regions_and_groups() -> None:
    estimates = elasticity.estimate(market())
    table, cross = promotions.bring_together(estimates)
    assert cross.empty
    assert list(table.columns) == promotions.COLUMNS
    rows = table.set_index(["measure", "product_id", "region"])
    a = rows.loc[("price_elasticity", "a", "")]
    assert (a["method"], a["series"]) == ("pooled", 4)
    own = estimates[(estimates["product_id"] == "a") & (estimates["measure"] == "price_elasticity")]
    assert a["error"] < own["error"].min()
    here = rows.loc[("price_elasticity", "a", "r0")]
    assert here["method"] == "shrunk"
    between = sorted([own.loc[own["region"] == "r0", "estimate"].iloc[0], a["estimate"]])
    assert between[0] - 1e-9 <= here["estimate"] <= between[1] + 1e-9


def test_a_product_never_promoted_borrows_from_its_group_with_a_wider_interval() -> None:
    table, _ = promotions.bring_together(elasticity.estimate(market()))
    rows = table[table["measure"] == "promotion_uplift"].set_index(["product_id", "region"])
    borrowed, group = rows.loc[("c", "")], table[(table["product_id"] == "") & (table["product_group"] == "cheese")]
    group = group[group["measure"] == "promotion_uplift"].iloc[0]
    assert (borrowed["method"], borrowed["note_code"]) == ("group", "never_promoted")
    assert (borrowed["estimate"], borrowed["low"]) == (group["estimate"], group["new_low"])
    own = rows.loc[("a", "")]
    assert borrowed["high"] - borrowed["low"] > own["high"] - own["low"]
    alone = promotions.bring_together(elasticity.estimate(market().assign(promotion=0.0)))[0]
    nothing = alone[(alone["measure"] == "promotion_uplift") & (alone["product_id"] == "c") & (alone["region"] == "")]
    assert nothing[["method", "note_code"]].iloc[0].tolist() == ["none", "never_promoted"]
    assert not np.isfinite(nothing["estimate"].iloc[0])


def test_series_without_products_are_refused() -> None:
    with pytest.raises(DataError, match="estimates have no column product_id"):
        promotions.bring_together(elasticity.estimate(market()).drop(columns="product_id"))


# ---------------------------------------------------------------- cheese


def test_cheese_elasticities_lie_where_boatwright_mcculloch_rossi_1999_have_them(real_data: Path) -> None:
    found = elasticity.estimate(scanner.series(public.bayesm("cheese")))
    rows = found[(found["measure"] == "price_elasticity") & np.isfinite(found["estimate"])]
    pooled = pooling.pool(rows["estimate"].to_numpy(), rows["error"].to_numpy())
    assert len(rows) >= 85
    assert -2.6 < pooled.low < pooled.mean < pooled.high < -1.7
    assert rows["estimate"].between(-5, -1).mean() > 0.85
    displays = found[(found["measure"] == "promotion_uplift") & np.isfinite(found["estimate"])]
    assert pooling.pool(displays["estimate"].to_numpy(), displays["error"].to_numpy()).low > 0


def test_other_tables_are_not_cheese() -> None:
    with pytest.raises(DataError, match="cheese has no column DISP, PRICE"):
        scanner.series(pd.DataFrame({"RETAILER": ["a"], "VOLUME": [1]}))
