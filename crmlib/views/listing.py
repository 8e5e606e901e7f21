"""The call list on the panel: a page of it as a table with reasons, and the buttons that take it along."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from dataclasses import dataclass

import ipywidgets as widgets
import pandas as pd

from crmlib.views import targeting_prepared, texts
from crmlib.views.targeting_prepared import Choice

ROWS = 10  # on a page: about a screenful
REASONS = 3  # of each customer


@dataclass(frozen=True, eq=False)
class View:
    """What a list is shown by: the language, the choice, its currency and the names of products by product_id."""

    say: texts.Language
    choice: Choice
    currency: str
    products: dict[str, str]

    def words(self, reasons: str | None) -> list[str]:
        """Return the strongest reasons for, in words, from a customer's reasons as JSON."""
        found = list(filter(targeting_prepared.speaks_for, targeting_prepared.reasons(reasons)))[:REASONS]
        return [texts.reason(one, self.say.code, currency=self.currency, products=self.products) for one in found]


class Listing:
    """A page of the list at a time; ``take`` is called with the format and whether contact details are wanted."""

    def __init__(self, take: Callable[[str, bool], None]) -> None:
        self.shown: tuple[View, int, int] | None = None
        self.page = 0
        self.title, self.table, self.message = widgets.HTML(), widgets.HTML(), widgets.HTML()
        self.where = widgets.Label()
        self.back, self.forth = widgets.Button(), widgets.Button()
        self.csv, self.xlsx = widgets.Button(button_style="primary"), widgets.Button()
        self.details = widgets.Checkbox(value=True, indent=False)
        self.details.add_class("crm-needs-names")
        for button in (self.csv, self.xlsx):
            button.add_class("crm-needs-export")
        self.back.on_click(lambda _button: self._turn(-1))
        self.forth.on_click(lambda _button: self._turn(1))
        self.csv.on_click(lambda _button: take("csv", bool(self.details.value)))
        self.xlsx.on_click(lambda _button: take("xlsx", bool(self.details.value)))
        gap = widgets.HTML()
        gap.add_class("crm-gap")
        bar = widgets.Box([self.back, self.where, self.forth, gap, self.details, self.csv, self.xlsx])
        bar.add_class("crm-bar")
        self.table.add_class("crm-scroll")
        self.root = widgets.VBox([self.title, self.table, bar, self.message])
        self.root.add_class("crm-card").add_class("crm-list")

    def show(self, view: View, *, listed: int, asked: int) -> None:
        """Show the first ``listed`` customers of the choice, of ``asked`` that were asked for."""
        say, before = view.say, self.shown
        if before is None or before[0].choice is not view.choice or before[1] != listed:
            self.page = 0
            self.message.value = ""
        self.shown = (view, listed, asked)
        self.back.description, self.forth.description = say.text("Back"), say.text("Next")
        self.csv.description = say.text("Download {format}", format="CSV")
        self.xlsx.description = say.text("Download {format}", format="XLSX")
        self.details.description = say.text("with names and contact details")
        self.csv.disabled = self.xlsx.disabled = listed == 0
        self._draw()

    def saved(self, say: texts.Language, name: str, *, rows: int, dropped: int) -> None:
        """Say what was saved, and who was left out because they may no longer be contacted."""
        words = say.plural("{n} row saved as {name}.", "{n} rows saved as {name}.", rows, name=name)
        if dropped:
            words += " " + say.plural(
                "{n} customer left out: no longer permitted.", "{n} customers left out: no longer permitted.", dropped
            )
        self.message.value = f'<p role="status">{html.escape(words)}</p>'

    def _turn(self, pages: int) -> None:
        self.page += pages
        self._draw()

    def _draw(self) -> None:
        assert self.shown is not None
        view, listed, asked = self.shown
        say = view.say
        last = max(0, (listed - 1) // ROWS)
        self.page = min(max(0, self.page), last)
        first = self.page * ROWS
        note = say.text("Names and contact details are only in the download.")
        if asked > listed:
            note = say.plural(
                "The list ends after {n} customer: contacting more would cost more than it is expected to bring.",
                "The list ends after {n} customers: contacting more would cost more than it is expected to bring.",
                listed,
            )
        title = say.text("Whom to contact")
        self.title.value = f"<h2>{html.escape(title)}</h2><p>{html.escape(note)}</p>"
        rows = view.choice.ranked.iloc[first : min(first + ROWS, listed)]
        self.table.value = _table(view, rows) if len(rows) else _nobody(say)
        numbers = {"first": say.number(first + 1), "last": say.number(first + len(rows)), "n": say.number(listed)}
        self.where.value = say.text("{first} to {last} of {n}", **numbers) if len(rows) else ""
        self.back.disabled, self.forth.disabled = self.page == 0, self.page == last


def table(view: View, *, listed: int) -> pd.DataFrame:
    """Return the list as it is exported: a row per customer, reasons in words."""
    rows = view.choice.ranked.head(listed)
    words = ["; ".join(view.words(text)) for text in rows["reasons"]]
    return pd.DataFrame(
        {
            "rank": range(1, len(rows) + 1),
            "customer_id": rows["customer_id"].astype(str),
            "product_id": rows["product_id"].astype(str),
            "channel": rows["channel"].astype(str),
            "probability": rows["score"].astype(float).round(5),
            "probability_low": rows["low"].astype(float).round(5),
            "probability_high": rows["high"].astype(float).round(5),
            "cost_minor": rows["cost_minor"],
            "expected_profit_minor": rows["expected_profit_minor"].round(1),
            "reasons": words,
        }
    ).reset_index(drop=True)


def file_part(name: str) -> str:
    """Return a product's name fit for the name of a file.

    >>> file_part("card/gold 1")
    'card-gold-1'
    """
    return re.sub(r"[^\w-]+", "-", name)[:60] or "product"


def _nobody(say: texts.Language) -> str:
    words = say.text("Nobody is worth contacting here: no contact is expected to earn what it costs.")
    return f"<p>{html.escape(words)}</p>"


def _table(view: View, rows: pd.DataFrame) -> str:
    say, currency = view.say, view.currency
    heads = [
        ("n", say.text("No.")),
        ("", say.text("Customer")),
        ("n", say.text("Probability")),
        ("", say.text("Channel")),
        ("n", say.text("Cost")),
        ("n", say.text("Expected profit")),
        ("", say.text("What speaks for buying")),
    ]
    body = []
    for number, row in zip(rows.index + 1, rows.to_dict("records"), strict=True):
        span = f"{say.percent(row['low'])} – {say.percent(row['high'])}"
        cells = [
            ("n", html.escape(say.number(number))),
            ("", html.escape(str(row["customer_id"]))),
            ("n", f"{html.escape(say.percent(row['score']))}<br><small>{html.escape(span)}</small>"),
            ("", html.escape(texts.channel(str(row["channel"]), say.code))),
            ("n", html.escape(say.money(row["cost_minor"], currency, 2))),
            ("n", html.escape(say.money(row["expected_profit_minor"], currency, 2))),
            ("", "<br>".join(map(html.escape, view.words(row["reasons"]))) or "–"),
        ]
        body.append("<tr>" + "".join(f'<td class="{kind}">{value}</td>' for kind, value in cells) + "</tr>")
    head = "".join(f'<th class="{kind}" scope="col">{html.escape(name)}</th>' for kind, name in heads)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
