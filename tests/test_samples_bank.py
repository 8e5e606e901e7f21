"""The sample bank: determinism, exactness of the planted truth, and files that look like a bank's."""

from __future__ import annotations

import datetime as dt
import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from crmlib import samples
from crmlib.errors import DataError, EnvironmentFault, NotFoundError, UsageError
from crmlib.samples import (
    bank_block,
    bank_document,
    bank_files,
    bank_model,
    bank_population,
    bank_products,
    bank_quarter,
    bank_reference,
    bank_retention,
)
from crmlib.warehouse import company, mapping
from crmlib.warehouse.load import load

CUSTOMERS = 8_000


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> samples.Sample:
    return samples.bank(customers=CUSTOMERS, seed=21, folder=tmp_path_factory.mktemp("bank") / "bank")


@pytest.fixture(scope="module")
def contracts(sample: samples.Sample) -> pd.DataFrame:
    rows = pd.read_csv(sample.folder / "contracts.csv", dtype={"contract": str, "client": str})
    rows = rows[rows["signed"].notna() & (rows["product_code"] != "teleport")]
    return rows.assign(
        signed=pd.to_datetime(rows["signed"]),
        ended=pd.to_datetime(rows["ended"]),
        entered_at=pd.to_datetime(rows["entered_at"]),
    )


@pytest.fixture(scope="module")
def clients(sample: samples.Sample) -> pd.DataFrame:
    rows = pd.read_csv(sample.folder / "clients.csv", sep=";", encoding="cp1251", dtype=str)
    for name in ("actual_from", "born", "client_since", "closed"):
        rows[name] = pd.to_datetime(rows[name], format="%d.%m.%Y", errors="coerce")
    return rows[~((rows["kids"] == "97") | rows["actual_from"].eq(pd.Timestamp(2001, 2, 1)))]


@pytest.fixture(scope="module")
def purchases(sample: samples.Sample, contracts: pd.DataFrame) -> pd.DataFrame:
    """The true probabilities with what came of them: ``bought`` within 90 days after ``as_of``."""
    truth = samples.truth(sample, "purchases")
    truth["customer_id"], truth["product_id"] = truth["customer_id"].astype(str), truth["product_id"].astype(str)
    truth["bought"] = False
    for as_of in truth["as_of"].unique():
        inside = (contracts["signed"] > as_of) & (contracts["signed"] <= as_of + pd.Timedelta(days=90))
        found = pd.MultiIndex.from_frame(contracts.loc[inside, ["client", "product_code"]].drop_duplicates())
        rows = truth["as_of"] == as_of
        keys = pd.MultiIndex.from_frame(truth.loc[rows, ["customer_id", "product_id"]])
        truth.loc[rows, "bought"] = keys.isin(found)
    return truth


def deviation(happened: pd.Series, probability: pd.Series) -> float:
    """Return by how many standard errors the number of successes differs from its expectation."""
    p = probability.astype(float)
    return float((happened.astype(float) - p).sum() / np.sqrt((p * (1 - p)).sum()))


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


# ---------------------------------------------------------------- the same, and independent of blocks


def test_same_seed_gives_the_same_bytes_and_another_seed_other_ones(tmp_path: Path) -> None:
    one, again, other = (
        digests(samples.bank(customers=600, months=6, seed=seed, folder=tmp_path / name).folder)
        for name, seed in (("one", 3), ("again", 3), ("other", 4))
    )
    assert one == again
    same = {name for name in one if one[name] == other.get(name)} - {"truth/bad_rows/00000.parquet"}  # few small counts
    assert same == {"company.toml", "points.toml", "products.csv", "analogues.csv", "offices.csv"}


