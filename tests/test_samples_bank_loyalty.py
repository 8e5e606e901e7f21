"""The sample bank's retention campaigns, surveys, mentions and points: what is planted is what can be found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import statsmodels.api as sm

from crmlib import samples
from crmlib.samples import bank_block, bank_loyalty, bank_model, bank_names, bank_population, bank_reference


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> samples.Sample:
    return samples.bank(customers=20_000, seed=22, folder=tmp_path_factory.mktemp("bank") / "bank")


@pytest.fixture(scope="module")
def retention(sample: samples.Sample) -> pd.DataFrame:
    """The members of retention campaigns with the truth about them and whether they left within 90 days."""
    members = pd.read_csv(sample.folder / "campaign_members.csv", dtype=str)
    campaigns = pd.read_csv(sample.folder / "campaigns.csv", parse_dates=["starts"])
    rows = members.merge(campaigns[campaigns["goal"] == "retention"], on="campaign", validate="many_to_one")
    rows = rows.assign(as_of=rows["starts"] - pd.Timedelta(days=1), customer_id=rows["client"])
    churn, effects = samples.truth(sample, "churn"), samples.truth(sample, "effects")
    both = churn.merge(
        effects[["customer_id", "as_of", "responder"]], on=["customer_id", "as_of"], validate="one_to_one"
    )
    rows = rows.merge(both, on=["customer_id", "as_of"], validate="many_to_one")
    clients = pd.read_csv(sample.folder / "clients.csv", sep=";", encoding="cp1251", dtype=str)
    clients = clients[clients["kids"] != "97"].groupby("client_no")["closed"].last()
    closed = pd.to_datetime(rows["client"].map(clients), format="%d.%m.%Y")
    return rows.assign(left=(closed > rows["as_of"]) & (closed <= rows["as_of"] + pd.Timedelta(days=90)))


def deviation(happened: pd.Series, probability: pd.Series) -> float:
    p = probability.astype(float)
    return float((happened.astype(float) - p).sum() / np.sqrt((p * (1 - p)).sum()))


def test_members_of_retention_campaigns_leave_as_planted_and_three_in_ten_are_left_alone(
    retention: pd.DataFrame,
) -> None:
    control = retention["is_control"] == "Y"
    assert abs(deviation(control, pd.Series(bank_model.RETENTION_CONTROL, retention.index))) < 4
    assert retention["campaign"].nunique() == 7 and len(retention) > 8_000
    assert set(retention["arm"]) == {"control", *bank_model.RETENTION_KINDS}
    for arm, name in (("control", "p_none"), ("call", "p_call"), ("email", "p_email")):
        own = retention[retention["arm"] == arm]
        assert own["left"].sum() > 10
        assert abs(deviation(own["left"], own[name])) < 4
        assert own["contacted_at"].isna().all() == (arm == "control")


def test_a_call_keeps_some_drives_the_annoyed_away_and_changes_nothing_for_who_dies(sample: samples.Sample) -> None:
    truth = samples.truth(sample, "churn").merge(
        samples.truth(sample, "effects")[["customer_id", "as_of", "responder"]],
        on=["customer_id", "as_of"],
        validate="one_to_one",
    )
    change = (truth["p_call"] / truth["p_none"]).groupby(truth["responder"]).mean()
    assert change["persuadable"] < change["neutral"] < 0.8
    assert change["annoyed"] > 1.1
    fate = truth["p_moving"] + truth["p_death"]
    assert (truth["p_call"] >= 0.999 * fate).all() and (truth["p_email"] >= 0.999 * fate).all()
    fated = (fate > 0.5 * truth["p_none"]) & (truth["responder"] == "neutral")
    assert (truth.loc[fated, "p_call"] > 0.7 * truth.loc[fated, "p_none"]).all() and fated.sum() > 100


def test_members_of_the_programme_spend_more_by_the_planted_factor() -> None:
    over = bank_block.calendar(6, end="2025-12-31")
    rng = np.random.default_rng(1)
    people = bank_population.people(
        rng, 400, first=0, begin=over[0].first, start=over[bank_block.WARM_UP].first, end=over[-1].last
    )
    state = bank_population.first_state(rng, people, begin=over[0].first)
    outside = bank_population.rates(people, state, season=0)
    state.member = np.ones(400, dtype=bool)
    ratio = bank_population.rates(people, state, season=0) / np.where(outside > 0, outside, np.nan)
    counted = np.isin([category.name for category in bank_model.CATEGORIES], bank_model.POINTS_CATEGORIES)
    np.testing.assert_allclose(np.nanmean(ratio[:, counted], axis=0), np.exp(bank_model.MEMBERS_SPEND))
    np.testing.assert_allclose(np.nanmean(ratio[:, ~counted][:, 1:], axis=0), 1.0)


def test_the_invitation_is_by_lot_and_the_active_join_rather(sample: samples.Sample) -> None:
    members = pd.read_csv(sample.folder / "campaign_members.csv", dtype=str)
    invited = members[members["campaign"] == bank_reference.INVITATION_ID]
    assert abs(deviation(invited["is_control"] == "N", pd.Series(0.6, invited.index))) < 4
    ledger = pd.read_csv(sample.folder / "points.csv", sep="\t", dtype={"client": str})
    joined = set(ledger["client"])
    assert joined <= set(invited.loc[invited["is_control"] == "N", "client"])
    operations = pd.concat(
        [pq.read_table(p, columns=["client"]).to_pandas() for p in sample.folder.glob("operations*")]
    )
    count = operations["client"].value_counts()
    asked = invited.loc[invited["is_control"] == "N", "client"]
    inside = asked.isin(joined)
    assert 0.55 < inside.mean() < 0.8
    assert count.reindex(asked[inside], fill_value=0).mean() > 1.1 * count.reindex(asked[~inside], fill_value=0).mean()


def test_the_ledger_of_points_never_goes_below_zero_and_points_end_after_a_year(sample: samples.Sample) -> None:
    ledger = pd.read_csv(
        sample.folder / "points.csv", sep="\t", dtype={"client": str}, parse_dates=["at", "valid_until"]
    )
    ledger = ledger.sort_values(["client", "at"], kind="stable")
    assert ledger.groupby("client")["points"].cumsum().min() == 0
    assert set(ledger["why"]) == set(bank_loyalty.REASONS)
    came = ledger["points"] > 0
    assert (ledger.loc[came, "why"].isin(["purchase", "gift"])).all() and ledger.loc[~came, "valid_until"].isna().all()
    life = ledger.loc[came, "valid_until"] - ledger.loc[came, "at"]
    assert life.between(pd.Timedelta(days=360), pd.Timedelta(days=460)).all()
    # First in, first out: replayed by hand for a few customers, nothing is left after its last day.
    for _, entries in list(ledger.groupby("client"))[:200]:
        lots: list[list] = []
        for row in entries.itertuples():
            if row.points > 0:
                lots.append([row.valid_until, row.points])
                continue
            assert row.why == "expiry" or all(until >= row.at.normalize() for until, left in lots if left)
            owed = -row.points
            for lot in lots:
                part = min(owed, lot[1])
                lot[1], owed = lot[1] - part, owed - part
            assert owed == 0


def test_points_are_the_euros_spent_in_a_quarter(sample: samples.Sample) -> None:
    ledger = pd.read_csv(sample.folder / "points.csv", sep="\t", dtype={"client": str}, parse_dates=["at"])
    last = ledger[(ledger["why"] == "purchase") & (ledger["at"] > "2025-09-30 00:00") & (ledger["at"] < "2025-10-01")]
    operations = pd.concat([pq.read_table(p).to_pandas() for p in sample.folder.glob("operations*")])
    counts = operations["kind"].isin(bank_model.POINTS_CATEGORIES) & (operations["amount_cents"] < 0)
    inside = operations["op_time"].between("2025-07-01", "2025-09-30 23:59:59")
    spent = -operations[counts & inside].groupby("client")["amount_cents"].sum() // 100
    assert len(last) > 1_000
    assert last["points"].to_numpy().tolist() == spent.reindex(last["client"]).tolist()


def test_answers_are_as_planted_and_who_answers_differs(sample: samples.Sample) -> None:
    given = pd.read_csv(sample.folder / "answers.csv", dtype=str, parse_dates=["at"])
    given = given[given["mark"] != "ten"].assign(mark=lambda table: table["mark"].astype(float))
    asked = given[given["poll"] == "loyalty"].assign(customer_id=lambda table: table["client"])
    truth = samples.truth(sample, "loyalty")
    quarter = asked["at"].dt.to_period("Q").dt.start_time - pd.Timedelta(days=1)
    rows = asked.assign(as_of=quarter).merge(truth, on=["customer_id", "as_of"], validate="many_to_one")
    assert abs(deviation(rows["mark"] >= 9, rows["promoter"])) < 4
    assert abs(deviation(rows["mark"] <= 6, rows["detractor"])) < 4
    assert abs(len(rows) / truth["answers"].sum() - 1) < 0.05
    everybody = (truth["promoter"] - truth["detractor"]).mean()
    assert (rows["promoter"] - rows["detractor"]).mean() > everybody + 0.05


def test_answers_about_service_weigh_on_the_recommendation_as_planted(sample: samples.Sample) -> None:
    given = pd.read_csv(sample.folder / "answers.csv", dtype=str)
    given = given[(given["poll"] == "service") & (given["mark"] != "ten")]
    wide = given.pivot_table(index=["client", "at"], columns="question", values="mark", aggfunc="first")
    # Marks of one visit share a moment; those of the bad rows do not fill all columns.
    wide = wide.dropna().astype(float)
    inside = wide["nps"].between(1, 9)
    names = list(bank_loyalty.SERVICE_WEIGHTS)
    found = sm.OLS(wide.loc[inside, "nps"], sm.add_constant(wide.loc[inside, names])).fit()
    assert len(wide) > 1_000
    assert found.params["solution"] == max(found.params[names])
    assert found.params[names].corr(pd.Series(bank_loyalty.SERVICE_WEIGHTS)) > 0.8


def test_mentions_follow_the_satisfaction_and_some_have_no_known_author(sample: samples.Sample) -> None:
    written = pd.read_csv(sample.folder / "mentions.csv", dtype={"client": str}, parse_dates=["at"])
    assert 0.5 < written["client"].notna().mean() < 0.7 and written["tone"].between(-1, 1).all()
    known = written.dropna(subset=["client"]).rename(columns={"client": "customer_id"})
    known["as_of"] = known["at"].dt.to_period("Q").dt.start_time - pd.Timedelta(days=1)
    rows = known.merge(samples.truth(sample, "loyalty"), on=["customer_id", "as_of"], validate="many_to_one")
    assert len(rows) > 100 and rows["tone"].corr(rows["satisfaction"]) > 0.6
    assert (written.loc[written["tone"] < -0.2, "words"].isin(bank_names.BLAME)).all()


def test_a_short_sample_has_one_retention_campaign(tmp_path: Path) -> None:
    sample = samples.bank(customers=200, months=6, folder=tmp_path / "bank")
    assert (pd.read_csv(sample.folder / "campaigns.csv")["goal"] == "retention").sum() == 1
