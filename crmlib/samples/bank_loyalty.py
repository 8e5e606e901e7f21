"""What the sample bank's customers think of it, and its programme of points: answers, mentions, ledger entries."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from crmlib.samples import bank_names as names
from crmlib.samples import bank_reference as reference
from crmlib.samples.bank_events import DAY, Rows, seconds, within
from crmlib.samples.bank_model import CATEGORY_NUMBER, CONTACT_KINDS, POINTS_CATEGORIES, Floats, answering, drivers
from crmlib.samples.bank_state import Ints, People, Quarter, State

QUESTIONS = ("nps", "speed", "courtesy", "competence", "solution", "price")
SERVICE_WEIGHTS = {"speed": 0.12, "courtesy": 0.08, "competence": 0.22, "solution": 0.38, "price": 0.10}
"""What a point in each answer about service adds to the recommendation given with it."""

REASONS = ("purchase", "gift", "redemption", "expiry")
PURCHASE, GIFT, REDEMPTION, EXPIRY = range(4)
WELCOME = 200
"""Points given on joining the programme."""

INVITED = len(CONTACT_KINDS) + 1
"""Number of the arm of those invited to the programme, after those of the kinds of contact."""

_LOYAL, _NOISE = 1.7, 1.3
_LEAN = {"old": 1.2, "digital": -0.6, "active": 0.3}
"""What else the recommendation leans on: who likes to answer is also kinder, so that unweighted answers flatter."""
_CATEGORIES = [CATEGORY_NUMBER[name] for name in POINTS_CATEGORIES]


def branch_quality() -> Floats:
    """Return how much better or worse than usual each branch serves, in points of an answer."""
    return np.random.default_rng(24).normal(0.0, 0.45, len(reference.BRANCHES))


def invited(
    rng: np.random.Generator, people: People, able: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Draw who of those ``able`` is invited to the programme of points (three in five, at random) and who of those joins.

    The active join rather.

    Both records of a person are invited or neither.
    """
    drawn, own = rng.random(people.size) < 0.6, rng.random(people.size)
    out = np.where(people.twin >= 0, drawn[people.twin], drawn) & able
    return out, out & (own < 1 / (1 + np.exp(-0.8 - 0.6 * np.log(people.appetite + 0.05))))


def invitation(people: People, state: State, asked: NDArray[np.bool_], able: NDArray[np.bool_], *, start: int) -> Rows:
    """Return the members of the campaign that invites: when each was assigned, as records begin or on joining the bank."""
    who = np.flatnonzero(able & ((state.left == 0) | (state.left >= start)))
    return {
        "customer": who,
        "assigned": np.maximum(people.since[who], start).astype(np.int64) * DAY + 21_600,
        "arm": np.where(asked[who], INVITED, -1),
    }


def answers(
    rng: np.random.Generator, people: People, state: State, service: Rows, *, quarter: Quarter
) -> tuple[Rows, Rows]:
    """Draw the answers to the loyalty survey and to the one after contacts for service; return them and the truth.

    A row is an answer: ``survey`` 0 loyalty, 1 service; ``question`` its place in ``QUESTIONS``; ``channel`` as in
    contacts; ``branch`` number of the branch, or -1.
    """
    there = state.present(people, quarter.first)
    given = drivers(people, state, at=quarter.first)
    chance = answering(given, state.satisfaction)
    who = np.flatnonzero(there & (rng.random(people.size) < chance))
    leaning = sum((weight * given[name] for name, weight in _LEAN.items()), start=np.zeros(people.size))
    loyal = 7.0 + _LOYAL * state.satisfaction + leaning
    at_home = rng.random(who.size) < 0.25 + 0.7 * state.digital[who]
    channel = np.where(at_home, np.where(rng.random(who.size) < 0.6, 2, 5), np.where(rng.random(who.size) < 0.6, 0, 3))
    nothing = np.zeros(who.size, dtype=np.int64)
    first = {
        "customer": who,
        "moment": seconds(rng, within(rng, state, who, quarter)),
        "survey": nothing,
        "question": nothing,
        "score": np.clip(np.round(loyal[who] + _NOISE * rng.normal(size=who.size)), 0, 10),
        "channel": channel,
        "branch": np.where(channel == 3, _home(state)[who], -1),
    }
    second = _about_service(rng, state, service)
    known = np.flatnonzero(there)
    truth = {
        "customer": known,
        "as_of": np.full(known.size, quarter.first - 1, np.int32),
        "satisfaction": state.satisfaction[known].astype(np.float32),
        "promoter": (1 - ndtr((8.5 - loyal[known]) / _NOISE)).astype(np.float32),
        "detractor": ndtr((6.5 - loyal[known]) / _NOISE).astype(np.float32),
        "answers": chance[known].astype(np.float32),
    }
    return {name: np.concatenate([first[name], second[name]]) for name in first}, truth


