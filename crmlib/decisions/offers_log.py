"""The log of best offers: every customer's best candidates with what would flip them, and why the others were dropped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from crmlib.decisions import allocation_inner as inner
from crmlib.decisions import decision_log, offers_inputs
from crmlib.decisions.allocation import Chunk, Problem
from crmlib.decisions.offers import BestOffers, described
from crmlib.decisions.offers_inputs import Inputs

BLOCK = 100_000
"""Customers whose rows are made at a time: what is in the making takes several times the memory of what is made."""
KEPT = 3
"""Candidates kept for each customer beside the offers made, so that a log stays bounded."""


def log(best: BestOffers, *, kept: int = KEPT) -> pd.DataFrame:
    """Return the decision log of best offers, the columns of ``decision_log.COLUMNS``.

    Rows by customer: one for each offer made (decision "offered", code "best"), for each of the ``kept`` next best
    candidates ("ranked": "outranked" by a better offer, "other_channel" of an offer made, "scarce": it earns less than
    what it would take away from others, "unprofitable": less than nothing, "household": the household's contacts go to
    better offers, "rounding": its like got the last of something), and for each reason why products or a channel were
    dropped ("dropped", with the code of eligibility or contact policy and, in ``products``, which).
    """
    asked, inputs, prices = best.settings, best.inputs, best.allocation.prices
    problem = offers_inputs.problem(
        inputs, budget_minor=asked["budget_minor"], capacities=asked["capacities"], k=asked["k"]
    )
    parts, before = [], 0
    for chunk in problem.chunks():
        picked = best.allocation.picked[:, before : before + chunk.values.shape[1]]
        part = _ranked(problem, chunk, picked, prices, kept)
        parts.append(part.assign(row=part["row"] + before))
        before += picked.shape[1]
    table = pd.concat(parts, ignore_index=True)
    blocks = _blocks(inputs.worth.customers)
    return pd.concat([_told(best, table[own[table["row"].to_numpy()]], own) for own in blocks], ignore_index=True)


def _blocks(customers: pd.Index) -> Iterator[np.ndarray]:
    """Yield which customers belong to each block, in the order of their numbers; at least one block."""
    place = np.empty(len(customers), dtype=np.int64)
    place[customers.argsort()] = np.arange(len(customers))
    for first in range(0, max(len(customers), 1), BLOCK):
        yield (place >= first) & (place < first + BLOCK)


def _told(best: BestOffers, table: pd.DataFrame, own: np.ndarray) -> pd.DataFrame:
    """Return the rows of a block of customers, who are true in ``own``; ``table`` holds their candidates."""
    asked, inputs, prices = best.settings, best.inputs, best.allocation.prices
    table = table.reset_index(drop=True)
    told = described(inputs, table["row"].to_numpy(), table["offer"].to_numpy(), prices)
    candidates = _flipped(inputs, pd.concat([told, table], axis=1), prices)
    parts = [candidates, _dropped_products(inputs, own), _dropped_channels(inputs, own)]
    whole = pd.concat(parts, ignore_index=True)
    texts = ["product_id", "channel", "detail", "products", "basis"]
    for name in texts:
        whole[name] = whole[name].astype(object).where(whole[name].notna(), "")
    order = whole["decision"].map({"offered": 0, "ranked": 1, "dropped": 2})
    whole = whole.assign(order=order, as_of=pd.Timestamp(asked["as_of"]).as_unit("us"))
    whole = whole.sort_values(["customer_id", "order", "rank"], kind="stable", ignore_index=True)
    # What a block has none of must not change the type of a column.
    types = {"rank": "Int16", "until": "datetime64[us]", **dict.fromkeys(["customer_id", *texts], "str")}
    return whole.astype(types)[decision_log.COLUMNS]


def _flipped(inputs: Inputs, table: pd.DataFrame, prices: np.ndarray) -> pd.DataFrame:
    """Add at which chance and at which cost of contact each decision would turn, and what was too scarce."""
    channels, products = len(inputs.worth.channels), len(inputs.worth.products)
    product, channel = table["offer"] // channels, table["offer"] % channels
    of_supply = prices[channels + 1 + product.to_numpy()]
    uplifted = table["basis"] == "uplift"
    chance = table["uplift"].where(uplifted, table["probability"])
    # What one more of chance is worth: a probability also takes of the supply.
    slope = table["lever"] * table["margin_minor"] * table["retention"] - np.where(uplifted, 0.0, of_supply)
    change = table["flip_minor"].where(table["decision"] != "offered", -table["flip_minor"])
    pulls = [prices[channel], prices[channels] * table["cost_minor"], of_supply * table["probability"]]
    kind = np.argmax(np.stack([np.asarray(part, float) for part in pulls]), axis=0)
    place = np.choose(kind, [channel, np.full(len(table), channels), channels + 1 + product])
    names = [("capacity", name) for name in inputs.worth.channels] + [("budget", "")]
    names += [("supply", name) for name in inputs.worth.products]
    assert len(names) == channels + 1 + products
    words = np.array([json.dumps({"resource": kind, "name": name}) for kind, name in names], object)
    return table.assign(
        flip_chance=chance + change / slope,
        flip_cost_minor=table["cost_minor"] - change / (1 + prices[channels]),
        detail=np.where(table["code"] == "scarce", words[place], ""),
    )


def _ranked(problem: Problem, chunk: Chunk, picked: np.ndarray, prices: np.ndarray, kept: int) -> pd.DataFrame:
    """Return the offers made and the next best candidates of a chunk: row, offer, rank, decision, code, flip_minor."""
    left = _finite(inner.reduced(problem, chunk, prices))
    made = inner.mask(picked, len(left))
    count = min(problem.k + kept, len(left))
    # Offers made come first even where rounding let a better one go.
    shown = np.where(made, left + 1e15, left)
    order = np.argpartition(-shown, count - 1, axis=0)[:count]
    order = np.take_along_axis(order, np.argsort(-np.take_along_axis(shown, order, axis=0), axis=0, kind="stable"), 0)
    customer = np.broadcast_to(np.arange(left.shape[1]), order.shape)
    keep = np.isfinite(np.take_along_axis(left, order, axis=0))
    rank = np.broadcast_to(np.arange(1, count + 1)[:, None], order.shape)[keep]
    offer, customer = order[keep], customer[keep]
    code, bar = _why(problem, chunk, left, made, (offer, customer))
    chosen = made[offer, customer]
    table = pd.DataFrame(
        {
            "row": customer,
            "offer": offer,
            "rank": rank,
            "decision": np.where(chosen, "offered", "ranked"),
            "code": code,
            "flip_minor": np.maximum(np.where(chosen, left[offer, customer] - bar, bar - left[offer, customer]), 0),
        }
    )
    beyond = (chosen & (rank > problem.k)) | (~chosen & (rank > problem.k + kept))
    return table[~beyond].reset_index(drop=True)


def _finite(left: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(left), -np.inf, left).astype(float)


def _why(
    problem: Problem, chunk: Chunk, left: np.ndarray, made: np.ndarray, entries: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Return for each candidate its code and what it would have to leave to change sides."""
    offer, customer = entries
    own, value, chosen = left[offer, customer], chunk.values[offer, customer], made[offer, customer]
    shape = (int(problem.product.max()) + 1, -1, left.shape[1])
    slots = np.full(left.shape[1], problem.k) if chunk.slots is None else np.minimum(chunk.slots, problem.k)
    full = made.sum(axis=0) >= slots
    sibling = np.where(made, left, -np.inf).reshape(shape).max(axis=1)
    weakest = np.where(made, left, np.inf).min(axis=0)
    free = np.where(made, -np.inf, left).reshape(shape).max(axis=1)
    untaken = np.where(np.isfinite(sibling), -np.inf, free).max(axis=0)
    shared = _household(chunk, made, weakest, np.where(full, -np.inf, untaken))
    # What is replaced is the weakest offer of the smallest group that is full: its product, its customer, its household.
    code, bar = np.full(len(offer), "rounding", object), np.zeros(len(offer))
    for name, where, needed in (
        ("scarce", own <= 0, bar),
        ("household", shared.full[customer], shared.weakest[customer]),
        ("outranked", full[customer] & np.isfinite(weakest[customer]), weakest[customer]),
        (
            "other_channel",
            np.isfinite(sibling[problem.product[offer], customer]),
            sibling[problem.product[offer], customer],
        ),
    ):
        code[where], bar = name, np.where(where, np.maximum(needed, 0.0), bar)
    code = np.where(value <= 0, "unprofitable", np.where(own <= 0, "scarce", code))
    rival = np.maximum(free[problem.product[offer], customer], np.where(full[customer], untaken[customer], -np.inf))
    rival = np.maximum(rival, np.where(shared.full[customer], shared.strongest[customer], -np.inf))
    return np.where(chosen, "best", code), np.where(chosen, np.maximum(rival, 0.0), bar)


