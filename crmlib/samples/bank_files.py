"""The sample bank's files: how a simulated block becomes the tables that the bank exports (see docs/sample_bank.md)."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from crmlib.samples import bank_events as events
from crmlib.samples import bank_loyalty as loyalty
from crmlib.samples import bank_names as names
from crmlib.samples import bank_population as population
from crmlib.samples import bank_products as catalogue
from crmlib.samples.bank_block import Block
from crmlib.samples.bank_columns import contract_ids, customers, row_ids
from crmlib.samples.bank_events import Rows
from crmlib.samples.bank_model import CATEGORIES, CHURN_REASONS, CONTACT_KINDS
from crmlib.samples.bank_quarter import Campaign
from crmlib.samples.bank_reference import BRANCHES, OPERATORS, branch_ids, campaign_ids, employee_ids
from crmlib.samples.bank_retention import Retention
from crmlib.samples.columns import days, major, moments, numbers, pick

RUSSIAN_DATE = "%d.%m.%Y"

_CATEGORY_CODES = [category.name for category in CATEGORIES]
_CHANNEL_CODES = ("branch", "atm", "card", "internet", "mobile")
_KIND_CODES = ("CALL", "MAIL", "EMAIL", "BRANCH", "WEB", "APP")
_PURPOSES = ("service", "sales", "information", "retention")
_OUTCOMES = ("", "accepted", "refused")
_MERCHANTS = [f"{name.title()} {letter}" for name in _CATEGORY_CODES for letter in "ABCDEFGHIJKL"]
_CLOSINGS = ("", "matured", "customer", *CHURN_REASONS)
_RISKS = ("low", "medium", "high")
_WORDS = ("The fee was too high.", "I waited too long.", "The card did not work.", "The booking was wrong.",
          "The application crashed.", "The answer was rude.")  # fmt: skip


def tables(block: Block, campaigns: list[Campaign], retentions: list[Retention]) -> dict[str, pa.Table]:
    """Return the tables of a block by the name of their file."""
    return {
        "clients": clients(block),
        "children": children(block),
        "contracts": contracts(block),
        "operations": operations(block),
        "balances": balances(block),
        "contacts": contacts(block, campaigns, retentions),
        "permissions": permissions(block),
        "campaign_members": members(block, campaigns, retentions),
        "requests": requests(block),
        "answers": answers(block),
        "complaints": complaints(block),
        "points": points(block),
        "mentions": mentions(block),
    }


def clients(block: Block) -> pa.Table:
    """Return the customer file: one row per customer and change of an attribute that the bank heard of."""
    people, rows = block.people, block.rows["clients"]
    order = np.lexsort((rows["valid_from"], rows["customer"]))
    rows = {name: values[order] for name, values in rows.items()}
    who = rows["customer"]
    missing = {name: mask[who] for name, mask in people.missing.items()}
    number, twin = people.number[who], people.twin[who]
    office = rows["region"] * names.TOWNS_PER_REGION + rows["town"]
    left = block.state.left[who]
    female = people.female[who]
    return pa.table(
        {
            "client_no": numbers(number),
            "actual_from": days(rows["valid_from"], pattern=RUSSIAN_DATE),
            "document_ref": numbers(number * 7 % 99_999_989, empty=missing["person"] | (twin >= 0)),
            "family_no": numbers(people.household[who]),
            "first_name": _given_names(block, who),
            "last_name": pick(
                [*names.FAMILY, *[f"{name}а" for name in names.FAMILY]],
                people.family_name[who] + female * len(names.FAMILY),
            ),
            "sex": pick(("М", "Ж"), female.astype(np.int32)),
            "born": days(people.birth[who], pattern=RUSSIAN_DATE, empty=missing["birth"]),
            "region": pick(names.REGIONS, rows["region"]),
            "town": pick(names.TOWNS, office),
            "post_code": numbers(1_000 + 100 * office + number % 100, empty=missing["postcode"]),
            "mail": pick([f"client{n}@mail.example" for n in people.number], who, empty=missing["email"]),
            "mobile_phone": pick([f"+999{n}" for n in people.number], who, empty=missing["phone"]),
            "office": pick(branch_ids(), office),
            "manager": pick(
                employee_ids(), 4 * office + number % 4, empty=missing["manager"] | (rows["income"] < 200_000)
            ),
            "client_since": days(people.since[who], pattern=RUSSIAN_DATE),
            "marital": numbers(1 + rows["marital"], empty=missing["marital"]),
            "kids": numbers(rows["kids"]),
            "education": pick(population.EDUCATION, people.education[who], empty=missing["education"]),
            "job": pick(names.OCCUPATIONS, people.occupation[who], empty=missing["occupation"]),
            "work": pick(population.EMPLOYMENT, rows["employment"]),
            "income": major(rows["income"], decimal=",", empty=missing["income"]),
            "risk": pick(_RISKS, np.digitize(people.saver[who], (0.8, -0.4)), empty=missing["risk"]),
            "best_way": pick(names.CHANNELS, rows["favourite"], empty=missing["favourite"]),
            "service_level": pick(("mass", "affluent"), (rows["income"] > 300_000).astype(np.int32)),
            "closed": days(left, pattern=RUSSIAN_DATE),
            "closed_why": pick(CHURN_REASONS, np.where(left > 0, block.state.left_reason[who], -1)),
        }
    )


def _given_names(block: Block, who: np.ndarray) -> pa.Array:
    """Return given names; the second record of a person has it cut short, as a hurried clerk would."""
    both = [*names.GIVEN_MALE, *names.GIVEN_FEMALE]
    people = block.people
    place = people.given_name[who] + people.female[who] * len(names.GIVEN_MALE)
    place = place + np.where(people.twin[who] >= 0, len(both), 0)
    return pick([*both, *[name[:-1] for name in both]], place)


def children(block: Block) -> pa.Table:
    """Return the children known by birth date."""
    rows = block.rows["children"]
    return pa.table(
        {
            "child_no": row_ids(block.number, rows["customer"].size),
            "since": days(rows["valid_from"]),
            "parent_no": customers(block, rows["customer"]),
            "kin": pick(("child",), np.zeros(rows["customer"].size, dtype=int)),
            "born": days(rows["born"]),
        }
    )


def contracts(block: Block) -> pa.Table:
    """Return the contracts, with the time each was entered."""
    holdings = block.state.holdings
    rng = block.stream(1)
    product, who = holdings.product, holdings.customer
    price = np.array([p.price for p in catalogue.PRODUCTS])[product]
    rate = np.array([np.nan if p.rate is None else p.rate for p in catalogue.PRODUCTS])[product]
    entered = np.minimum(events.late(rng, holdings.opened.astype(np.int64) * events.DAY), block.end - 60)
    return pa.table(
        {
            "contract": contract_ids(block.number, np.arange(who.size)),
            "client": customers(block, who),
            "product_code": pick(catalogue.IDS, product),
            "signed": days(holdings.opened),
            "until": days(holdings.matures),
            "ended": days(holdings.closed),
            "ended_why": pick(_CLOSINGS, np.where(holdings.closed > 0, holdings.reason, -1)),
            "amount": major(holdings.amount, empty=holdings.amount == 0),
            "yearly_fee": major(price, empty=price == 0),
            "rate": pa.array(rate, mask=np.isnan(rate)),
            "sold_through": pick(names.CHANNELS, holdings.channel),
            "entered_at": moments(entered),
        }
    )


def operations(block: Block) -> pa.Table:
    """Return the transactions booked before the records end, with the time each was booked."""
    rows = block.rows["operations"]
    order = np.argsort(rows["moment"], kind="stable")
    order = order[rows["recorded"][order] < block.end]
    rows = {name: values[order] for name, values in rows.items()}
    return pa.table(
        {
            "op_id": row_ids(block.number, order.size),
            "client": customers(block, rows["customer"]),
            "op_time": moments(rows["moment"]),
            "booked_at": moments(rows["recorded"]),
            "amount_cents": pa.array(rows["amount"]),
            "kind": pick(_CATEGORY_CODES, rows["category"]),
            "device": pick(_CHANNEL_CODES, rows["channel"]),
            "contract": contract_ids(block.number, rows["holding"]),
            "merchant": pick(_MERCHANTS, rows["merchant"]),
        }
    )


def balances(block: Block) -> pa.Table:
    """Return the month-end balances."""
    rows = block.rows["balances"]
    order = np.lexsort((rows["holding"], rows["day"]))
    rows = {name: values[order] for name, values in rows.items()}
    return pa.table(
        {
            "contract": contract_ids(block.number, rows["holding"]),
            "day": days(rows["day"]),
            "client": customers(block, rows["customer"]),
            "saldo_cents": pa.array(rows["amount"]),
        }
    )


def contacts(block: Block, campaigns: list[Campaign], retentions: list[Retention]) -> pa.Table:
    """Return the contacts in both directions: campaigns, retention, visits, requests for service."""
    sources = ("campaign_contacts", "retention_contacts", "visits", "service")
    parts = [block.rows[name] for name in sources if name in block.rows]
    rows = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    order = np.argsort(rows["moment"], kind="stable")
    rows = {name: values[order] for name, values in rows.items()}
    rng = block.stream(2)
    keeping = rows["retention"] >= 0
    campaign = np.where(keeping, len(campaigns) + 1 + rows["retention"], rows["campaign"])
    outgoing = (campaign >= 0).astype(np.int32)
    call = rows["channel"] == 0
    length = (60 + rng.exponential(180.0, order.size)).astype(np.int64)
    cost = np.select([outgoing == 0, call, rows["channel"] == 1], [0, 500, 100], 2)
    operator = np.where(call, rng.integers(0, OPERATORS, order.size) + 4 * len(BRANCHES), -1)
    answered = np.where(rows["outcome"] > 0, rows["answered"], 0)
    return pa.table(
        {
            "contact_no": row_ids(block.number, order.size),
            "client": customers(block, rows["customer"]),
            "at": moments(rows["moment"]),
            "hour": pa.array((rows["moment"] // 3_600 % 24).astype(np.int32)),
            "way": pick(_KIND_CODES, rows["channel"]),
            "io": pick(("I", "O"), outgoing),
            "reason": pick(_PURPOSES, rows["purpose"]),
            "product_code": pick(catalogue.IDS, rows["product"]),
            "campaign": pick(campaign_ids(campaigns, retentions), campaign),
            "operator": pick(employee_ids(), operator),
            "seconds": pa.array(length, mask=~call),
            "cost_cents": pa.array(cost.astype(np.int64), mask=outgoing == 0),
            "answered_at": moments(answered),
            "result": pick(_OUTCOMES, np.where(answered > 0, rows["outcome"], -1)),
        }
    )


def permissions(block: Block) -> pa.Table:
    """Return consents given on joining, withdrawn later, and objections to profiling."""
    people = block.people
    given, kind = np.nonzero(people.consents)
    back = np.flatnonzero((people.withdrawn > people.since) & people.consents.any(axis=1))
    taken, taken_kind = np.nonzero(people.consents[back])
    objecting = np.flatnonzero(people.objects)
    who = np.concatenate([given, back[taken], objecting])
    sizes = given.size, taken.size, objecting.size
    ways = (*CONTACT_KINDS, "all")
    day = np.concatenate([people.since[given], people.withdrawn[back[taken]], people.objected[objecting]])
    return pa.table(
        {
            "client": customers(block, who),
            "way": pick(ways, np.concatenate([kind, taken_kind, np.full(sizes[2], 3)])),
            "purpose": pick(("marketing", "profiling"), np.repeat((0, 0, 1), sizes)),
            "stated_at": moments(day.astype(np.int64) * events.DAY + 36_000),
            "yes_no": pick(("Y", "N"), np.repeat((0, 1, 1), sizes)),
            "heard_in": pick(names.CHANNELS, people.number[who] % 4),
        }
    )


def members(block: Block, campaigns: list[Campaign], retentions: list[Retention]) -> pa.Table:
    """Return the members of campaigns, control groups and the universal hold-out included."""
    ids = campaign_ids(campaigns, retentions)
    sold, kept = block.rows["members"], block.rows.get("retained")
    parts = [sold, _members(sold, block.rows["held_out"], len(campaigns)), _members(sold, block.rows["invited"], -1)]
    if kept is not None:
        parts.append({**kept, "campaign": len(campaigns) + 1 + kept["campaign"]})
    rows = {name: np.concatenate([part[name] for part in parts]) for name in sold}
    return pa.table(
        {
            "campaign": pick(ids, rows["campaign"] % len(ids)),
            "client": customers(block, rows["customer"]),
            "chosen_at": moments(rows["assigned"]),
            "arm": pick(("control", *CONTACT_KINDS, "invited"), np.maximum(rows["arm"], 0)),
            "is_control": pick(("N", "Y"), (rows["arm"] < 0).astype(np.int32)),
            "contacted_at": moments(rows["contacted"]),
            "responded_at": moments(rows["responded"]),
            "response": pick(("", "bought", "refused"), np.where(rows["responded"] > 0, rows["response"], -1)),
        }
    )


def _members(like: Rows, found: Rows, campaign: int) -> Rows:
    """Return the members of a campaign in which nobody is contacted: all left alone unless ``found`` says which arm."""
    none = np.zeros(found["customer"].size, dtype=np.int64)
    return {**dict.fromkeys(like, none), "arm": none - 1, **found, "campaign": none + campaign}


def requests(block: Block) -> pa.Table:
    """Return the applications and what became of them."""
    rows = block.rows["requests"]
    count = rows["customer"].size
    known = rows["decided"] < block.end
    stage = np.where(known & (rows["outcome"] > 0), rows["outcome"] - 1, -1)
    return pa.table(
        {
            "request_no": row_ids(block.number, count),
            "client": customers(block, rows["customer"]),
            "product_code": pick(catalogue.IDS, rows["product"]),
            "filed": moments(rows["moment"]),
            "through": pick(names.CHANNELS, rows["channel"]),
            "sum": major(rows["amount"], decimal=",", empty=rows["amount"] == 0),
            "decided": moments(np.where(known, rows["decided"], 0)),
            "result": pick(("signed", "refused", "withdrawn", "abandoned"), rows["outcome"], empty=~known),
            "lost_at": pick(("scoring", "offer", "form"), stage),
            "contract": contract_ids(block.number, rows["holding"]),
        }
    )


def answers(block: Block) -> pa.Table:
    """Return the answers to the surveys."""
    rows = _recorded(block, "answers")
    count = rows["customer"].size
    return pa.table(
        {
            "answer_no": row_ids(block.number, count),
            "client": customers(block, rows["customer"]),
            "poll": pick(("loyalty", "service"), rows["survey"]),
            "question": pick(loyalty.QUESTIONS, rows["question"]),
            "at": moments(rows["moment"]),
            "mark": numbers(rows["score"]),
            "way": pick(_KIND_CODES, rows["channel"]),
            "office": pick(branch_ids(), rows["branch"]),
        }
    )


def complaints(block: Block) -> pa.Table:
    """Return the complaints."""
    rows = block.rows["complaints"]
    count = rows["customer"].size
    solved = (rows["resolved"] > 0) & (rows["resolved"] < block.end)
    return pa.table(
        {
            "case_no": row_ids(block.number, count),
            "client": customers(block, rows["customer"]),
            "opened": moments(rows["moment"]),
            "topic": pick(names.TOPICS, rows["topic"]),
            "channel": pick(names.CHANNELS, rows["channel"]),
            "gravity": pa.array(rows["severity"]),
            "words": pick(_WORDS, rows["topic"]),
            "solved": moments(np.where(solved, rows["resolved"], 0)),
            "how": pick(("explained", "compensated"), np.where(solved, rows["well"].astype(np.int32), -1)),
        }
    )


def points(block: Block) -> pa.Table:
    """Return the entries of loyalty points."""
    rows = _recorded(block, "points")
    return pa.table(
        {
            "entry": row_ids(block.number, rows["customer"].size),
            "client": customers(block, rows["customer"]),
            "at": moments(rows["moment"]),
            "points": pa.array(rows["points"]),
            "why": pick(loyalty.REASONS, rows["kind"]),
            "valid_until": days(rows["until"]),
        }
    )


def mentions(block: Block) -> pa.Table:
    """Return what was written about the bank in social networks; of some the bank knows which customer wrote it."""
    rows = _recorded(block, "mentions")
    who, words = rows["customer"], rows["words"]
    texts = [*names.PRAISE, *names.REMARKS, *names.BLAME]
    tone = np.digitize(rows["sentiment"], (0.15, -0.15))
    return pa.table(
        {
            "post": row_ids(block.number, who.size),
            "client": numbers(block.people.number[who], empty=rows["named"] == 0),
            "at": moments(rows["moment"]),
            "author": pick([f"user{n * 7919 % 1_000_003}" for n in block.people.number], who),
            "words": pick(texts, tone * len(names.PRAISE) + words),
            "tone": pa.array(rows["sentiment"]),
        }
    )


def _recorded(block: Block, name: str) -> Rows:
    """Return rows in the order of time, without what happens after the records end."""
    rows = block.rows[name]
    order = np.argsort(rows["moment"], kind="stable")
    order = order[rows["moment"][order] < block.end]
    return {column: values[order] for column, values in rows.items()}
