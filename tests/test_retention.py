"""Retention: what past campaigns changed, and the action that pays or the decent letting go, against planted truth."""

from __future__ import annotations

import dataclasses
import datetime as dt
from pathlib import Path

import made_retention
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crmlib import paths, warehouse
from crmlib.decisions import policy, retention_worth
from crmlib.decisions import retention as deciding
from crmlib.decisions.retention_worth import Known
from crmlib.errors import DataError, NotFoundError, UsageError
from crmlib.models import labels
from crmlib.models import retention as learning
from crmlib.models.churn.definitions import Relationship
from crmlib.runs import retention_jobs
from crmlib.runs.stages import Stages
from crmlib.store import score_sets
from crmlib.warehouse import build
from crmlib.warehouse.objections import profiling_objectors
from crmlib.warehouse.snapshot import Snapshot

COMPANY = made_retention.COMPANY


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, made_retention.Planted]:
    """A made-up bank with past campaigns, decided upon by the job."""
    data = tmp_path_factory.mktemp("retention")
    planted = made_retention.make(data)
    retention_jobs.retention(data, stages=Stages(quiet=True))
    return data, planted


@pytest.fixture(scope="module")
def snapshot(made: tuple[Path, made_retention.Planted]) -> Snapshot:
    return warehouse.open(paths.warehouse(made[0])).snapshot(made_retention.AS_OF)


@pytest.fixture(scope="module")
def decided(made: tuple[Path, made_retention.Planted]) -> pd.DataFrame:
    return score_sets.read(made[0], score_sets.newest(made[0], "retention"))


def known(data: Path, snapshot: Snapshot, **instead: pd.DataFrame) -> Known:
    """What the job decides upon, with some tables replaced."""
    risks, values = (score_sets.newest(data, name) for name in ("churn", "customer_value"))
    effects = learning.effects(learning.members(snapshot))
    tables = {
        "risk": score_sets.read(data, risks, columns=["customer_id", "risk_90", "reason"]),
        "by_reason": score_sets.beside(data, risks, "by_reason"),
        "values": score_sets.read(data, values, columns=["customer_id", "predicted_minor"]),
        "effects": effects,
        "groups": learning.groups(snapshot),
    }
    return Known(**{**tables, **instead})


# ---------------------------------------------------------------- what past campaigns changed


def test_the_risk_ratio_of_13_trials_of_bcg_vaccine_is_0_635_colditz_1994_table_1() -> None:
    """Mantel-Haenszel, 95% interval 0.588 to 0.686; counts as in Colditz et al. 1994, JAMA 271, 698-702."""
    counts = [
        *((4, 119, 11, 128), (6, 300, 29, 274), (3, 228, 11, 209), (62, 13536, 248, 12619), (33, 5036, 47, 5761)),
        *((180, 1361, 372, 1079), (8, 2537, 10, 619), (505, 87886, 499, 87892), (29, 7470, 45, 7232)),
        *((17, 1699, 65, 1600), (186, 50448, 141, 27197), (5, 2493, 3, 2338), (27, 16886, 29, 17825)),
    ]
    a, b, c, d = np.array(counts).T
    strata = pd.DataFrame({"treated": a + b, "treated_left": a, "control": c + d, "control_left": c})
    log, error = learning.risk_ratio(strata)
    assert np.exp([log, log - 1.96 * error, log + 1.96 * error]) == pytest.approx([0.6353, 0.5881, 0.6862], abs=5e-5)


