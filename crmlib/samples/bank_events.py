"""What the sample bank records in a quarter: transactions, balances, contacts, applications, surveys and the rest."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from crmlib.samples import bank_products as catalogue
from crmlib.samples.bank_model import CATEGORIES, CATEGORY_NUMBER, CONTACT_KINDS, RETENTION_KINDS
from crmlib.samples.bank_population import rates
from crmlib.samples.bank_quarter import CONTACT_DAYS, Campaign, Outcome
from crmlib.samples.bank_state import Ints, People, Quarter, State

Rows = dict[str, NDArray[Any]]

DAY = 86_400
LATE = 0.015
"""Share of transactions and contracts that are recorded days after they happened."""

RETENTION_ARMS = np.array([0, *(1 + CONTACT_KINDS.index(kind) for kind in RETENTION_KINDS)])
"""Number of each arm of a retention campaign among those of all campaigns."""

SERVICE, SALES, INFORMATION, RETENTION = 0, 1, 2, 3
_CHANNEL_LEAN = np.array([-1.2, -0.6, 0.0, 0.4, 1.6])


def _channel_table() -> NDArray[np.float64]:
    """Return cumulative odds of the channels by category and level of digital behaviour (five levels)."""
    odds = np.array([category.channels for category in CATEGORIES], dtype=float)
    levels = np.linspace(-0.8, 0.8, 5)
    weighted = odds[:, None, :] * np.exp(levels[None, :, None] * _CHANNEL_LEAN)
    return np.cumsum(weighted / weighted.sum(axis=2, keepdims=True), axis=2)


_CHANNELS = _channel_table()


def seconds(rng: np.random.Generator, days: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return moments of the days given, in seconds since 1970, mostly in daytime."""
    return days.astype(np.int64) * DAY + (25_200 + 50_000 * rng.beta(2, 2, days.size)).astype(np.int64)


