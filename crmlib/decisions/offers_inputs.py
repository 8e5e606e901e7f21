"""What the best offers are chosen from: scores, values, eligibility, contact policy and limits, as one problem."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from crmlib.decisions import eligibility, policy, value
from crmlib.decisions.allocation import CHUNK, Chunk, Problem
from crmlib.errors import DataError, NotFoundError
from crmlib.store import score_sets
from crmlib.store.tables import ScoreSet
from crmlib.warehouse.company import Company
from crmlib.warehouse.snapshot import Snapshot

_NO_LIMIT = np.iinfo(np.int16).max


@dataclass(frozen=True, eq=False)
class Scores:
    """The scores that offers rest on.

    Attributes: ``propensity`` and ``uplift`` (None where there is none of the date) as tables, with their sets' rows.
    """

    propensity: pd.DataFrame
    propensity_set: ScoreSet
    uplift: pd.DataFrame | None
    uplift_set: ScoreSet | None


@dataclass(frozen=True, eq=False)
class Inputs:
    """All that decides, for the customers of ``worth.customers``, who stand household by household.

    Attributes: ``worth`` values of all offers by the channels that anybody permits; ``product_code`` (customers × products, uint8) why a product is refused,
    0: it is not, as a place in ``meanings``; ``permitted`` the policy's answer by customer and channel, and
    ``channel_open`` (customers × channels) its yes or no; ``household`` numbers; ``slots`` by customer and
    ``household_slots`` by household (each None without such a limit), ``channel_slots`` and ``household_channel_slots``
    (channels × customers) the same by channel; ``supply`` pieces left by product, infinite without a limit.
    """

    worth: value.Matrix
    product_code: np.ndarray
    meanings: list[str]
    permitted: pd.DataFrame
    channel_open: np.ndarray
    household: np.ndarray
    slots: np.ndarray | None
    household_slots: np.ndarray | None
    channel_slots: np.ndarray | None
    household_channel_slots: np.ndarray | None
    supply: np.ndarray


def scores(data: Path, snapshot: Snapshot) -> Scores:
    """Return the newest scores of the snapshot's day; raises DataError where there are only those of another one."""
    try:
        found = score_sets.newest(data, "propensity", as_of=snapshot.as_of)
    except NotFoundError:
        other = score_sets.newest(data, "propensity")  # where there is none at all, its own sentence says so
        raise DataError(
            f"the newest propensity scores are as of {other.as_of}, the snapshot is as of {snapshot.as_of}; "
            "score that day with `crm score --as-of`, or take the snapshot of the scores' day"
        ) from None
    table = score_sets.read(data, found, columns=["customer_id", "product_id", "score"])
    try:
        added = score_sets.newest(data, "uplift", as_of=snapshot.as_of)
    except NotFoundError:
        return Scores(table, found, None, None)
    uplift = score_sets.read(data, added, columns=["customer_id", "product_id", "channel", "score"])
    return Scores(table, found, uplift, added)


def gather(
    snapshot: Snapshot,
    scored: Scores,
    *,
    company: Company,
    k: int,
    since: pd.DataFrame | None = None,
    rules: pd.DataFrame | None = None,
    resting: pd.DataFrame | None = None,
) -> Inputs:
    """Read what decides about all scored customers.

    ``since`` are contacts the warehouse does not hold yet, ``rules`` those of eligibility (None: of the product table);
    ``resting`` what customers lately answered to, as of ``desk_events.resting``.
    """
    past = policy.history(snapshot, company=company, since=since)
    everyone = pd.Index(past.customers["customer_id"])
    place = everyone.get_indexer(pd.Index(scored.propensity["customer_id"].unique()))
    has_score = np.zeros(len(everyone), bool)
    has_score[place[place >= 0]] = True
    rows = np.flatnonzero(has_score & ~past.customers["left"].to_numpy(bool))
    rows = rows[np.argsort(past.customers["household"].to_numpy()[rows], kind="stable")]
    customers = everyone[rows]
    permitted = policy.judged(past, pd.DataFrame({"customer_id": customers}), company=company)
    every = sorted(company.contact_costs_minor)
    # The answer comes channel by channel, in the order of the customers asked about.
    is_open = permitted["allowed"].to_numpy(bool).reshape(len(every), len(customers)).T
    used = [place for place in range(len(every)) if is_open[:, place].any()] or list(range(len(every)))
    channels = [every[place] for place in used]
    sold = value.terms(snapshot.table("products"), company=company)
    worth = value.matrix(
        scored.propensity, terms=sold, company=company, customers=customers, channels=channels, uplift=scored.uplift
    )
    code, meanings = _product_codes(snapshot, worth, rules, resting)
    household = past.customers["household"].to_numpy()[rows]
    left = _contacts_left(past, company, rows, channels=channels, k=k)
    return Inputs(
        worth, code, meanings, permitted, is_open[:, used], household, *left, _supply(snapshot, worth.products)
    )


def _product_codes(
    snapshot: Snapshot, worth: value.Matrix, rules: pd.DataFrame | None, resting: pd.DataFrame | None
) -> tuple[np.ndarray, list[str]]:
    """Return why each product is refused to each customer: by eligibility, for want of a score, by an answer at the desk."""
    judged = eligibility.matrix(snapshot, products=worth.products, rules=rules)
    place = pd.Index(judged.customer_ids).get_indexer(worth.customers)
    column = pd.Index(judged.product_ids).get_indexer(pd.Index(worth.products))
    codes = judged.codes[np.ix_(place, column)]
    meanings = [*judged.meanings, "not_scored"]
    codes[(codes == 0) & np.isnan(worth.probability)] = len(meanings) - 1
    if resting is not None and len(resting):
        said = sorted(set(resting["code"]))
        number = len(meanings) + pd.Index(said).get_indexer(pd.Index(resting["code"]))
        row = worth.customers.get_indexer(pd.Index(resting["customer_id"]))
        column = pd.Index(worth.products).get_indexer(pd.Index(resting["product_id"]))
        asked = (row >= 0) & (column >= 0)
        row, column, number = row[asked], column[asked], number[asked]
        codes[row, column] = np.where(codes[row, column] == 0, number, codes[row, column])
        meanings += said
    return codes, meanings