@given(
    st.lists(
        st.tuples(st.integers(1, 200), st.integers(1, 200), st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=4
    )
)
@settings(deadline=None, max_examples=60)
def test_the_risk_ratio_agrees_with_the_formula_written_out(strata: list[tuple[int, int, float, float]]) -> None:
    rows = [(n1, round(n1 * p1), n0, round(n0 * p0)) for n1, n0, p1, p0 in strata]
    table = pd.DataFrame(rows, columns=["treated", "treated_left", "control", "control_left"])
    above = sum(a * n0 / (n1 + n0) for n1, a, n0, c in rows)
    below = sum(c * n1 / (n1 + n0) for n1, a, n0, c in rows)
    log, error = learning.risk_ratio(table)
    if above == 0 or below == 0:
        assert np.isnan(log) and np.isnan(error)
    else:
        spread = sum((n1 * n0 * (a + c) - a * c * (n1 + n0)) / (n1 + n0) ** 2 for n1, a, n0, c in rows)
        assert log == pytest.approx(np.log(above / below))
        assert error == pytest.approx(np.sqrt(max(spread, 0) / (above * below)))


def test_planted_effects_lie_in_their_intervals_by_channel_and_group(snapshot: Snapshot) -> None:
    table = learning.measured(learning.members(snapshot)).set_index(["channel", "group", "reason"])
    planted = {
        ("call", "", "preventable"): made_retention.PLANTED["call"],
        ("call", learning.REFUSES, "preventable"): made_retention.ANNOYED,
        ("email", "all", "preventable"): made_retention.PLANTED["email"],
        ("email", "all", "death_or_moving"): 1.0,
    }
    for key, ratio in planted.items():
        row = table.loc[key]
        wide = (np.log(row["high"]) - np.log(row["relative_risk"])) / 1.96
        assert abs(np.log(row["relative_risk"] / ratio)) < 3 * wide, key
        assert row["low"] < row["relative_risk"] < row["high"]
    # Members are compared within what they consented to: no more controls than could have got the channel.
    assert table.loc[("call", "all", ""), "control"] < table.loc[("email", "all", ""), "control"] < 3_000


def test_the_interval_covers_the_planted_effect_and_caution_keeps_its_word() -> None:
    """150 made-up trials with strata of different risk: the interval covers in 95%, the cautious end holds in 80%."""
    rng, ratio = np.random.default_rng(5), 0.6
    covered, held = 0, 0
    for _ in range(150):
        rows = []
        for campaign, risk in (("A", 0.03), ("B", 0.12)):
            for channel, size, chance in (("", 600, risk), ("call", 1_400, risk * ratio)):
                left = rng.random(size) < chance
                rows.append(pd.DataFrame({"campaign_id": campaign, "channel": channel, "able": "call", "left": left}))
        found = pd.concat(rows, ignore_index=True)
        found = found.assign(group="", reason=np.where(found["left"], "price", ""))
        effect = learning.effects(found).set_index("reason").loc["price"]
        covered += effect["low"] <= ratio <= effect["high"]
        held += ratio <= effect["cautious"]
    assert 0.91 <= covered / 150 <= 0.99 and 0.72 <= held / 150 <= 0.88


def test_a_reason_gets_an_effect_of_its_own_only_where_the_data_tell_it_apart() -> None:
    def trial(price: float) -> pd.DataFrame:
        rng, parts = np.random.default_rng(1), []
        for channel, of in (("", (1.0, 1.0)), ("call", (0.5, price))):
            for reason, times in zip(("competitor", "price"), of, strict=True):
                left = rng.random(6_000) < 0.05 * times
                parts.append(pd.DataFrame({"channel": channel, "left": left, "reason": np.where(left, reason, "")}))
        return pd.concat(parts, ignore_index=True).assign(campaign_id="A", able="call", group="")

    alike = learning.effects(trial(0.5)).set_index("reason")
    assert alike.loc["price", "relative_risk"] == pytest.approx(alike.loc["competitor", "relative_risk"], rel=0.15)
    apart = learning.effects(trial(1.5)).set_index("reason")
    assert apart.loc["price", "basis"] == "own" and apart.loc["price", "relative_risk"] > 1.2
    assert apart.loc["competitor", "relative_risk"] < 0.65
    # One that nobody had yet gets that of all, with the spread between the reasons on top.
    assert (
        apart.loc["competitor", "relative_risk"] < apart.loc["", "relative_risk"] < apart.loc["price", "relative_risk"]
    )
    assert apart.loc["", "high"] / apart.loc["", "low"] > apart.loc["price", "high"] / apart.loc["price", "low"]
    assert (apart.loc[["death", "moving", "death_or_moving"], ["low", "high", "cautious"]] == 1).all(axis=None)


def test_members_are_those_whose_outcome_was_known_and_left_alone_at_random(snapshot: Snapshot) -> None:
    found = learning.members(snapshot)
    assert set(found["campaign_id"]) == {"R0", "R1"} and set(found["channel"]) == {"", "call", "email"}
    assert not found.duplicated(["campaign_id", "customer_id"]).any()
    assert (found.loc[~found["left"], "reason"] == "").all() and (found.loc[found["left"], "reason"] != "").all()
    assert set(found["reason"]) == {"", *made_retention.REASONS}
    customers = snapshot.table("customers", ["customer_id", "closed_on"]).set_index("customer_id")["closed_on"]
    after = (found["customer_id"].map(customers) - found["assigned_at"]).dt.days
    assert (found["left"] == ((after >= 0) & (after < 90))).all()
    # As of a day on which the second campaign's 90 days were not over, it teaches nothing.
    early = learning.members(snapshot.warehouse.snapshot("2025-09-27"))
    assert set(early["campaign_id"]) == {"R0"}
    assert set(learning.members(snapshot.warehouse.snapshot("2025-09-28"))["campaign_id"]) == {"R0", "R1"}
    named = Relationship(reasons=(("all", ("competitor", "price", "service")),))
    assert set(learning.members(snapshot, definition=named)["reason"]) == {"", "all", "other"}


def test_who_left_without_a_reason_on_record_counts_under_other(tmp_path: Path) -> None:
    ids = [f"c{number}" for number in range(4)]
    frames = {
        "customers": pd.DataFrame({"customer_id": ids, "valid_from": dt.date(2020, 1, 1)}).assign(
            closed_on=[dt.date(2025, 2, 1), None, None, dt.date(2025, 4, 1)]
        ),
        "campaigns": pd.DataFrame(
            {"campaign_id": ["R"], "goal": ["retention"], "channel": ["email"], "starts_on": [dt.date(2025, 1, 1)]}
        ),
        "campaign_members": pd.DataFrame({"campaign_id": "R", "customer_id": ids}).assign(
            arm=["treated", "treated", "control", "control"],
            control=[False, False, True, True],
            assigned_at=dt.datetime(2025, 1, 1, 6),
        ),
        "transactions": pd.DataFrame({"transaction_id": ["t"], "customer_id": ids[1:2], "amount_minor": 1}).assign(
            occurred_at=dt.datetime(2025, 12, 31, 12)
        ),
    }
    build.from_frames(tmp_path / "v.duckdb", frames, company=COMPANY)
    found = learning.members(warehouse.snapshot.open_file(tmp_path / "v.duckdb").snapshot("2025-12-31"))
    found = found.sort_values("customer_id")
    assert found["left"].tolist() == [True, False, False, False], "the 90 days end on 31 March"
    assert found["reason"].tolist() == ["other", "", "", ""]
    assert found["channel"].tolist() == ["email", "email", "", ""], (
        "an arm of another name goes by the campaign's channel"
    )
    with pytest.raises(DataError, match=r"1 members of past campaigns left \(need 20\), 0 of them in control groups"):
        learning.effects(found)


@pytest.mark.parametrize(
    ("action", "error", "words"),
    [
        (lambda s: learning.members(s, within_days=0), UsageError, "within_days is 0; give at least one day"),
        (
            lambda s: learning.effects(learning.members(s), caution=1.2),
            UsageError,
            "caution is 1.2; give a probability",
        ),
        (lambda s: learning.measured(learning.members(s).iloc[:0]), DataError, "no past campaign with the goal"),
        (
            lambda s: learning.effects(learning.members(s).assign(reason="death")),
            DataError,
            "no channel has preventable",
        ),
    ],
)
def test_bad_input_of_the_effects_is_answered(snapshot: Snapshot, action, error, words: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(error, match=words):
        action(snapshot)


# ---------------------------------------------------------------- decisions


def test_every_open_relationship_is_decided_once_with_a_known_code(
    made: tuple[Path, made_retention.Planted], decided: pd.DataFrame
) -> None:
    assert set(deciding.COLUMNS) <= set(decided)
    assert sorted(decided["customer_id"]) == sorted(made[1].table["customer_id"])
    assert set(decided["code"]) <= set(deciding.CODES)
    acts = decided["action"] != ""
    assert (acts == (decided["code"] == deciding.PAYS)).all() and acts.any()
    assert (decided.loc[acts, "net_minor"] > 0).all()
    assert (decided.loc[~acts, ["saved", "saving_minor", "cost_minor", "net_minor"]] == 0).all(axis=None)
    saving = decided["saved"] * decided["value_at_stake_minor"].fillna(0)
    assert np.allclose(saving, decided["saving_minor"]) and np.allclose(
        saving - decided["cost_minor"], decided["net_minor"]
    )
    assert decided.loc[acts, "cost_minor"].tolist() == [
        COMPANY.contact_costs_minor[name] for name in decided.loc[acts, "action"]
    ]


def test_consents_hold_out_objections_complaints_and_capacities_are_respected(
    made: tuple[Path, made_retention.Planted], snapshot: Snapshot, decided: pd.DataFrame
) -> None:
    acts = decided[decided["action"] != ""]
    allowed = policy.reachable(snapshot, snapshot.table("customers")["customer_id"], company=COMPANY)
    pairs = set(zip(allowed["customer_id"], allowed["channel"], strict=True))
    assert set(zip(acts["customer_id"], acts["action"], strict=True)) <= pairs
    assert acts["action"].eq("call").sum() == COMPANY.capacities["call"], "the capacity binds"
    household = made[1].table.set_index("customer_id")["household_id"]
    assert acts["customer_id"].map(household).value_counts().max() == 1, "one contact a household"
    code = decided.set_index("customer_id")["code"]
    members = snapshot.table("campaign_members")
    held = members.loc[members["campaign_id"] == policy.HOLDOUT_CAMPAIGN, "customer_id"]
    assert set(code.reindex(held).dropna()) <= {"holdout", "profiling_objected"}
    objectors = profiling_objectors(snapshot.table("consents"))
    assert len(objectors) and set(code.reindex(objectors).dropna()) == {"profiling_objected"}
    mine = decided[decided["customer_id"].isin(objectors)]
    assert mine[["risk_90", "value_at_stake_minor"]].isna().all(axis=None) and (mine["reason"] == "").all()
    assert {"no_consent", "open_complaint", "limit_household", "capacity"} <= set(code)


def test_objections_to_profiling_are_read_as_everywhere_else(snapshot: Snapshot) -> None:
    keys = labels.objectors(snapshot)
    column = snapshot.warehouse.connect().execute("SELECT customer_id, customer_key FROM customer_keys").df()
    expected = set(column.loc[column["customer_key"].isin(keys), "customer_id"])
    assert set(profiling_objectors(snapshot.table("consents"))) == expected and expected


def test_no_choice_of_permitted_actions_saves_more(
    made: tuple[Path, made_retention.Planted], snapshot: Snapshot, decided: pd.DataFrame
) -> None:
    """Without capacities and household limits each customer gets the best permitted action, counted by hand."""
    free = dataclasses.replace(
        COMPANY, capacities={}, contact_policy=dataclasses.replace(COMPANY.contact_policy, limits=())
    )
    inputs = known(made[0], snapshot)
    table = deciding.decide(snapshot, inputs, company=free).table
    assert table["net_minor"].sum() > decided["net_minor"].sum()
    allowed = policy.reachable(snapshot, table["customer_id"], company=free)
    pairs = set(zip(allowed["customer_id"], allowed["channel"], strict=True))
    kept = {(row.channel, row.group, row.reason): 1 - row.cautious for row in inputs.effects.itertuples()}
    group = inputs.groups.set_index("customer_id")["group"]
    value = inputs.values.set_index("customer_id")["predicted_minor"]
    risks = inputs.by_reason[inputs.by_reason["customer_id"].isin(table["customer_id"].head(400))]
    by_customer = {name: rows for name, rows in risks.groupby("customer_id")}
    for row in table.head(400).itertuples():
        if row.code == "profiling_objected":
            continue
        best, action = 0.0, ""
        for channel in ("call", "email"):
            if (row.customer_id, channel) in pairs:
                of = group[row.customer_id]
                saved = sum(
                    one.risk_90 * kept[channel, of, one.reason] for one in by_customer[row.customer_id].itertuples()
                )
                net = saved * value[row.customer_id] - COMPANY.contact_costs_minor[channel]
                best, action = max((best, action), (net, channel))
        assert row.action == action and row.net_minor == pytest.approx(best)


def test_the_choice_realises_more_than_calling_everybody_and_most_of_what_an_oracle_could(
    made: tuple[Path, made_retention.Planted], snapshot: Snapshot
) -> None:
    """Savings by the planted probabilities of leaving, of those who may be contacted; nobody is 0 by definition."""
    data, planted = made
    free = dataclasses.replace(
        COMPANY, capacities={}, contact_policy=dataclasses.replace(COMPANY.contact_policy, limits=())
    )
    table = deciding.decide(snapshot, known(data, snapshot), company=free).table.set_index("customer_id")
    ids = planted.table["customer_id"]
    allowed = policy.reachable(snapshot, ids, company=free)
    value, alone = planted.table["value"].to_numpy(), planted.leaving("")
    gain = {}
    for channel in ("call", "email"):
        may = ids.isin(allowed.loc[allowed["channel"] == channel, "customer_id"]).to_numpy()
        net = (alone - planted.leaving(channel)) * value - COMPANY.contact_costs_minor[channel]
        gain[channel] = np.where(may, net, -np.inf)
    oracle = np.maximum(np.maximum(gain["call"], gain["email"]), 0).sum()
    everybody = np.where(np.isfinite(gain["call"]), gain["call"], 0).sum()
    action = table["action"].reindex(ids).to_numpy()
    chosen = sum(gain[channel][action == channel].sum() for channel in gain)
    assert chosen > 1.2 * everybody > 0
    assert chosen > 0.85 * oracle


def test_letting_go_names_its_reason(snapshot: Snapshot) -> None:
    """Six customers, one channel, effects by hand: the code says what would have to be different."""
    people = snapshot.table("customers", ["customer_id", "closed_on"])
    allowed = policy.reachable(snapshot, people["customer_id"], company=COMPANY)
    ids = allowed.loc[allowed["channel"] == "call", "customer_id"].tolist()[:14:2]
    others = people.loc[people["closed_on"].isna() & ~people["customer_id"].isin(ids), "customer_id"].tolist()
    risk = pd.DataFrame({"customer_id": [*ids, *others], "reason": "price", "risk_90": 0.01})
    risk.loc[:6, "risk_90"] = [0.2, 0.2, 0.2, 0.2, 0.2, 0.015, 0.2]
    values = pd.DataFrame({"customer_id": [*ids, *others], "predicted_minor": 900.0})
    values.loc[:6, "predicted_minor"] = [50_000.0, -10.0, 2_000.0, 50_000.0, 4_000.0, 900.0, 50_000.0]
    by_reason = risk.assign(reason=["price", "price", "price", "death", *["price"] * (len(risk) - 4)])
    rows = [("", "price", 0.5), ("", "", 0.5), ("", "death", 1.0), ("annoyed", "price", 1.3), ("annoyed", "", 1.3)]
    effects = pd.DataFrame(rows, columns=["group", "reason", "cautious"]).assign(channel="call")
    groups = pd.DataFrame({"customer_id": ids, "group": [""] * 6 + ["annoyed"]})

    def codes(values: pd.DataFrame, effects: pd.DataFrame = effects) -> pd.Series:
        inputs = Known(risk, by_reason, values, effects, groups)
        return deciding.decide(snapshot, inputs, company=COMPANY).table.set_index("customer_id")["code"]

    found = codes(values)
    expected = ["pays", "brings_nothing", "little_at_stake", "cannot_be_prevented", "costs_more", "ordinary_risk"]
    assert found.reindex(ids).tolist() == [*expected, "annoyed_by_calls"]
    assert set(found.reindex(others)) == {"ordinary_risk", "profiling_objected", "holdout"}
    assert codes(values.iloc[1:])[ids[0]] == "value_unknown"
    none = codes(values, effects.iloc[:0])
    assert none[ids[0]] == "effect_unknown" and none[ids[5]] == "ordinary_risk"


def test_nobody_is_contacted_to_be_driven_away(made: tuple[Path, made_retention.Planted], snapshot: Snapshot) -> None:
    """A contact that makes customers leave saves nothing, even of customers who cost money."""
    good = known(made[0], snapshot)
    loss = good.values.assign(predicted_minor=-90_000.0)
    harmful = good.effects.assign(cautious=2.0)
    found = deciding.decide(snapshot, known(made[0], snapshot, values=loss, effects=harmful), company=COMPANY).table
    assert (found["action"] == "").all() and "brings_nothing" in set(found["code"])


def test_without_past_campaigns_nobody_is_contacted_and_the_code_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made_retention.make(tmp_path, customers=300, past=False)
    found = retention_jobs.retention(tmp_path, stages=Stages())
    assert (found.table["action"] == "").all() and "effect_unknown" in set(found.table["code"])
    assert set(found.table["code"]) <= {"effect_unknown", "profiling_objected", "holdout", "ordinary_risk"}
    unknown = found.table[found.table["code"] == "effect_unknown"]
    assert (unknown["risk_90"] >= 2 * found.table["risk_90"].mean() - 1e-9).all()
    saved = score_sets.newest(tmp_path, "retention")
    assert score_sets.beside(tmp_path, saved, "effects").empty and score_sets.beside(tmp_path, saved, "measured").empty
    assert "so what a contact saves is unknown" in capsys.readouterr().out


def test_contacts_still_planned_count_for_the_policy(
    made: tuple[Path, made_retention.Planted], snapshot: Snapshot
) -> None:
    inputs = known(made[0], snapshot)
    before = deciding.decide(snapshot, inputs, company=COMPANY).table
    called = before.loc[before["action"] != "", ["customer_id", "action"]].head(20)
    planned = pd.DataFrame(
        {"customer_id": called["customer_id"], "channel": called["action"], "outcome": policy.PLANNED}
    )
    planned["occurred_at"] = pd.Timestamp("2025-12-31 10:00").as_unit("us")
    after = deciding.decide(snapshot, inputs, company=COMPANY, since=planned).table.set_index("customer_id")
    mine = after.loc[called["customer_id"]]
    assert (mine["action"] == "").all()
    # Whom a better channel would reach with consent is told so; for the others it is the limit.
    assert (mine.loc[mine["wanted"].to_numpy() == called["action"].to_numpy(), "code"] == "limit_household").all()


@given(st.floats(0.001, 0.9), st.floats(0.01, 1.0), st.integers(1, 5_000))
def test_at_the_break_even_an_action_saves_exactly_its_cost(risk: float, prevented: float, cost: int) -> None:
    value = retention_worth.break_even(np.array([risk]), cost_minor=cost, prevented=prevented)[0]
    assert risk * prevented * value == pytest.approx(cost)
    assert float(retention_worth.needed_share(cost, risk, value)) == pytest.approx(prevented)
    assert np.isinf(retention_worth.needed_share(cost, 0.0, value))


def test_bad_input_of_decisions_is_answered(made: tuple[Path, made_retention.Planted], snapshot: Snapshot) -> None:
    good = known(made[0], snapshot)
    wrong_risk = good.risk.assign(risk_90=good.risk["risk_90"].where(good.risk.index > 0, 1.4))
    cases: list[tuple[dict[str, pd.DataFrame], type[Exception], str]] = [
        ({"risk": wrong_risk}, DataError, "table risk, column risk_90: found 1.4; a risk is a probability"),
        ({"values": pd.concat([good.values] * 2)}, DataError, "table values: customer C0.* is there more than once"),
        ({"effects": good.effects.assign(cautious=np.nan)}, DataError, "column cautious: found a value that is no"),
        ({"effects": good.effects.assign(channel="pigeon")}, UsageError, "channel 'pigeon' has no cost of contact"),
    ]
    for instead, error, words in cases:
        with pytest.raises(error, match=words):
            deciding.decide(snapshot, known(made[0], snapshot, **instead), company=COMPANY)
    with pytest.raises(UsageError, match="capacities: call is -1"):
        deciding.decide(snapshot, good, company=COMPANY, capacities={"call": -1})
    with pytest.raises(UsageError, match="capacities: channel 'pigeon' has no cost"):
        deciding.decide(snapshot, good, company=COMPANY, capacities={"pigeon": 1})
    with pytest.raises(UsageError, match="prevented is 0"):
        retention_worth.break_even(np.array([0.1]), cost_minor=1, prevented=0)


def test_a_reason_without_an_effect_of_its_own_counts_with_that_of_all(
    made: tuple[Path, made_retention.Planted], snapshot: Snapshot
) -> None:
    good = known(made[0], snapshot)
    strange = good.by_reason.assign(reason="moonlight")
    found = deciding.decide(snapshot, known(made[0], snapshot, by_reason=strange), company=COMPANY).table
    pooled = good.effects[(good.effects["reason"] == "") & (good.effects["group"] == "")].set_index("channel")[
        "cautious"
    ]
    group = found["customer_id"].map(good.groups.set_index("customer_id")["group"])
    acts = found[(found["action"] != "") & (group == "")]
    assert len(acts)
    assert np.allclose(acts["saved"], acts["risk_90"] * (1 - acts["action"].map(pooled)))


def test_the_job_needs_risks_and_values_of_one_day(tmp_path: Path) -> None:
    made_retention.make(tmp_path, customers=200, past=False)
    with pytest.raises(NotFoundError, match="there are no churn scores as of 2025-06-30"):
        retention_jobs.retention(tmp_path, stages=Stages(quiet=True), as_of="2025-06-30")
    old = score_sets.newest(tmp_path, "churn")
    about = {"model_version": 1, "warehouse_version": 1, "as_of": dt.date(2025, 11, 30), "now": made_retention.NOW}
    beside = {"by_reason": score_sets.beside(tmp_path, old, "by_reason")}
    score_sets.save(score_sets.read(tmp_path, old), data=tmp_path, model="churn", beside=beside, **about)
    with pytest.raises(DataError, match="customer values are as of 2025-12-31, the risks of leaving as of 2025-11-30"):
        retention_jobs.retention(tmp_path, stages=Stages(quiet=True))
