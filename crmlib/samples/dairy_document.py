"""The sample dairy's products as Markdown tables, for docs/sample_dairy.md."""

from __future__ import annotations

from crmlib.samples import dairy_calendar as calendar
from crmlib.samples import dairy_catalogue as catalogue
from crmlib.samples.bank_document import table


def tables() -> str:
    """Return the tables of products and seasons."""
    return "\n\n".join([_products(), _seasons()])


def _products() -> str:
    header = ("product", "group", "maker", "price, ct", "cost, ct", "days", "pack", "a day", "elasticity", "uplift", "dip",
              "trend", "cross-elasticities")  # fmt: skip
    rows = []
    for product in catalogue.PRODUCTS:
        crosses = ", ".join(f"{other} {value:+}" for other, value in product.cross.items())
        numbers = (product.popular, product.elasticity, product.uplift, product.dip, product.trend)
        facts = (product.price, product.cost or "", product.shelf_life, product.pack)
        rows.append((f"`{product.product_id}`", product.group, product.maker, *facts, *numbers, crosses))
    return table(header, rows)


def _seasons() -> str:
    header = ("group", "cosine", "sine", "week before Christmas", "week before Easter Sunday")
    return table(header, [(group, *calendar.SEASONS[group], *calendar.FEASTS[group]) for group in catalogue.GROUPS])
