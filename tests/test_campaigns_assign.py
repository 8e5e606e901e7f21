"""Random assignment: exact, seeded, fair; nobody who is suppressed is ever in a list, over 10,000 random campaigns."""

from __future__ import annotations

import datetime as dt
import itertools
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crmlib.decisions.campaigns import lists, randomise, reach
from crmlib.errors import DataError, UsageError
from crmlib.warehouse.company import Company

ARMS = pd.DataFrame({"arm": ["one", "two"], "weight": [1.0, 1.0], "channel": ["call", "email"], "product_id": "card"})
DAY = dt.date(2026, 1, 5)


def people(count: int, *, strata: int = 3, seed: int = 1) -> pd.DataFrame:
    drawn = np.random.default_rng(seed).integers(0, strata, count)
    return pd.DataFrame({"customer_id": [f"C{n:06d}" for n in range(count)], "stratum": drawn.astype(str)})


@settings(max_examples=60, deadline=None)
@given(
    st.integers(40, 400),
    st.integers(1, 8),
    st.floats(0.05, 0.9),
    st.lists(st.floats(0.1, 5), min_size=1, max_size=4),
    st.integers(0, 10**6),
)
def test_every_group_has_the_whole_number_next_to_its_exact_part_in_every_stratum(
    count: int, strata: int, share: float, weights: list[float], seed: int
) -> None:
    group = people(count, strata=strata, seed=seed)
    arms = pd.DataFrame({"arm": [f"a{n}" for n in range(len(weights))], "weight": weights})
    arms = arms.assign(channel="call", product_id="card")
    drawn = randomise.assign(group, np.ones((count, len(arms)), bool), arms=arms, control_share=share, seed=seed)
    assert abs(drawn["control"].sum() - share * count) < 1
    for _, rows in drawn.groupby("stratum"):
        assert abs(rows["control"].sum() - share * len(rows)) < 1
        treated = rows[~rows["control"]]
        for name, weight in zip(arms["arm"], weights, strict=True):
            assert abs((treated["arm"] == name).sum() - len(treated) * weight / sum(weights)) < 1 + 1e-9


def test_the_same_seed_draws_the_same_whatever_the_order_and_another_seed_another() -> None:
    group = people(200)
    may = np.random.default_rng(3).random((200, 2)) < 0.7
    first = randomise.assign(group, may, arms=ARMS, control_share=0.2, seed=5)
    shuffled = np.random.default_rng(9).permutation(200)
    again = randomise.assign(group.iloc[shuffled], may[shuffled], arms=ARMS, control_share=0.2, seed=5)
    pd.testing.assert_frame_equal(first, again)
    other = randomise.assign(group, may, arms=ARMS, control_share=0.2, seed=6)
    assert (first["arm"] != other["arm"]).any()


def test_everybody_has_the_same_chance_of_being_left_alone() -> None:
    # 7 people in strata of 1, 2 and 4: the worst case for rounding.
    group = pd.DataFrame({"customer_id": list("abcdefg"), "stratum": list("xyyzzzz")})
    times = 4_000
    alone = np.zeros(7)
    for seed in range(times):
        alone += (
            randomise.draw(
                np.array([0, 1, 1, 2, 2, 2, 2]),
                np.ones((len(group), 1), bool),
                weights=np.ones(1),
                control_share=0.3,
                rng=np.random.default_rng(seed),
            )
            == randomise.NOBODY
        )
    error = np.sqrt(0.3 * 0.7 / times)
    assert np.abs(alone / times - 0.3).max() < 4 * error


def test_an_arm_gets_nobody_whom_it_may_not_contact_and_strata_say_who_could_get_what() -> None:
    group = people(300)
    may = np.random.default_rng(4).random((300, 2)) < 0.6
    drawn = randomise.assign(group, may, arms=ARMS, control_share=0.15, seed=1)
    assert len(drawn) == may.any(axis=1).sum()
    allowed = dict(zip(group["customer_id"], may, strict=True))
    for row in drawn[~drawn["control"]].itertuples():
        assert allowed[row.customer_id][["one", "two"].index(row.arm)]
    for row in drawn.itertuples():
        words = "+".join(itertools.compress(["call", "email"], allowed[row.customer_id]))
        assert row.stratum.endswith(f" / {words}")
    alone = drawn[drawn["control"]]
    assert set(alone["arm"]) == {"control"} and set(alone["channel"]) == {""} == set(alone["product_id"])


def test_inputs_stay_as_they_are() -> None:
    group, may = people(50), np.ones((50, 2), bool)
    before = group.copy(), may.copy()
    randomise.assign(group, may, arms=ARMS, control_share=0.2, seed=1)
    pd.testing.assert_frame_equal(group, before[0])
    assert (may == before[1]).all()


