"""The best offers on a warehouse: every rule kept, the optimum reached, the log true and readable, bad input refused."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import made_campaigns
import made_scores
import numpy as np
import pandas as pd
import pytest
from scipy.optimize import LinearConstraint, milp

from crmlib import paths, warehouse
from crmlib.decisions import decision_log, desk_events, eligibility, offers, offers_inputs, offers_log, policy, value
from crmlib.decisions.campaigns import book, freeze
from crmlib.errors import DataError, EnvironmentFault, NotFoundError, UsageError
from crmlib.runs import offer_jobs
from crmlib.runs.stages import Stages
from crmlib.store import ledger, score_sets
from crmlib.warehouse import build, snapshot
from crmlib.warehouse import company as companies
from crmlib.warehouse.company import Company
from crmlib.warehouse.company_policy import ContactPolicy, Limit

DAY = dt.date(2025, 6, 30)
NOW = dt.datetime(2025, 7, 1, 8)
COSTS = {"call": 500, "mail": 100, "email": 2}
PRODUCTS = {"card": (12_000, 24), "deposit": (5_000, 12), "loan": (60_000, 48), "plan": (90_000, 60)}
RULES = ContactPolicy(
    limits=(Limit("customer", 2, 30), Limit("household", 2, 30), Limit("customer", 1, 60, "call")), complaint_days=14
)
BANK = Company(
    contact_costs_minor=COSTS, capacities={"call": 20, "mail": 40}, contact_policy=RULES, levers={"plan": 1.5}
)


def bank(
    data: Path, *, customers: int = 150, seed: int = 5, day: dt.date = DAY, supply: int | None = None, left: int = 0
) -> snapshot.Snapshot:
    """A small bank with households, contacts, complaints, holdings and scores, saved below ``data``."""
    random = np.random.default_rng(seed)
    ids = np.array([f"c{number:04}" for number in range(customers)])
    some = lambda share: ids[random.random(customers) < share]  # noqa: E731
    frames = {
        "customers": pd.DataFrame({"customer_id": ids, "valid_from": dt.date(2020, 1, 1)}).assign(
            household_id=[f"h{number}" for number in random.integers(0, customers // 2, customers)],
            birth_date=dt.date(1980, 1, 1),
            closed_on=[dt.date(2025, 3, 1) if number % 29 == left else None for number in range(customers)],
        ),
        "products": pd.DataFrame(
            [(name, margin, months) for name, (margin, months) in PRODUCTS.items()],
            columns=["product_id", "margin_minor", "margin_months"],
        ).assign(
            valid_from=dt.date(2020, 1, 1),
            name="x",
            currency="EUR",
            supply_limit=pd.array([None, None, supply, None], "Int64"),
        ),
        "consents": pd.concat(
            [
                pd.DataFrame({"customer_id": np.union1d(some(share), ids[1:3]), "channel": channel, "granted": True})
                for channel, share in (("call", 0.6), ("mail", 0.6), ("email", 0.5))
            ]
        ).assign(purpose="marketing", changed_at=dt.datetime(2025, 1, 1), source="form"),
        "contacts": pd.DataFrame({"customer_id": random.choice(ids, 80)}).assign(
            contact_id=[f"k{number}" for number in range(80)],
            occurred_at=pd.Timestamp(DAY) - pd.to_timedelta(random.integers(1, 70, 80), unit="D"),
            channel=random.choice(list(COSTS), 80),
            direction="out",
            purpose="sales",
        ),
        "complaints": pd.DataFrame({"complaint_id": ["1", "2"], "customer_id": ids[1:3]}).assign(
            opened_at=dt.datetime(2025, 6, 1), resolved_at=[None, dt.datetime(2025, 6, 25)]
        ),
        "holdings": pd.DataFrame({"customer_id": some(0.3)}).assign(
            holding_id=lambda table: [f"a{number}" for number in range(len(table))],
            product_id="card",
            opened_on=dt.date(2024, 1, 1),
        ),
        "transactions": pd.DataFrame({"transaction_id": ["t"], "customer_id": ids[:1], "amount_minor": [1]}).assign(
            occurred_at=dt.datetime(2025, 12, 1)
        ),
    }
    build.from_frames(data / "v.duckdb", frames)
    scores = pd.MultiIndex.from_product([ids, PRODUCTS], names=["customer_id", "product_id"]).to_frame(index=False)
    scores = scores.assign(score=random.gamma(0.8, 0.06, len(scores)).clip(0, 0.9), as_of=pd.Timestamp(day))
    save(data, scores.astype({"product_id": "category"}), "propensity", day)
    return snapshot.open_file(data / "v.duckdb").snapshot(DAY)


def save(data: Path, scores: pd.DataFrame, model: str, day: dt.date = DAY) -> None:
    score_sets.save(scores, data=data, model=model, model_version=1, warehouse_version=1, as_of=day, now=NOW)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, snapshot.Snapshot]:
    data = tmp_path_factory.mktemp("offers")
    return data, bank(data)


def asked(made: tuple[Path, snapshot.Snapshot], **settings: Any) -> offers.BestOffers:
    given = {"budget_minor": 12_000, "company": BANK, **settings}
    return offers.best_offers(made[1], made[0], **given)


@pytest.mark.parametrize("k", [1, 2])
def test_every_offer_keeps_every_rule(made: tuple[Path, snapshot.Snapshot], k: int) -> None:
    best = asked(made, k=k)
    table = best.offers
    assert list(table.columns) == offers.COLUMNS and len(table) > 40
    allowed = policy.permitted(made[1], table, company=BANK)
    assert allowed["allowed"].all(), "contact policy and consent"
    assert eligibility.eligible(made[1], table[["customer_id", "product_id"]])["allowed"].all()
    assert table["cost_minor"].sum() <= 12_000
    by_channel = table["channel"].value_counts()
    assert by_channel.get("call", 0) <= 20 and by_channel.get("mail", 0) <= 40
    assert (table.groupby("customer_id").size() <= k).all() and not table.duplicated(
        ["customer_id", "product_id"]
    ).any()
    past = policy.history(made[1], company=BANK)
    people = past.customers.assign(
        own=policy.contacts_left(past, company=BANK, per="customer"),
        calls=policy.contacts_left(past, company=BANK, per="customer", channel="call"),
    )
    people = people.assign(together=policy.contacts_left(past, company=BANK, per="household")[people["household"]])
    joined = table.merge(people, on="customer_id", validate="many_to_one")
    assert (joined.groupby("customer_id").size() <= joined.groupby("customer_id")["own"].first()).all()
    assert (joined.groupby("household").size() <= joined.groupby("household")["together"].first()).all()
    calls = joined[joined["channel"] == "call"]
    assert (calls.groupby("customer_id").size() <= calls.groupby("customer_id")["calls"].first()).all()


def test_values_are_those_of_the_value_table(made: tuple[Path, snapshot.Snapshot]) -> None:
    best = asked(made, k=2)
    scores = score_sets.read(made[0], score_sets.newest(made[0], "propensity"))
    terms = value.terms(made[1].table("products"), company=BANK)
    full = value.table(scores, terms=terms, company=BANK)
    keys = ["customer_id", "product_id", "channel"]
    both = best.offers.merge(full, on=keys, suffixes=("", "_again"), validate="one_to_one")
    assert len(both) == len(best.offers)
    for name in ("probability", "margin_minor", "retention", "lever", "cost_minor", "value_minor", "unlevered_minor"):
        assert both[name].to_numpy() == pytest.approx(both[f"{name}_again"].to_numpy(), rel=1e-6)
    assert best.offers["value_minor"].sum() == pytest.approx(best.value_minor, rel=1e-5)
    assert (best.offers.loc[best.offers["product_id"] == "plan", "lever"] == 1.5).all()


def exact(made: tuple[Path, snapshot.Snapshot], k: int) -> float:
    """The best value there is under all rules, by branch and bound over the value table."""
    scores = score_sets.read(made[0], score_sets.newest(made[0], "propensity"))
    terms = value.terms(made[1].table("products"), company=BANK)
    table = value.table(scores, terms=terms, company=BANK)
    table = table[policy.permitted(made[1], table, company=BANK)["allowed"].to_numpy()]
    table = table[eligibility.eligible(made[1], table[["customer_id", "product_id"]])["allowed"].to_numpy()]
    past = policy.history(made[1], company=BANK)
    people = past.customers.assign(
        own=policy.contacts_left(past, company=BANK, per="customer"),
        calls=policy.contacts_left(past, company=BANK, per="customer", channel="call"),
    )
    people["together"] = policy.contacts_left(past, company=BANK, per="household")[people["household"]]
    table = table[table["value_minor"] > 0].merge(people, on="customer_id", validate="many_to_one")
    rows, limits = [table["cost_minor"], table["channel"] == "call", table["channel"] == "mail"], [12_000, 20, 40]
    for who, mine in table.groupby("customer_id"):
        rows.append(table["customer_id"] == who)
        limits.append(min(k, mine["own"].iloc[0]))
        rows.append((table["customer_id"] == who) & (table["channel"] == "call"))
        limits.append(mine["calls"].iloc[0])
        rows += [(table["customer_id"] == who) & (table["product_id"] == name) for name in PRODUCTS]
        limits += [1] * len(PRODUCTS)
    for house, ours in table.groupby("household"):
        rows.append(table["household"] == house)
        limits.append(ours["together"].iloc[0])
    matrix = np.array([row.to_numpy(float) for row in rows])
    found = milp(
        -table["value_minor"].to_numpy(), constraints=LinearConstraint(matrix, ub=limits), integrality=1, bounds=(0, 1)
    )
    return float(-found.fun)


@pytest.mark.parametrize("k", [1, 2])
def test_the_optimum_is_reached_within_the_gap_reported(made: tuple[Path, snapshot.Snapshot], k: int) -> None:
    best, optimum = asked(made, k=k), exact(made, k)
    assert best.value_minor <= optimum * (1 + 1e-6) <= best.bound_minor * (1 + 2e-6)
    assert best.value_minor >= optimum * (1 - best.gap - 1e-6)
    assert best.value_minor > 0.99 * optimum


def test_shadow_prices_say_what_one_more_is_worth(made: tuple[Path, snapshot.Snapshot]) -> None:
    best = asked(made, budget_minor=None, capacities={"call": 10, "mail": 0})
    rows = best.resources.set_index(["kind", "name"])
    assert list(best.resources.columns) == offers.RESOURCES
    call = rows.loc[("capacity", "call")]
    assert call["used"] == 10 and rows.loc[("capacity", "mail"), "used"] == 0
    more = asked(made, budget_minor=None, capacities={"call": 11, "mail": 0})
    assert more.value_minor - best.value_minor <= call["price_minor"] * (1 + 1e-3) + 1
    assert more.value_minor - best.value_minor > 0.5 * call["price_minor"] > 0
    assert call["price_per_hour_minor"] == pytest.approx(call["price_minor"] * 60 / 8)
    assert np.isnan(rows.loc[("capacity", "mail"), "price_per_hour_minor"]), "letters take no minutes"


@pytest.mark.parametrize("block", [1, 7])
def test_the_log_is_the_same_in_blocks(
    made: tuple[Path, snapshot.Snapshot], block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = asked(made, k=2)
    whole = offers_log.log(best)
    assert set(whole["decision"]) == {"offered", "ranked", "dropped"}
    monkeypatch.setattr(offers_log, "BLOCK", block)
    pd.testing.assert_frame_equal(offers_log.log(best), whole)


def test_conflicts_are_resolved_by_value_not_by_who_came_first(made: tuple[Path, snapshot.Snapshot]) -> None:
    one = replace(BANK, contact_policy=ContactPolicy(limits=(Limit("household", 1, 30),)), capacities={})
    best = asked(made, company=one, budget_minor=None)
    log = offers_log.log(best)
    people = policy.history(made[1], company=one).customers.set_index("customer_id")["household"]
    candidates = log[log["decision"] != "dropped"].assign(household=lambda table: table["customer_id"].map(people))
    top = candidates.groupby("household")["net_minor"].max()
    chosen = candidates[candidates["decision"] == "offered"].set_index("household")["net_minor"]
    assert chosen.index.is_unique and len(chosen) > 20
    assert chosen.to_numpy() == pytest.approx(top.loc[chosen.index].to_numpy())
    assert "household" in set(candidates["code"])


def test_supply_limits_what_is_promised(tmp_path: Path) -> None:
    state = bank(tmp_path, supply=2)
    free = Company(contact_costs_minor=COSTS, contact_policy=ContactPolicy())
    best = offers.best_offers(state, tmp_path, company=free)
    loans = best.offers[best.offers["product_id"] == "loan"]
    row = best.resources[best.resources["kind"] == "supply"].set_index("name").loc["loan"]
    assert row["limit"] == 2 and row["price_minor"] > 0
    assert 1.5 < loans["probability"].sum() <= 2 and row["used"] == pytest.approx(loans["probability"].sum(), rel=1e-5)


def test_uplift_takes_the_place_of_probability_and_says_so(tmp_path: Path) -> None:
    state = bank(tmp_path)
    people = score_sets.read(tmp_path, score_sets.newest(tmp_path, "propensity"))["customer_id"].unique()
    uplift = pd.DataFrame({"customer_id": people, "product_id": "plan", "channel": "call", "score": 0.2})
    save(tmp_path, uplift.assign(as_of=pd.Timestamp(DAY), low=0.1, high=0.3), "uplift")
    best = offers.best_offers(state, tmp_path, company=BANK)
    used = best.offers[best.offers["basis"] == "uplift"]
    assert len(used) and set(zip(used["product_id"], used["channel"], strict=True)) == {("plan", "call")}
    assert (used["uplift"] == np.float32(0.2)).all() and best.settings["scores"]["uplift"] is not None
    rest = best.offers[best.offers["basis"] == "probability"]
    assert rest["uplift"].isna().all()


def test_contacts_made_since_the_load_count(made: tuple[Path, snapshot.Snapshot]) -> None:
    first = asked(made, budget_minor=None)
    since = first.offers[["customer_id", "channel"]].head(20).assign(occurred_at=pd.Timestamp(DAY), outcome=None)
    strict = replace(BANK, contact_policy=ContactPolicy(limits=(Limit("customer", 1, 7),)))
    again = asked(made, company=strict, since=since, budget_minor=None)
    assert not set(again.offers["customer_id"]) & set(since["customer_id"])


def test_the_log_explains_every_customer(made: tuple[Path, snapshot.Snapshot]) -> None:
    best = asked(made, budget_minor=5_000)
    log = offers_log.log(best)
    assert list(log.columns) == decision_log.COLUMNS
    made_offers = log[log["decision"] == "offered"]
    assert made_offers[["customer_id", "product_id", "channel"]].to_numpy().tolist() == (
        best.offers[["customer_id", "product_id", "channel"]].to_numpy().tolist()
    )
    per_customer = log[log["decision"] != "dropped"].groupby("customer_id").size()
    assert per_customer.max() <= 1 + offers_log.KEPT, "bounded"
    assert set(log["customer_id"]) == set(best.inputs.worth.customers), "everyone scored, offered something or not"
    dropped = log[log["decision"] == "dropped"]
    holds_card = dropped[dropped["code"] == "already_held"]
    assert len(holds_card) and (holds_card["products"] == "card").all()
    complaint = dropped[dropped["code"] == "open_complaint"]
    assert set(complaint["customer_id"]) == {"c0001"}
    limited = dropped[dropped["code"] == "limit_customer"]
    assert limited["until"].notna().all() and {"contacts", "days"} <= set(json.loads(limited["detail"].iloc[0]))
    scarce = log[log["code"] == "scarce"]
    assert len(scarce) and set(json.loads(scarce["detail"].iloc[0])) == {"resource", "name"}


@pytest.mark.parametrize("k", [1, 2])
def test_the_smallest_change_flips_the_decision(made: tuple[Path, snapshot.Snapshot], k: int) -> None:
    # At the prices found, every household decides for itself; so the flips can be tried one by one.
    rules = ContactPolicy(limits=(Limit("household", 2, 30),))
    best = asked(made, company=replace(BANK, contact_policy=rules), k=k)
    log = offers_log.log(best, kept=4 * 3)
    shown = log[log["decision"] != "dropped"]
    shown = shown[~shown["customer_id"].isin(shown.loc[shown["code"] == "rounding", "customer_id"])]
    people = policy.history(made[1], company=BANK).customers.set_index("customer_id")["household"]
    past = policy.history(made[1], company=replace(BANK, contact_policy=rules))
    left = policy.contacts_left(past, company=replace(BANK, contact_policy=rules), per="household")
    shown = shown.assign(household=shown["customer_id"].map(people))
    tried = 0
    for house, ours in shown.groupby("household"):
        net = ours["net_minor"].to_numpy()
        was = ours["decision"].to_numpy() == "offered"
        if not (chosen_of(ours, net, k, left[house]) == was).all():
            continue  # settled exactly where something was too scarce to be shared out by its price alone
        for place, flip in enumerate(ours["flip_minor"]):
            sign = -1 if was[place] else 1
            for change, flips in ((flip * 1.001 + 0.5, True), (flip * 0.999 - 0.5, False)):
                if change < 0:
                    continue
                other = net.copy()
                other[place] += sign * change
                now = chosen_of(ours, other, k, left[house])[place]
                assert (now != was[place]) == flips, (ours.iloc[place].to_dict(), change)
                tried += 1
    assert tried > 300


def chosen_of(ours: pd.DataFrame, net: np.ndarray, k: int, together: int) -> np.ndarray:
    """What a household would get by what the offers leave: greedily, one of a product, k a customer, so many in all."""
    out = np.zeros(len(ours), bool)
    order = np.argsort(-net, kind="stable")
    rows = ours[["customer_id", "product_id"]].to_numpy().tolist()
    for place in order:
        who, product = rows[place]
        mine = [rows[other] for other in np.flatnonzero(out) if rows[other][0] == who]
        if net[place] > 0 and len(mine) < k and [who, product] not in mine and out.sum() < together:
            out[place] = True
    return out


def test_flips_in_chance_and_cost_mean_the_same_change(made: tuple[Path, snapshot.Snapshot]) -> None:
    best = asked(made)
    log = offers_log.log(best)
    shown = log[(log["decision"] != "dropped") & (log["flip_minor"] > 1)]
    sign = np.where(shown["decision"] == "offered", -1, 1)
    gain = (shown["flip_chance"] - shown["probability"]) * shown["lever"] * shown["margin_minor"] * shown["retention"]
    assert gain.to_numpy() == pytest.approx((sign * shown["flip_minor"]).to_numpy(), rel=1e-6)
    budget = best.resources.set_index("kind").loc["budget", "price_minor"]
    saved = (shown["cost_minor"] - shown["flip_cost_minor"]) * (1 + budget)
    assert saved.to_numpy() == pytest.approx((sign * shown["flip_minor"]).to_numpy(), rel=1e-6)


def test_the_log_is_plain_parquet_and_recorded(made: tuple[Path, snapshot.Snapshot], tmp_path: Path) -> None:
    log = offers_log.log(asked(made))
    number = decision_log.save(
        log, data=tmp_path, kind="best offers", settings={"k": 1}, warehouse_version=1, now=NOW, score_set_id=1
    )
    row = decision_log.newest(tmp_path)
    assert (row.decision_set_id, row.rows, row.as_of, row.settings) == (number, len(log), DAY, {"k": 1})
    pd.testing.assert_frame_equal(decision_log.read(tmp_path, row), log)
    with duckdb.connect() as connection:  # as the documentation shows it, without this project's code
        for statement in documented("sql").replace("'data/", f"'{tmp_path}/").split(";")[:2]:
            connection.execute(statement)
        counted = connection.fetchall()
    assert dict(counted) == log["decision"].value_counts().to_dict()
    (tmp_path / row.file).write_bytes(b"changed")
    with pytest.raises(
        EnvironmentFault, match="missing or changed since it was written; make it again with `crm offers`"
    ):
        decision_log.read(tmp_path, row)


def documented(kind: str) -> str:
    """The first block of a kind in the documentation."""
    text = (Path(__file__).parents[1] / "docs" / "offers.md").read_text(encoding="utf-8")
    return text.split(f"```{kind}\n")[1].split("```")[0]


def test_the_settings_of_the_documentation_are_read(tmp_path: Path) -> None:
    (tmp_path / "company.toml").write_text(documented("toml"), encoding="utf-8")
    found = companies.read(tmp_path / "company.toml")
    assert found.levers == {"fund_plan": 1.2} and found.contact_policy.limits == (Limit("customer", 1, 90, "call"),)
    assert found.contact_policy.holdout_share == 0.02


def test_a_log_that_is_none_is_not_written(tmp_path: Path) -> None:
    log = pd.DataFrame({"customer_id": ["a", "b"], "as_of": [DAY, DAY], "decision": "x", "code": "y"})
    save_it = {"data": tmp_path, "kind": "best offers", "settings": {}, "warehouse_version": 1, "now": NOW}
    with pytest.raises(DataError, match="no column code"):
        decision_log.save(log.drop(columns="code"), **save_it)
    with pytest.raises(DataError, match="kind is 'dream'; use best offers, desk, match"):
        decision_log.save(log, **{**save_it, "kind": "dream"})
    with pytest.raises(DataError, match="as_of has 2 dates; write one log for each date"):
        decision_log.save(log.assign(as_of=[DAY, NOW.date()]), **save_it)
    assert not (tmp_path / "decisions").exists()
    with pytest.raises(NotFoundError, match="there is no decision log of desk below"):
        decision_log.newest(tmp_path, "desk")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"k": 0}, "k is 0; give the most offers a customer may get, 1 or more"),
        ({"k": 1.5}, "k is 1.5; give the most offers"),
        (
            {"budget_minor": 0},
            "budget_minor is 0, so no contact could be paid; give an amount above zero, or leave it out",
        ),
        ({"budget_minor": -5}, "budget_minor is -5, so no contact could be paid"),
        ({"capacities": {"call": 0, "mail": 0, "email": 0}}, "capacities: there is none, every channel has 0 contacts"),
        ({"capacities": {"call": -1}}, "capacities: call is -1; give the contacts it can make, 0 or more"),
        (
            {"capacities": {}, "company": replace(BANK, contact_costs_minor={}, capacities={})},
            "contact_costs_minor names no channel, so no contact could be made",
        ),
        ({"capacities": {"pigeon": 1}}, "channel 'pigeon' has no cost of contact; known are call, email, mail"),
    ],
)
def test_limits_that_mean_nothing(
    made: tuple[Path, snapshot.Snapshot], settings: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence):
        asked(made, **settings)


def test_scores_of_another_day_are_refused(tmp_path: Path) -> None:
    state = bank(tmp_path, day=dt.date(2025, 3, 31))
    with pytest.raises(
        DataError, match="propensity scores are as of 2025-03-31, the snapshot is as of 2025-06-30; score that day"
    ):
        offers.best_offers(state, tmp_path, company=BANK)


def test_no_scores_at_all(made: tuple[Path, snapshot.Snapshot], tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="there are no propensity scores"):
        offers.best_offers(made[1], tmp_path, company=BANK)


def test_nobody_may_be_contacted(made: tuple[Path, snapshot.Snapshot]) -> None:
    silent = replace(BANK, contact_policy=ContactPolicy(consent_purposes=("telepathy",)))
    best = asked(made, company=silent)
    assert best.offers.empty and best.value_minor == 0 and best.gap == 0
    log = offers_log.log(best)
    assert set(log.loc[log["channel"] != "", "code"]) == {"no_consent"}


def test_the_company_file_of_the_data_folder_counts(made: tuple[Path, snapshot.Snapshot], tmp_path: Path) -> None:
    state = bank(tmp_path)
    (tmp_path / "company.toml").write_text("[contact_costs_minor]\nemail = 3\n", encoding="utf-8")
    best = offers.best_offers(state, tmp_path)
    assert set(best.offers["channel"]) == {"email"} and (best.offers["cost_minor"] == 3).all()
    assert offers_inputs.company_of(made[0], made[1]) == made[1].warehouse.company


def test_what_was_answered_at_the_desk_is_not_offered_by_the_batch(tmp_path: Path) -> None:
    state = bank(tmp_path)
    first = offers.best_offers(state, tmp_path, budget_minor=12_000, company=BANK).offers
    told = first[["customer_id", "product_id"]].drop_duplicates("customer_id").head(4).to_numpy().tolist()
    said = [("refused", NOW), ("accepted", NOW), ("later", NOW), ("refused", NOW - dt.timedelta(days=200))]
    for (customer, product), (outcome, at) in zip(told, said, strict=True):
        desk_events.record(tmp_path, customer, product, outcome=outcome, channel="call", actor="anna", now=at)
    best = offers.best_offers(state, tmp_path, budget_minor=12_000, company=BANK)
    made = set(zip(best.offers["customer_id"], best.offers["product_id"], strict=True))
    assert not made & {(customer, product) for customer, product in told[:3]}
    assert tuple(told[3]) in made, "a refusal of long ago does not count"
    log = offers_log.log(best)
    dropped = log[log["code"].str.startswith("offer_")].set_index("customer_id")[["code", "products"]]
    assert {name: tuple(row) for name, row in dropped.iterrows()} == {
        customer: (f"offer_{outcome}", product)
        for (customer, product), (outcome, _) in zip(told[:3], said[:3], strict=True)
    }


def test_the_job_leaves_offers_log_and_a_run(tmp_path: Path) -> None:
    made_scores.make(tmp_path)
    before = {path for path in tmp_path.rglob("*.parquet")}
    with pytest.raises(UsageError, match="k is 0"):
        offer_jobs.offers(tmp_path, stages=Stages(quiet=True), k=0)
    assert {path for path in tmp_path.rglob("*.parquet")} == before, "nothing half written"
    found = offer_jobs.offers(tmp_path, stages=Stages(quiet=True), budget_minor=20_000)
    saved = pd.read_parquet(next((tmp_path / "offers").glob("*.parquet")))
    pd.testing.assert_frame_equal(saved, found.offers)
    row = decision_log.newest(tmp_path)
    assert row.run_id == int(ledger.runs(tmp_path)["run_id"].max())
    assert row.settings["gap"] == found.gap and row.settings["offers"] == len(saved)
    assert "holdout_key" not in json.dumps(row.settings)
    assert list(ledger.runs(tmp_path).query("kind == 'offers'")["state"].sort_values()) == ["failed", "succeeded"]
    wh = warehouse.open(paths.warehouse(tmp_path))
    again = offers.best_offers(wh.snapshot(made_scores.AS_OF), tmp_path, budget_minor=20_000)
    pd.testing.assert_frame_equal(again.offers, found.offers)


def test_the_companys_own_rules_of_eligibility_count(tmp_path: Path) -> None:
    state = bank(tmp_path)
    before = offers.best_offers(state, tmp_path, company=BANK)
    assert "plan" in set(before.offers["product_id"])
    own = '[[rule]]\nproduct = "plan"\ncode = "age_above"\nyears = 18\n'
    (tmp_path / eligibility.RULES_FILE).write_text(own, encoding="utf-8")
    after = offers.best_offers(state, tmp_path, company=BANK)
    assert "plan" not in set(after.offers["product_id"]) and len(after.offers)
    log = offers_log.log(after)
    assert "plan" in ", ".join(log.loc[log["code"] == "age_above", "products"])


def test_scores_of_strangers_put_nobody_else_among_the_scored(tmp_path: Path) -> None:
    state = bank(tmp_path, left=28)
    known = score_sets.read(tmp_path, score_sets.newest(tmp_path, "propensity"))
    stranger = known[known["customer_id"] == "c0000"].assign(customer_id="zz")
    save(tmp_path, pd.concat([known[known["customer_id"] != "c0000"], stranger]), "propensity")
    best = offers.best_offers(state, tmp_path, company=BANK)
    assert not {"c0000", "zz"} & set(best.inputs.worth.customers)


def test_what_running_campaigns_have_promised_counts_for_the_limits(tmp_path: Path) -> None:
    plan = made_campaigns.plan(made_campaigns.folder(tmp_path))
    limit = '[[contact_policy.limits]]\nper = "customer"\ncontacts = 1\ndays = 30\n'
    (tmp_path / "company.toml").write_text(limit, encoding="utf-8")
    before = offer_jobs.offers(tmp_path, stages=Stages(quiet=True)).offers
    row = book.draft(tmp_path, plan, now=made_campaigns.NOW)
    row = book.approve(tmp_path, row.campaign_id, revision=row.revision, by="Olga", now=made_campaigns.NOW)
    made = freeze.assign(tmp_path, row.campaign_id, revision=row.revision, seed=1, now=made_campaigns.NOW)
    promised = set(made.members.loc[~made.members["control"], "customer_id"])
    after = offer_jobs.offers(tmp_path, stages=Stages(quiet=True)).offers
    assert promised & set(before["customer_id"]) and not promised & set(after["customer_id"])
