"""What keeping a customer is worth: risk by reason, what each channel prevents of it, and the break-even."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from crmlib.errors import DataError, UsageError
from crmlib.warehouse.company import Company

_OTHER = ""  # reason of an effect that holds for reasons without one of their own


@dataclass(frozen=True, eq=False)
class Known:
    """What decisions on retention rest on, as tables.

    Attributes: ``risk`` customer_id, risk_90 (probability of leaving within 90 days), reason (the likeliest);
    ``by_reason`` customer_id, reason, risk_90; ``values`` customer_id, predicted_minor (what the relationship is worth);
    ``effects`` channel, group, reason, cautious (relative risk counted on), empty where nothing is known; ``groups``
    customer_id, group.
    """

    risk: pd.DataFrame
    by_reason: pd.DataFrame
    values: pd.DataFrame
    effects: pd.DataFrame
    groups: pd.DataFrame


@dataclass(frozen=True, eq=False)
class Worth:
    """Savings and costs of customers (rows) by channel (columns).

    Attributes: ``saved`` the probability of leaving that a channel takes away; ``net`` saving less cost, minor units;
    ``value`` and ``risk`` by customer, nan where unknown; ``cost`` by channel. ``net_as_others`` is what would be left
    if the customer's group were like the others, ``net_any_reason`` if every reason could be prevented like most.
    """

    channels: list[str]
    saved: np.ndarray
    net: np.ndarray
    net_as_others: np.ndarray
    net_any_reason: np.ndarray
    value: np.ndarray
    risk: np.ndarray
    cost: np.ndarray


def worth(ids: pd.Index, known: Known, company: Company) -> Worth:
    """Return what keeping each customer is worth by channel; the channels are those with a known effect.

    Raises DataError for risks outside 0 to 1, a customer twice in a table or an effect that is no relative risk,
    UsageError for a channel without a cost.
    """
    _check(known, company)
    channels = sorted(set(known.effects["channel"]))
    risk = known.risk.set_index("customer_id")["risk_90"].reindex(ids).to_numpy(float)
    value = known.values.set_index("customer_id")["predicted_minor"].reindex(ids).to_numpy(float)
    cost = np.array([float(company.contact_costs_minor[name]) for name in channels])
    reasons, shares = _shares(ids, known.by_reason)
    group = known.groups.set_index("customer_id")["group"].reindex(ids).fillna("").to_numpy(object)
    others, alike = np.full(len(ids), "", dtype=object), [_OTHER] * len(reasons)

    def saved(of: np.ndarray, named: list[str]) -> np.ndarray:
        parts = [(_prevented(known.effects, name, of, named) * shares).sum(axis=1) * risk for name in channels]
        return np.stack(parts, axis=1) if parts else np.zeros((len(ids), 0))

    own = saved(group, reasons)
    # Nobody is contacted to be driven away: what raises the risk of a customer who costs money is no saving.
    worth_keeping = np.maximum(value, 0)[:, None]
    net, as_others, any_reason = (
        np.maximum(part, 0) * worth_keeping - cost for part in (own, saved(others, reasons), saved(group, alike))
    )
    return Worth(channels, own, net, as_others, any_reason, value, risk, cost)


def needed_share(cost_minor: float, risk: np.ndarray | float, value_minor: np.ndarray | float) -> np.ndarray:
    """Return the share of departures that an action must prevent to pay for itself; inf where nothing is at stake.

    >>> float(needed_share(500, 0.1, 20_000))
    0.25
    """
    stake = np.asarray(risk, float) * np.asarray(value_minor, float)
    return np.divide(cost_minor, stake, out=np.full(stake.shape, np.inf), where=stake > 0)


def break_even(risk: np.ndarray, *, cost_minor: float, prevented: float) -> np.ndarray:
    """Return the value from which an action pays at each risk, if it prevents this share of departures; minor units.

    Raises UsageError for a share that is not above 0 and at most 1.

    >>> break_even(np.array([0.05, 0.1]), cost_minor=500, prevented=0.25).tolist()
    [40000.0, 20000.0]
    """
    if not 0 < prevented <= 1:
        raise UsageError(
            f"prevented is {prevented}; give the share of departures an action prevents, above 0 and at most 1"
        )
    chance = np.asarray(risk, float) * prevented
    return np.divide(cost_minor, chance, out=np.full(chance.shape, np.inf), where=chance > 0)


def _check(known: Known, company: Company) -> None:
    for name in ("risk", "values", "groups"):
        twice = getattr(known, name)["customer_id"].duplicated()
        if twice.any():
            example = getattr(known, name).loc[twice, "customer_id"].iloc[0]
            raise DataError(f"table {name}: customer {example} is there more than once; give one row a customer")
    for name in ("risk", "by_reason"):
        risk = getattr(known, name)["risk_90"]
        wrong = risk[~risk.between(0, 1)].dropna()
        if len(wrong):
            raise DataError(
                f"table {name}, column risk_90: found {wrong.iloc[0]:g}; a risk is a probability from 0 to 1"
            )
    cautious = known.effects["cautious"]
    if not (np.isfinite(cautious.astype(float)) & (cautious.astype(float) >= 0)).all():
        raise DataError(
            "table effects, column cautious: found a value that is no relative risk; give numbers of 0 or more"
        )
    unknown = sorted(set(known.effects["channel"]) - set(company.contact_costs_minor))
    if unknown:
        costs = ", ".join(sorted(company.contact_costs_minor))
        raise UsageError(
            f"table effects: channel {unknown[0]!r} has no cost of contact; known are {costs} (contact_costs_minor in company.toml)"
        )


def _shares(ids: pd.Index, by_reason: pd.DataFrame) -> tuple[list[str], np.ndarray]:
    """Return the reasons and the share of each (columns) in a customer's risk (rows); the last column is any other."""
    found = pd.Categorical(by_reason["reason"].astype(str))
    reasons = [str(name) for name in found.categories]
    place = ids.get_indexer(pd.Index(by_reason["customer_id"]))
    table = np.zeros((len(ids), len(reasons) + 1))
    inside = place >= 0
    np.add.at(table, (place[inside], np.asarray(found.codes)[inside]), by_reason["risk_90"].to_numpy(float)[inside])
    total = table.sum(axis=1)
    table[total <= 0, -1] = 1.0
    return [*reasons, _OTHER], table / np.where(total > 0, total, 1.0)[:, None]


def _prevented(effects: pd.DataFrame, channel: str, group: np.ndarray, reasons: list[str]) -> np.ndarray:
    """Return the share of departures a channel prevents, by customer (rows) and reason (columns)."""
    own = effects[effects["channel"] == channel]
    keys = zip(own["group"], own["reason"], strict=True)
    known = dict(zip(keys, 1 - own["cautious"].to_numpy(float), strict=True))

    def of(name: str, reason: str) -> float:
        wanted = ((name, reason), (name, _OTHER), ("", reason), ("", _OTHER))
        return next((float(known[key]) for key in wanted if key in known), 0.0)

    names = sorted(set(group))
    table = np.array([[of(name, reason) for reason in reasons] for name in names]).reshape(len(names), len(reasons))
    return table[np.searchsorted(np.array(names, object), group)]
