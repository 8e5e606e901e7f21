"""Preparation of the Online Retail lines for the canonical schema: what a mapping cannot say.

Amounts follow the schema: what the customer pays is negative, so a cancellation, with its negative quantity, is
positive. Lines without a CustomerID (135,080 of 541,909, a quarter of
all) belong to the pseudo-customer ``anonymous``, so that the shop's turnover stays whole; its relationship ends on the
day it begins, so that it is never scored or called. Repeated lines stay: the publisher counts them.
"""

from __future__ import annotations

import pandas as pd

ANONYMOUS = "anonymous"


def prepare(lines: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the tables that the mapping ``online_retail.toml`` reads, by name, from ``public.online_retail``.

    Out: lines (one per invoice line, ``amount`` in pence), customers (one per customer and date from which the country
    held) and products (one per stock code, from its first sale). The table given is not changed.
    """
    customer = lines["CustomerID"].astype("str").where(lines["CustomerID"].notna(), ANONYMOUS)
    position = lines.groupby("InvoiceNo").cumcount() + 1
    pence = (lines["Quantity"] * lines["UnitPrice"] * 100).round().astype("int64")
    out = pd.DataFrame(
        {
            "line": lines["InvoiceNo"] + "-" + position.astype("str"),
            "invoice": lines["InvoiceNo"],
            "customer": customer,
            "sold_at": lines["InvoiceDate"],
            "amount": -pence,
            "quantity": lines["Quantity"].astype("float64"),
            "kind": lines["InvoiceNo"].str[0].map({"C": "cancellation", "A": "correction"}).fillna("purchase"),
            "stock_code": lines["StockCode"].str.strip(),
        }
    )
    return {
        "lines": out,
        "customers": _customers(out, lines["Country"]),
        "products": _products(out, lines["Description"]),
    }


def _customers(lines: pd.DataFrame, country: pd.Series) -> pd.DataFrame:
    """Return one row per customer and day on which the country of the invoices changed (eight customers moved)."""
    days = lines[["customer"]].assign(valid_from=lines["sold_at"].dt.normalize(), country=country)
    days = days.sort_values(["customer", "valid_from"], kind="stable").drop_duplicates(["customer", "valid_from"])
    days["since"] = days.groupby("customer")["valid_from"].transform("min")
    anonymous = days["customer"] == ANONYMOUS
    days.loc[anonymous, "country"] = None
    changed = (days["country"] != days.groupby("customer")["country"].shift()) & ~anonymous
    kept = days[changed | (anonymous & ~days["customer"].duplicated())]
    return kept.assign(closed_on=kept["since"].where(kept["customer"] == ANONYMOUS)).reset_index(drop=True)


def _products(lines: pd.DataFrame, description: pd.Series) -> pd.DataFrame:
    """Return one row per stock code: its most frequent description, and whether it is goods or a charge."""
    named = pd.DataFrame({"stock_code": lines["stock_code"], "name": description.str.strip()})
    counts = named.dropna().value_counts().reset_index()
    name = counts.drop_duplicates("stock_code").set_index("stock_code")["name"]
    first = lines.groupby("stock_code", as_index=False)["sold_at"].min()
    goods = first["stock_code"].str.contains(r"\d{5}|^DCGS|^gift|^PADS|^SP", regex=True)
    return pd.DataFrame(
        {
            "stock_code": first["stock_code"],
            "valid_from": first["sold_at"].dt.normalize(),
            "name": first["stock_code"].map(name).fillna(first["stock_code"]),
            "group": goods.map({True: "goods", False: "charges"}),
        }
    )
