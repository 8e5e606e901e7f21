"""Effects of campaigns: published numbers, planted truth, naive references, and refusals in one clear sentence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from crmlib.decisions import experiments
from crmlib.decisions.experiments import contract, effects
from crmlib.errors import DataError, UsageError
from crmlib.samples import public
from crmlib.views import effect_words, plots_effects


def made_up(
    seed: int = 1, *, customers: int = 4_000, rate: float = 0.1, added: float = 0.05, arms: tuple[str, ...] = ("call",)
) -> pd.DataFrame:
    """Return results of a campaign that adds a share of buyers; the margin of a sale is 100.00, a contact costs 2.00."""
    rng = np.random.default_rng(seed)
    arm = rng.choice(["control", *arms], customers, p=[0.3, *[0.7 / len(arms)] * len(arms)])
    control = arm == "control"
    lean = rng.normal(size=customers)
    p = np.clip(rate + 0.03 * lean + added * ~control, 0, 1)
    bought = rng.random(customers) < p
    return pd.DataFrame(
        {
            "customer_id": [f"C{number}" for number in range(customers)],
            "arm": arm,
            "control": control,
            "stratum": rng.choice(["north", "south"], customers),
            "assigned_at": pd.Timestamp("2025-10-01"),
            "contacted": ~control & (rng.random(customers) < 0.8),
            "converted": bought,
            "revenue_minor": 15_000.0 * bought,
            "profit_minor": 10_000.0 * bought - 200 * ~control,
            "cost_minor": 200.0 * ~control,
            "pre_lean": lean,
        }
    )


def row(table: pd.DataFrame, measure: str, arm: str = "call") -> pd.Series:
    return table[(table["measure"] == measure) & (table["arm"] == arm)].iloc[0]


# ---------------------------------------------------------------- published numbers


def test_sample_size_of_chow_shao_and_wang_2008_page_89() -> None:
    found = experiments.sample_size(0.2, rate=0.65, control_share=0.5)
    assert (found.per_arm, found.control, found.members) == (70, 70, 140)


def test_hillstrom_visits_rise_by_7_66_points_by_mens_and_4_52_by_womens_mail(real_data: object) -> None:
    table = _hillstrom("visit")
    found = experiments.final(table)
    for arm, published in (("Mens E-Mail", 0.0766), ("Womens E-Mail", 0.0452)):
        one = row(found, "conversions", arm)
        assert round(one["per_customer"], 4) == published
        assert one["low"] > 0


def test_hillstrom_spend_rises_by_0_77_dollars_by_mens_and_0_42_by_womens_mail(real_data: object) -> None:
    found = experiments.final(_hillstrom("conversion"))
    for arm, published in (("Mens E-Mail", 0.77), ("Womens E-Mail", 0.42)):
        one = row(found, "revenue_minor", arm)
        assert round(one["per_customer"] / 100, 2) == published
        assert one["low"] > 0


def _hillstrom(converted: str) -> pd.DataFrame:
    table = public.hillstrom()
    control = table["segment"] == "No E-Mail"
    return pd.DataFrame(
        {
            "customer_id": table.index.astype(str),
            "arm": table["segment"],
            "control": control,
            "stratum": "",
            "assigned_at": pd.Timestamp("2008-01-01"),
            "contacted": ~control,
            "converted": table[converted] == 1,
            "revenue_minor": 100 * table["spend"],
            "profit_minor": 40 * table["spend"] - 5 * ~control,
        }
    )


# ---------------------------------------------------------------- naive references


def test_without_strata_and_covariates_it_is_welchs_test() -> None:
    table = made_up().assign(stratum="")
    found = row(experiments.final(table, covariates=[]), "profit_minor")
    arm, alone = (table.loc[table["control"] == flag, "profit_minor"] for flag in (False, True))
    interval = stats.ttest_ind(arm, alone, equal_var=False).confidence_interval(0.95)
    assert found["per_customer"] == pytest.approx(arm.mean() - alone.mean())
    assert (found["low"], found["high"]) == pytest.approx((interval.low, interval.high), rel=1e-9)
    assert found["total"] == pytest.approx(found["per_customer"] * len(arm))


def test_strata_are_weighted_by_the_customers_of_the_arm_as_counted_by_hand() -> None:
    table = made_up(3)
    expected = sum(
        len(part[~part["control"]])
        * (part.loc[~part["control"], "converted"].mean() - part.loc[part["control"], "converted"].mean())
        for _, part in table.groupby("stratum")
    )
    assert row(experiments.final(table, covariates=[]), "conversions")["total"] == pytest.approx(expected)


def test_with_equal_groups_and_one_covariate_it_is_close_to_the_robust_regression() -> None:
    rng = np.random.default_rng(5)
    treated = np.arange(6_000) % 2 == 0
    lean = rng.normal(size=6_000)
    outcome = 3 * lean + 0.5 * treated + rng.normal(size=6_000)
    table = made_up(customers=6_000).assign(
        control=~treated, contacted=treated, stratum="", profit_minor=outcome, pre_lean=lean, converted=True
    )
    found = row(experiments.final(table.assign(arm="call")), "profit_minor")
    centred = lean - lean.mean()
    design = np.column_stack([np.ones(6_000), treated, centred, treated * centred])
    fit = sm.OLS(outcome, design).fit(cov_type="HC1")
    assert found["per_customer"] == pytest.approx(fit.params[1], abs=1e-3)
    assert (found["high"] - found["low"]) / 2 == pytest.approx(1.96 * fit.bse[1], rel=0.02)
    assert found["removed"] == pytest.approx(0.9, abs=0.02)  # 9 of 10 parts of the variance are the covariate's


def test_the_effect_of_a_contact_is_that_of_the_choice_over_the_share_reached() -> None:
    table = made_up()
    reached = experiments.per_contacted(table).set_index("measure").loc["conversions"]
    whole = row(experiments.final(table, covariates=[]), "conversions")
    assert reached["per_contacted"] * reached["contacted_share"] == pytest.approx(whole["per_customer"])
    assert reached["low"] < reached["per_contacted"] < reached["high"]


# ---------------------------------------------------------------- planted truth


def test_intervals_cover_the_planted_effect_as_often_as_they_say() -> None:
    covered = {"plain": 0, "adjusted": 0}
    for seed in range(300):
        table = made_up(seed, customers=1_500)
        for name, used in (("plain", []), ("adjusted", None)):
            found = row(experiments.final(table, covariates=used), "conversions")
            covered[name] += found["low"] <= 0.05 <= found["high"]
    # 300 draws of 95%: three standard errors are 3.8 points. Clipping at 0 makes the planted effect 0.05 within 1e-4.
    assert all(abs(count / 300 - 0.95) < 0.038 for count in covered.values()), covered


def test_reduction_of_variance_narrows_the_interval_without_moving_what_is_measured() -> None:
    rng = np.random.default_rng(9)
    table = made_up(customers=8_000)
    value = 1_000 * np.exp(rng.normal(size=8_000))
    table = table.assign(
        profit_minor=value * (1 + 0.1 * ~table["control"]), pre_value=value + 100 * rng.normal(size=8_000)
    )
    plain, adjusted = (row(experiments.final(table, covariates=used), "profit_minor") for used in ([], ["pre_value"]))
    assert adjusted["removed"] > 0.9
    assert adjusted["high"] - adjusted["low"] < 0.35 * (plain["high"] - plain["low"])
    assert plain["low"] < adjusted["per_customer"] < plain["high"]


def test_several_arms_are_compared_with_one_control_group_and_costs_come_off_their_profit() -> None:
    table = made_up(arms=("call", "mail"))
    plain = experiments.final(table)
    dearer = experiments.final(table, arm_costs_minor={"mail": 50_000})
    assert list(plain["arm"].unique()) == ["call", "mail", experiments.ALL_ARMS]
    for arm, cost in (("call", 0), ("mail", 50_000), (experiments.ALL_ARMS, 50_000)):
        before, after = row(plain, "profit_minor", arm), row(dearer, "profit_minor", arm)
        assert before["total"] - after["total"] == pytest.approx(cost)
        assert before["total_high"] - before["total_low"] == pytest.approx(after["total_high"] - after["total_low"])


# ---------------------------------------------------------------- too little data, strange data


def test_strata_too_small_are_pooled_and_who_has_no_control_group_is_counted_out() -> None:
    table = made_up()
    odd = table.index[~table["control"]][:3]
    table.loc[odd, "stratum"] = ["one", "two", "two"]
    kept = contract.groups(contract.check(table), "call")
    assert kept.left_out == 3
    assert row(experiments.final(table), "conversions")["left_out"] == 3
    more = table.index[table["control"]][:4]
    table.loc[more, "stratum"] = ["one", "one", "two", "three"]
    assert contract.groups(contract.check(table), "call").left_out == 0


def test_an_outcome_that_never_happened_has_no_interval_but_a_reason() -> None:
    nothing = made_up().assign(converted=False, revenue_minor=0.0, profit_minor=0.0)
    for table in (experiments.final(nothing), experiments.interim(nothing, planned_buyers=100)):
        one = row(table, "profit_minor")
        assert (one["code"], one["found"]) == ("not_enough_data", 0) and one["need"] > 0
        assert np.isnan(one["low"])
    code = experiments.verdict(experiments.final(nothing))
    words = effect_words.sentence(code, currency="EUR")
    assert words.startswith("call: Not enough data yet: 0 of the ")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"control": False}, "nobody is in the control group, so the effect cannot be measured"),
        ({"control": True}, "everybody is in the control group, so there is nothing to measure"),
        ({"contacted": False}, "nobody of the campaign was contacted, so it has no effect yet"),
        ({"cost_minor": -1.0}, "4000 negative costs in column cost_minor"),
        ({"customer_id": "C1"}, r"name customer C1 more than once \(3999 rows too many\)"),
        ({"arm": None}, "customers outside the control group without an arm; name it"),
        ({"profit_minor": np.nan}, "4000 gaps in column profit_minor; fill them"),
    ],
)
def test_results_that_allow_no_comparison_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        experiments.final(made_up().assign(**change))


def test_parameters_that_make_no_sense_are_refused() -> None:
    table = made_up()
    with pytest.raises(DataError, match="results have no column arm, stratum; they need customer_id, arm"):
        experiments.final(table.drop(columns=["arm", "stratum"]))
    with pytest.raises(DataError, match="the campaign has no members"):
        experiments.final(table.iloc[:0])
    with pytest.raises(UsageError, match="arm_costs_minor names letter, but the arms are call"):
        experiments.final(table, arm_costs_minor={"letter": 5})
    with pytest.raises(UsageError, match="arm_costs_minor of call is -5; costs are zero or more"):
        experiments.final(table, arm_costs_minor={"call": -5})
    with pytest.raises(UsageError, match="no covariate pre_moon; they have pre_lean"):
        experiments.final(table, covariates=["pre_moon"])
    with pytest.raises(UsageError, match="confidence is 95; give a probability"):
        experiments.final(table, confidence=95)
    with pytest.raises(UsageError, match="planned_buyers is 0; give how many are expected"):
        experiments.interim(table, planned_buyers=0)
    with pytest.raises(UsageError, match="no effect of arm 'letter'"):
        experiments.verdict(experiments.final(table), arm="letter")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"effect": 0, "rate": 0.1}, "effect is 0; name the smallest"),
        ({"effect": 0.1}, "give either rate .* or spread"),
        ({"effect": 0.1, "rate": 0.95}, "make 1.05, which is no share"),
        (
            {"effect": 0.1, "rate": 0.1, "control_share": 0},
            "control_share is 0; without both a control group and others",
        ),
        ({"effect": 0.1, "rate": 0.1, "arms": 0}, "arms is 0"),
        ({"effect": 0.1, "spread": -1}, "spread is -1"),
        ({"effect": 0.1, "rate": 0.1, "power": 2}, "power is 2"),
    ],
)
def test_a_plan_that_is_no_experiment_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        experiments.sample_size(**arguments)


@settings(max_examples=40, deadline=None)
@given(rate=st.floats(0.01, 0.5), effect=st.floats(0.005, 0.2), share=st.floats(0.05, 0.6), arms=st.integers(1, 4))
def test_smallest_effect_and_sample_size_are_each_others_inverse(
    rate: float, effect: float, share: float, arms: int
) -> None:
    size = experiments.sample_size(effect, rate=rate, control_share=share, arms=arms)
    again = experiments.smallest_effect(size.members, rate=rate, control_share=share, arms=arms)
    assert again <= effect * 1.0001
    assert again > effect * 0.7 or size.members < 60  # few customers: rounding up each group matters


# ---------------------------------------------------------------- words and pictures


def test_a_verdict_is_said_in_english_and_russian() -> None:
    table = experiments.final(made_up(customers=20_000))
    code = experiments.verdict(table)
    assert code["code"] == "gained" and code["low"] < code["value"] < code["high"]
    english, russian = (effect_words.sentence(code, language, currency="EUR") for language in ("en", "ru"))
    assert english.startswith("call: With 95% confidence the campaign earned between €")
    assert russian.startswith("call: С достоверностью 95\u00a0% кампания заработала от ")


def test_a_campaign_counts_its_buyers_and_the_programme_says_that_all_campaigns_are_meant() -> None:
    code = {"code": "gained", "measure": "conversions", "confidence": 0.95, "value": 5.0, "low": 2.0, "high": 9.0}
    said = effect_words.sentence({**code, "arm": "(all)"}, currency="EUR")
    assert "between 2 and 9 customers bought only because of it" in said
    said = effect_words.sentence({**code, "arm": "campaigns"}, currency="EUR")
    assert "between 2 and 9 purchases came about only because of them" in said
    profit = {**code, "measure": "profit_minor", "arm": "campaigns"}
    assert "all campaigns together earned between" in effect_words.sentence(profit, currency="EUR")
    assert "все кампании вместе заработали от" in effect_words.sentence(profit, "ru", currency="EUR")


@pytest.mark.parametrize("measure", contract.MEASURES)
@pytest.mark.parametrize("code", ["gained", "lost", "unclear"])
@pytest.mark.parametrize("language", ["en", "ru"])
def test_every_verdict_has_a_sentence_with_its_smaller_amount_first(measure: str, code: str, language: str) -> None:
    low, high = {"gained": (1_000, 9_000), "lost": (-9_000, -1_000), "unclear": (-1_000, 9_000)}[code]
    given_code = {
        "code": code,
        "measure": measure,
        "arm": "(all)",
        "confidence": 0.95,
        "value": 0.0,
        "low": low,
        "high": high,
    }
    words = effect_words.sentence(given_code, language, currency="EUR")
    small, large = ("€10", "€90") if measure != "conversions" else ("1,000", "9,000")
    if language == "ru":
        small, large = ("10\u00a0€", "90\u00a0€") if measure != "conversions" else ("1\u00a0000", "9\u00a0000")
    assert words.index(small) < words.index(large)


def test_pictures_show_what_the_table_says() -> None:
    table = experiments.final(made_up(arms=("call", "mail")))
    drawn = plots_effects.effects(table, currency="EUR")
    whole = row(table, "profit_minor", experiments.ALL_ARMS)
    assert next(iter(drawn.data[0].y)) == "all arms together"
    assert drawn.data[0].x[0] == pytest.approx(whole["total"] / 100)
    looks = pd.concat([table[table["arm"] == "call"].assign(day=day) for day in pd.date_range("2025-10-10", periods=3)])
    seen = plots_effects.looks(looks[looks["measure"] == "conversions"], currency="EUR", language="ru")
    assert len(seen.data[2].x) == 3 and seen.layout.xaxis.title.text == "День промежуточного итога"
    with pytest.raises(DataError, match="lacks the columns measure, total"):
        plots_effects.effects(pd.DataFrame({"arm": []}), currency="EUR")


def test_effects_are_plain_rows() -> None:
    assert list(experiments.final(made_up())) == list(effects.Effect.__dataclass_fields__)