def _contacts_left(
    past: policy.History, company: Company, rows: np.ndarray, *, channels: list[str], k: int
) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None, np.ndarray | None]:
    """Return how many contacts are left by customer, household, and for both by channel; None where it cannot matter."""
    household = past.customers["household"].to_numpy()[rows]
    stated = {(limit.per, limit.channel) for limit in company.contact_policy.limits}

    def left(per: str, channel: str = "") -> np.ndarray:
        found = policy.contacts_left(past, company=company, per=per, channel=channel)
        return found[rows] if per == "customer" else found[household]

    def by_channel(per: str) -> np.ndarray | None:
        if not any((per, channel) in stated for channel in channels):
            return None
        return np.stack([left(per, channel) for channel in channels])

    slots = left("customer") if ("customer", "") in stated else None
    together = left("household") if ("household", "") in stated else None
    # With one offer a customer a limit on his own contacts by a channel is a matter of permission only.
    return slots, together, by_channel("customer") if k > 1 else None, by_channel("household")


def _supply(snapshot: Snapshot, products: list[str]) -> np.ndarray:
    remaining = eligibility.supply(snapshot).set_index("product_id")["remaining"].reindex(products)
    return remaining.astype("Float64").fillna(np.inf).to_numpy(float)


def chunks(inputs: Inputs) -> Iterator[Chunk]:
    """Give the customers in chunks of whole households, with the values of the offers that may be made to them."""
    total = len(inputs.worth.customers)
    starts = np.flatnonzero(np.diff(inputs.household, prepend=-1))
    edges = np.unique(np.append(starts, total)[np.searchsorted(starts, np.arange(0, total, CHUNK))])
    for low, high in zip(edges, [*edges[1:], total], strict=True):
        rows = slice(int(low), int(high))
        of = inputs.household[rows]

        def part(values: np.ndarray | None, rows: slice = rows) -> np.ndarray | None:
            return None if values is None else values[..., rows]

        yield Chunk(
            possible(inputs, rows),
            _weights(inputs, rows),
            part(inputs.slots),
            None if inputs.household_slots is None and inputs.household_channel_slots is None else of,
            _household_slots(inputs, rows),
            part(inputs.channel_slots),
            part(inputs.household_channel_slots),
        )


def _household_slots(inputs: Inputs, rows: slice) -> np.ndarray | None:
    if inputs.household_slots is None and inputs.household_channel_slots is None:
        return None
    count = len(inputs.household[rows])
    return np.full(count, _NO_LIMIT) if inputs.household_slots is None else inputs.household_slots[rows]


def possible(inputs: Inputs, rows: slice | np.ndarray) -> np.ndarray:
    """Return the values of the offers that may be made (offers × customers), -inf where one may not."""
    found = value.values(inputs.worth, rows)
    open_product = np.repeat(inputs.product_code[rows].T == 0, len(inputs.worth.channels), axis=0)
    open_channel = np.tile(inputs.channel_open[rows].T, (len(inputs.worth.products), 1))
    return np.where(open_product & open_channel & ~np.isnan(found), found, np.float32(-np.inf))


def open_offers(inputs: Inputs) -> np.ndarray:
    """Return which offers eligibility and contact policy allow: customers × products × channels, bool."""
    return (inputs.product_code == 0)[:, :, None] & inputs.channel_open[:, None, :]


def _weights(inputs: Inputs, rows: slice) -> np.ndarray | None:
    """Return the expected purchases: what an offer takes of a product's supply."""
    if np.isinf(inputs.supply).all():
        return None
    chance = np.nan_to_num(inputs.worth.probability[rows])
    return np.ascontiguousarray(np.repeat(chance.T, len(inputs.worth.channels), axis=0))


def problem(inputs: Inputs, *, budget_minor: float | None, capacities: dict[str, int], k: int) -> Problem:
    """Return the problem of allocation: resources are the capacities by channel, the budget, the supply by product."""
    products, channels = len(inputs.worth.products), inputs.worth.channels
    product, channel = np.repeat(np.arange(products), len(channels)), np.tile(np.arange(len(channels)), products)
    by_channel = (channel == np.arange(len(channels))[:, None]).astype(float)
    cost = inputs.worth.cost_minor[channel]
    by_product = (product == np.arange(products)[:, None]).astype(float)
    nothing = np.zeros((len(channels) + 1, products * len(channels)))
    limits = [float(capacities.get(name, np.inf)) for name in channels]
    budget = np.inf if budget_minor is None else float(budget_minor)
    return Problem(
        chunks=lambda: chunks(inputs),
        product=product,
        uses=np.vstack([by_channel, cost, np.zeros_like(by_product)]),
        weighted=np.vstack([nothing, by_product]),
        limits=np.array([*limits, budget, *inputs.supply]),
        k=k,
        channel=channel,
    )


def company_of(data: Path, snapshot: Snapshot) -> Company:
    """Return the company as the data folder's file says now, else as the warehouse was built with."""
    from crmlib.warehouse import company as companies  # noqa: PLC0415  the name is taken by what it makes

    own = data / "company.toml"
    return companies.read(own) if own.exists() else snapshot.warehouse.company