def _home(state: State) -> Ints:
    return (state.region * names.TOWNS_PER_REGION + state.town).astype(np.int32)


def _about_service(rng: np.random.Generator, state: State, service: Rows) -> Rows:
    """Draw the answers given within two days after contacts for service: about one contact in six is answered for."""
    picked = np.flatnonzero(rng.random(service["customer"].size) < 0.17)
    who, channel = service["customer"][picked], service["channel"][picked]
    branch = np.where(channel == 3, _home(state)[who], -1)
    quality = np.where(branch >= 0, branch_quality()[np.maximum(branch, 0)], np.where(channel == 0, -0.2, 0.1))
    mood = state.satisfaction[who]
    common = 0.6 * rng.normal(size=who.size)
    lean = {"speed": 1.0, "courtesy": 0.7, "competence": 0.8, "solution": 1.0, "price": 0.0}
    found = {}
    for name in SERVICE_WEIGHTS:
        raw = 7.0 + 0.9 * mood + lean[name] * quality + common + 1.1 * rng.normal(size=who.size)
        found[name] = np.clip(np.round(raw), 1, 10)
    total = sum((weight * (found[name] - 7) for name, weight in SERVICE_WEIGHTS.items()), start=np.zeros(who.size))
    found["nps"] = np.clip(np.round(7.2 + 0.5 * mood + 1.6 * total + 1.0 * rng.normal(size=who.size)), 0, 10)
    moment = service["moment"][picked] + (DAY * (0.02 + 1.9 * rng.random(who.size))).astype(np.int64)
    width = len(QUESTIONS)
    return {
        "customer": np.repeat(who, width),
        "moment": np.repeat(moment, width),
        "survey": np.ones(who.size * width, dtype=np.int64),
        "question": np.tile(np.arange(width), who.size),
        "score": np.stack([found[name] for name in QUESTIONS], axis=1).ravel(),
        "channel": np.repeat(channel, width),
        "branch": np.repeat(branch, width),
    }


def mentions(rng: np.random.Generator, people: People, state: State, *, quarter: Quarter) -> Rows:
    """Draw what is written about the bank in social networks: by the digital, and by those pleased or cross."""
    there = state.present(people, quarter.first)
    rate = 0.0035 * np.exp(1.2 * (state.digital - 0.5) + 0.5 * np.abs(state.satisfaction))
    who = np.flatnonzero(there & (rng.random(people.size) < rate))
    feeling = np.clip(0.45 * state.satisfaction[who] + 0.35 * rng.normal(size=who.size), -1, 1)
    return {
        "customer": who,
        "moment": seconds(rng, within(rng, state, who, quarter)),
        "sentiment": np.round(feeling, 2),
        "words": rng.integers(0, len(names.PRAISE), who.size),
        "named": (rng.random(who.size) < 0.6).astype(np.int32),
    }