def test_a_block_is_the_same_whatever_is_simulated_before_or_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bank_block, "SIZE", 300)
    sample = samples.bank(customers=700, months=6, seed=5, folder=tmp_path / "bank")
    over = bank_block.calendar(6, end="2025-12-31")
    shared = np.random.default_rng(np.random.SeedSequence(5, spawn_key=(0,)))
    campaigns, retentions = bank_reference.plan(shared, quarters=2), bank_retention.plan(2)
    for number, size in ((2, 100), (1, 300)):
        stream = np.random.SeedSequence(5, spawn_key=(1, number))
        block = bank_block.simulate(stream, number, size, over=over, campaigns=campaigns, retentions=retentions)
        for name in ("operations", "balances", "contacts"):
            table = bank_files.tables(block, campaigns, retentions)[name]
            written = pq.read_table(sample.folder / f"{name}_{number:05d}.parquet")
            assert written.slice(0, table.num_rows).to_pydict() == table.to_pydict()


# ---------------------------------------------------------------- the truth is exact


def test_realised_purchases_agree_with_the_true_probabilities_for_every_product(purchases: pd.DataFrame) -> None:
    assert set(purchases["product_id"]) == set(bank_products.IDS)
    for product_id, rows in purchases.groupby("product_id"):
        assert abs(deviation(rows["bought"], rows["p"])) < 4, product_id
    for as_of, rows in purchases.groupby("as_of"):
        assert abs(deviation(rows["bought"], rows["p"])) < 4, as_of


def test_realised_purchases_agree_with_the_true_probabilities_over_their_whole_range(purchases: pd.DataFrame) -> None:
    parts = pd.qcut(purchases["p"], 10, labels=False)
    squares = [deviation(rows["bought"], rows["p"]) ** 2 for _, rows in purchases.groupby(parts)]
    assert stats.chi2.sf(sum(squares), len(squares)) > 1e-4


def test_a_wrong_truth_would_be_noticed(purchases: pd.DataFrame) -> None:
    assert abs(deviation(purchases["bought"], purchases["p_call"])) > 10
    swapped = purchases.groupby("product_id")["p"].transform(lambda p: p.sample(frac=1, random_state=1).to_numpy())
    highest = purchases["p"] > purchases["p"].quantile(0.9)
    assert abs(deviation(purchases.loc[highest, "bought"], swapped[highest])) > 10


def test_purchases_have_strong_signal_at_realistic_rates(purchases: pd.DataFrame) -> None:
    rates = purchases.groupby("product_id")["p"].mean()
    rare = {"mortgage", "fund_plan", "pension_plan"}
    assert rates[sorted(rare)].between(0.002, 0.012).all()
    assert rates.drop(sorted(rare)).between(0.009, 0.085).all()
    for product_id, rows in purchases.groupby("product_id"):
        rank = stats.rankdata(rows["p"]) / len(rows)
        area = np.average(rank, weights=rows["p"])  # the mean rank of a buyer; nearly the AUC where few buy
        assert 0.74 < area < 0.97, product_id


def test_every_pair_of_the_truth_could_buy(
    purchases: pd.DataFrame, contracts: pd.DataFrame, clients: pd.DataFrame
) -> None:
    as_of = pd.Timestamp(2025, 3, 31)
    rows = purchases[purchases["as_of"] == as_of]
    there = (contracts["signed"] <= as_of) & (contracts["ended"].isna() | (contracts["ended"] > as_of))
    held = set(zip(contracts.loc[there, "client"], contracts.loc[there, "product_code"], strict=True))
    last = clients[clients["actual_from"] <= as_of].groupby("client_no").last()
    shown = last.reindex(rows["customer_id"])
    assert shown["client_since"].le(as_of).all()
    assert not shown["closed"].le(as_of).any()
    for product in bank_products.PRODUCTS:
        own = rows[rows["product_id"] == product.product_id]
        pairs = set(zip(own["customer_id"], own["product_id"], strict=True))
        if not product.repeatable:
            assert not pairs & held
        if product.requires:
            assert {(customer, product.requires) for customer, _ in pairs} <= held
        born = last["born"].reindex(own["customer_id"]).dropna()
        age = (as_of - born).dt.days / 365.25
        assert age.between(product.ages[0] - 0.01, product.ages[1] + 1.01).all()
        if product.minimum_income is not None:
            income = last["income"].reindex(own["customer_id"]).dropna().str.replace(",", ".").astype(float)
            assert (income * 100 >= product.minimum_income).all()


