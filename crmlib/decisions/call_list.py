"""Whom to contact about which product, by expected profit: probability × margin − cost of the contact.

The score is the probability of buying whatever the channel, so among the channels a customer consents to the cheapest
one earns most; a channel that costs more than the purchase is expected to bring is never chosen (a postcard, not a call).
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import pandas as pd

from crmlib.errors import DataError, UsageError
from crmlib.warehouse.company import Company
from crmlib.warehouse.snapshot import Snapshot

log = logging.getLogger(__name__)

PURPOSE = "marketing"
ALL_CHANNELS = "all"
LIST_COLUMNS = [
    *("product_id", "rank", "customer_id", "channel", "score", "low", "high"),
    *("cost_minor", "expected_profit_minor", "as_of", "model"),
]


def call_lists(
    snapshot: Snapshot,
    scores: pd.DataFrame,
    *,
    company: Company,
    channel: str | None = None,
    budget_minor: int | None = None,
) -> pd.DataFrame:
    """Return for each product the customers worth contacting, the most profitable first.

    Whom the contact policy leaves alone (``policy.permitted``: hold-out, complaints, limits) is not listed.

    In: ``scores`` with customer_id, as_of, model, product_id, score, low, high (probabilities); ``channel`` restricts
    the contacts to one channel, ``budget_minor`` the cost of each product's list (minor units of the company's
    currency). Out: one row per product and customer with the columns of ``LIST_COLUMNS``; ``rank`` counts from 1
    within a product, cost and profit are in minor units, and every expected profit is above zero.

    Raises UsageError for an unknown channel or a negative budget, DataError for a product without a usable margin.
    """
    from crmlib.decisions import policy  # noqa: PLC0415  the policy itself is built on the consents below

    if budget_minor is not None and budget_minor < 0:
        raise UsageError(f"budget_minor is {budget_minor}; give zero or more minor units")
    customers = snapshot.table("customers", ["customer_id"])["customer_id"]
    allowed = policy.reachable(snapshot, customers, company=company)
    earned = margins(snapshot.table("products"), company=company)
    found = candidates(scores, allowed, margins=earned, company=company, channel=channel)
    worth = found[found["expected_profit_minor"] > 0]
    listed = worth.sort_values(["product_id", "expected_profit_minor", "customer_id"], ascending=[True, False, True])
    listed = listed.assign(rank=listed.groupby("product_id").cumcount() + 1)
    if budget_minor is not None:
        listed = listed[listed.groupby("product_id")["cost_minor"].cumsum() <= budget_minor]
    return listed[[column for column in LIST_COLUMNS if column in listed]].reset_index(drop=True)


def permitted(
    consents: pd.DataFrame, customers: pd.Series, *, company: Company, purpose: str = PURPOSE
) -> pd.DataFrame:
    """Return the pairs of customer and channel that may be contacted for a ``purpose``.

    In: ``consents`` with customer_id, channel, purpose, changed_at, granted; ``customers`` all customer_ids in question.
    The latest statement on a channel decides, whether made for it or for "all"; of two at the same moment the
    objection. Without any, ``company.consent_when_missing`` decides. Out: customer_id, channel; the channels are
    those with a cost in ``company.contact_costs_minor``.
    """
    about = consents[consents["purpose"] == purpose]
    about = about.astype({"customer_id": object, "channel": object})  # sought several times quicker than Arrow texts
    every = customers.drop_duplicates().astype(object)
    parts = []
    for channel in company.contact_costs_minor:
        said = about[about["channel"].isin([channel, ALL_CHANNELS])]
        said = said.assign(granted=said["granted"].astype(bool))
        last = said.sort_values(["changed_at", "granted"], ascending=[True, False], kind="stable")
        last = last.drop_duplicates("customer_id", keep="last")
        if company.consent_when_missing == "granted":
            kept = every[~every.isin(last.loc[~last["granted"], "customer_id"])]
        else:
            kept = every[every.isin(last.loc[last["granted"], "customer_id"])]
        parts.append(pd.DataFrame({"customer_id": kept.to_numpy(), "channel": channel}))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["customer_id", "channel"])


def margins(products: pd.DataFrame, *, company: Company) -> pd.DataFrame:
    """Return what one sale of each product is expected to earn, in minor units of the company's currency.

    In: ``products`` with product_id, margin_minor and, where it differs from the company's, currency.
    ``company.margins_minor`` overrides the table. Out: product_id, margin_minor (float). Products without a margin are
    left out, and the log says which.

    Raises DataError for a currency without an exchange rate.
    """
    currency = products["currency"] if "currency" in products else pd.Series(None, index=products.index, dtype=object)
    rates = {company.currency: 1.0, **company.exchange_rates}
    currency = currency.fillna(company.currency)
    used = ~products["product_id"].isin(list(company.margins_minor)) & products["margin_minor"].notna()
    unknown = sorted(set(currency[used]) - set(rates))
    if unknown:
        raise DataError(
            f"table products, column currency: no exchange rate for {', '.join(unknown)}; "
            f"add it to exchange_rates in company.toml (worth of one unit in {company.currency})"
        )
    earned = products["margin_minor"].astype("Float64").astype(float) * currency.map(rates).fillna(1.0).astype(float)
    earned = products["product_id"].map(company.margins_minor).astype(float).fillna(earned)
    result = pd.DataFrame({"product_id": products["product_id"], "margin_minor": earned})
    missing = result.loc[result["margin_minor"].isna(), "product_id"].tolist()
    if missing:
        log.warning("no margin for %s: no call list for them", ", ".join(map(str, missing)))
    return result.dropna(subset=["margin_minor"]).drop_duplicates("product_id").reset_index(drop=True)


def candidates(
    scores: pd.DataFrame,
    allowed: pd.DataFrame,
    *,
    margins: pd.DataFrame,
    company: Company,
    channel: str | None = None,
) -> pd.DataFrame:
    """Return every scored customer who may be contacted, with the channel that earns most and what it earns.

    In: ``scores`` (customer_id, product_id, score, …), ``allowed`` from ``permitted``, ``margins`` from ``margins``.
    Out: the rows of ``scores`` that have a permitted channel and a margin, with channel, cost_minor and
    expected_profit_minor (float, may be negative) added.

    Raises UsageError for a channel without a cost.
    """
    costs = company.contact_costs_minor
    if channel is not None and channel not in costs:
        raise UsageError(
            f"channel {channel!r} has no cost of contact; known are {', '.join(sorted(costs))} (contact_costs_minor in company.toml)"
        )
    usable = allowed if channel is None else allowed[allowed["channel"] == channel]
    usable = usable.assign(cost_minor=usable["channel"].map(costs).astype(float))
    cheapest = usable.sort_values(["cost_minor", "channel"], kind="stable").drop_duplicates("customer_id")
    found = scores.merge(cheapest, on="customer_id", how="inner", validate="many_to_one")
    found = found.merge(margins, on="product_id", how="inner", validate="many_to_one")
    profit = found["score"].astype(float) * found["margin_minor"] - found["cost_minor"]
    return found.drop(columns="margin_minor").assign(expected_profit_minor=profit)


def profit_curve(
    scores: pd.DataFrame, *, margin_minor: float, contact_cost_minor: float | pd.Series | np.ndarray
) -> pd.DataFrame:
    """Return what contacting the first n customers is expected to bring, for every n from 0.

    In: ``scores`` of one product (score and, for a range, low and high: probabilities); ``margin_minor`` what a sale
    earns, ``contact_cost_minor`` what a contact costs, one number or one per row of ``scores``. Customers come in
    order of expected profit. Out: contacts, expected_buyers, cost_minor, profit_minor, all cumulative; with low and high
    also buyers_low, buyers_high, profit_low_minor, profit_high_minor: sums of the customers' own bounds, a cautious
    range since it lets all of them err the same way at once.

    >>> scores = pd.DataFrame({"score": [0.1, 0.4]})
    >>> profit_curve(scores, margin_minor=1000, contact_cost_minor=150)["profit_minor"].tolist()
    [0.0, 250.0, 200.0]
    """
    score = scores["score"].to_numpy(float)
    cost = np.broadcast_to(np.asarray(contact_cost_minor, float), score.shape)
    order = np.argsort(-(score * margin_minor - cost), kind="stable")
    run: Callable[[np.ndarray], np.ndarray] = lambda values: np.concatenate([[0.0], np.cumsum(values[order])])  # noqa: E731
    spent = run(cost)
    curve = {"contacts": np.arange(len(score) + 1), "expected_buyers": run(score), "cost_minor": spent}
    curve["profit_minor"] = curve["expected_buyers"] * margin_minor - spent
    for bound in ("low", "high"):
        if bound in scores:
            buyers = run(scores[bound].to_numpy(float))
            curve[f"buyers_{bound}"] = buyers
            curve[f"profit_{bound}_minor"] = buyers * margin_minor - spent
    return pd.DataFrame(curve)


def best_cutoff(curve: pd.DataFrame) -> int:
    """Return the number of contacts at which the profit of a ``profit_curve`` is highest; the smallest of several.

    >>> best_cutoff(pd.DataFrame({"contacts": [0, 1, 2], "profit_minor": [0.0, 250.0, 200.0]}))
    1
    """
    return int(curve["contacts"].iloc[int(np.argmax(curve["profit_minor"].to_numpy()))])


def affordable(curve: pd.DataFrame, budget_minor: float) -> int:
    """Return the largest number of contacts of a ``profit_curve`` whose cost stays within the budget, minor units.

    >>> affordable(pd.DataFrame({"contacts": [0, 1, 2], "cost_minor": [0.0, 150.0, 300.0]}), 299)
    1
    """
    cost = curve["cost_minor"].to_numpy()
    return int(curve["contacts"].iloc[int(np.searchsorted(cost, budget_minor, side="right")) - 1])