def points(
    rng: np.random.Generator, people: People, state: State, operations: Rows, *, quarter: Quarter, start: int
) -> Rows:
    """Return the entries in the ledger of points of a quarter; ``state.points`` keeps what is left, by quarter of origin.

    The programme runs from the day ``start``. A member gets a gift on joining and a point for each euro spent in the
    quarter in ``POINTS_CATEGORIES``, posted on its last day. Points can be spent until the end of the fourth quarter after
    the one they came in, the oldest first; who leaves loses them.
    """
    state.points = np.concatenate([np.zeros((1, people.size), dtype=np.int64), state.points[:4]])
    begins = np.maximum(people.since, start)
    joins = np.flatnonzero(state.member & (begins >= quarter.first) & (begins <= quarter.last) & _stays(state, quarter))
    state.points[0, joins] += WELCOME
    until = _year_later(quarter)
    welcome = begins[joins].astype(np.int64) * DAY + 28_800
    parts = [_entries(joins, welcome, np.full(joins.size, WELCOME), reason=GIFT, until=until)]
    there = state.member & (begins <= quarter.last) & (people.since <= quarter.last)
    who = np.flatnonzero(there & (state.left == 0) & (state.points[1:].sum(axis=0) > 300))
    who = who[rng.random(who.size) < 0.2]
    moment = seconds(
        rng, (quarter.first + 1 + (rng.random(who.size) * (quarter.days - 2)).astype(np.int64)).astype(np.int32)
    )
    parts.append(_entries(who, moment, -_take(rng, state, who), reason=REDEMPTION))
    gone = np.flatnonzero((state.left >= quarter.first) & (state.left <= quarter.last) & (state.points.sum(axis=0) > 0))
    moment = state.left[gone].astype(np.int64) * DAY + 86_000
    parts.append(_entries(gone, moment, -state.points[:, gone].sum(axis=0), reason=EXPIRY))
    state.points[:, gone] = 0
    earned = np.where(there & (state.left == 0), _euros(people, operations), 0)
    who = np.flatnonzero(earned)
    moment = np.full(who.size, quarter.last * DAY + 79_200, dtype=np.int64)
    parts.append(_entries(who, moment, earned[who], reason=PURCHASE, until=until))
    state.points[0] += earned
    over = np.flatnonzero(state.points[4])
    moment = np.full(over.size, (quarter.last + 1) * DAY + 300, dtype=np.int64)
    parts.append(_entries(over, moment, -state.points[4, over], reason=EXPIRY))
    state.points[4] = 0
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _stays(state: State, quarter: Quarter) -> NDArray[np.bool_]:
    """Return who has not left before the quarter."""
    return (state.left == 0) | (state.left >= quarter.first)


def _year_later(quarter: Quarter) -> int:
    """Return the last day of the fourth quarter after."""
    month = np.datetime64(quarter.first, "D").astype("datetime64[M]") + 15
    return int(month.astype("datetime64[D]").astype(int)) - 1


def _take(rng: np.random.Generator, state: State, who: NDArray[np.int64]) -> NDArray[np.int64]:
    """Draw how much each spends of the points of earlier quarters, and take it from the oldest first."""
    wanted = (state.points[1:, who].sum(axis=0) * (0.3 + 0.7 * rng.random(who.size))).astype(np.int64)
    left = wanted.copy()
    for age in range(4, 0, -1):
        part = np.minimum(left, state.points[age, who])
        state.points[age, who] -= part
        left -= part
    return wanted


def _euros(people: People, operations: Rows) -> NDArray[np.int64]:
    """Return the whole euros that each spent in the categories that count."""
    counts = np.isin(operations["category"], _CATEGORIES) & (operations["amount"] < 0)
    spent = np.bincount(operations["customer"][counts], weights=-operations["amount"][counts], minlength=people.size)
    return (spent // 100).astype(np.int64)


def _entries(
    who: NDArray[np.int64], moment: NDArray[np.int64], amount: NDArray[np.int64], *, reason: int, until: int = 0
) -> Rows:
    return {
        "customer": who,
        "moment": moment,
        "points": amount.astype(np.int64),
        "kind": np.full(who.size, reason),
        "until": np.full(who.size, until, dtype=np.int32),
    }