def test_treated_and_control_groups_bought_as_planted(sample: samples.Sample, purchases: pd.DataFrame) -> None:
    members = pd.read_csv(sample.folder / "campaign_members.csv", dtype={"client": str})
    campaigns = pd.read_csv(sample.folder / "campaigns.csv", parse_dates=["starts"])
    members = members.merge(campaigns, on="campaign", validate="many_to_one")
    members = members[members["goal"] == "sell"]
    members["as_of"] = members["starts"] - pd.Timedelta(days=1)
    keys = {"client": "customer_id", "product_code": "product_id"}
    rows = members.rename(columns=keys).merge(
        purchases, on=["customer_id", "product_id", "as_of"], validate="many_to_one"
    )
    assert len(rows) == len(members)
    control = rows["is_control"] == "Y"
    assert abs(deviation(control, pd.Series(bank_model.CONTROL_SHARE, rows.index))) < 4
    assert abs(deviation(rows.loc[control, "bought"], rows.loc[control, "p_none"])) < 4
    for kind in bank_model.CONTACT_KINDS:
        own = rows[rows["arm"] == kind]
        assert abs(deviation(own["bought"], own[f"p_{kind}"])) < 4
    # Selected alike, so the groups differ in the contact alone, and the difference is the planted one.
    treated = rows[~control]
    planted = sum(treated.loc[treated["arm"] == kind, f"p_{kind}"].sum() for kind in bank_model.CONTACT_KINDS)
    planted = planted / len(treated) - rows.loc[control, "p_none"].mean()
    found = stats.ttest_ind(treated["bought"].astype(float), rows.loc[control, "bought"].astype(float))
    realised = treated["bought"].mean() - rows.loc[control, "bought"].mean()
    assert found.statistic > 2 and planted > 0.01
    assert abs(realised - planted) < 4 * realised / found.statistic


def test_contact_effects_are_what_the_probabilities_show(sample: samples.Sample, purchases: pd.DataFrame) -> None:
    effects = samples.truth(sample, "effects")
    churn = samples.truth(sample, "churn")
    one = purchases[(purchases["as_of"] == "2025-03-31") & (purchases["product_id"] == "life_insurance")]
    rows = one.merge(effects, on=["customer_id", "as_of"], validate="one_to_one")
    rows = rows.merge(churn, on=["customer_id", "as_of"], validate="one_to_one", suffixes=("", "_of_leaving"))
    days = 91  # of the second quarter, so who leaves is 91/90 of the table's probability
    leaving = rows[[f"p_{reason}" for reason in bank_model.CHURN_REASONS]].sum(axis=1) * days / 90
    stays = (1 - leaving) * 90 / days
    product = bank_products.PRODUCTS[bank_products.NUMBER["life_insurance"]]
    for kind in bank_model.CONTACT_KINDS:
        odds = [np.log(rows[name] / (stays - rows[name])) for name in (f"p_{kind}", "p_none")]
        np.testing.assert_allclose(odds[0] - odds[1], rows[f"effect_{kind}"] * product.contact, atol=2e-4)
    by_type = rows.groupby("responder")["effect_call"].mean()
    assert by_type["annoyed"] < 0 < by_type["neutral"] < by_type["persuadable"]


