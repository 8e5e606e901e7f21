"""The sample bank's model as Markdown tables, for docs/sample_bank.md."""

from __future__ import annotations

from collections.abc import Iterable

from crmlib.samples import bank_model as model
from crmlib.samples import bank_products as catalogue


def tables() -> str:
    """Return the tables of products, drivers of purchases and categories of transactions."""
    return "\n\n".join([_products(), _weights(), _drivers(), _categories()])


def table(header: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Return a Markdown table."""
    names = list(header)
    lines = [names, ["---"] * len(names), *[[str(cell) for cell in row] for row in rows]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _products() -> str:
    header = ("product", "group", "margin, €", "over months", "ages", "income from, €", "requires", "repeatable")
    rows = []
    for product in catalogue.PRODUCTS:
        oldest = product.ages[1] if product.ages[1] < 150 else ""
        income = "" if product.minimum_income is None else product.minimum_income // 100
        rows.append(
            (
                f"`{product.product_id}`",
                product.group,
                product.margin / 100,
                product.margin_months,
                f"{product.ages[0]}–{oldest}",
                income,
                product.requires,
                "yes" if product.repeatable else "",
            )
        )
    return table(header, rows)


def _weights() -> str:
    rows = []
    for product in catalogue.PRODUCTS:
        weights = ", ".join(f"{name} {weight:+}" for name, weight in product.drivers.items())
        season = " ".join(f"{value:+}" for value in product.season)
        rows.append((f"`{product.product_id}`", product.intercept, season, product.contact, weights))
    return table(("product", "intercept", "seasons", "contact", "drivers"), rows)


def _drivers() -> str:
    return table(("driver", "what it is"), [(f"`{name}`", text) for name, text in model.DRIVERS.items()])


def _categories() -> str:
    rows = [
        (f"`{c.name}`", c.rate, c.spread, model.TRAITS[c.trait], c.median / 100, f"{c.inflow:.0%}")
        for c in model.CATEGORIES
    ]
    header = ("category", "a quarter", "spread of log rate", "leans on", "median amount, €", "comes in")
    return table(header, rows)