def late(rng: np.random.Generator, moments: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return when each moment was recorded: at once, for a few some days later."""
    delay = ((1 + rng.exponential(4.0, moments.size)) * DAY).astype(np.int64)
    return moments + np.where(rng.random(moments.size) < LATE, delay, 0)


def transactions(rng: np.random.Generator, people: People, state: State, *, quarter: Quarter) -> Rows:
    """Draw the transactions of a quarter, one row each, and put their counts into the state."""
    width = len(CATEGORIES)
    count = rng.poisson(rates(people, state, season=quarter.season))
    count[:, 0] = np.where(state.salary, 3, 0)
    flat = np.repeat(np.arange(count.size), count.ravel())
    customer, category = np.divmod(flat, width)
    spread = rng.random(flat.size) ** (0.85 if quarter.season == 3 else 1.0)
    day = quarter.first + (spread * quarter.days).astype(np.int64)
    paid = np.flatnonzero(category == 0)
    starts = np.array([quarter.first, *[end + 1 for end in quarter.month_ends[:2]]])
    day[paid] = starts[np.arange(paid.size) % 3] + 4 + people.number[customer[paid]] % 20
    there = (day > people.since[customer]) & ((state.left[customer] == 0) | (day <= state.left[customer]))
    customer, category, day = customer[there], category[there], day[there].astype(np.int32)
    counts = np.bincount(customer * width + category, minlength=people.size * width)
    state.counts = np.concatenate([state.counts[1:], counts.reshape(1, people.size, width).astype(float)])
    if not quarter.recorded:
        return {}
    moment = seconds(rng, day)
    merchant = np.array([sum(c.channels[2:3]) > 4 for c in CATEGORIES])[category]
    return {
        "customer": customer,
        "category": category,
        "moment": moment,
        "recorded": late(rng, moment),
        "amount": _amounts(rng, state, customer, category),
        "channel": _channels(rng, state.digital[customer], category),
        "holding": np.where(category != CATEGORY_NUMBER["fee"], _accounts(state, people.size, quarter)[customer], -1),
        "merchant": np.where(merchant, category * 12 + (12 * rng.random(category.size) ** 2).astype(np.int64), -1),
    }


def _channels(rng: np.random.Generator, digital: NDArray[np.float64], category: NDArray[np.int64]) -> Ints:
    level = np.minimum((digital * 5).astype(np.int64), 4)
    edges = _CHANNELS[category, level]
    draw = rng.random(category.size)
    return (draw[:, None] >= edges[:, :4]).sum(axis=1).astype(np.int32)


def _amounts(
    rng: np.random.Generator, state: State, customer: NDArray[np.int64], category: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return amounts in minor units: log-normal around the category's median, scaled by income, with a long tail."""
    median = np.array([c.median for c in CATEGORIES], dtype=float)[category]
    inflow = np.array([c.inflow for c in CATEGORIES])[category]
    income = state.income[customer]
    salary = category == 0
    noise = np.exp(0.7 * rng.normal(size=customer.size)) * np.where(rng.random(customer.size) < 0.004, 12.0, 1.0)
    size = np.where(salary, income * (0.98 + 0.04 * rng.random(customer.size)), median * (income / 180_000) ** 0.6)
    size = np.where(salary, size, size * noise)
    sign = np.where(rng.random(customer.size) < inflow, 1, -1)
    return np.maximum(np.round(size), 1).astype(np.int64) * sign


def _accounts(state: State, size: int, quarter: Quarter) -> Ints:
    """Return the position of each customer's current account among the contracts, -1 where there is none."""
    holdings = state.holdings
    rows = np.flatnonzero((holdings.product == catalogue.NUMBER["current"]) & (holdings.opened <= quarter.first))
    out = np.full(size, -1, dtype=np.int32)
    out[holdings.customer[rows]] = rows
    return out


def balances(rng: np.random.Generator, people: People, state: State, *, quarter: Quarter) -> Rows:
    """Draw the month-end balances of a quarter, and put the last liquid ones into the state."""
    carried = np.array([product.carries_balance for product in catalogue.PRODUCTS])
    parts: list[Rows] = []
    for end in quarter.month_ends:
        state.wealth = 0.93 * state.wealth + 0.16 * rng.normal(size=people.size)
        mask = carried[state.holdings.product] & state.holdings.open_at(end + 1) & (state.holdings.closed != end)
        rows = np.flatnonzero(mask)
        amount = _balance(rng, people, state, rows, at=end)
        customer, product = state.holdings.customer[rows], state.holdings.product[rows]
        liquid = np.isin(product, [catalogue.NUMBER[name] for name in _LIQUID])
        if end == quarter.last:
            state.liquid = np.bincount(customer[liquid], weights=amount[liquid], minlength=people.size).astype(float)
        shown = amount != 0
        day = np.full(int(shown.sum()), end, dtype=np.int32)
        parts.append({"customer": customer[shown], "holding": rows[shown], "day": day, "amount": amount[shown]})
    if not quarter.recorded:
        return {}
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


_LIQUID = ("current", "fx_account", "savings")
_SHARE = {"current": 0.6, "fx_account": 0.35, "savings": 1.6, "brokerage": 1.2}


def _balance(
    rng: np.random.Generator, people: People, state: State, rows: NDArray[np.int64], *, at: int
) -> NDArray[np.int64]:
    """Return the balances of contracts at the end of the day ``at``, minor units; what is owed is negative."""
    holdings = state.holdings
    customer, product = holdings.customer[rows], holdings.product[rows]
    share = np.array([_SHARE.get(product_id, 0.0) for product_id in catalogue.IDS])[product]
    term = np.array([p.term for p in catalogue.PRODUCTS])[product] * 30.4375
    wealth = state.income * np.exp(0.8 * people.saver + state.wealth) * np.where(state.dormant, 0.15, 1.0)
    wealth[state.dormant & (people.number % 3 == 0)] = 0.0
    out = share * wealth[customer] * np.exp(0.2 * rng.normal(size=rows.size))
    elapsed = (at - holdings.opened[rows]) / np.maximum(term, 1.0)
    deposit = product == catalogue.NUMBER["deposit"]
    loan = np.isin(product, [catalogue.NUMBER[name] for name in ("cash_loan", "car_loan", "mortgage")])
    card = product == catalogue.NUMBER["credit_card"]
    out = np.where(deposit, holdings.amount[rows], out)
    out = np.where(loan, -holdings.amount[rows] * np.clip(1 - elapsed, 0.02, 1.0), out)
    used = np.maximum(0.15 - 0.3 * people.saver[customer] + 0.3 * rng.normal(size=rows.size), 0.0)
    out = np.where(card, -holdings.amount[rows] * np.minimum(used, 1.0), out)
    return np.round(out).astype(np.int64)


def visits(rng: np.random.Generator, people: People, state: State, outcome: Outcome, *, quarter: Quarter) -> Rows:
    """Draw who looked for products on their own: the likelier a purchase, the likelier a look around."""
    groups = np.array(catalogue.GROUP_OF)
    wanted = outcome.quiet * outcome.eligible
    by_group = np.stack([wanted[:, groups == group].sum(axis=1) for group in range(len(catalogue.GROUPS))], axis=1)
    curious = rng.random(by_group.shape) < np.minimum(0.9 * by_group, 0.5)
    there = state.present(people, quarter.first)[:, None]
    rate = (0.035 * np.exp(1.2 * (2 * state.digital - 1))[:, None] + 1.5 * curious) * there
    count = rng.poisson(rate)
    customer, group = np.divmod(np.repeat(np.arange(count.size), count.ravel()), len(catalogue.GROUPS))
    day = quarter.first + (rng.random(customer.size) * quarter.days).astype(np.int32)
    kept = (state.left[customer] == 0) | (day <= state.left[customer])
    customer, group, day = customer[kept], group[kept], day[kept]
    width = len(catalogue.GROUPS)
    state.visits = np.bincount(customer * width + group, minlength=people.size * width).reshape(-1, width).astype(float)
    if not quarter.recorded:
        return {}
    product = np.zeros(customer.size, dtype=np.int64)
    for number in range(width):
        own, members = group == number, np.flatnonzero(groups == number)
        edges = np.cumsum(wanted[customer[own]][:, members] + 1e-3, axis=1)
        draw = rng.random(edges.shape[0]) * edges[:, -1]
        product[own] = members[(draw[:, None] >= edges[:, :-1]).sum(axis=1)]
    at_home = rng.random(customer.size) < 0.35 + 0.6 * state.digital[customer]
    channel = np.where(at_home, 4 + (rng.random(customer.size) < 0.5), np.where(rng.random(customer.size) < 0.7, 3, 0))
    return _contact_rows(customer, seconds(rng, day), channel, purpose=INFORMATION, product=product)


def _contact_rows(
    customer: NDArray[np.int64],
    moment: NDArray[np.int64],
    channel: NDArray[np.int64],
    *,
    purpose: int,
    product: NDArray[np.int64] | None = None,
) -> Rows:
    """Return contacts; ``channel`` 0 call, 1 mail, 2 email, 3 branch, 4 internet, 5 mobile."""
    nothing = np.full(customer.size, -1, dtype=np.int64)
    return {
        "customer": customer,
        "moment": moment,
        "channel": channel.astype(np.int32),
        "purpose": np.full(customer.size, purpose, dtype=np.int32),
        "product": nothing if product is None else product,
        "campaign": nothing,
        "retention": nothing,
        "outcome": nothing,
        "answered": np.zeros(customer.size, dtype=np.int64),
    }


def service(rng: np.random.Generator, people: People, state: State, *, quarter: Quarter) -> tuple[Rows, Rows]:
    """Draw requests for service and complaints of a quarter, and put the complaints into the state."""
    there = state.present(people, quarter.first)
    busy = np.log1p(state.counts[-1].sum(axis=1))
    asks = np.flatnonzero(there & (rng.random(people.size) < 0.05 + 0.02 * busy))
    moment = seconds(rng, within(rng, state, asks, quarter))
    channel = rng.choice((0, 2, 3, 4), asks.size, p=(0.45, 0.15, 0.25, 0.15))
    complains = there & (rng.random(people.size) < 0.012 * np.exp(0.35 * busy - 0.5 * state.satisfaction))
    state.complaints = complains.astype(np.int32)
    who = np.flatnonzero(complains)
    opened = seconds(rng, within(rng, state, who, quarter))
    took = ((0.2 + rng.exponential(6.0, who.size)) * DAY).astype(np.int64)
    rows = {
        "customer": who,
        "moment": opened,
        "topic": rng.integers(0, 6, who.size),
        "channel": rng.integers(0, 4, who.size),
        "severity": 1 + rng.binomial(4, 0.35, who.size),
        "resolved": np.where(rng.random(who.size) < 0.93, opened + took, 0),
        "well": rng.random(who.size) < 0.7,
    }
    state.soothed = np.zeros(people.size, dtype=bool)
    state.soothed[who] = rows["well"] & (rows["resolved"] > 0)
    return _contact_rows(asks, moment, channel, purpose=SERVICE), rows


def within(rng: np.random.Generator, state: State, who: NDArray[np.int64], quarter: Quarter) -> Ints:
    """Return a random day of the quarter for each customer, none after the customer left."""
    last = np.where(state.left[who] > 0, state.left[who], quarter.last)
    return (quarter.first + (rng.random(who.size) * (last - quarter.first + 1)).astype(np.int64)).astype(np.int32)


def campaign_rows(
    rng: np.random.Generator, state: State, outcome: Outcome, campaigns: list[tuple[int, Campaign]], *, quarter: Quarter
) -> tuple[Rows, Rows]:
    """Return the members of the quarter's campaigns and the contacts made; counts the contacts into the state."""
    members, contacts = [], []
    made = np.zeros(state.income.size)
    for number, campaign in campaigns:
        who = np.flatnonzero(outcome.arm[:, campaign.product])
        arm, bought = outcome.arm[who, campaign.product], outcome.bought[who, campaign.product]
        end = np.where(state.left[who] > 0, state.left[who], quarter.last)
        end = np.minimum(np.where(bought > 0, bought, end), quarter.first + CONTACT_DAYS - 1)
        day = quarter.first + (rng.random(who.size) * (end - quarter.first + 1)).astype(np.int32)
        hour = np.where(day == bought, 8.0, 9 + 8 * rng.random(who.size))
        moment = day.astype(np.int64) * DAY + (3_600 * hour).astype(np.int64)
        refuses = (bought == 0) & (arm > 0) & (rng.random(who.size) < 0.25)
        response = np.where(bought > 0, 1, np.where(refuses, 2, 0))
        answered = np.select(
            [bought > 0, refuses], [bought.astype(np.int64) * DAY + 57_600, moment + 600 * (arm == 1)], 0
        )
        touched = arm > 0
        made[who[touched]] += 1
        members.append(
            {
                "customer": who,
                "campaign": np.full(who.size, number),
                "arm": arm,
                "assigned": np.full(who.size, quarter.first * DAY + 21_600, dtype=np.int64),
                "contacted": np.where(touched, moment, 0),
                "responded": answered,
                "response": response,
            }
        )
        rows = _contact_rows(who[touched], moment[touched], arm[touched] - 1, purpose=SALES)
        rows["product"] = np.full(int(touched.sum()), campaign.product)
        rows["campaign"] = np.full(int(touched.sum()), number)
        rows["outcome"], rows["answered"] = response[touched], answered[touched]
        contacts.append(rows)
    state.contacted = made
    return _joined(members), _joined(contacts)


def retention_rows(
    rng: np.random.Generator, people: People, state: State, kept: Ints, *, number: int, quarter: Quarter
) -> tuple[Rows, Rows]:
    """Return the members of retention campaign ``number`` and the contacts made; counts the contacts into the state."""
    who = np.flatnonzero(kept)
    arm = kept[who]
    end = np.where(state.left[who] > 0, state.left[who], quarter.last)
    end = np.minimum(end, quarter.first + CONTACT_DAYS - 1)
    day = quarter.first + (rng.random(who.size) * (end - quarter.first + 1)).astype(np.int32)
    moment = day.astype(np.int64) * DAY + (3_600 * (9 + 8 * rng.random(who.size))).astype(np.int64)
    touched = arm > 0
    state.contacted = state.contacted + np.bincount(who[touched], minlength=people.size)
    nothing = np.zeros(who.size, dtype=np.int64)
    members = {
        "customer": who,
        "campaign": np.full(who.size, number),
        "arm": np.where(arm > 0, RETENTION_ARMS[np.maximum(arm, 0)], arm),
        "assigned": np.full(who.size, quarter.first * DAY + 21_600, dtype=np.int64),
        "contacted": np.where(touched, moment, 0),
        "responded": nothing,
        "response": nothing,
    }
    channel = RETENTION_ARMS[arm[touched]] - 1
    contacts = _contact_rows(who[touched], moment[touched], channel, purpose=RETENTION)
    contacts["retention"] = np.full(int(touched.sum()), number)
    return members, contacts


def held_out(people: People, state: State, chosen: NDArray[np.bool_], *, start: int) -> Rows:
    """Return the members of the universal hold-out: when each was put in, as records begin or on joining."""
    who = np.flatnonzero(chosen & ((state.left == 0) | (state.left >= start)))
    return {"customer": who, "assigned": np.maximum(people.since[who], start).astype(np.int64) * DAY + 21_600}


def _joined(parts: list[Rows]) -> Rows:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}


