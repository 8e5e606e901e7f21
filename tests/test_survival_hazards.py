"""Person-periods and hazards by reason: published regressions, planted rates, point in time, bad input."""

import datetime as dt

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crmlib.errors import DataError, UsageError
from crmlib.models.survival import design, hazards, periods

# The 42 children of tests/test_survival.py with the logarithm of their white cells (Kleinbaum & Klein 2012, table 3.1).
MP6 = (
    "35+ 1.45 34+ 1.47 32+ 2.20 32+ 2.53 25+ 1.78 23 2.57 22 2.32 20+ 2.01 19+ 2.05 17+ 2.16 16 3.60 13 2.88 11+ 2.60"
    " 10 2.96 10+ 2.70 9+ 2.80 7 4.43 6 2.31 6 4.06 6 3.28 6+ 3.20"
)
PLACEBO = (
    "23 1.97 22 2.73 17 2.95 15 2.30 12 1.50 12 3.06 11 3.49 11 2.12 8 3.52 8 3.05 8 2.32 8 3.26 5 3.49 5 3.97 4 4.36"
    " 4 2.42 3 4.01 2 4.91 2 4.48 1 2.80 1 5.00"
)
DATES = [dt.date(2024, 1, 1) + dt.timedelta(days=30 * month) for month in range(25)]
PLANTED = {  # rate a day at ease, factor of a complaint open at the time, factor of age (by 10 years)
    "price": (0.0016, 1.0, 0.7),
    "service": (0.0008, 4.0, 1.0),
}


def remission() -> pd.DataFrame:
    words = [*MP6.split(), *PLACEBO.split()]
    weeks = [float(word.rstrip("+")) for word in words[::2]]
    ended = ["" if word.endswith("+") else "relapse" for word in words[::2]]
    white = [float(word) for word in words[1::2]]
    return pd.DataFrame({"weeks": weeks, "reason": ended, "placebo": np.repeat([0, 1], 21), "log_white": white})


