"""The best offers for all customers at once: most profit under capacities, a budget, supply and the contact policy."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crmlib.decisions import allocation, desk_events, eligibility, offers_inputs, value
from crmlib.decisions.allocation import Allocation
from crmlib.decisions.offers_inputs import Inputs, Scores
from crmlib.errors import UsageError
from crmlib.warehouse.company import Company
from crmlib.warehouse.snapshot import Snapshot

COLUMNS = ["customer_id", "as_of", "rank", *value.COLUMNS[1:], "price_minor", "net_minor"]
RESOURCES = ["kind", "name", "limit", "used", "price_minor", "price_per_hour_minor"]


@dataclass(frozen=True, eq=False)
class BestOffers:
    """The offers chosen, and what they rest on.

    Attributes: ``offers`` one row an offer, the columns of ``COLUMNS`` (``rank`` counts a customer's offers by what they
    leave, ``net_minor`` = value less ``price_minor``, what its scarce resources would earn elsewhere); ``resources`` one
    row a limit, the columns of ``RESOURCES`` (kind capacity, budget or supply; price of one more unit, and for a capacity
    of one more hour of work); ``value_minor`` expected profit of all, ``bound_minor`` what no choice can exceed, ``gap``
    the share of it that is at most missing; ``settings`` all that was asked for; ``inputs`` and ``allocation`` for the log.
    """

    offers: pd.DataFrame
    resources: pd.DataFrame
    value_minor: float
    bound_minor: float
    gap: float
    settings: dict[str, Any]
    inputs: Inputs
    allocation: Allocation


def best_offers(
    snapshot: Snapshot,
    data: Path,
    *,
    budget_minor: int | None = None,
    capacities: dict[str, int] | None = None,
    k: int = 1,
    company: Company | None = None,
    since: pd.DataFrame | None = None,
) -> BestOffers:
    """Return at most ``k`` offers for each customer that together earn most.

    In: ``data`` folder with the scores of the snapshot's day (uplift where saved, else propensity); ``budget_minor`` for
    the cost of all contacts (None: no limit); ``capacities`` contacts by channel (None: the company's; a channel not
    named has no limit); ``company`` instead of the data folder's; ``since`` contacts the warehouse does not hold yet, see
    ``policy.permitted``. The company's own rules of eligibility count where the folder has them, and what
    customers lately answered at the desk. Every offer is one contact, and counts against the limits of the contact policy.

    Raises UsageError for a k below 1, a budget or capacities of nothing, a negative one and an unknown channel, DataError
    where the scores are of another day, NotFoundError where there are none.
    """
    company = company or offers_inputs.company_of(data, snapshot)
    limits = dict(company.capacities if capacities is None else capacities)
    check(k=k, budget_minor=budget_minor, capacities=limits, company=company)
    scored = offers_inputs.scores(data, snapshot)
    rules = eligibility.rules(snapshot, file=data / eligibility.RULES_FILE)
    resting = desk_events.resting(data, as_of=snapshot.as_of)
    inputs = offers_inputs.gather(snapshot, scored, company=company, k=k, since=since, rules=rules, resting=resting)
    problem = offers_inputs.problem(inputs, budget_minor=budget_minor, capacities=limits, k=k)
    found = allocation.solve(problem)
    resources = _resources(inputs, found, company)
    return BestOffers(
        offers=_offers(inputs, found, snapshot),
        resources=resources,
        value_minor=found.value,
        bound_minor=found.bound,
        gap=found.gap,
        settings=_settings(snapshot, scored, company, {"k": k, "budget_minor": budget_minor, "capacities": limits}),
        inputs=inputs,
        allocation=found,
    )


def check(*, k: int, budget_minor: int | None, capacities: dict[str, int], company: Company) -> None:
    """Refuse limits under which no offer can be made, or that mean nothing."""
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise UsageError(f"k is {k!r}; give the most offers a customer may get, 1 or more")
    if budget_minor is not None and not budget_minor > 0:
        raise UsageError(
            f"budget_minor is {budget_minor}, so no contact could be paid; "
            "give an amount above zero, or leave it out for no limit"
        )
    known = company.contact_costs_minor
    if not known:
        raise UsageError(
            "contact_costs_minor names no channel, so no contact could be made; give the cost of a contact by at least one "
            "channel in company.toml"
        )
    unknown = sorted(set(capacities) - set(known))
    if unknown:
        raise UsageError(
            f"capacities: channel {unknown[0]!r} has no cost of contact; known are {', '.join(sorted(known))} "
            "(contact_costs_minor in company.toml)"
        )
    for name, contacts in capacities.items():
        if not contacts >= 0:
            raise UsageError(f"capacities: {name} is {contacts}; give the contacts it can make, 0 or more")
    if all(capacities.get(name) == 0 for name in known):
        raise UsageError(
            "capacities: there is none, every channel has 0 contacts, so no offer could be made; "
            "give one of them contacts, or leave a channel out for no limit"
        )


def _offers(inputs: Inputs, found: Allocation, snapshot: Snapshot) -> pd.DataFrame:
    place, customer = np.nonzero(found.picked >= 0)
    table = described(inputs, customer, found.picked[place, customer].astype(int), found.prices)
    order = table.assign(row=customer).sort_values(["row", "net_minor", "product_id"], ascending=[True, False, True])
    ranked = order.assign(rank=order.groupby("row").cumcount() + 1, as_of=pd.Timestamp(snapshot.as_of).as_unit("us"))
    return ranked.sort_values(["customer_id", "rank"], ignore_index=True)[COLUMNS]


def described(inputs: Inputs, customer: np.ndarray, offer: np.ndarray, prices: np.ndarray) -> pd.DataFrame:
    """Return the columns of ``COLUMNS`` but rank and as_of for offers (places) to customers (places)."""
    worth, channels = inputs.worth, len(inputs.worth.channels)
    product, channel = offer // channels, offer % channels
    probability = worth.probability[customer, product].astype(float)
    uplift = np.full(len(offer), np.nan)
    if worth.uplift is not None:
        uplift = worth.uplift[customer, product, channel].astype(float)
    chance = np.where(np.isnan(uplift), probability, uplift)
    cost, lever = worth.cost_minor[channel], worth.lever[product]
    gain = chance * worth.margin_minor[product] * worth.retention[product]
    price = prices[channel] + prices[channels] * cost + prices[channels + 1 + product] * probability
    return pd.DataFrame(
        {
            "customer_id": worth.customers.to_numpy()[customer],
            "product_id": np.array(worth.products, object)[product],
            "channel": np.array(worth.channels, object)[channel],
            "probability": probability,
            "uplift": uplift,
            "basis": np.where(np.isnan(uplift), "probability", "uplift"),
            "margin_minor": worth.margin_minor[product],
            "retention": worth.retention[product],
            "cost_minor": cost,
            "lever": lever,
            "value_minor": lever * gain - cost,
            "unlevered_minor": gain - cost,
            "price_minor": price,
            "net_minor": lever * gain - cost - price,
        }
    ).astype({"product_id": "str", "channel": "str", "basis": "str"})


def _resources(inputs: Inputs, found: Allocation, company: Company) -> pd.DataFrame:
    channels, products = inputs.worth.channels, inputs.worth.products
    names = [*channels, company.currency, *products]
    kinds = ["capacity"] * len(channels) + ["budget"] + ["supply"] * len(products)
    minutes = [company.contact_minutes.get(name, 0.0) for name in channels] + [0.0] * (1 + len(products))
    with np.errstate(divide="ignore", invalid="ignore"):
        hourly = np.where(np.array(minutes) > 0, found.prices * 60 / np.array(minutes), np.nan)
    table = pd.DataFrame(
        {
            "kind": kinds,
            "name": names,
            "limit": found.limits,
            "used": found.used,
            "price_minor": found.prices,
            "price_per_hour_minor": hourly,
        }
    )
    return table[(table["kind"] != "supply") | np.isfinite(table["limit"])].reset_index(drop=True)[RESOURCES]


def _settings(snapshot: Snapshot, scored: Scores, company: Company, asked: dict[str, Any]) -> dict[str, Any]:
    """Return what the decision was made with, for the record."""
    uplift = scored.uplift_set
    return {
        **asked,
        "as_of": str(snapshot.as_of),
        "currency": company.currency,
        "horizon_months": company.horizon_months,
        "annual_discount": company.annual_discount,
        "monthly_retention": company.monthly_retention,
        "product_retention": company.product_retention,
        "levers": company.levers,
        "contact_costs_minor": company.contact_costs_minor,
        "contact_policy": company_policy_json(company),
        "scores": {
            "propensity": scored.propensity_set.score_set_id,
            "uplift": None if uplift is None else uplift.score_set_id,
            "model_version": scored.propensity_set.model_version,
            "warehouse_version": scored.propensity_set.warehouse_version,
        },
    }


def settings(best: BestOffers) -> dict[str, Any]:
    """Return what was asked for and what came of it as plain data, for the record of the decision."""
    limited = best.resources.astype(object).where(best.resources.notna() & (best.resources != np.inf), None)
    return {
        **best.settings,
        "value_minor": best.value_minor,
        "bound_minor": best.bound_minor,
        "gap": best.gap,
        "offers": len(best.offers),
        "resources": limited.to_dict("records"),
    }


def company_policy_json(company: Company) -> dict[str, Any]:
    """Return the contact policy as plain data, without the key of the hold-out."""
    told = json.loads(company.to_json())["contact_policy"]
    return {name: setting for name, setting in told.items() if name != "holdout_key"}
