"""How the ranking of offers changes when a margin, the horizon or another assumption of their value does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from crmlib.decisions import value
from crmlib.errors import UsageError
from crmlib.warehouse.company import Company

COLUMNS = [
    *("assumption", "product_id", "share", "changed", "correlation"),
    *("gained_product_id", "gained", "lost_product_id", "lost"),
]
NOTHING = ""
"""Stands for "no offer" among the products that gain or lose."""


def sensitivity(
    worth: value.Matrix,
    products: pd.DataFrame,
    *,
    company: Company,
    share: float = 0.2,
    possible: np.ndarray | None = None,
    sample: int = 5_000,
) -> pd.DataFrame:
    """Return what becomes of the customers' best offers when one assumption is a share lower or higher.

    In: ``worth`` the values, ``products`` of the warehouse, ``possible`` (customers × products × channels, bool) which
    offers may be made at all, ``sample`` customers evenly spaced are looked at. Each customer's best offer is the one of
    the highest value, or none where none is above zero; capacities are left out. Assumptions: the margin of each product,
    the horizon (whole months), the discount, the monthly loss of contracts, the cost of contact. Out: two rows an
    assumption: product_id (margins only), share (-0.2, 0.2), changed (share with another best offer, of the
    customers who have one before or after), correlation (Spearman's, of a customer's products by value before and after, mean over customers with three or more),
    gained_product_id and lost_product_id with gained and lost (shares of the same customers): whose best offers they become and
    cease to be most often ("": no offer). The order: most changed first.

    Raises UsageError for a share that is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise UsageError(f"share is {share}; give how much an assumption changes, between 0 and 1, for example 0.2")
    rows = np.unique(np.linspace(0, max(len(worth.customers) - 1, 0), sample).astype(int))
    some = _of(worth, rows)
    allowed = None if possible is None else possible[rows]
    base = _ranked(some, allowed)
    found = []
    for assumption, product, by, other in _variants(some, products, company, share):
        found.append(
            {"assumption": assumption, "product_id": product, "share": by, **_compared(base, _ranked(other, allowed))}
        )
    table = pd.DataFrame(found)
    names = np.array([*worth.products, NOTHING], object)
    for side in ("gained", "lost"):
        table[f"{side}_product_id"] = names[table.pop(f"{side}_place").to_numpy(int)]
    most = table.groupby(["assumption", "product_id"])["changed"].transform("max")
    order = table.assign(most=most).sort_values(
        ["most", "assumption", "product_id", "share"], ascending=[False, True, True, True], ignore_index=True
    )
    return order.astype({name: "str" for name in ("product_id", "gained_product_id", "lost_product_id")})[COLUMNS]


def _of(worth: value.Matrix, rows: np.ndarray) -> value.Matrix:
    uplift = None if worth.uplift is None else worth.uplift[rows]
    return replace(worth, customers=worth.customers[rows], probability=worth.probability[rows], uplift=uplift)


def _variants(
    worth: value.Matrix, products: pd.DataFrame, company: Company, share: float
) -> Iterator[tuple[str, str, float, value.Matrix]]:
    """Give each changed assumption: its name, its product, by how much, and the values under it."""
    for by in (-share, share):
        for place, name in enumerate(worth.products):
            margin = worth.margin_minor.copy()
            margin[place] *= 1 + by
            yield "margin", name, by, replace(worth, margin_minor=margin)
        loss = {name: _lost(kept, by) for name, kept in company.product_retention.items()}
        changed = {
            "horizon": replace(company, horizon_months=max(1, round(company.horizon_months * (1 + by)))),
            "discount": replace(company, annual_discount=company.annual_discount * (1 + by)),
            "loss": replace(company, monthly_retention=_lost(company.monthly_retention, by), product_retention=loss),
        }
        for name, other in changed.items():
            yield name, "", by, _with_terms(worth, value.terms(products, company=other))
        yield "cost", "", by, replace(worth, cost_minor=worth.cost_minor * (1 + by))


def _lost(kept: float, by: float) -> float:
    return max(0.0, 1 - (1 - kept) * (1 + by))


def _with_terms(worth: value.Matrix, terms: pd.DataFrame) -> value.Matrix:
    sold = terms.set_index("product_id").loc[worth.products]
    return replace(worth, margin_minor=sold["margin_minor"].to_numpy(), retention=sold["retention"].to_numpy())


@dataclass(frozen=True, eq=False)
class _Ranked:
    """Each customer's products in order of value: ``best`` (place of the product, or one beyond for none), ``rank``."""

    best: np.ndarray
    rank: np.ndarray
    known: np.ndarray


def _ranked(worth: value.Matrix, allowed: np.ndarray | None) -> _Ranked:
    found = value.values(worth).reshape(len(worth.products), len(worth.channels), -1)
    if allowed is not None:
        found = np.where(np.moveaxis(allowed, 0, -1), found, np.nan)
    by_product = np.nan_to_num(found, nan=-np.inf).max(axis=1)
    top = by_product.argmax(axis=0)
    best = np.where(by_product.max(axis=0) > 0, top, len(worth.products))
    order = np.argsort(-by_product, axis=0, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.broadcast_to(np.arange(len(order))[:, None], order.shape), axis=0)
    return _Ranked(best, rank, np.isfinite(by_product))


def _compared(base: _Ranked, other: _Ranked) -> dict[str, float]:
    """Return how two rankings of the same customers differ."""
    none = len(base.known)
    concerned = (base.best != none) | (other.best != none)
    customers = max(int(concerned.sum()), 1)
    number = base.known.sum(axis=0).astype(float)
    apart = (np.where(base.known, base.rank - other.rank, 0).astype(float) ** 2).sum(axis=0)
    many = number >= 3
    alike = 1 - 6 * apart[many] / (number[many] * (number[many] ** 2 - 1))
    moved = np.bincount(other.best, minlength=none + 1) - np.bincount(base.best, minlength=none + 1)
    return {
        "changed": float((base.best != other.best).sum() / customers),
        "correlation": float(alike.mean()) if many.any() else float("nan"),
        "gained_place": int(moved.argmax()) if moved.any() else none,
        "gained": float(moved.max() / customers),
        "lost_place": int(moved.argmin()) if moved.any() else none,
        "lost": float(-moved.min() / customers),
    }