def test_customers_leave_as_planted_and_by_reason(sample: samples.Sample, clients: pd.DataFrame) -> None:
    churn = samples.truth(sample, "churn")
    left = clients.groupby("client_no")[["closed", "closed_why"]].last()
    rows = churn.join(left, on="customer_id")
    gone = (rows["closed"] > rows["as_of"]) & (rows["closed"] <= rows["as_of"] + pd.Timedelta(days=90))
    for reason in bank_model.CHURN_REASONS:
        assert abs(deviation(gone & (rows["closed_why"] == reason), rows[f"p_{reason}"])) < 4, reason


def test_the_truth_of_a_quarter_reads_only_the_state_at_its_start() -> None:
    over = bank_block.calendar(6, end="2025-12-31")
    quarter, begin = over[bank_block.WARM_UP], over[0].first
    rng = np.random.default_rng(1)
    people = bank_population.people(rng, 400, first=0, begin=begin, start=quarter.first, end=over[-1].last)
    state = bank_population.first_state(rng, people, begin=begin)
    campaigns = bank_reference.plan(rng, quarters=1)
    held_out = np.arange(400) % 40 == 0
    before = {name: np.copy(getattr(state, name)) for name in ("counts", "liquid", "visits", "contacted", "left")}
    one, other = (
        bank_quarter.decide(
            np.random.default_rng(seed),
            people,
            state,
            quarter=quarter,
            campaigns=campaigns,
            held_out=held_out,
            keeper=np.random.default_rng(seed),
        )
        for seed in (2, 3)
    )
    assert held_out.any() and not one.arm[held_out].any() and not one.kept[held_out].any() and one.kept.any()
    for name, rows in one.truth.items():
        for column, values in rows.items():
            np.testing.assert_array_equal(values, other.truth[name][column])
    assert (one.bought != other.bought).any() and (one.arm != other.arm).any()
    for name, values in before.items():
        np.testing.assert_array_equal(getattr(state, name), values)


# ---------------------------------------------------------------- it looks like a bank


