"""One block of customers of the sample bank, from the first simulated quarter to the last."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crmlib.samples import bank_events as events
from crmlib.samples import bank_loyalty as loyalty
from crmlib.samples import bank_population as population
from crmlib.samples import bank_quarter as quarters
from crmlib.samples.bank_events import Rows
from crmlib.samples.bank_quarter import Campaign
from crmlib.samples.bank_retention import Retention
from crmlib.samples.bank_state import Ints, People, Quarter, State

SIZE = 10_000
"""Customers in a block. Each block has a stream of random numbers of its own, so no block depends on another."""

WARM_UP = 4
"""Quarters simulated before the records begin, so that habits and contracts have a past."""


HOLD_OUT = 0.025
"""Share of the customers whom no campaign ever selects, drawn at random: the universal hold-out."""


@dataclass(frozen=True)
class Block:
    """What a block left behind: ``rows`` for the bank's files, ``truth`` for the tables that no model may read."""

    number: int
    seed: np.random.SeedSequence
    end: int  # seconds since 1970 at which the records end: nothing later is known to the bank
    people: People
    state: State
    rows: dict[str, Rows]
    truth: dict[str, Rows]

    def stream(self, purpose: int) -> np.random.Generator:
        """Return a stream of random numbers of the block's own, for what is drawn after the simulation."""
        return _stream(self.seed, purpose)


def _stream(seed: np.random.SeedSequence, purpose: int) -> np.random.Generator:
    """Return a stream beside the main one, which takes no number from it.

    Purposes: 1 and 2 files, 3 the hold-out, 4 retention campaigns, 5 the invitation to the programme of points, 6 what
    customers say and their points.
    """
    return np.random.default_rng(np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, purpose)))


def calendar(months: int, *, end: str) -> list[Quarter]:
    """Return the quarters of the simulation: ``WARM_UP`` unrecorded ones, then ``months`` recorded months up to ``end``."""
    after = np.datetime64(end, "D").astype("datetime64[M]") + 1
    out = []
    for back in range(months + 3 * WARM_UP, 0, -3):
        first, following = after - back, after - back + 3
        out.append(
            Quarter(
                first=int(first.astype("datetime64[D]").astype(int)),
                last=int(following.astype("datetime64[D]").astype(int)) - 1,
                season=(int(first.astype(int)) % 12) // 3,
                recorded=back <= months,
            )
        )
    return out


@dataclass(frozen=True)
class Plan:
    """What the bank does while a block lives: its campaigns, and whom it keeps out of them or invites."""

    campaigns: list[Campaign]
    retentions: list[Retention]
    held_out: NDArray[np.bool_]
    keeper: np.random.Generator
    talker: np.random.Generator
    start: int


def simulate(
    seed: np.random.SeedSequence,
    number: int,
    size: int,
    *,
    over: list[Quarter],
    campaigns: list[Campaign],
    retentions: list[Retention],
) -> Block:
    """Simulate block ``number`` of ``size`` customers over the quarters given."""
    rng = np.random.default_rng(seed)
    begin, start, end = over[0].first, over[WARM_UP].first, over[-1].last + 1
    people = population.people(rng, size, first=number * SIZE, begin=begin, start=start, end=end)
    state = population.first_state(rng, people, begin=begin)
    plan = Plan(campaigns, retentions, _held_out(seed, people), _stream(seed, 4), _stream(seed, 6), start)
    asked, joining = loyalty.invited(_stream(seed, 5), people, ~plan.held_out)
    rows: dict[str, list[Rows]] = {}
    truth: dict[str, list[Rows]] = {}
    for position, quarter in enumerate(over):
        if position == WARM_UP:
            state.member = joining
            _add(rows, "children", _first_children(rng, people, state, at=start))
            known = np.flatnonzero(people.since < start)
            _add(rows, "clients", _client_rows(people, state, known, people.since[known]))
            _add(rows, "held_out", events.held_out(people, state, plan.held_out, start=start))
            _add(rows, "invited", loyalty.invitation(people, state, asked, ~plan.held_out, start=start))
        recorded, found = _quarter(rng, people, state, plan, quarter=quarter, position=position - WARM_UP)
        for name, part in recorded.items():
            _add(rows, name, part)
        for name, part in found.items():
            _add(truth, name, part)
    return Block(number, seed, end * events.DAY, people, state, _join(rows), _join(truth))