@dataclass(frozen=True, eq=False)
class _Household:
    """By customer, of the household: its weakest offer made, its strongest candidate, whether its contacts are used up."""

    weakest: np.ndarray
    strongest: np.ndarray
    full: np.ndarray


def _household(chunk: Chunk, made: np.ndarray, weakest: np.ndarray, strongest: np.ndarray) -> _Household:
    count = made.shape[1]
    if chunk.household is None or chunk.household_slots is None or not count:
        return _Household(weakest, strongest, np.zeros(count, bool))
    starts = np.flatnonzero(np.diff(chunk.household, prepend=chunk.household[:1] - 1))
    sizes = np.diff(np.append(starts, count))
    used = np.repeat(np.add.reduceat(made.sum(axis=0), starts), sizes)
    return _Household(
        np.repeat(np.minimum.reduceat(weakest, starts), sizes),
        np.repeat(np.maximum.reduceat(strongest, starts), sizes),
        used >= chunk.household_slots,
    )


def _dropped_products(inputs: Inputs, own: np.ndarray) -> pd.DataFrame:
    """Return a row for each customer of ``own`` and reason of eligibility, with the products that it excludes."""
    names, codes = inputs.worth.products, inputs.product_code
    weight = 1 << np.arange(len(names), dtype=object) if len(names) > 62 else 1 << np.arange(len(names), dtype=np.int64)
    parts = []
    for number in np.unique(codes[codes > 0]):
        hit = codes == number
        row = np.flatnonzero(hit.any(axis=1) & own)
        sets, which = np.unique(hit[row] @ weight, return_inverse=True)
        words = [
            ", ".join(name for name, bit in zip(names, weight, strict=True) if int(one) & int(bit)) for one in sets
        ]
        parts.append(
            pd.DataFrame({"row": row, "code": inputs.meanings[number], "products": np.array(words, object)[which]})
        )
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame({"row": [], "code": [], "products": []})
    place = table["row"].to_numpy(int)
    return table.assign(customer_id=inputs.worth.customers.to_numpy()[place], decision="dropped")


def _dropped_channels(inputs: Inputs, own: np.ndarray) -> pd.DataFrame:
    """Return a row for each customer of ``own`` and channel that the contact policy refuses."""
    # The policy answers channel by channel, in the order of the customers.
    here = np.tile(own, len(inputs.permitted) // max(len(own), 1))
    refused = inputs.permitted[here & ~inputs.permitted["allowed"].to_numpy(bool)]
    return refused[["customer_id", "channel", "code", "detail", "until"]].assign(decision="dropped")
