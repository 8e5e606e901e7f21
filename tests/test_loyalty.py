"""Loyalty beyond the score: who answers, drivers, the index, cohorts, mentions, and the job that saves them."""

from __future__ import annotations

import datetime as dt
from itertools import permutations
from pathlib import Path

import made_loyalty
import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st

from crmlib import paths, samples, warehouse
from crmlib.errors import DataError
from crmlib.models.loyalty import cohorts, drivers, index, logit, mentions, nps, response
from crmlib.runs import loyalty_jobs
from crmlib.runs.stages import Stages
from crmlib.store import score_sets
from crmlib.warehouse import build

OBJECTED = ["C000001", "C000002"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bank of which two customers objected to profiling."""
    folder = tmp_path_factory.mktemp("loyalty")
    said = {"channel": "all", "purpose": "profiling", "changed_at": dt.datetime(2024, 2, 1), "granted": False}
    consents = pd.DataFrame({"customer_id": OBJECTED, **said})
    made_loyalty.make(folder, {**made_loyalty.frames(), "consents": consents})
    return folder


@pytest.fixture(scope="module")
def wh(data: Path) -> warehouse.Warehouse:
    return warehouse.open(paths.warehouse(data))


@pytest.fixture(scope="module")
def learnt(wh: warehouse.Warehouse) -> index.Learnt:
    return index.learn(wh, made_loyalty.LAST)


# ---------------------------------------------------------------- logistic regression


def test_the_logistic_regression_equals_statsmodels_and_its_ridge_a_numeric_optimum() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(800, 3))
    y = (rng.random(800) < 1 / (1 + np.exp(-(x @ [1.0, -0.5, 0.0] - 1)))).astype(float)
    plain = logit.fit(x, y, penalty=0.0)
    other = sm.Logit(y, sm.add_constant(x)).fit(disp=0)
    assert plain.coefficients == pytest.approx(np.asarray(other.params), abs=1e-5)
    assert np.sqrt(np.diag(plain.covariance)) == pytest.approx(np.asarray(other.bse), rel=1e-4)
    ridge = logit.fit(x, y, penalty=50.0)
    slope = x.T @ (1 / (1 + np.exp(-ridge.log_odds(x))) - y) + 50 * ridge.coefficients[1:]
    assert np.abs(slope).max() < 1e-4
    assert logit.fit(x, y, penalty=50.0, start=plain.coefficients).coefficients == pytest.approx(
        ridge.coefficients, abs=1e-6
    )


def test_rare_inputs_do_not_throw_the_logistic_regression_off() -> None:
    """A plain Newton step overshoots here, and ends with the wrong sign."""
    rare = np.zeros(2_000)
    rare[:40] = 1.0
    yes = np.ones(2_000)
    yes[:27] = yes[100:160] = 0.0
    design = ((rare - rare.mean()) / rare.std())[:, None]
    found = logit.fit(design, yes, penalty=0.0)
    assert found.log_odds(design)[0] == pytest.approx(np.log(13 / 27), abs=1e-6)
    assert found.log_odds(design)[50] == pytest.approx(np.log(1900 / 60), abs=1e-6)


# ---------------------------------------------------------------- who answers


def test_weighting_recovers_the_population_where_answering_depends_on_what_is_observed(wh: warehouse.Warehouse) -> None:
    answered = nps.answers(wh.snapshot(made_loyalty.LAST), survey="loyalty").table
    periods = [dt.date(2025, 4, 1), dt.date(2025, 7, 1)]
    people = response.population(wh, answered, periods)
    found = response.fit(people)
    age = found.odds.set_index("feature").loc["age"]
    assert age["low"] > 1 and found.answered == people["answered"].sum()
    weights = response.weights(people, found)
    assert weights.groupby("period")["weight"].mean().to_numpy() == pytest.approx([1, 1])
    balance = response.balance(people, weights).set_index("feature")
    assert balance.loc["age", "before"] > 0.3 and abs(balance.loc["age", "after"]) < 0.1
    # The planted score depends on the age alone: 7.4 + 0.05 (age - 50).
    marked = response.weighted(nps.periods(answered), weights)
    truth = np.average(7.4 + 0.05 * (people["age"] - 1.5 - 50))
    before, after = marked["score"].mean(), np.average(marked["score"], weights=marked["weight"])
    assert abs(after - truth) < 0.5 * abs(before - truth)
    table = nps.table(marked, weight="weight")
    assert 10 < table["effective"].iloc[0] < table["answers"].iloc[0]
    assert table["high"].iloc[0] - table["low"].iloc[0] > np.subtract(*nps.table(marked)[["high", "low"]].iloc[0])


def test_what_is_known_of_a_population_is_point_in_time(wh: warehouse.Warehouse, tmp_path: Path) -> None:
    """Whatever happens after the day before the period leaves the inputs alone; only who answered may change."""
    day = dt.date(2025, 4, 1)
    kept = {}
    for name, happened in {
        "customers": "customer_since",
        "complaints": "opened_at",
        "transactions": "occurred_at",
        "surveys": "answered_at",
    }.items():
        rows = wh.table(name)
        kept[name] = rows[rows[happened] < pd.Timestamp(day)]
    last = kept["transactions"].iloc[[-1]].assign(transaction_id="late", occurred_at=pd.Timestamp("2025-07-02"))
    kept["transactions"] = pd.concat([kept["transactions"], last])
    build.from_frames(tmp_path / "cut.duckdb", kept)
    cut = warehouse.snapshot.open_file(tmp_path / "cut.duckdb")
    answered = nps.answers(wh.snapshot(made_loyalty.LAST), survey="loyalty").table
    whole, early = (response.population(one, answered, [day]) for one in (wh, cut))
    pd.testing.assert_frame_equal(whole, early)


def test_too_few_answers_are_not_weighted(wh: warehouse.Warehouse) -> None:
    answered = nps.answers(wh.snapshot(made_loyalty.LAST), survey="loyalty").table.head(20)
    people = response.population(wh, answered, [dt.date(2024, 10, 1)])
    with pytest.raises(
        DataError, match=r"not enough data to weight the answers \(found 0 answers of \d+ customers, need 50"
    ):
        response.fit(people)


def test_on_the_sample_bank_the_weighted_score_is_closer_to_the_truth(tmp_path: Path) -> None:
    bank = samples.bank(customers=4_000, months=15, folder=tmp_path / "bank", seed=11)
    warehouse.load(
        bank.files, bank.mapping, data=tmp_path, recorded_at=made_loyalty.NOW, now=made_loyalty.NOW, company=None
    )
    wh = warehouse.open(paths.warehouse(tmp_path))
    assert wh.period is not None
    own = nps.periods(nps.answers(wh.snapshot(wh.period[1]), survey="loyalty").table)
    planted = samples.truth(bank, "loyalty")
    score = 100 * (planted["promoter"] - planted["detractor"])
    truth = score.groupby(pd.to_datetime(planted["as_of"]) + pd.Timedelta(days=1)).mean()
    periods = [day.date() for day in sorted(truth.index)[1:]]
    people = response.population(wh, own, periods)
    marked = response.weighted(own, response.weights(people, response.fit(people)))
    true = truth[[pd.Timestamp(day) for day in periods]].mean()
    before = nps.table(marked)["score"].iloc[0] - true
    after = nps.table(marked, weight="weight")["score"].iloc[0] - true
    assert before > 5, "unweighted answers flatter"
    assert abs(after) < abs(before) - 3


# ---------------------------------------------------------------- drivers


def test_drivers_of_customer_satisfaction_equal_least_squares_with_hc3(real_data: Path) -> None:
    """Real data: 1,811 answers of bayesm's customerSat (overall satisfaction q1, nine drivers)."""
    table = pd.read_parquet(real_data / "bayesm_scanner_bank" / "customerSat.parquet")
    names = [f"q{number}" for number in range(2, 11)]
    found = drivers.drivers(table, "q1", names).set_index("driver").loc[names]
    other = sm.OLS(table["q1"], sm.add_constant(table[names])).fit(cov_type="HC3", use_t=True)
    assert found["effect"].to_numpy() == pytest.approx(other.params[names].to_numpy())
    assert found[["low", "high"]].to_numpy() == pytest.approx(other.conf_int().loc[names].to_numpy(), abs=1e-6)
    assert found["explained"].iloc[0] == pytest.approx(other.rsquared)
    assert found["importance"].sum() == pytest.approx(1)
    assert set(found["importance"].nlargest(2).index) == {"q4", "q6"}
    assert (found["importance_low"] < found["importance"]).all() and (
        found["importance"] < found["importance_high"]
    ).all()


def test_importance_equals_the_mean_over_all_orders() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(300, 4)) @ rng.normal(size=(4, 4))
    y = x @ [1.0, 0.5, 0.0, -1.0] + rng.normal(size=300)
    joint = np.column_stack([y, x])

    def fitted(chosen: tuple[int, ...]) -> float:
        return float(sm.OLS(y, sm.add_constant(x[:, list(chosen)])).fit().rsquared) if chosen else 0.0

    orders = list(permutations(range(4)))
    naive = np.zeros(4)
    for order in orders:
        for place, one in enumerate(order):
            naive[one] += (fitted(order[: place + 1]) - fitted(order[:place])) / len(orders)
    total, parts = drivers.shares(np.corrcoef(joint.T))
    assert parts * total == pytest.approx(naive)