def planted(customers: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Spells whose rate of leaving changes month by month with a complaint, and the covariates month by month."""
    rng = np.random.default_rng(seed)
    start = np.datetime64(DATES[0], "D") + rng.integers(-900, 400, customers)
    age = rng.uniform(-2, 2, customers)
    complaint = rng.random((customers, len(DATES))) < 0.3
    end, reason = np.full(customers, np.datetime64("NaT"), dtype="datetime64[D]"), np.full(customers, "", dtype=object)
    for month, as_of in enumerate(DATES[:-1]):
        day = np.datetime64(as_of, "D")
        open_ = (start <= day) & np.isnat(end)
        rates = np.array(
            [base * np.where(complaint[:, month], factor, 1) * by_age**age for base, factor, by_age in PLANTED.values()]
        )
        wait = np.floor(rng.exponential(1 / rates.sum(axis=0))).astype(int) + 1
        leaves = open_ & (wait <= 30)
        end[leaves] = day + wait[leaves]
        which = rng.random(customers) * rates.sum(axis=0) < rates[0]
        reason[leaves] = np.where(which, *PLANTED)[leaves]
    spells = pd.DataFrame({"customer_id": [f"c{i}" for i in range(customers)], "started": start})
    spells = spells.assign(ended=pd.to_datetime(end), reason=reason)
    months = np.repeat(pd.to_datetime(DATES), customers)
    known = pd.DataFrame({"customer_id": np.tile(spells["customer_id"], len(DATES)), "as_of": months})
    return spells, known.assign(complaint=complaint.T.ravel().astype(int), age=np.tile(age, len(DATES)))


def test_cox_of_kleinbaum_and_klein_2012_leukaemia_with_ties_by_efron_as_r_prints_it():
    table = remission()
    alone = hazards.cox(table["weeks"], table["reason"], table[["placebo"]]).iloc[0]
    assert (alone["coefficient"], alone["standard_error"]) == pytest.approx((1.572, 0.412), abs=5e-4)
    both = hazards.cox(table["weeks"], table["reason"], table[["placebo", "log_white"]])
    assert both["coefficient"].tolist() == pytest.approx([1.3861, 1.6909], abs=5e-5)
    assert both["standard_error"].tolist() == pytest.approx([0.4248, 0.3359], abs=5e-5)
    assert both["hazard_ratio"].tolist() == pytest.approx(np.exp([1.3861, 1.6909]), rel=1e-4)
    assert both["events"].tolist() == [30, 30]


def test_planted_hazards_by_reason_are_recovered_within_5_percent_with_covariates_that_change():
    spells, known = planted(20_000, seed=6)
    table = periods.with_covariates(periods.split(spells, DATES), known)
    found = hazards.fit(table, ["complaint", "age"])
    ratios = found.effects.set_index(["reason", "covariate"])
    for reason, (_, complaint, age) in PLANTED.items():
        assert ratios.loc[(reason, "complaint"), "hazard_ratio"] == pytest.approx(complaint, rel=0.05)
        assert ratios.loc[(reason, "age"), "hazard_ratio"] == pytest.approx(age, rel=0.05)
    assert (ratios["low"] < ratios["hazard_ratio"]).all() and (ratios["hazard_ratio"] < ratios["high"]).all()
    # The rates themselves, and the probabilities they make when both reasons compete.
    calm = pd.DataFrame({"tenure": [200.0, 500.0, 900.0], "complaint": 0, "age": 0.0})
    rates = found.rates(calm)
    base = {reason: values[0] for reason, values in PLANTED.items()}
    for reason, rate in base.items():
        # Days are whole, so a day counts in which half of those who leave have left.
        assert rates[reason].to_numpy() == pytest.approx(rate, rel=0.05)
    total = sum(base.values())
    expected = {reason: rate / total * -np.expm1(-total * 180) for reason, rate in base.items()}
    assert found.incidence(calm, within_days=180).mean().to_dict() == pytest.approx(expected, rel=0.05)


def test_planted_hazards_are_recovered_by_cox_from_one_row_a_customer_with_late_entry():
    rng = np.random.default_rng(9)
    count, age = 6_000, rng.normal(size=6_000)
    plan = rng.choice(["basic", "basic", "plus"], count)
    rates = {"price": 0.004 * np.exp(0.4 * age), "moving": 0.003 * np.where(plan == "plus", 0.5, 1.0)}
    total = sum(rates.values())
    time, entered = rng.exponential(1 / total), rng.uniform(0, 60, count)
    seen = time > entered
    last = np.minimum(time, 400)
    reason = np.where(time > 400, "", np.where(rng.random(count) * total < rates["price"], "price", "moving"))
    inputs = pd.DataFrame({"age": age, "plan": plan})
    found = hazards.cox(last[seen], reason[seen], inputs[seen], entered=entered[seen])
    ratios = found.set_index(["reason", "covariate"])
    planted_ones = {("price", "age"): 0.4, ("price", "plan=plus"): 0.0, ("moving", "age"): 0.0}
    planted_ones[("moving", "plan=plus")] = np.log(0.5)
    for key, value in planted_ones.items():
        row = ratios.loc[key]
        assert abs(row["coefficient"] - value) < 3 * row["standard_error"]
    assert ratios.loc[("price", "age"), "hazard_ratio"] == pytest.approx(np.exp(0.4), rel=0.05)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_rows_known_after_the_beginning_of_a_period_change_nothing(seed):
    rng = np.random.default_rng(seed)
    spells, known = planted(40, seed)
    table = periods.split(spells, DATES)
    early = known[known["as_of"] <= pd.Timestamp(DATES[10])]
    before = periods.with_covariates(table, early)
    # Later rows: other dates, other values, in any order.
    later = early.sample(frac=0.5, random_state=int(rng.integers(1000))).assign(
        as_of=lambda rows: rows["as_of"] + pd.Timedelta(days=int(rng.integers(301, 900))), complaint=77
    )
    later = later.drop_duplicates(["customer_id", "as_of"])
    later = later[later["as_of"] > pd.Timestamp(DATES[10])]
    after = periods.with_covariates(table, pd.concat([later, early]).sample(frac=1, random_state=1))
    same = (table["as_of"] < later["as_of"].min()).to_numpy() if len(later) else np.ones(len(table), dtype=bool)
    pd.testing.assert_frame_equal(before[same], after[same])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_periods_cover_each_day_once_and_each_departure_once(seed):
    spells, _ = planted(60, seed)
    table = periods.split(spells, DATES)
    first = pd.Timestamp(DATES[0])
    opening = pd.Series(
        [
            min((pd.Timestamp(date) for date in DATES if pd.Timestamp(date) >= start), default=pd.NaT)
            for start in spells["started"]
        ]
    )
    closing = spells["ended"].fillna(pd.Timestamp(DATES[-1])).clip(upper=pd.Timestamp(DATES[-1]))
    days = (closing - opening).dt.days.clip(lower=0)
    assert table.groupby("customer_id")["days"].sum().to_dict() == {
        name: count for name, count in zip(spells["customer_id"], days, strict=True) if count > 0
    }
    gone = spells[spells["ended"].notna() & (spells["ended"] > opening)]
    assert sorted(table.loc[table["reason"] != "", "customer_id"]) == sorted(gone["customer_id"])
    assert (table["as_of"] >= first).all() and (table["tenure"] >= 0).all() and (table["days"] > 0).all()


def test_reasons_with_few_departures_are_named_and_keep_one_rate_for_all():
    spells, known = planted(4_000, seed=2)
    spells.loc[spells.index[spells["reason"] == "price"][:7], "reason"] = "death"
    table = periods.with_covariates(periods.split(spells, DATES), known)
    found = hazards.fit(table, ["complaint", "age"])
    assert found.unknown.to_dict("records") == [{"reason": "death", "found": 7, "need": 30}]
    rates = found.rates(table)
    assert rates["death"].min() == rates["death"].max()
    # Maximum likelihood with a constant: as many are expected to leave as left.
    expected = rates.mul(table["days"], axis=0).sum()
    assert expected.to_dict() == pytest.approx(table.loc[table["reason"] != "", "reason"].value_counts().to_dict())
    only = hazards.fit(table, ["complaint", "age"], reasons=["price"])
    assert set(only.effects["reason"]) == {"price"} and only.unknown.empty
    assert list(only.rates(table)) == ["price", "death", "service"]
    with pytest.raises(DataError, match="not enough data for the hazard of 'death': found 7 departures, need 30"):
        hazards.fit(table, ["complaint", "age"], reasons=["death"])
    with pytest.raises(
        DataError, match="nobody left for the reason 'preis'; the reasons found are death, price, service"
    ):
        hazards.fit(table, ["age"], reasons=["preis"])


def test_what_nobody_who_left_had_gets_no_ratio():
    rng = np.random.default_rng(0)
    size = 4_000
    flag = (rng.random(size) < 0.02).astype(float)
    table = pd.DataFrame({"tenure": rng.integers(0, 2_000, size), "days": 90, "x": rng.normal(size=size), "flag": flag})
    table["reason"] = np.where((rng.random(size) < 0.05) & (flag == 0), "price", "")
    found = hazards.fit(table, ["x", "flag"])
    by_cox = hazards.cox(table["tenure"] + 1, table["reason"], table[["x", "flag"]])
    for effects in (found.effects.set_index("covariate"), by_cox.set_index("covariate")):
        assert effects.loc["flag", ["hazard_ratio", "low", "high", "p", "standard_error"]].isna().all()
        assert effects.loc["x", "low"] < 1 < effects.loc["x", "high"] and effects.loc["x", "standard_error"] < 0.1
    rates = found.rates(table)["price"]  # predictions go on: the rate of who has it is as good as none
    assert (rates[flag == 1] < 1e-6).all() and (rates * table["days"]).sum() == pytest.approx(
        (table["reason"] != "").sum()
    )


def test_bad_input_of_hazards_gets_a_clear_sentence():
    table = pd.DataFrame({"reason": ["", ""], "tenure": [1, 2], "days": [3, 3], "age": [1.0, 2.0]})
    with pytest.raises(DataError, match=r"nobody left in 2 periods \(found 0 departures, need 1\)"):
        hazards.fit(table, ["age"])
    with pytest.raises(DataError, match="not enough data for the hazard of 'x': found 1 departures, need 10"):
        hazards.fit(table.assign(reason=["x", ""]), ["age"])
    with pytest.raises(DataError, match="the periods lack the column income"):
        hazards.fit(table, ["income"])
    with pytest.raises(UsageError, match="covariates is empty"):
        hazards.fit(table, [])
    with pytest.raises(DataError, match="days of the periods: 1 of 2 are 0, below or empty"):
        hazards.fit(table.assign(days=[0, 3]), ["age"])
    with pytest.raises(DataError, match="covariate age is empty in 1 of 2 rows"):
        hazards.fit(table.assign(reason=["x", ""], age=[np.nan, 1]), ["age"])
    with pytest.raises(DataError, match="found 1 departures, need 5"):
        hazards.cox([1, 2, 3], ["x", "", ""], pd.DataFrame({"age": [1, 2, 3]}))
    with pytest.raises(DataError, match="there are 3 durations but 2 rows of covariates"):
        hazards.cox([1, 2, 3], ["x", "", ""], pd.DataFrame({"age": [1, 2]}))
    spells, known = planted(300, seed=2)
    made = periods.with_covariates(periods.split(spells, DATES), known)
    with pytest.raises(UsageError, match="within_days is 0"):
        hazards.fit(made, ["age"]).incidence(made, within_days=0)
    with pytest.raises(UsageError, match="level is 2"):
        hazards.fit(made, ["age"], level=2)


def test_bad_input_of_periods_gets_a_clear_sentence():
    spells = pd.DataFrame(
        {"customer_id": ["a", "b"], "started": "2025-01-10", "ended": ["2025-01-01", None], "reason": ["price", ""]}
    )
    with pytest.raises(DataError, match=r"1 of 2 spells end before they start .* customer a: 2025-01-10 to 2025-01-01"):
        periods.split(spells, DATES)
    with pytest.raises(DataError, match="1 spells ended without a reason, for example that of customer a"):
        periods.split(spells.assign(ended=["2025-02-01", None], reason=""), DATES)
    with pytest.raises(DataError, match="1 rows without a start"):
        periods.split(spells.assign(started=[None, "2025-01-10"]), DATES)
    with pytest.raises(DataError, match="the spells lack the column reason"):
        periods.split(spells.drop(columns="reason"), DATES)
    with pytest.raises(UsageError, match="dates must be two or more, ascending and different; 1 were given"):
        periods.split(spells, DATES[:1])
    good = periods.split(spells.assign(ended=["2025-08-01", None], started="2024-01-01"), DATES)
    known = pd.DataFrame({"customer_id": ["a", "b"], "as_of": ["2024-01-01", "2024-03-01"], "age": [1, 2]})
    with pytest.raises(DataError, match=r"2 of \d+ periods have no covariates known .* customer b as of 2024-01-01"):
        periods.with_covariates(good, known)
    with pytest.raises(DataError, match="hold customer a twice as of 2024-01-01"):
        periods.with_covariates(good, pd.concat([known, known.iloc[:1]]))
    with pytest.raises(DataError, match="the covariates have a column tenure that the periods have too"):
        periods.with_covariates(good, known.rename(columns={"age": "tenure"}))
    with pytest.raises(DataError, match="the covariates need customer_id, as_of and a column more"):
        periods.with_covariates(good, known[["customer_id", "as_of"]])


def test_the_design_drops_what_others_determine_and_joins_rare_levels():
    table = pd.DataFrame({"a": np.arange(100.0), "plan": ["x"] * 60 + ["y"] * 36 + ["z", "w", "v", "u"]})
    table["b"] = 2 * table["a"] + 1
    made = design.fit(table)
    assert made.names == ["a", "plan=y", "plan=u", "plan=v", "plan=w", "plan=z"] and made.dropped == ["b"]
    joined = design.fit(table, rare=4)
    assert joined.names == ["a", "plan=y", "plan=(rare)"]
    assert joined.matrix(table.assign(plan="new"))[0].tolist() == [0, 0, 1]
    assert design.fit(table, rare=5).names == ["a", "plan=y"]
    ordered = table.assign(plan=pd.Categorical(table["plan"], categories=["y", "x", "z", "w", "v", "u"]))
    assert design.fit(ordered, rare=4).names == ["a", "plan=x", "plan=(rare)"]
    with pytest.raises(DataError, match="no covariate varies"):
        design.fit(pd.DataFrame({"a": [1, 1], "b": ["x", "x"]}))
    with pytest.raises(DataError, match="covariate day holds dates"):
        design.fit(pd.DataFrame({"day": pd.to_datetime(["2025-01-01", "2025-01-02"])}))
    with pytest.raises(DataError, match="the covariates lack a"):
        made.matrix(table.drop(columns="a"))
