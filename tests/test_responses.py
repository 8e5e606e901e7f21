"""The sample bank's answers to a campaign of one's own, the universal hold-out, and uplift against the planted effects."""

from __future__ import annotations

import datetime as dt
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from crmlib import samples, warehouse
from crmlib.decisions import experiments
from crmlib.decisions.experiments.programme import HOLD_OUT, customers
from crmlib.errors import DataError, NotFoundError, UsageError
from crmlib.models import uplift_campaigns
from crmlib.runs import jobs, uplift_jobs
from crmlib.runs.stages import Stages
from crmlib.samples import responses
from crmlib.store import score_sets
from crmlib.warehouse import build, company
from crmlib.warehouse.snapshot import open_file

AS_OF = "2025-09-30"


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> samples.Sample:
    return samples.bank(customers=4_000, months=18, seed=31, folder=tmp_path_factory.mktemp("bank") / "bank")


@pytest.fixture(scope="module")
def data(sample: samples.Sample, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("data")
    settings = company.read(sample.company)
    at = dt.datetime(2026, 1, 1)
    warehouse.load(sample.files, sample.mapping, data=home, recorded_at=at, company=settings)
    shutil.copy(sample.company, home / "company.toml")
    return home


def truth_then(sample: samples.Sample, product: str = "") -> pd.DataFrame:
    """Return the truth as of the day, ids as texts, of all products or of one."""
    rows = samples.truth(sample, "purchases")
    rows = rows[rows["as_of"] == pd.Timestamp(AS_OF)].astype({"customer_id": str, "product_id": str})
    return rows[rows["product_id"].eq(product) | (product == "")].reset_index(drop=True)


def assigned(sample: samples.Sample, product: str = "credit_card") -> pd.DataFrame:
    """Return everybody who could buy the product: a third each left alone, called and mailed."""
    rows = truth_then(sample, product)
    group = np.arange(len(rows)) % 3
    return rows[["customer_id", "product_id"]].assign(
        channel=np.array(["", "call", "email"])[group], control=group == 0
    )


def test_responses_follow_the_planted_probabilities(sample: samples.Sample) -> None:
    people = assigned(sample)
    planted = samples.respond(sample, people, as_of=AS_OF, seed=1).planted
    truth = truth_then(sample, "credit_card")
    wanted = np.select(
        [people["channel"] == "call", people["channel"] == "email"],
        [truth["p_call"], truth["p_email"]],
        truth["p_none"],
    )
    assert planted["p"].to_numpy() == pytest.approx(wanted)
    counts = [len(samples.respond(sample, people, as_of=AS_OF, seed=seed).contracts) for seed in range(30)]
    expected, spread = planted["p"].sum(), np.sqrt((planted["p"] * (1 - planted["p"])).sum())
    assert abs(np.mean(counts) - expected) < 4 * spread / np.sqrt(30)


def test_what_comes_back_is_in_order_of_time_and_only_of_those_contacted(sample: samples.Sample) -> None:
    people = assigned(sample)
    found = samples.respond(sample, people, as_of=AS_OF, seed=2, reached={"call": 0.6})
    same = samples.respond(sample, people, as_of=AS_OF, seed=2, reached={"call": 0.6})
    pd.testing.assert_frame_equal(found.contacts, same.contacts)
    called = people["channel"].eq("call").sum()
    assert 0.5 < found.contacts["channel"].eq("call").sum() / called < 0.7
    assert not set(found.contacts["customer_id"]) & set(people.loc[people["control"], "customer_id"].astype(str))
    both = found.contacts.merge(found.contracts, on="customer_id", validate="one_to_one")
    assert (both["contacted_at"] < both["opened_on"] + pd.Timedelta(days=1)).all()
    days = (found.contracts["opened_on"] - pd.Timestamp(AS_OF)).dt.days
    assert days.between(1, 90).all()
    said = found.contacts.dropna(subset=["answered_at"])
    assert (said["answered_at"] > said["contacted_at"]).all() and set(said["outcome"]) == {"accepted", "refused"}


def test_files_hold_what_had_happened_by_a_day(sample: samples.Sample, tmp_path: Path) -> None:
    found = samples.respond(sample, assigned(sample), as_of=AS_OF, seed=3)
    early = responses.write(found, tmp_path / "early", until="2025-10-10")
    contacts, bought = pd.read_csv(early.lists[0], dtype=str), pd.read_csv(early.bought[0], dtype=str)
    assert 0 < len(contacts) < len(found.contacts) and contacts["contacted_at"].max() < "2025-10-11"
    assert bought["opened_on"].max() <= "2025-10-10" and contacts["answered_at"].dropna().max() < "2025-10-11"
    whole = responses.write(found, tmp_path / "whole")
    assert len(pd.read_csv(whole.bought[0])) == len(found.contracts)


def test_responses_that_cannot_be_drawn_are_refused(sample: samples.Sample) -> None:
    people = assigned(sample)
    with pytest.raises(DataError, match=r"no truth as of 2025-09-29; the sample has it as of 2024-06-30, .*2025-09-30"):
        samples.respond(sample, people, as_of="2025-09-29", seed=1)
    with pytest.raises(UsageError, match="channel 'fax' is in an arm, but the truth knows only call, mail, email"):
        samples.respond(sample, people.assign(channel="fax"), as_of=AS_OF, seed=1)
    with pytest.raises(UsageError, match=r"reached of 'call' is 1\.5; give shares from 0 to 1"):
        samples.respond(sample, people, as_of=AS_OF, seed=1, reached={"call": 1.5})
    with pytest.raises(DataError, match="the assignment has no column control"):
        samples.respond(sample, people.drop(columns="control"), as_of=AS_OF, seed=1)


# ---------------------------------------------------------------- the bank as it stood


def test_the_past_holds_nothing_that_came_later_and_loads(sample: samples.Sample, tmp_path: Path) -> None:
    then = samples.past(sample, as_of=AS_OF, folder=tmp_path / "then", customers=1_000)
    contracts = pd.read_csv(then.folder / "contracts.csv", dtype=str)
    assert contracts["entered_at"].max() < "2025-10-01" and contracts["ended"].dropna().max() <= AS_OF
    assert contracts["client"].astype(int).max() <= 10_001_000
    now = dt.datetime(2025, 9, 30, 23)
    report = warehouse.load(then.files, then.mapping, data=tmp_path / "data", recorded_at=now)
    assert report.counts["quarantined"].sum() == 0
    wh = warehouse.open(tmp_path / "data" / "warehouse")
    assert wh.period is not None and wh.period[1] <= dt.date(2025, 9, 30)
    known = wh.table("customers")
    assert not (known["closed_on"] > AS_OF).any() and len(known["customer_id"].unique()) > 900
    with pytest.raises(DataError, match="is not empty; name a new folder"):
        samples.past(sample, as_of=AS_OF, folder=tmp_path / "then")
    with pytest.raises(DataError, match="had no customers yet at 1900-01-01"):
        samples.past(sample, as_of="1900-01-01", folder=tmp_path / "never")


# ---------------------------------------------------------------- universal hold-out


def test_nobody_of_the_universal_hold_out_was_ever_selected_and_the_truth_knows(
    sample: samples.Sample, data: Path
) -> None:
    members = pd.read_csv(sample.folder / "campaign_members.csv", dtype=str)
    held = members[members["campaign"] == HOLD_OUT]
    assert abs(len(held) / 4_000 - 0.025) < 5 * np.sqrt(0.025 / 4_000) and held["client"].is_unique
    assert (held["is_control"] == "Y").all() and held["contacted_at"].isna().all()
    others = members[members["campaign"] != HOLD_OUT]
    assert not set(held["client"]) & set(others["client"])
    truth = samples.truth(sample, "purchases")
    inside = truth["customer_id"].astype(str).isin(held["client"])
    assert np.array_equal(truth.loc[inside, "p"], truth.loc[inside, "p_none"])
    assert (truth.loc[~inside, "p"] > truth.loc[~inside, "p_none"]).mean() > 0.1
    campaigns = pd.read_csv(sample.folder / "campaigns.csv", dtype=str)
    assert campaigns.loc[campaigns["goal"] == "holdout", "campaign"].tolist() == [HOLD_OUT]
    twins = samples.truth(sample, "duplicates").assign(held=lambda t: t["customer_id"].astype(str).isin(held["client"]))
    left = (
        pd.read_csv(sample.folder / "clients.csv", sep=";", encoding="cp1251", dtype=str)
        .groupby("client_no")["closed"]
        .last()
    )
    stayed = twins[twins["customer_id"].astype(str).map(left).isna()]
    both = stayed.groupby("person_id")["held"].agg(["nunique", "size"])
    assert (both.loc[both["size"] == 2, "nunique"] == 1).all()


def test_the_programme_counts_what_a_naive_reading_counts(data: Path) -> None:
    wh = warehouse.open(data / "warehouse")
    snapshot = wh.snapshot("2025-12-31")
    table = customers(snapshot)
    held = wh.table("campaign_members").query("campaign_id == @HOLD_OUT")
    assert set(table.loc[table["control"], "customer_id"]) == set(held["customer_id"])
    first = held["assigned_at"].min()
    sold = snapshot.table("holdings")
    sold = sold[sold["opened_on"] >= first.normalize()]
    assert table["converted"].sum() == len(sold)
    spent = snapshot.table("contacts").query("campaign_id.notna()")["cost_minor"].astype(float).sum()
    assert table["cost_minor"].sum() == pytest.approx(spent)
    found = experiments.programme(snapshot).set_index("measure")
    assert (found["arm"] == "campaigns").all() and found.loc["conversions", "control"] == len(held)
    plain = experiments.final(table, covariates=[]).set_index("measure")
    assert found.loc["conversions", "removed"] > 0.02  # contracts held before tell of later ones
    assert found.loc["conversions", "low"] < plain.loc["conversions", "per_customer"] < found.loc["conversions", "high"]


def test_without_a_hold_out_the_programme_cannot_be_measured(sample: samples.Sample, tmp_path: Path) -> None:
    then = samples.past(sample, as_of=AS_OF, folder=tmp_path / "then", customers=300)
    path = then.folder / "campaign_members.csv"
    rows = pd.read_csv(path, dtype=str)
    rows[rows["campaign"] != HOLD_OUT].to_csv(path, index=False)
    warehouse.load(then.files, then.mapping, data=tmp_path / "data", recorded_at=dt.datetime(2025, 9, 30, 23))
    wh = warehouse.open(tmp_path / "data" / "warehouse")
    assert wh.period is not None
    snapshot = wh.snapshot(wh.period[1])
    with pytest.raises(DataError, match="nobody is in the universal hold-out, so what all campaigns changed"):
        experiments.programme(snapshot)
    with pytest.raises(DataError, match=r"not enough data for uplift: .* \(need 100 and 10\)"):
        uplift_campaigns.members(snapshot)


# ---------------------------------------------------------------- uplift by channel


def test_the_job_saves_uplift_by_channel_that_agrees_with_the_planted_effects(
    sample: samples.Sample, data: Path
) -> None:
    stages = Stages(quiet=True)
    with pytest.raises(NotFoundError, match="there are no propensity scores"):
        uplift_jobs.uplift(data, stages=stages)
    jobs.train(data, stages=stages, as_of="2025-06-30")
    jobs.score(data, stages=stages, as_of=AS_OF)
    table = uplift_jobs.uplift(data, stages=stages, as_of=AS_OF)
    saved = score_sets.newest(data, "uplift")
    assert saved.rows == len(table) and str(saved.as_of) == AS_OF
    stored = score_sets.read(data, saved)
    assert list(stored)[:8] == ["customer_id", "as_of", "model", "product_id", "channel", "score", "low", "high"]
    assert set(stored["channel"]) == {"call", "mail", "email"}
    assert (stored["low"] <= stored["score"]).all() and (stored["score"] <= stored["high"]).all()
    truth = truth_then(sample)
    calls = stored[stored["channel"] == "call"].astype({"customer_id": str, "product_id": str})
    both = calls.merge(truth, on=["customer_id", "product_id"], validate="one_to_one")
    planted = both["p_call"] - both["p_none"]
    assert np.corrcoef(both["score"], planted)[0, 1] > 0.35
    assert 0.3 < both["score"].mean() / planted.mean() < 3


def test_an_arm_of_any_name_teaches_about_the_channel_and_the_product_of_its_contacts(tmp_path: Path) -> None:
    ids = [f"C{n:04d}" for n in range(1_200)]
    arms = [("control", "gold by post", "silver by phone")[n % 3] for n in range(len(ids))]
    members = pd.DataFrame({"campaign_id": "K", "customer_id": ids, "assigned_at": "2025-01-01", "arm": arms})
    met = members[members["arm"] != "control"]
    about = {"gold by post": ("mail", "gold"), "silver by phone": ("call", "silver")}
    contacts = met[["campaign_id", "customer_id"]].assign(
        contact_id=met["customer_id"],
        occurred_at="2025-01-10",
        direction="out",
        channel=[about[arm][0] for arm in met["arm"]],
        product_id=[about[arm][1] for arm in met["arm"]],
    )
    products = pd.DataFrame({"product_id": ["gold", "silver"], "name": ["Gold", "Silver"], "valid_from": "2020-01-01"})
    sold = pd.DataFrame({"customer_id": ids[:300], "holding_id": ids[:300], "product_id": "gold"})
    campaign = {"campaign_id": ["K"], "name": ["K"], "starts_on": ["2025-01-05"]}
    tables = {
        "products": products,
        "campaigns": pd.DataFrame({**campaign, "product_id": ["gold"], "channel": ["call"]}),
        "campaign_members": members.assign(control=members["arm"] == "control"),
        "contacts": contacts.iloc[: len(contacts) // 2],
        "holdings": sold.assign(opened_on="2025-02-01"),
        "complaints": pd.DataFrame({"complaint_id": ["1"], "customer_id": ids[:1], "opened_at": ["2025-06-30"]}),
    }
    build.from_frames(tmp_path / "v.duckdb", tables)
    found = uplift_campaigns.members(open_file(tmp_path / "v.duckdb").snapshot("2025-06-30"))
    by = found.set_index("customer_id")["channel"].reindex(ids).astype(object)
    wanted = {"control": "", "gold by post": "mail", "silver by phone": None}
    expected = [wanted[arm] for arm in arms]
    assert by.where(by.notna(), None).tolist() == expected, "silver was not the campaign's product"


def test_what_was_not_known_yet_teaches_nothing(data: Path) -> None:
    wh = warehouse.open(data / "warehouse")
    early, late = (uplift_campaigns.members(wh.snapshot(day), dates=9) for day in ("2025-06-30", "2025-12-31"))
    assert early["as_of"].max() == pd.Timestamp("2025-03-31") and late["as_of"].max() == pd.Timestamp(AS_OF)
    same = late[late["campaign_id"].isin(early["campaign_id"])]
    assert len(same) >= len(early) * 0.98  # members recorded late are known only later
    assert set(late["channel"]) == {"", "call", "mail", "email"}