def test_planted_effects_lie_within_their_intervals_as_often_as_said() -> None:
    rng = np.random.default_rng(4)
    planted, names = np.array([0.4, 0.0, 0.2]), ["a", "b", "c"]
    held = []
    for _ in range(120):
        x = rng.integers(1, 11, (150, 3)).astype(float)
        y = x @ planted + rng.normal(size=150) * (0.5 + 0.1 * x[:, 0])
        effect, error = drivers._least_squares(x, y, names)
        held.append(np.abs(effect - planted) < 1.976 * error)
    assert 0.91 <= np.mean(held) <= 0.985


def test_service_drivers_of_the_made_up_survey(wh: warehouse.Warehouse) -> None:
    snapshot = wh.snapshot(made_loyalty.LAST)
    wide = drivers.wide(snapshot, survey="service")
    assert len(wide) == 300 and list(wide.columns[:6]) == [
        "customer_id", "answered_at", "channel", "branch_id", "nps", "price",
    ]  # fmt: skip
    found = drivers.drivers(wide, "nps", ["price", "speed"]).set_index("driver")
    assert found.index[0] == "speed" and found.loc["speed", "low"] < 0.6 < found.loc["speed", "high"] + 0.1
    with pytest.raises(
        DataError, match="the survey 'loyalty' asks nps; drivers need the question 'nps' and at least one more"
    ):
        drivers.wide(snapshot, survey="loyalty")


