"""The tables of the due list: tiles, the visits by page, who is left out, order proposals of one outlet."""

from __future__ import annotations

import html

import ipywidgets as widgets
import pandas as pd

from crmlib.views import certainty, due_list_data, layout, plots_due_list
from crmlib.views import due_list_words as words
from crmlib.views.due_list_data import Loaded
from crmlib.views.texts import Language

ROWS = 10
"""Visits of a page."""
SHOWN = 3
"""Reasons shown for a visit; the download has all."""


class Plan:
    """The visits, a page at a time."""

    def __init__(self) -> None:
        self.page = 0
        self.rows = pd.DataFrame()
        self.say: Language | None = None
        self.loaded: Loaded | None = None
        self.table, self.where = widgets.HTML(), widgets.Label()
        self.back, self.forth = widgets.Button(), widgets.Button()
        self.back.on_click(lambda _button: self._turn(-1))
        self.forth.on_click(lambda _button: self._turn(1))
        self.root = widgets.VBox([self.table, layout.bar(self.back, self.where, self.forth)])

    def show(self, say: Language, loaded: Loaded, rows: pd.DataFrame) -> None:
        """Show these visits, from the first page where they are others than before."""
        self.page = self.page if rows.equals(self.rows) else 0
        self.say, self.loaded, self.rows = say, loaded, rows
        self.back.description, self.forth.description = say.text("Back"), say.text("Next")
        self._turn(0)

    def _turn(self, pages: int) -> None:
        if self.say is None or self.loaded is None:
            return
        say, last = self.say, max(0, (len(self.rows) - 1) // ROWS)
        self.page = min(max(0, self.page + pages), last)
        first = self.page * ROWS
        part = self.rows.iloc[first : first + ROWS]
        self.table.value = (
            visits(say, self.loaded, part) if len(part) else f"<p>{say.text('Nobody to visit in this choice.')}</p>"
        )
        numbers = {
            "first": say.number(first + 1),
            "last": say.number(first + len(part)),
            "n": say.number(len(self.rows)),
        }
        self.where.value = say.text("{first} to {last} of {n}", **numbers) if len(part) else ""
        self.back.disabled, self.forth.disabled = self.page == 0, self.page == last


def tiles(say: Language, loaded: Loaded, *, visits: pd.DataFrame, due: pd.DataFrame, left_out: pd.DataFrame) -> str:
    """Return the HTML of the numbers at the top, and why what is expected has no interval."""
    soon = due[due["due_7"] > 0.5]
    currency = loaded.company.currency
    customers = say.plural(
        "orders of a product, from {n} customer",
        "orders of a product, from {n} customers",
        soon["customer_id"].nunique(),
    )
    cost = say.text("cost {money}", money=say.money(float(visits["cost_minor"].sum()), currency))
    shown = [
        (say.text("Due within a week"), say.number(len(soon)), customers),
        (
            say.text("Margin due within 14 days"),
            say.money(float(due["margin_minor"].sum()), currency),
            say.text("of all customers of this choice"),
        ),
        (say.text("Visits planned"), say.number(len(visits)), cost),
        (
            say.text("Not visited"),
            say.number(len(left_out)),
            say.text("margin due {money}", money=say.money(float(left_out["expected_margin_minor"].sum()), currency)),
        ),
    ]
    return f"{layout.tiles(shown)}<p><small>{html.escape(certainty.none(say, words.summed(say)))}</small></p>"


def visits(say: Language, loaded: Loaded, rows: pd.DataFrame) -> str:
    """Return the HTML of visits: day, place in the day, customer, outlet, margin, distance, reasons."""
    heads = [
        ("", say.text("Day")),
        ("n", say.text("Stop")),
        ("", say.text("Representative")),
        ("", say.text("Customer")),
        ("", say.text("Outlet")),
        ("n", say.text("Margin due")),
        ("n", say.text("Way, km")),
        ("", say.text("Why")),
    ]
    body = []
    for _, row in rows.iterrows():
        codes = due_list_data.reasons(row)
        told = [words.reason(say, code, loaded.products) for code in codes[:SHOWN]]
        more = int(row["products"]) - len(told)
        if more > 0:
            told.append(say.plural("{n} product more", "{n} products more", more))
        number = str(row["customer_id"])
        body.append(
            (
                plots_due_list.short_day(row["visit_on"], say.code),
                say.number(row["stop"]),
                loaded.employees.get(row["employee_id"], row["employee_id"]),
                layout.link("customer_card", number, customer=number),
                loaded.outlets.get(row["outlet_id"], row["outlet_id"]) or "–",
                say.money(row["expected_margin_minor"], loaded.company.currency),
                say.number(row["kilometres"]) if pd.notna(row["kilometres"]) else "–",
                " · ".join(told),
            )
        )
    return layout.table(heads, body)


def left_out(say: Language, loaded: Loaded, rows: pd.DataFrame) -> str:
    """Return the HTML of why customers are not visited, what is due at them, the reason with most due first."""
    if rows.empty:
        return f"<p>{html.escape(say.text('Everybody with something due is visited.'))}</p>"
    told = rows.assign(why=[words.left_out(say, code) for code in rows["code"]])
    sums = told.groupby("why", as_index=False).agg(
        number=("customer_id", "size"), margin=("expected_margin_minor", "sum")
    )
    sums = sums.sort_values("margin", ascending=False)
    heads = [("", say.text("Why")), ("n", say.text("Places")), ("n", say.text("Margin due"))]
    currency = loaded.company.currency
    body = [
        (str(row["why"]), say.number(row["number"]), say.money(row["margin"], currency))
        for row in sums.to_dict("records")
    ]
    return layout.table(heads, body)


def proposals(say: Language, loaded: Loaded, outlet: str, *, choose: bool = False) -> str:
    """Return the HTML of the order proposals of one outlet, or what is missing in words; ``choose``: there are outlets."""
    if loaded.proposals is None:
        words_ = say.text("No order proposals for this day yet; run `crm demand` and `crm orders`.")
        return f"<p>{html.escape(words_)}</p>"
    if not outlet and choose:
        told = say.text("Choose an outlet to see what to deliver. Who looked at which customer's orders is recorded.")
        return f"<p>{html.escape(told)}</p>"
    rows = loaded.proposals[loaded.proposals["outlet_id"] == outlet]
    if rows.empty:
        return f"<p>{html.escape(say.text('No outlet of this choice has order proposals.'))}</p>"
    rows = rows.sort_values(["order_quantity", "product_id"], ascending=[False, True])
    first = rows.iloc[0]
    when = say.text(
        "Order by {order} for the delivery on {delivery}; the next one is on {next}.",
        order=say.date(first["order_by"].date()),
        delivery=say.date(first["deliver_on"].date()),
        next=say.date(first["next_on"].date()),
    )
    heads = [
        ("", say.text("Product")),
        ("n", say.text("In stock")),
        ("n", say.text("On order")),
        ("n", say.text("Demand until the next delivery")),
        ("n", say.text("Order, pieces")),
        ("n", say.text("Packs")),
        ("n", say.text("Chance that it lasts")),
        ("n", say.text("Expected to spoil")),
        ("n", say.text("Expected to be missing")),
        ("", say.text("Note")),
    ]
    body = [
        (
            loaded.products.get(row["product_id"], row["product_id"]),
            say.number(row["stock"]),
            say.number(row["on_order"]),
            say.number(row["expected_demand"], 1),
            say.number(row["order_quantity"]),
            say.number(row["packs"]),
            say.percent(row["service_level"], 0),
            say.number(row["expected_waste"], 1),
            say.number(row["expected_lost"], 1),
            words.proposal(say, row["code"]),
        )
        for row in rows.to_dict("records")
    ]
    return f"<p>{html.escape(when)}</p>" + layout.table(heads, body)