def test_bad_groups_are_refused() -> None:
    one = np.ones((3, 2), bool)
    with pytest.raises(DataError, match="nobody in the audience may be contacted by any arm"):
        randomise.assign(people(3), ~one, arms=ARMS, control_share=0.2, seed=1)
    with pytest.raises(DataError, match=r"of 3 people .* a control group of 1% leaves a control group of nobody"):
        randomise.assign(people(3), one, arms=ARMS, control_share=0.01, seed=1)
    with pytest.raises(UsageError, match="control_share is 0; give a share above 0"):
        randomise.assign(people(3), one, arms=ARMS, control_share=0, seed=1)
    twice = pd.DataFrame({"customer_id": ["a", "a"], "stratum": ""})
    with pytest.raises(DataError, match="a customer comes twice"):
        randomise.assign(twice, one[:2], arms=ARMS, control_share=0.5, seed=1)


def test_balance_agrees_with_one_computed_by_hand() -> None:
    members = pd.DataFrame(
        {"customer_id": list("abcdef"), "arm": ["one", "one", "one", "control", "control", "control"]}
        | {"control": [False] * 3 + [True] * 3, "stratum": list("xxyxyy")}
    )
    known = pd.DataFrame({"customer_id": list("abcdef"), "pre_turnover_minor": [10.0, 20, 60, 12, 30, 50]})
    row = randomise.balance(members, known).iloc[0]
    # The control group's means are 12 in x and 40 in y, and two of three of the arm are in x.
    assert row["mean_arm"] == 30 and row["mean_control"] == pytest.approx((2 * 12 + 40) / 3)
    assert row["difference"] == pytest.approx((30 - 64 / 3) / np.std([12, 30, 50], ddof=1))


# ---------------------------------------------------------------- nobody suppressed is ever in a list

CHANNELS = ["call", "mail", "email", "event"]
CODES = {"", "unknown_customer", "left", "holdout", "no_consent", "open_complaint", "no_address"}


@dataclass(frozen=True)
class Bank:
    """A random tiny bank: its tables, and the company that owns it."""

    tables: dict[str, pd.DataFrame]
    company: Company


def random_bank(rng: np.random.Generator) -> Bank:
    count = int(rng.integers(4, 40))
    ids = [f"C{n:02d}" for n in range(count)]
    closed = [dt.date(2026, 1, int(rng.integers(1, 28))) if rng.random() < 0.2 else None for _ in ids]
    customers = pd.DataFrame({"customer_id": ids, "valid_from": dt.date(2020, 1, 1), "closed_on": closed})
    for column in ("phone", "email", "postcode"):
        customers[column] = [column if rng.random() < 0.8 else None for _ in ids]
    rows = int(rng.integers(count, 5 * count))
    said = pd.DataFrame(
        {
            "customer_id": rng.choice(ids, rows),
            "channel": rng.choice([*CHANNELS, "all"], rows),
            "purpose": rng.choice(["marketing", "service"], rows, p=[0.8, 0.2]),
            "changed_at": pd.Timestamp("2025-01-01") + pd.to_timedelta(rng.integers(0, 5, rows), unit="D"),
            "granted": rng.random(rows) < 0.7,
        }
    )
    unhappy = [name for name in ids if rng.random() < 0.15]
    resolved = [pd.Timestamp("2025-06-01") if rng.random() < 0.5 else pd.NaT for _ in unhappy]
    complaints = pd.DataFrame({"customer_id": unhappy, "resolved_at": pd.Series(resolved, dtype="datetime64[us]")})
    chosen = [name for name in ids if rng.random() < 0.15]
    members = pd.DataFrame({"campaign_id": "K", "customer_id": chosen, "control": rng.random(len(chosen)) < 0.7})
    campaigns = pd.DataFrame({"campaign_id": ["K", "L"], "goal": ["holdout", "sell"]})
    missing = "granted" if rng.random() < 0.2 else "refused"
    tables = {"customers": customers, "consents": said, "complaints": complaints, "campaigns": campaigns}
    return Bank({**tables, "campaign_members": members}, Company(consent_when_missing=missing))


def withdrawn(bank: Bank, rng: np.random.Generator) -> Bank:
    """The bank some days later: withdrawals, complaints and departures have come in, no consent has."""
    ids = bank.tables["customers"]["customer_id"]
    some = ids[rng.random(len(ids)) < 0.2]
    new = pd.DataFrame({"customer_id": some, "channel": rng.choice([*CHANNELS, "all"], len(some))})
    new = new.assign(purpose="marketing", changed_at=pd.Timestamp("2026-01-03"), granted=False)
    unhappy = pd.DataFrame({"customer_id": ids[rng.random(len(ids)) < 0.1], "resolved_at": pd.NaT})
    people = bank.tables["customers"].copy()
    people.loc[rng.random(len(people)) < 0.1, "closed_on"] = dt.date(2026, 1, 4)
    consents = pd.concat([bank.tables["consents"], new], ignore_index=True)
    complaints = pd.concat([bank.tables["complaints"], unhappy], ignore_index=True)
    return Bank({**bank.tables, "consents": consents, "complaints": complaints, "customers": people}, bank.company)


