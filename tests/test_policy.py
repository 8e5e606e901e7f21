"""The contact policy: each refusal on a real history, limits against a naive count, quiet times, the company file."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crmlib.decisions import policy
from crmlib.errors import DataError, UsageError
from crmlib.warehouse import build, snapshot
from crmlib.warehouse import company as companies
from crmlib.warehouse.company import Company
from crmlib.warehouse.company_policy import ContactPolicy, Limit

DAY = dt.date(2025, 6, 30)
AT = dt.datetime(2025, 7, 1)
COSTS = {"call": 500, "email": 2}


def company(**rules: Any) -> Company:
    return Company(contact_costs_minor=COSTS, consent_when_missing="granted", contact_policy=ContactPolicy(**rules))


def contacts(*rows: tuple[str, str, str] | tuple[str, str, str, str]) -> pd.DataFrame:
    """Contacts made by the company: customer, channel, time and, where there was one, the outcome."""
    full = [(*row, None)[:4] for row in rows]
    frame = pd.DataFrame(full, columns=["customer_id", "channel", "occurred_at", "outcome"])
    moment = pd.to_datetime(frame["occurred_at"])
    number = [f"k{n}" for n in range(len(frame))]
    answered = moment.where(frame["outcome"].notna())
    return frame.assign(contact_id=number, occurred_at=moment, direction="out", purpose="sales", answered_at=answered)


def known(tmp_path: Path, **frames: pd.DataFrame) -> snapshot.Snapshot:
    """The warehouse of four customers, of whom anna and boris live together."""
    people = pd.DataFrame(
        {
            "customer_id": ["anna", "boris", "clara", "dan"],
            "valid_from": dt.date(2020, 1, 1),
            "household_id": ["h1", "h1", "h2", None],
            "closed_on": [None, None, None, dt.date(2025, 5, 1)],
        }
    )
    moves = pd.DataFrame({"transaction_id": ["t", "u"], "customer_id": "anna", "amount_minor": 1})
    moves = moves.assign(occurred_at=pd.to_datetime(["2025-01-01", "2025-12-09"]))
    path = tmp_path / "v.duckdb"
    build.from_frames(path, {"customers": people, "transactions": moves, **frames})
    return snapshot.open_file(path).snapshot(DAY)


def codes(found: pd.DataFrame) -> dict[str, str]:
    return {f"{row['customer_id']} {row['channel']}": row["code"] for row in found.to_dict("records") if row["code"]}


def test_without_rules_only_the_departed_are_left_alone(tmp_path: Path) -> None:
    found = policy.permitted(known(tmp_path), company=company())
    assert list(found.columns) == policy.COLUMNS and len(found) == 8
    assert codes(found) == {"dan call": "left", "dan email": "left"}
    assert (found["allowed"] == (found["code"] == "")).all()


def test_pairs_keep_their_order_and_strangers_are_named(tmp_path: Path) -> None:
    asked = pd.DataFrame({"customer_id": ["nobody", "clara", "anna"], "channel": ["call", "email", "call"]})
    state = known(tmp_path)
    found = policy.permitted(state, asked, company=company())
    assert found["code"].tolist() == ["unknown_customer", "", ""]
    assert found[["customer_id", "channel"]].to_numpy().tolist() == asked.to_numpy().tolist()
    with pytest.raises(UsageError, match="channel 'pigeon' has no cost of contact; known are call, email"):
        policy.permitted(state, asked.assign(channel="pigeon"), company=company())


def test_missing_consent_means_no_per_channel_and_purpose(tmp_path: Path) -> None:
    rows = [
        ("anna", "call", "marketing", True),
        ("anna", "call", "profiling", True),
        ("boris", "all", "marketing", True),
    ]
    said = pd.DataFrame(rows, columns=["customer_id", "channel", "purpose", "granted"])
    said = said.assign(changed_at=dt.datetime(2025, 1, 1), source="form")
    strict = Company(
        contact_costs_minor=COSTS, contact_policy=ContactPolicy(consent_purposes=("marketing", "profiling"))
    )
    found = policy.permitted(known(tmp_path, consents=said), company=strict)
    allowed = found[found["allowed"]]
    assert allowed[["customer_id", "channel"]].to_numpy().tolist() == [["anna", "call"]]
    refused = found[(found["customer_id"] == "boris") & (found["channel"] == "call")].iloc[0]
    assert (refused["code"], json.loads(refused["detail"])) == ("no_consent", {"purpose": "profiling"})


def test_rolling_limits_of_customer_household_and_channel(tmp_path: Path) -> None:
    made = contacts(
        ("anna", "call", "2025-06-10 10:00"),
        ("anna", "email", "2025-06-20 10:00"),
        ("boris", "email", "2025-06-25 10:00"),
    )
    state = known(tmp_path, contacts=made)
    two = policy.permitted(state, company=company(limits=(Limit("customer", 2, 30),)))
    assert codes(two) == {"anna call": "limit_customer", "anna email": "limit_customer", **_dan()}
    ends = two.set_index(["customer_id", "channel"]).loc[("anna", "call")]
    assert ends["until"] == pd.Timestamp("2025-07-10 10:00") and json.loads(ends["detail"]) == {
        "contacts": 2,
        "days": 30,
    }
    calls = policy.permitted(state, company=company(limits=(Limit("customer", 1, 30, "call"),)))
    assert codes(calls) == {"anna call": "limit_customer", **_dan()}
    house = policy.permitted(state, company=company(limits=(Limit("household", 3, 30),)))
    assert codes(house) == {f"{who} {how}": "limit_household" for who in ("anna", "boris") for how in COSTS} | _dan()
    later = policy.permitted(
        state, company=company(limits=(Limit("household", 3, 30),)), at=dt.datetime(2025, 7, 10, 11)
    )
    assert codes(later) == _dan(), "the window has moved on"
    assert policy.contacts_left(
        policy.history(state, company=company(limits=(Limit("customer", 3, 30),))),
        company=company(limits=(Limit("customer", 3, 30),)),
        per="customer",
    ).tolist() == [1, 2, 3, 3]


def _dan() -> dict[str, str]:
    return {f"dan {channel}": "left" for channel in COSTS}


def test_contacts_the_warehouse_does_not_hold_yet_count_too(tmp_path: Path) -> None:
    since = contacts(("clara", "call", "2025-06-30 18:00"))[["customer_id", "channel", "occurred_at", "outcome"]]
    rules = company(limits=(Limit("customer", 1, 7),))
    assert "clara call" in codes(policy.permitted(known(tmp_path), company=rules, since=since))


def test_service_calls_and_calls_by_the_customer_do_not_count(tmp_path: Path) -> None:
    made = contacts(("anna", "call", "2025-06-29"), ("clara", "call", "2025-06-29"))
    made = made.assign(direction=["in", "out"], purpose=["sales", "service"])
    state = known(tmp_path, contacts=made)
    assert codes(policy.permitted(state, company=company(limits=(Limit("customer", 1, 30),)))) == _dan()
    wider = company(limits=(Limit("customer", 1, 30),), purposes=("sales", "service"))
    assert "clara email" in codes(policy.permitted(state, company=wider))


def test_silence_after_ignored_offers_ends_with_an_answer_or_with_time(tmp_path: Path) -> None:
    made = contacts(
        *[("anna", "email", f"2025-06-{day}") for day in ("01", "08", "15")],
        *[("boris", "email", f"2025-06-{day}") for day in ("01", "08")],
        ("boris", "call", "2025-06-10", "accepted"),
        ("boris", "email", "2025-06-15", "refused"),
        ("clara", "email", "2025-01-01"),
        ("clara", "email", "2025-06-01", "refused"),
        ("clara", "email", "2025-06-15", "no answer"),
    )
    rules = company(ignored_contacts=3, ignored_within_days=30, silent_days=60)
    state = known(tmp_path, contacts=made)
    found = policy.permitted(state, company=rules)
    assert codes(found) == {"anna call": "ignored", "anna email": "ignored", **_dan()}
    assert found.loc[found["code"] == "ignored", "until"].unique().tolist() == [pd.Timestamp("2025-08-14")]
    assert codes(policy.permitted(state, company=rules, at=dt.datetime(2025, 8, 14))) == _dan()


def test_complaints_silence_while_open_and_for_a_while_after(tmp_path: Path) -> None:
    complaints = pd.DataFrame(
        {
            "complaint_id": ["1", "2", "3"],
            "customer_id": ["anna", "boris", "clara"],
            "opened_at": pd.to_datetime(["2025-06-01", "2025-06-01", "2025-05-01"]),
            "resolved_at": pd.to_datetime([None, "2025-06-20", "2025-05-20"]),
        }
    )
    state = known(tmp_path, complaints=complaints)
    found = codes(policy.permitted(state, company=company(complaint_days=30)))
    assert (
        found["anna call"] == "open_complaint"
        and found["boris email"] == "recent_complaint"
        and "clara call" not in found
    )
    assert codes(policy.permitted(state, company=company(open_complaint_silences=False))) == _dan()


def test_the_universal_holdout_is_left_alone_whoever_asks(tmp_path: Path) -> None:
    members = pd.DataFrame(
        {"campaign_id": ["universal-holdout", "universal-holdout", "other"], "customer_id": ["anna", "boris", "clara"]}
        | {"assigned_at": dt.datetime(2025, 1, 1), "arm": "control", "control": [True, False, True]}
    )
    campaigns = pd.DataFrame(
        {"campaign_id": ["universal-holdout", "other"], "name": "x", "starts_on": dt.date(2025, 1, 1)}
    )
    state = known(tmp_path, campaign_members=members, campaigns=campaigns)
    assert codes(policy.permitted(state, company=company()))["anna call"] == "holdout"
    assert "boris call" not in codes(policy.permitted(state, company=company()))
    assert codes(policy.permitted(state, company=company(), inbound=True))["anna email"] == "holdout"


def test_a_keyed_holdout_is_stable_and_of_the_share_stated() -> None:
    people = pd.Series([f"person {number}" for number in range(20_000)])
    chosen = policy.holdout(people, share=0.1, key="secret")
    assert chosen.mean() == pytest.approx(0.1, abs=0.01)
    assert (policy.holdout(people[::-1], share=0.1, key="secret")[::-1] == chosen).all()
    assert (chosen <= policy.holdout(people, share=0.2, key="secret")).all(), "a larger one takes the smaller one in"
    other = policy.holdout(people, share=0.1, key="another")
    assert (chosen & other).mean() == pytest.approx(0.01, abs=0.005)


def test_who_calls_us_may_be_served_but_not_where_a_complaint_is_open(tmp_path: Path) -> None:
    complaints = pd.DataFrame(
        {"complaint_id": ["1"], "customer_id": ["boris"], "opened_at": pd.to_datetime(["2025-06-01"])}
    ).assign(resolved_at=pd.NaT)
    made = contacts(("anna", "call", "2025-06-29"))
    state = known(tmp_path, contacts=made, complaints=complaints)
    strict = Company(contact_costs_minor=COSTS, contact_policy=ContactPolicy(limits=(Limit("customer", 1, 30),)))
    found = codes(policy.permitted(state, company=strict, inbound=True))
    assert found == {"boris call": "open_complaint", "boris email": "open_complaint", **_dan()}


def naive(past: policy.History, rules: ContactPolicy) -> dict[tuple[str, str], str]:
    """The policy over again, customer by customer."""
    out = {}
    rows = past.contacts.to_dict("records")
    for place, person in enumerate(past.customers.to_dict("records")):
        mine = sorted((row for row in rows if row["customer"] == place), key=lambda row: row["occurred_at"])
        for channel in COSTS:
            code = ""
            streak: list[Any] = []
            for row in (one for one in mine if not one["planned"]):
                streak = [*streak, row["occurred_at"]] if row["ignored"] else []
            n = rules.ignored_contacts
            if n and len(streak) >= n and streak[-1] - streak[-n] <= pd.Timedelta(days=rules.ignored_within_days):
                code = "ignored" if streak[-1] + pd.Timedelta(days=rules.silent_days) > past.at else ""
            for per in ("customer", "household"):
                for limit in (one for one in rules.limits if one.per == per and one.channel in ("", channel)):
                    members = {
                        number
                        for number, other in enumerate(past.customers["household"])
                        if number == place or (per == "household" and other == person["household"])
                    }
                    since = past.at - dt.timedelta(days=limit.days)
                    used = sum(
                        row["customer"] in members
                        and row["occurred_at"] > since
                        and limit.channel in ("", row["channel"])
                        for row in rows
                    )
                    code = code or (f"limit_{per}" if used >= limit.contacts else "")
            out[person["customer_id"], channel] = code
    return out


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_limits_and_silence_agree_with_a_naive_reading(data: st.DataObject) -> None:
    people = data.draw(st.integers(1, 5))
    customers = pd.DataFrame(
        {
            "customer_id": [f"c{n}" for n in range(people)],
            "household": [data.draw(st.integers(0, people - 1)) for _ in range(people)],
            "left": False,
            "holdout": False,
        }
    )
    drawn_from = (st.sampled_from(sorted(COSTS)), st.integers(1, 60 * 24), st.booleans(), st.booleans())
    row = st.tuples(st.integers(0, people - 1), *drawn_from)
    drawn = data.draw(st.lists(row, max_size=14, unique_by=lambda one: one[2]))
    made = pd.DataFrame(drawn, columns=["customer", "channel", "hours", "ignored", "planned"])
    moments = pd.Timestamp(AT) - pd.to_timedelta(made.pop("hours").astype("int64"), unit="h")
    made = made.assign(occurred_at=moments.astype("datetime64[us]")).astype(
        {"customer": "int64", "ignored": bool, "planned": bool, "channel": "str"}
    )
    limit = st.builds(
        Limit,
        per=st.sampled_from(["customer", "household"]),
        contacts=st.integers(1, 4),
        days=st.integers(1, 40),
        channel=st.sampled_from(["", *COSTS]),
    )
    rules = ContactPolicy(
        limits=tuple(data.draw(st.lists(limit, max_size=3))),
        ignored_contacts=data.draw(st.integers(0, 3)),
        ignored_within_days=data.draw(st.integers(1, 40)),
        silent_days=data.draw(st.integers(1, 40)),
    )
    nobody = pd.DataFrame({"customer_id": pd.Series([], dtype="str"), "channel": "", "purpose": "", "granted": True})
    nobody = nobody.assign(changed_at=pd.NaT)
    none = pd.DataFrame(
        {"customer_id": pd.Series([], dtype="str"), "resolved_at": pd.Series([], dtype="datetime64[us]")}
    )
    past = policy.History(AT, customers, made, nobody, none)
    bank = Company(contact_costs_minor=COSTS, consent_when_missing="granted", contact_policy=rules)
    found = policy.judged(past, company=bank)
    told = {(one["customer_id"], one["channel"]): one["code"] for one in found.to_dict("records")}
    assert told == naive(past, rules)
    late = found[found["code"] != ""]
    for one in late.to_dict(
        "records"
    ):  # what is refused until a moment is refused for that reason just before it, not at it
        at_end = policy.judged(policy.History(one["until"], customers, made, nobody, none), company=bank)
        again = at_end[(at_end["customer_id"] == one["customer_id"]) & (at_end["channel"] == one["channel"])].iloc[0]
        assert (again["code"], again["detail"]) != (one["code"], one["detail"]) or again["until"] > one["until"]


def test_quiet_times_bound_when() -> None:
    bank = Company(
        contact_costs_minor=COSTS,
        time_zone="Europe/Prague",
        holidays=("2025-05-01",),
        contact_policy=ContactPolicy(
            quiet_hours=("20:00-09:00",), quiet_weekdays=("sunday",), quiet_holidays=True, quiet_channels=("call",)
        ),
    )
    days = policy.allowed_days(bank, dt.date(2025, 4, 30), dt.date(2025, 5, 5), channel="call")
    assert [day.day for day in days] == [30, 2, 3, 5]  # the 1st is a holiday, the 4th a Sunday
    assert len(policy.allowed_days(bank, dt.date(2025, 4, 30), dt.date(2025, 5, 5), channel="email")) == 6
    # 19:00 UTC is 21:00 in Prague's summer: quiet. The next day is a holiday, so the 2nd at 9:00, which is 7:00 UTC.
    evening = dt.datetime(2025, 4, 30, 19, 0)
    assert policy.next_allowed(bank, evening, channel="call") == dt.datetime(2025, 5, 2, 7, 0)
    assert policy.next_allowed(bank, evening, channel="email") == evening
    noon = dt.datetime(2025, 4, 30, 12, 34, 56)
    assert policy.next_allowed(bank, noon, channel="call") == noon
    with pytest.raises(UsageError, match="let it end on or after its first day"):
        policy.allowed_days(bank, dt.date(2025, 5, 2), dt.date(2025, 5, 1))
    with pytest.raises(DataError, match="time_zone is 'Mars/Base', which is not known"):
        policy.next_allowed(Company(time_zone="Mars/Base"), noon)
    year = tuple(str(dt.date(2025, 1, 1) + dt.timedelta(days=number)) for number in range(800))
    with pytest.raises(DataError, match="leaves no moment within a year"):
        policy.next_allowed(Company(holidays=year, contact_policy=ContactPolicy(quiet_holidays=True)), noon)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "company.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_company_file_holds_it_all_and_comes_back_from_the_warehouse(tmp_path: Path) -> None:
    found = companies.read(
        written(
            tmp_path,
            "horizon_months = 24\nannual_discount = 0.08\n[levers]\ncard = 1.5\n[capacities]\ncall = 100\n"
            '[contact_minutes]\ncall = 6.5\n[product_retention]\nloan = 0.99\n[contact_policy]\nquiet_weekdays = ["sunday"]\n'
            '[[contact_policy.limits]]\nper = "household"\ncontacts = 2\ndays = 7\nchannel = "call"\n',
        )
    )
    assert found.contact_policy.limits == (Limit("household", 2, 7, "call"),)
    assert (found.horizon_months, found.levers, found.capacities) == (24, {"card": 1.5}, {"call": 100})
    assert companies.from_json(found.to_json()) == found


def test_a_company_of_an_earlier_release_is_read() -> None:
    old = '{"name": "Old", "currency": "EUR", "holidays": ["2025-01-01"], "consent_when_missing": "refused"}'
    found = companies.from_json(old)
    assert found == Company(name="Old", holidays=("2025-01-01",)) and found.contact_policy == ContactPolicy()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("horizon_months = 0", "horizon_months is 0; give a whole number of months from 1 to 600"),
        ("annual_discount = 1.5", "annual_discount is 1.5; give a share from 0 to 1"),
        ("[product_retention]\nx = -1", "product_retention.x is -1; give a share from 0 to 1"),
        ("[levers]\nx = 3", r"levers.x is 3; a business priority is a factor from 0\.5 to 2\.0"),
        ("levers = 3", r"levers is 3; write it as a section \[levers\]"),
        ("[capacities]\npigeon = 3", "capacities.pigeon: the channel has no cost of contact"),
        ("[capacities]\ncall = -3", "capacities.call is -3; give a whole number of contacts, 0 or more"),
        ("[contact_minutes]\ncall = 'x'", "contact_minutes.call is 'x'; give a number of minutes, 0 or more"),
        ("contact_policy = 3", "contact_policy is 3; write it as a table"),
        ("[contact_policy]\nsilence = 3", "contact_policy: unknown setting silence; known are purposes"),
        ("[contact_policy]\nsilent_days = -3", "contact_policy.silent_days is -3; give a whole number of 0 or more"),
        ("[contact_policy]\nquiet_holidays = 1", "contact_policy.quiet_holidays is 1; give true or false"),
        ("[contact_policy]\nquiet_weekdays = ['Sun']", "unknown day 'Sun'; use monday"),
        ("[contact_policy]\nquiet_hours = ['night']", 'is no span of hours; write it like "20:00-09:00"'),
        ("[contact_policy]\nquiet_hours = ['09:00-09:00']", "has no length"),
        ("[contact_policy]\nquiet_hours = ['00:00-12:00', '12:00-00:00']", "cover the whole day"),
        (
            f"[contact_policy]\nquiet_weekdays = {json.dumps(['monday', 'tuesday', 'wednesday', 'thursday', 'friday', 'saturday', 'sunday'])}",
            "names all seven days",
        ),
        ("[contact_policy]\nquiet_channels = ['pigeon']", "quiet_channels: channel 'pigeon' has no cost of contact"),
        ("[contact_policy]\nholdout_share = 0.9", "holdout_share is 0.9; give a share from 0 to 0.5"),
        ("[contact_policy]\nholdout_share = 0.1", "without a holdout_key; give a secret text that never changes"),
        (
            "[contact_policy]\nconsent_purposes = []",
            "consent_purposes is empty, so nobody's consent would be asked for",
        ),
        ("[contact_policy]\nlimits = 3", r"limits is 3; write each limit as \[\[contact_policy.limits\]\]"),
        ("[[contact_policy.limits]]\nper = 'customer'", "contacts and days missing"),
        (
            "[[contact_policy.limits]]\nper = 'street'\ncontacts = 1\ndays = 1",
            "per is 'street'; use customer or household",
        ),
        (
            "[[contact_policy.limits]]\nper = 'customer'\ncontacts = 0\ndays = 1",
            "contacts is 0; give a whole number of 1 or",
        ),
        (
            "[[contact_policy.limits]]\nper = 'customer'\ncontacts = 1\ndays = 1\nchannel = 'pigeon'",
            "channel 'pigeon' has no cost of contact",
        ),
        (
            "[[contact_policy.limits]]\nper = 'customer'\ncontacts = 2\ndays = 30\n"
            "[[contact_policy.limits]]\nper = 'customer'\ncontacts = 3\ndays = 7",
            "3 contacts in 7 days per customer are never reached where 2 in 30 days are allowed",
        ),
    ],
)
def test_a_company_file_that_makes_no_sense(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        companies.read(written(tmp_path, text))


def test_two_limits_that_complete_each_other_are_fine(tmp_path: Path) -> None:
    one, other = "contacts = 1\ndays = 7", "contacts = 2\ndays = 30"
    text = "".join(f"[[contact_policy.limits]]\nper = 'customer'\n{limit}\n" for limit in (one, other))
    assert len(companies.read(written(tmp_path, text)).contact_policy.limits) == 2


def test_inputs_stay_unchanged(tmp_path: Path) -> None:
    state = known(tmp_path, contacts=contacts(("anna", "call", "2025-06-10")))
    rules = company(limits=(Limit("customer", 1, 30),), ignored_contacts=1)
    past = policy.history(state, company=rules)
    before = past.contacts.copy(), past.customers.copy()
    policy.judged(past, company=rules)
    pd.testing.assert_frame_equal(past.contacts, before[0])
    pd.testing.assert_frame_equal(past.customers, before[1])
    assert np.isfinite(policy.contacts_left(past, company=rules, per="household")).all()