def _held_out(seed: np.random.SeedSequence, people: People) -> NDArray[np.bool_]:
    """Return who is in the universal hold-out; both records of a person are, or neither."""
    drawn = _stream(seed, 3).random(people.size) < HOLD_OUT
    return np.where(people.twin >= 0, drawn[people.twin], drawn)


def _quarter(
    rng: np.random.Generator,
    people: People,
    state: State,
    plan: Plan,
    *,
    quarter: Quarter,
    position: int,
) -> tuple[dict[str, Rows], dict[str, Rows]]:
    """Live through one quarter; return what is recorded and what is true of it."""
    running = [(k, campaign) for k, campaign in enumerate(plan.campaigns) if campaign.quarter == position]
    keeping = [k for k, campaign in enumerate(plan.retentions) if campaign.quarter == position]
    outcome = quarters.decide(
        rng,
        people,
        state,
        quarter=quarter,
        campaigns=[campaign for _, campaign in running],
        held_out=plan.held_out,
        keeper=plan.keeper if keeping else None,
    )
    known = state.holdings.customer.size
    quarters.settle(rng, people, state, outcome, quarter=quarter)
    changed, born = quarters.live(rng, people, state, quarter=quarter)
    rows = {
        "operations": events.transactions(rng, people, state, quarter=quarter),
        "balances": events.balances(rng, people, state, quarter=quarter),
        "visits": events.visits(rng, people, state, outcome, quarter=quarter),
    }
    rows["service"], rows["complaints"] = events.service(rng, people, state, quarter=quarter)
    rows["members"], rows["campaign_contacts"] = events.campaign_rows(rng, state, outcome, running, quarter=quarter)
    rows["requests"] = events.applications(rng, state, outcome, quarter=quarter, known=known)
    if not quarter.recorded:
        return {}, {}
    for k in keeping:
        made = events.retention_rows(plan.keeper, people, state, outcome.kept, number=k, quarter=quarter)
        rows["retained"], rows["retention_contacts"] = made
    talker = plan.talker
    rows["answers"], outcome.truth["loyalty"] = loyalty.answers(talker, people, state, rows["service"], quarter=quarter)
    rows["mentions"] = loyalty.mentions(talker, people, state, quarter=quarter)
    rows["points"] = loyalty.points(talker, people, state, rows["operations"], quarter=quarter, start=plan.start)
    joined = (people.since >= quarter.first) & (people.since <= quarter.last)
    who = np.flatnonzero(joined | (changed > 0))
    rows["clients"] = _client_rows(people, state, who, np.where(joined, people.since, changed)[who])
    parents = np.flatnonzero(born & (changed > 0) & ~joined)
    rows["children"] = {"customer": parents, "born": changed[parents], "valid_from": changed[parents]}
    return rows, outcome.truth


def _client_rows(people: People, state: State, who: NDArray[np.int64], valid_from: Ints) -> Rows:
    """Return rows of attributes as they are now; from here on the bank goes by these incomes."""
    state.shown_income[who] = state.income[who]
    names = ("income", "employment", "marital", "kids", "region", "town")
    favourite = np.digitize(state.digital[who], (0.3, 0.5, 0.7))
    changing = {name: getattr(state, name)[who] for name in names}
    return {"customer": who, "valid_from": valid_from, "favourite": favourite, **changing}


def _first_children(rng: np.random.Generator, people: People, state: State, *, at: int) -> Rows:
    """Return the children the bank knows by birth date when the records begin: four in five."""
    parents = np.repeat(np.arange(people.size), state.kids)
    parents = parents[(rng.random(parents.size) < 0.8) & (people.since[parents] < at)]
    years = np.minimum((at - people.birth[parents]) / 365.25 - 18, 18)
    born = at - 30 - (rng.random(parents.size) * np.maximum(years, 0.3) * 365.25).astype(np.int32)
    return {"customer": parents, "born": born, "valid_from": np.maximum(people.since[parents], born)}


def _add(into: dict[str, list[Rows]], name: str, part: Rows) -> None:
    if part:
        into.setdefault(name, []).append(part)


def _join(parts: dict[str, list[Rows]]) -> dict[str, Rows]:
    return {
        name: {column: np.concatenate([part[column] for part in found]) for column in found[0]}
        for name, found in parts.items()
    }
