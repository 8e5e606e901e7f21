"""What a day of a contract, and a transaction, earns and costs: the prices of the account of a customer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import sqlalchemy as sa

from crmlib.errors import DataError
from crmlib.warehouse import company_value, schema
from crmlib.warehouse.company import Company
from crmlib.warehouse.snapshot import Snapshot

DAYS = 365
MONEY = ("balances", "holdings", "transactions", "contacts", "products")


def products(snapshot: Snapshot, *, company: Company) -> pd.DataFrame:
    """Return how each product known at the snapshot earns.

    Out: product_id, product_group, balance_margin (share a year), fee_margin (share of the yearly fee), stated_minor (a
    year, company currency: margin_minor spread over margin_months, where neither of the two is set), holding_cost_minor
    (a year), basis ("margins", "stated" or "none").

    Raises DataError for a setting that names neither a product group nor a product.
    """
    rows = snapshot.table("products").drop_duplicates("product_id").sort_values("product_id", ignore_index=True)
    settings = company.customer_value
    groups = rows["product_group"].astype(object)
    company_value.check_names(settings, set(groups.dropna()), set(rows["product_id"]))
    out = rows[["product_id", "product_group"]].copy()
    names = {
        "balance_margin": settings.balance_margins,
        "fee_margin": settings.fee_margins,
        "holding_cost_minor": settings.holding_costs_minor,
    }
    for column, given in names.items():
        out[column] = rows["product_id"].map(given).astype(float).fillna(groups.map(given).astype(float)).fillna(0.0)
    rate = _rates_of(rows["currency"], company)
    margin = rows["margin_minor"].astype("Float64").astype(float) * rate
    margin = rows["product_id"].map(company.margins_minor).astype(float).fillna(margin)
    months = rows["margin_months"].astype("Float64").astype(float).fillna(float(company.horizon_months))
    unset = (out["balance_margin"] == 0) & (out["fee_margin"] == 0)
    out["stated_minor"] = (margin * 12 / months).where(unset).fillna(0.0)
    out["basis"] = "margins"
    out.loc[unset, "basis"] = "stated"
    out.loc[unset & (out["stated_minor"] == 0), "basis"] = "none"
    return out.astype({"basis": "str"})


def rates(company: Company) -> dict[str, float]:
    """Return the worth of one unit of each currency in the company's."""
    return {company.currency: 1.0, **company.exchange_rates}


def check_currencies(snapshot: Snapshot, company: Company) -> None:
    """Raise DataError where an amount is in a currency without an exchange rate."""
    for name in MONEY:
        known = snapshot.select(name).subquery("known")
        found = snapshot.warehouse.arrow(sa.select(known.c.currency).distinct())[0].to_pylist()
        unknown = sorted({str(one) for one in found if one is not None} - set(rates(company)))
        if unknown:
            raise DataError(
                f"table {name}, column currency: no exchange rate for {', '.join(unknown)}; "
                f"add it to exchange_rates in company.toml (worth of one unit in {company.currency})"
            )


def _rates_of(currency: pd.Series, company: Company) -> pd.Series:
    return currency.fillna(company.currency).map(rates(company)).astype(float)


def values(name: str, columns: Mapping[str, Any], rows: list[tuple[Any, ...]]) -> sa.Values:
    """Return rows of prices as a table to join with; ``columns`` name their SQL types."""
    listed = [sa.column(column, type_) for column, type_ in columns.items()]
    return sa.values(*listed, name=name).data(rows)


def table(name: str) -> sa.Table:
    """Return a canonical table."""
    return schema.tables()[name]