def test_drivers_refuse_what_cannot_be_told() -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(60, 3)), columns=["nps", "a", "b"])
    with pytest.raises(DataError, match=r"not enough data for 2 drivers \(found 25 complete answers, need 30\)"):
        drivers.drivers(table.head(25), "nps", ["a", "b"])
    with pytest.raises(DataError, match=r"answers to a are all the same \(1\.0\)"):
        drivers.drivers(table.assign(a=1.0), "nps", ["a", "b"])
    with pytest.raises(DataError, match="repeat each other"):
        drivers.drivers(table.assign(b=table["a"] * 2), "nps", ["a", "b"])
    with pytest.raises(DataError, match="answers lack the question c"):
        drivers.drivers(table, "nps", ["c"])
    with pytest.raises(DataError, match="13 drivers are too many"):
        drivers.drivers(table.assign(**{f"d{n}": 0.0 for n in range(13)}), "nps", [f"d{n}" for n in range(13)])


# ---------------------------------------------------------------- the index


def test_the_index_finds_the_planted_signs_of_loyalty(learnt: index.Learnt) -> None:
    weights = learnt.index.weights.set_index("driver")
    assert weights.loc["complaints_explained", "high"] < 0, "unhappy complainants leave"
    assert weights.loc["complaints_explained", "weight"] < weights.loc["complaints_compensated", "weight"]
    assert weights.loc["activity", "weight"] > 0
    test = learnt.test.set_index("measure")
    assert test.loc["auc", "low"] > 0.5
    assert test.loc["slope", "low"] < 1 < test.loc["slope", "high"]
    assert test.loc["intercept", "low"] < 0 < test.loc["intercept", "high"]
    assert (learnt.index.fitted_as_of, learnt.index.calibrated_as_of) == (dt.date(2025, 1, 5), dt.date(2025, 7, 4))