def test_transactions_have_a_long_tail_many_zeros_and_late_records(sample: samples.Sample) -> None:
    parts = [pq.read_table(path).to_pandas() for path in sample.files if path.name.startswith("operations")]
    rows = pd.concat(parts)
    rows = rows[rows["client"] != "99999999"]
    late = (rows["booked_at"] > rows["op_time"]).mean()
    assert 0.01 < late < 0.02
    assert (rows["booked_at"] < pd.Timestamp(2026, 1, 1)).all()
    count = rows.groupby("client").size().reindex([str(10_000_001 + k) for k in range(CUSTOMERS)], fill_value=0)
    assert 25 < count.mean() < 40
    assert count.nlargest(CUSTOMERS // 10).sum() > 0.3 * count.sum()
    quarter = rows[rows["op_time"] >= pd.Timestamp(2025, 10, 1)].groupby("client").size()
    assert len(quarter) < 0.85 * CUSTOMERS
    spent = -rows.loc[rows["amount_cents"] < 0, "amount_cents"]
    assert spent.mean() > 1.8 * spent.median()


def test_seasons_show(sample: samples.Sample) -> None:
    rows = pd.concat([pq.read_table(p).to_pandas() for p in sample.files if p.name.startswith("operations")])
    month = rows["op_time"].dt.month
    travel = rows["kind"] == "travel"
    assert (travel & month.between(7, 9)).sum() > 1.4 * (travel & (month <= 3)).sum()


def test_contracts_are_recorded_late_for_a_few(contracts: pd.DataFrame) -> None:
    late = (contracts["entered_at"] > contracts["signed"]).mean()
    assert 0.008 < late < 0.025
    assert (contracts["entered_at"] < pd.Timestamp(2026, 1, 1)).all()


def test_attributes_are_missing_stale_and_dated(clients: pd.DataFrame) -> None:
    assert 0.05 < clients["income"].isna().mean() < 0.11
    assert 0.10 < clients["education"].isna().mean() < 0.20
    rows = clients.groupby("client_no").size()
    assert 0.25 < (rows > 1).mean() < 0.75
    assert clients.duplicated(["client_no", "actual_from"]).sum() == 0
    moved = clients.sort_values("actual_from").groupby("client_no")["town"].nunique()
    assert 0.02 < (moved > 1).mean() < 0.25


def test_duplicates_share_a_birth_date_but_not_the_persons_number(
    sample: samples.Sample, clients: pd.DataFrame
) -> None:
    pairs = samples.truth(sample, "duplicates")
    assert pairs["person_id"].value_counts().eq(2).all()
    assert 0.003 < len(pairs) / 2 / CUSTOMERS < 0.015
    last = clients.groupby("client_no").last().reindex(pairs["customer_id"])
    known = last.assign(person=pairs["person_id"].to_numpy()).dropna(subset=["born"])
    assert (known.groupby("person")["born"].min() == known.groupby("person")["born"].max()).all()
    references = last["document_ref"].dropna()
    assert references.is_unique
    assert not references.isin(clients.loc[~clients["client_no"].isin(pairs["customer_id"]), "document_ref"]).any()


def test_contacts_keep_to_the_consents(sample: samples.Sample) -> None:
    said = pd.read_csv(sample.folder / "permissions.csv", dtype={"client": str}, parse_dates=["stated_at"])
    objecting = said[(said["purpose"] == "profiling") & (said["yes_no"] == "N")]
    assert 0.005 < objecting["client"].nunique() / CUSTOMERS < 0.016
    members = pd.read_csv(sample.folder / "campaign_members.csv", dtype={"client": str}, parse_dates=["chosen_at"])
    members = members[~members["campaign"].isin([bank_reference.HOLD_OUT_ID, bank_reference.INVITATION_ID])]
    last = objecting.groupby("client")["stated_at"].min().reindex(members["client"]).to_numpy()
    assert not (last < members["chosen_at"].to_numpy()).any()
    treated = members[members["is_control"] == "N"].merge(
        said[said["purpose"] == "marketing"], left_on=["client", "arm"], right_on=["client", "way"]
    )
    before = treated[treated["stated_at"] < treated["chosen_at"]].sort_values("stated_at")
    answers = before.groupby(["client", "campaign"])["yes_no"].last()
    assert (answers == "Y").all()
    assert len(answers) == (members["is_control"] == "N").sum()


def test_nothing_happens_before_joining_or_after_leaving(sample: samples.Sample, clients: pd.DataFrame) -> None:
    known = clients.groupby("client_no")[["client_since", "closed"]].last()
    moments = {"operations": "op_time", "contacts": "at"}
    for name, column in moments.items():
        rows = pd.concat([pq.read_table(p).to_pandas() for p in sample.files if p.name.startswith(name)])
        rows = rows[rows["client"] != "99999999"].join(known, on="client")
        day = rows[column].dt.normalize()
        assert (day >= rows["client_since"]).all()
        assert not (day > rows["closed"]).any()


# ---------------------------------------------------------------- files, mapping, loader


def test_truth_is_neither_among_the_files_nor_in_the_mapping(sample: samples.Sample) -> None:
    assert sample.truth.is_dir()
    assert not [path for path in sample.files if path.is_relative_to(sample.truth)]
    assert all(path.parent == sample.folder for path in sample.files)
    sections = mapping.read(sample.mapping)
    for path in sample.truth.rglob("*.parquet"):
        assert not sections.matching(path.name)
    for path in sample.files:
        assert len(sections.matching(path.name)) == 1, path.name


def test_the_sample_goes_through_the_loader_and_only_the_planted_rows_are_refused(tmp_path: Path) -> None:
    sample = samples.bank(customers=1_500, months=12, seed=8, folder=tmp_path / "bank")
    (tmp_path / "data").mkdir()
    report = load(
        sample.files,
        sample.mapping,
        data=tmp_path / "data",
        recorded_at=dt.datetime(2026, 1, 1),
        company=company.read(sample.company),
    )
    planted = samples.truth(sample, "bad_rows").groupby("file")["rows"].sum()
    refused = pd.read_parquet(report.quarantine)
    names = refused["file"].str.replace(r"(_\d+)?\.(csv|parquet)$", "", regex=True)
    assert refused.groupby(names)["line"].nunique().to_dict() == planted.to_dict()
    assert len(report.counts) == 18
    assert (report.counts["quarantined"] < 0.01 * report.counts["input"]).all()


def test_the_company_file_is_one(sample: samples.Sample) -> None:
    found = company.read(sample.company)
    assert (found.currency, found.contact_costs_minor["call"]) == ("EUR", 500)
    assert "2025-12-25" in found.holidays


def test_an_earlier_sample_is_replaced_and_can_be_opened(tmp_path: Path) -> None:
    samples.bank(customers=50, months=6, seed=1, folder=tmp_path / "bank")
    again = samples.bank(customers=40, months=6, seed=1, folder=tmp_path / "bank")
    assert samples.open_sample(again.folder) == again
    assert samples.truth(again.folder, "churn")["customer_id"].nunique() <= 40
    assert [path.name for path in tmp_path.iterdir()] == ["bank"]


def test_one_customer_is_enough(tmp_path: Path) -> None:
    sample = samples.bank(customers=1, months=6, seed=1, folder=tmp_path / "bank")
    assert {path.suffix for path in sample.files} == {".csv", ".parquet"}


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"customers": 0}, UsageError, "customers is 0; give a number from 1"),
        ({"months": 7}, UsageError, "months is 7; give whole quarters"),
        ({"months": 3}, UsageError, "months is 3; give whole quarters"),
    ],
)
def test_refuses_numbers_out_of_range(
    tmp_path: Path, arguments: dict[str, int], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        samples.bank(folder=tmp_path / "bank", **arguments)


def test_refuses_a_folder_with_other_files_and_leaves_it_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(DataError, match="holds other files than a sample; name an empty"):
        samples.bank(customers=10, months=6, folder=tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "precious"


def test_no_space_left_keeps_the_earlier_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = digests(samples.bank(customers=30, months=6, seed=1, folder=tmp_path / "bank").folder)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("crmlib.samples.bank_write.write_truth", full)
    with pytest.raises(EnvironmentFault, match=r"cannot be written .*No space left.*free some space"):
        samples.bank(customers=30, months=6, seed=2, folder=tmp_path / "bank")
    assert digests(tmp_path / "bank") == before


def test_unknown_truth_and_missing_sample_are_named(sample: samples.Sample, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no truth about weather; there are bad_rows, churn, duplicates"):
        samples.truth(sample, "weather")
    with pytest.raises(NotFoundError, match="holds no sample; make one"):
        samples.truth(tmp_path, "churn")


# ---------------------------------------------------------------- the model


@given(born=st.dates(dt.date(1930, 1, 1), dt.date(2010, 12, 31)), today=st.dates(dt.date(2020, 1, 1)))
def test_completed_years_agree_with_the_calendar(born: dt.date, today: dt.date) -> None:
    epoch = dt.date(1970, 1, 1)
    found = bank_model.completed_years(np.array([(born - epoch).days], np.int32), (today - epoch).days)
    assert found[0] == today.year - born.year - ((today.month, today.day) < (born.month, born.day))


def test_every_driver_is_documented_and_computed() -> None:
    categories = {category.name for category in bank_model.CATEGORIES[1:]}
    known = set(bank_model.DRIVERS) | categories | {f"{name}_now" for name in categories}
    known |= {f"has_{product_id}" for product_id in bank_products.IDS}
    used = {name for product in bank_products.PRODUCTS for name in product.drivers}
    assert used <= known


def test_the_document_shows_the_model_as_it_is() -> None:
    text = (Path(__file__).parents[1] / "docs" / "sample_bank.md").read_text(encoding="utf-8")
    assert bank_document.tables() in text
