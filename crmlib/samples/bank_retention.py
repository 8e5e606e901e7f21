"""Retention campaigns of the sample bank: whom it tries to keep, what that changes, who leaves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crmlib.samples import bank_model as model
from crmlib.samples.bank_model import Floats
from crmlib.samples.bank_state import Ints, People, Quarter, State

_CONSENTS = [model.CONTACT_KINDS.index(kind) for kind in model.RETENTION_KINDS]


@dataclass(frozen=True)
class Retention:
    """A campaign to keep customers: its number among the recorded quarters."""

    campaign_id: str
    quarter: int


@dataclass(frozen=True)
class Keeping:
    """Who is selected: ``arm`` 0 not, 1 + kind contacted, -1 control; ``chance`` of a contact (kinds × customers)."""

    arm: Ints
    chance: Floats


@dataclass(frozen=True)
class Departures:
    """Who leaves in a quarter (``left`` a day or 0) and why; ``leaving`` the probabilities by reason (customers × reasons).

    ``by_arm`` are the probabilities of leaving for whatever reason: left alone, then after a contact of each kind.
    """

    left: Ints
    reason: Ints
    leaving: Floats
    by_arm: Floats


def plan(quarters: int) -> list[Retention]:
    """Return the retention campaigns: one in every recorded quarter, from the second on."""
    return [Retention(f"R{quarter + 1:02d}-1", quarter) for quarter in range(1, quarters)]


def select(
    rng: np.random.Generator, people: People, given: dict[str, Floats], able: NDArray[np.bool_], *, at: int
) -> Keeping:
    """Draw who of those ``able`` to be contacted at all is selected, and by which of the kinds consented to."""
    silent = ((people.withdrawn > 0) & (people.withdrawn < at)) | (people.objects & (people.objected < at))
    allowed = people.consents[:, _CONSENTS] & (able & ~silent)[:, None]
    count = allowed.sum(axis=1)
    chosen = rng.random(people.size) < model.retention_selection(given) * (count > 0)
    kind = np.where(allowed[:, 0] & (~allowed[:, 1] | (rng.random(people.size) < 0.5)), 1, 2)
    control = rng.random(people.size) < model.RETENTION_CONTROL
    share = np.divide(allowed, count[:, None], out=np.zeros(allowed.shape), where=count[:, None] > 0)
    chance = (1 - model.RETENTION_CONTROL) * (share * model.retention_selection(given)[:, None]).T
    return Keeping(np.where(chosen, np.where(control, -1, kind), 0).astype(np.int32), chance)


def nobody(size: int) -> Keeping:
    """Return the selection of a quarter without a retention campaign."""
    return Keeping(np.zeros(size, dtype=np.int32), np.zeros((len(model.RETENTION_KINDS), size)))


def departures(
    rng: np.random.Generator, people: People, state: State, hazards: Floats, *, keeping: Keeping, quarter: Quarter
) -> Departures:
    """Draw who leaves when and why, under the integrated ``hazards`` (customers × reasons) of those left alone."""
    scaled = [hazards, *(hazards * np.exp(effect) for effect in model.retention_effects(people))]
    leaving = np.stack([_leaving(each) for each in scaled])
    size = people.size
    mine = leaving[np.maximum(keeping.arm, 0), np.arange(size)]
    draw, day = rng.random(size), rng.random(size)
    edges: Floats = np.cumsum(mine, axis=1)
    leaves = (draw < edges[:, -1]) & state.present(people, quarter.first)
    reason = np.where(leaves, (draw[:, None] >= edges).sum(axis=1), 0).astype(np.int32)
    left = np.where(leaves, quarter.first + (day * quarter.days).astype(np.int32), 0).astype(np.int32)
    alone = 1 - keeping.chance.sum(axis=0)
    mixture = alone[:, None] * leaving[0] + (keeping.chance[:, :, None] * leaving[1:]).sum(axis=0)
    return Departures(left, reason, mixture, leaving.sum(axis=2))


def _leaving(hazards: Floats) -> Floats:
    """Return the probability of leaving in the quarter by reason, of competing integrated hazards."""
    total = hazards.sum(axis=1)
    return hazards * ((1 - np.exp(-total)) / total)[:, None]