def applications(rng: np.random.Generator, state: State, outcome: Outcome, *, quarter: Quarter, known: int) -> Rows:
    """Return the applications of a quarter: those signed (contracts from ``known`` on), and those that came to nothing."""
    holdings = state.holdings
    position = known + np.flatnonzero(rng.random(holdings.customer.size - known) < 0.8)
    customer, product = holdings.customer[position].astype(np.int64), holdings.product[position].astype(np.int64)
    opened = holdings.opened[position]
    day = np.maximum(opened - rng.integers(0, 8, position.size), quarter.first)
    chance = 0.3 * outcome.quiet * outcome.eligible * ((outcome.bought == 0) & (outcome.left == 0)[:, None])
    failed, wanted = np.nonzero(rng.random(chance.shape) < chance)
    credit = np.array([p.group == "loans" or p.product_id.endswith("_card") for p in catalogue.PRODUCTS])[wanted]
    draw = rng.random(failed.size)
    outcomes = np.where(credit & (draw < 0.45), 1, np.where(draw < 0.75, 3, 2))
    state.abandoned = np.zeros(chance.shape, dtype=bool)
    state.abandoned[failed[outcomes > 1], wanted[outcomes > 1]] = True
    state.refused = np.zeros(chance.shape[0], dtype=bool)
    state.refused[failed[outcomes == 1]] = True
    if not quarter.recorded:
        return {}
    started = quarter.first + (rng.random(failed.size) * quarter.days).astype(np.int32)
    moment = np.concatenate([seconds(rng, day), seconds(rng, started)])
    signed = opened.astype(np.int64) * DAY + 79_200
    taken = moment[position.size :] + (rng.exponential(2.0, failed.size) * DAY).astype(np.int64)
    amount = np.array([p.amount for p in catalogue.PRODUCTS])[wanted]
    return {
        "customer": np.concatenate([customer, failed]),
        "product": np.concatenate([product, wanted]),
        "moment": moment,
        "decided": np.concatenate([signed, taken]),
        "outcome": np.concatenate([np.zeros(position.size, dtype=np.int64), outcomes]),
        "holding": np.concatenate([position, np.full(failed.size, -1)]),
        "channel": np.concatenate([holdings.channel[position], rng.integers(0, 4, failed.size)]),
        "amount": np.concatenate([holdings.amount[position], amount]),
    }