def test_the_index_is_a_share_of_customers_and_its_parts_add_up(learnt: index.Learnt, wh: warehouse.Warehouse) -> None:
    later = learnt.later
    assert later["index"].between(0, 100).all() and later["retained"].between(0, 1).all()
    assert later["index"].mean() == pytest.approx(50, abs=1)
    assert later["index"].corr(later["retained"], method="spearman") == pytest.approx(1, abs=1e-6)
    built = index.features.build(wh.snapshot(learnt.index.calibrated_as_of), learnt.index.spec).head(50)
    parts = learnt.index.contributions(built).groupby("customer_id")["contribution"].sum()
    scores = learnt.index.score(built).set_index("customer_id")
    intercept, slope = learnt.index.calibration
    odds = np.log(scores["retained"] / (1 - scores["retained"]))
    assert (intercept + slope * (learnt.index.constant + parts)).to_numpy() == pytest.approx(
        odds[parts.index].to_numpy()
    )


def test_who_died_or_moved_says_nothing_about_loyalty(wh: warehouse.Warehouse) -> None:
    people = wh.table("customers")
    day = dt.date(2025, 1, 5)
    found = index.stayed(wh, day).set_index("customer_id")["stayed"]
    died = people[(people["closed_reason"] == "death") & people["closed_on"].between("2025-01-06", "2025-07-04")]
    assert len(died) and not set(died["customer_id"]) & set(found.index)
    left = people[(people["closed_reason"] == "competitor") & people["closed_on"].between("2025-01-06", "2025-07-04")]
    assert not found[left["customer_id"][left["customer_since"] <= pd.Timestamp(day)]].any()
    with pytest.raises(DataError, match="cannot be known yet, the records end on 2025-12-31"):
        index.stayed(wh, dt.date(2025, 10, 1))


def test_the_index_wants_enough_history_and_leavers(wh: warehouse.Warehouse, learnt: index.Learnt) -> None:
    with pytest.raises(DataError, match=r"needs records from 2023-.* they begin on"):
        index.learn(wh, dt.date(2024, 6, 30))
    table = index.features.build(wh.snapshot("2025-01-05"), learnt.index.spec).assign(stayed=True)
    with pytest.raises(
        DataError, match=r"not enough data to weigh signs of loyalty as of 2025-01-05 \(found 0 who left of"
    ):
        index.fit(table, table, spec=learnt.index.spec)


def test_index_and_nps_are_compared_on_the_same_customers(learnt: index.Learnt) -> None:
    rng = np.random.default_rng(0)
    own = learnt.later.sample(800, random_state=1)
    answered = own[["customer_id"]].assign(score=np.clip(np.round(own["index"] / 10 + rng.normal(size=800)), 0, 10))
    found = index.compare(learnt.later, answered).set_index("measure")
    assert found.loc["rank_correlation", "low"] > 0.8 and (found["customers"] == 800).all()
    assert found.loc["auc_difference", "value"] == pytest.approx(
        found.loc["auc_index", "value"] - found.loc["auc_nps", "value"]
    )
    same = index.compare(learnt.later, own[["customer_id"]].assign(score=own["index"])).set_index("measure")
    assert same.loc["auc_difference", ["value", "low", "high"]].tolist() == pytest.approx([0, 0, 0], abs=1e-9)
    with pytest.raises(
        DataError, match=r"not enough data to compare the index with NPS \(found 10 customers with both"
    ):
        index.compare(learnt.later, answered.head(10))