def may_be_contacted(bank: Bank) -> set[tuple[str, str]]:
    """Whom one may contact how, read from the tables row by row: the naive answer."""
    tables = {name: table.to_dict("records") for name, table in bank.tables.items()}
    holdouts = {row["campaign_id"] for row in tables["campaigns"] if row["goal"] == "holdout"}
    alone = {
        row["customer_id"] for row in tables["campaign_members"] if row["control"] and row["campaign_id"] in holdouts
    }
    angry = {row["customer_id"] for row in tables["complaints"] if pd.isna(row["resolved_at"])}
    found = set()
    for row, channel in itertools.product(tables["customers"], CHANNELS):
        who = row["customer_id"]
        said = [one for one in tables["consents"] if one["customer_id"] == who and one["purpose"] == "marketing"]
        said = [one for one in said if one["channel"] in (channel, "all")]
        newest = max((one["changed_at"] for one in said), default=None)
        granted = all(one["granted"] for one in said if one["changed_at"] == newest)
        if not said:
            granted = bank.company.consent_when_missing == "granted"
        address = {"call": "phone", "mail": "postcode", "email": "email"}.get(channel)
        known = not address or not pd.isna(row[address]) or bank.tables["customers"][address].isna().all()
        gone = not pd.isna(row["closed_on"]) and row["closed_on"] <= DAY
        if granted and known and not gone and who not in alone and who not in angry:
            found.add((who, channel))
    return found


def random_arms(rng: np.random.Generator) -> pd.DataFrame:
    number = int(rng.integers(1, 5))
    arms = pd.DataFrame({"arm": [f"a{n}" for n in range(number)], "weight": rng.random(number) + 0.1})
    return arms.assign(channel=rng.choice(CHANNELS, number), product_id="card")


def test_over_10_000_random_campaigns_nobody_suppressed_is_ever_in_a_list() -> None:
    rng = np.random.default_rng(20260105)
    campaigns = listed = refused = left_out = 0
    while campaigns < 10_000:
        planned = random_bank(rng)
        now = withdrawn(planned, rng)
        then_allowed, allowed = (
            reach.found(bank.tables, channels=CHANNELS, company=bank.company, today=DAY) for bank in (planned, now)
        )
        before, truth = may_be_contacted(planned), may_be_contacted(now)
        ids = np.append(planned.tables["customers"]["customer_id"].to_numpy(dtype=object), "stranger")
        everybody = pd.DataFrame({"customer_id": ids, "stratum": rng.integers(0, 3, len(ids)).astype(str)})
        offers = [random_arms(rng) for _ in range(25)]
        codes = reach.matrix(then_allowed, ids, CHANNELS)
        for _ in range(200):
            campaigns += 1
            chosen = np.flatnonzero(rng.random(len(ids)) < 0.9)
            arms = offers[int(rng.integers(len(offers)))]
            may = codes[np.ix_(chosen, [CHANNELS.index(name) for name in arms["channel"]])] == ""
            share, seed = (0.1, 0.15, 0.5)[int(rng.integers(3))], int(rng.integers(10**6))
            try:
                members = randomise.assign(everybody.iloc[chosen], may, arms=arms, control_share=share, seed=seed)
            except DataError:
                refused += 1
                continue
            columns = [members[name].tolist() for name in ("customer_id", "channel", "control")]
            assigned = {(who, channel) for who, channel, alone in zip(*columns, strict=True) if not alone}
            control = {who for who, _, alone in zip(*columns, strict=True) if alone}
            assert assigned <= before
            checked = lists.checked(members, allowed)
            found = [checked[name].tolist() for name in ("customer_id", "channel", "code")]
            sent = {(who, channel) for who, channel, code in zip(*found, strict=True) if not code}
            assert sent <= truth, "somebody suppressed is in a list"
            assert not {who for who, _ in sent} & control, "somebody to be left alone is in a list"
            assert assigned - sent == assigned - truth, "somebody was left out without a reason"
            assert set(found[2]) <= CODES
            listed, left_out = listed + len(sent), left_out + len(assigned - sent)
    assert listed > 20_000 and left_out > 5_000 and refused < 5_000, "the campaigns are not worth the test"