# ---------------------------------------------------------------- cohorts and mentions


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_cohorts_equal_a_naive_count(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, as_of, first = int(rng.integers(20, 120)), dt.date(2025, 6, int(rng.integers(1, 31))), dt.date(2025, 1, 1)
    since = pd.to_datetime("2025-01-01") + pd.to_timedelta(rng.integers(0, 120, n), unit="D")
    closed = pd.Series(since + pd.to_timedelta(rng.integers(0, 200, n), unit="D"))
    closed = closed.where((rng.random(n) < 0.4) & (closed <= pd.Timestamp(as_of)))
    ids = [f"c{number}" for number in range(n)]
    people = pd.DataFrame({"customer_id": ids, "customer_since": since, "closed_on": closed})
    paid = pd.DataFrame(
        {
            "customer_id": rng.choice([*ids, "other"], 200),
            "month": rng.choice(pd.date_range("2025-01-01", periods=6, freq="MS").as_unit("us"), 200),
            "amount_minor": rng.integers(-50, 500, 200).astype(float),
        }
    )
    paid = paid.groupby(["customer_id", "month"], as_index=False)["amount_minor"].sum()
    try:
        found = cohorts.table(people, paid, as_of=as_of, first=first)
    except DataError as error:
        assert "not enough data for cohorts" in str(error)
        return
    for row in found.itertuples():
        own = people[people["customer_since"].dt.to_period("M") == row.cohort.to_period("M")]
        month = row.cohort.to_period("M") + row.age_months
        here = own["closed_on"].isna() | (own["closed_on"] > month.end_time)
        assert month.end_time.date() <= as_of
        assert (row.customers, row.retained) == (len(own), pytest.approx(here.mean()))
        bought = paid[(paid["month"] == month.start_time) & paid["customer_id"].isin(own["customer_id"])]
        each = own["customer_id"].map(bought.set_index("customer_id")["amount_minor"]).fillna(0)
        assert row.revenue_minor == pytest.approx(each.mean())
        spread = 1.96 * each.std() / np.sqrt(len(own))
        assert row.revenue_high_minor - row.revenue_minor >= spread - 1e-9
        assert row.low <= row.retained <= row.high
    assert found.groupby("cohort")["customers"].first().min() >= 10


def test_wilson_equals_a_published_interval() -> None:
    """Newcombe 1998, Statistics in Medicine 17, 857-872, table I: 81 of 263, method 3: 0.2553 to 0.3662."""
    low, high = cohorts.wilson(np.array([81.0]), np.array([263.0]))
    assert (round(float(low[0]), 4), round(float(high[0]), 4)) == (0.2553, 0.3662)


def test_mentions_by_month() -> None:
    days = pd.to_datetime(["2025-01-03"] * 12 + ["2025-02-10"] * 2)
    tone = [0.5] * 6 + [-0.5] * 4 + [0.0, np.nan] + [0.9, -0.9]
    found = pd.DataFrame({"occurred_at": days, "sentiment": tone, "customer_id": ["c"] * 7 + [None] * 7})
    found = found.assign(kind=mentions.kinds(found["sentiment"]))
    table = mentions.monthly(found)
    assert table[["mentions", "positive", "neutral", "negative", "linked"]].to_numpy().tolist() == [
        [12, 6, 1, 4, 7],
        [2, 1, 0, 1, 0],
    ]
    assert table["sentiment"].iloc[0] == pytest.approx(1 / 11) and np.isnan(table["sentiment"].iloc[1])
    assert table["low"].iloc[0] < 1 / 11 < table["high"].iloc[0]
    assert mentions.monthly(found.iloc[:0]).empty
    with pytest.raises(
        DataError, match=r"mentions\.sentiment: 1 of 2 values are outside -1 to 1 \(the first is 5\.0\)"
    ):
        mentions.kinds(pd.Series([0.0, 5.0]))


# ---------------------------------------------------------------- the job


@pytest.fixture(scope="module")
def scores(data: Path) -> pd.DataFrame:
    return loyalty_jobs.loyalty(data, stages=Stages(quiet=True))


def test_the_job_saves_what_others_read(data: Path, scores: pd.DataFrame) -> None:
    chosen = score_sets.newest(data, "loyalty")
    kept = score_sets.read(data, chosen)
    assert list(scores.columns) == ["customer_id", "as_of", "index", "retained", "nps", "group"]
    assert kept["customer_id"].is_unique and len(kept) == len(scores) and chosen.as_of == made_loyalty.LAST
    assert set(kept["group"]) == {"promoter", "passive", "detractor", ""}
    assert (kept["nps"].notna() == (kept["group"] != "")).all()
    beside = {
        "contributions": ["customer_id", "driver", "contribution"],
        "weights": ["driver", "weight", "low", "high"],
        "cohorts": [
            *("cohort", "age_months", "customers", "retained", "low", "high"),
            *("revenue_minor", "revenue_low_minor", "revenue_high_minor"),
        ],
        "nps": ["survey", "kind", "group", "period", "answers", "score", "low", "high", "difference", "p", "p_holm"],
    }
    for name, columns in beside.items():
        table = score_sets.beside(data, chosen, name)
        assert len(table) and set(columns) <= set(table), name
    told = score_sets.beside(data, chosen, "contributions")["customer_id"].nunique()
    assert told == min(loyalty_jobs.EXPLAINED, kept["index"].notna().sum())
    found = score_sets.beside(data, chosen, "nps")
    assert set(found["kind"]) == {"period", "channel", "branch_id"}, "there are no segments here"
    assert set(score_sets.beside(data, chosen, "missing")["part"]) == {"drivers:loyalty"}


def test_bad_answers_are_left_out_and_said(tmp_path: Path) -> None:
    tables = made_loyalty.frames(600)
    asked = tables["surveys"]
    asked.loc[[0, 1], "score"] = [11.0, np.nan]
    service = asked.index[(asked["survey"] == "service") & (asked["question"] == "nps")]
    asked.loc[service[0], "score"] = 99.0
    made_loyalty.make(tmp_path, tables)
    loyalty_jobs.loyalty(tmp_path, stages=Stages(quiet=True))
    missing = score_sets.beside(tmp_path, score_sets.newest(tmp_path, "loyalty"), "missing").set_index("part")["why"]
    assert missing["answers"] == "surveys.score: 2 answers outside 0 to 10 and 1 without a number are left out"
    driven = score_sets.beside(tmp_path, score_sets.newest(tmp_path, "loyalty"), "drivers")
    assert (driven["answers"] == len(service) - 1).all(), "an answer of 99 moves no effect either"
    assert "not enough data to weigh signs of loyalty" in missing["index"]
    assert score_sets.read(tmp_path, score_sets.newest(tmp_path, "loyalty"))["index"].isna().all()


def test_the_last_year_of_answers_begins_with_the_moment_given() -> None:
    since = dt.datetime(2025, 1, 1)
    seconds = np.array([-1] * 12 + [0] * 15)
    answered = pd.DataFrame({"answered_at": pd.Timestamp(since) + pd.to_timedelta(seconds, unit="s"), "score": 9.0})
    about = {"survey": "loyalty", "channel": "call", "branch_id": None, "segment": None}
    found = loyalty_jobs.scores_of(nps.periods(answered.assign(**about)), since=since)
    assert found.loc[found["kind"] == "channel", "answers"].tolist() == [15]
    assert found.loc[found["kind"] == "period", "answers"].tolist() == [12, 15]


def test_without_any_survey_the_rest_is_there(tmp_path: Path) -> None:
    tables = made_loyalty.frames(400)
    del tables["surveys"], tables["mentions"]
    made_loyalty.make(tmp_path, tables)
    scores = loyalty_jobs.loyalty(tmp_path, stages=Stages(quiet=True))
    chosen = score_sets.newest(tmp_path, "loyalty")
    missing = score_sets.beside(tmp_path, chosen, "missing").set_index("part")["why"]
    assert (
        missing["nps"] == "surveys: nobody has answered the question nps yet (found 0 answers, need 10); load a survey"
    )
    assert scores["nps"].isna().all() and (scores["group"] == "").all()
    assert len(score_sets.beside(tmp_path, chosen, "cohorts")) and score_sets.beside(tmp_path, chosen, "mentions").empty


def test_who_objected_to_profiling_has_no_index(data: Path, scores: pd.DataFrame) -> None:
    found = scores.set_index("customer_id")
    own = found.index.intersection(OBJECTED)
    assert len(own) and found.loc[own, ["index", "retained"]].isna().all().all()
    assert found.drop(own)["index"].notna().all()
    told = score_sets.beside(data, score_sets.newest(data, "loyalty"), "contributions")["customer_id"]
    assert not told.isin(OBJECTED).any(), "nor are there reasons"
