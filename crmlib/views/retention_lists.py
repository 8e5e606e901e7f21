"""The two lists of the retention watchlist: customers, and the tasks of consultants; shown by page, taken as a file."""

from __future__ import annotations

import html
import json
from collections.abc import Callable

import ipywidgets as widgets
import pandas as pd

from crmlib.decisions import work_list
from crmlib.views import layout
from crmlib.views import retention_words as words
from crmlib.views.retention_data import Loaded
from crmlib.views.texts import Language

CUSTOMERS, TASKS = "customers", "tasks"
ROWS = 12
"""Rows of a page."""


class Lists:
    """A page at a time of the list chosen; ``take`` is called with the list, the format and whether details are wanted."""

    def __init__(self, take: Callable[[str, str, bool], None]) -> None:
        self.page = 0
        self.rows: dict[str, pd.DataFrame] = {}
        self.say: Language | None = None
        self.loaded: Loaded | None = None
        self.which = widgets.ToggleButtons(options=[("", CUSTOMERS), (" ", TASKS)])
        self.title, self.table, self.where = widgets.HTML(), widgets.HTML(), widgets.Label()
        self.back, self.forth = widgets.Button(), widgets.Button()
        self.details = widgets.Checkbox(value=False, indent=False).add_class("crm-needs-names")
        self.csv, self.xlsx = widgets.Button(button_style="primary"), widgets.Button()
        for one in (self.details, self.csv, self.xlsx):
            one.add_class("crm-needs-export")
        self.which.style.button_width = "auto"
        self.which.observe(lambda _change: self._turn(-self.page), "value")
        self.back.on_click(lambda _button: self._turn(-1))
        self.forth.on_click(lambda _button: self._turn(1))
        self.csv.on_click(lambda _button: take(self.which.value, "csv", self._wants_details))
        self.xlsx.on_click(lambda _button: take(self.which.value, "xlsx", self._wants_details))
        gap = widgets.HTML()
        gap.add_class("crm-gap")
        below = layout.bar(self.back, self.where, self.forth, gap, self.details, self.csv, self.xlsx)
        self.root = layout.card(self.title, layout.bar(self.which), self.table, below)

    @property
    def _wants_details(self) -> bool:
        return bool(self.details.value) and self.which.value == CUSTOMERS

    def show(self, say: Language, loaded: Loaded, customers: pd.DataFrame, tasks: pd.DataFrame) -> None:
        """Show these customers and tasks."""
        same = self.rows.get(CUSTOMERS) is customers
        self.say, self.loaded, self.rows = say, loaded, {CUSTOMERS: customers, TASKS: tasks}
        kept = self.which.value
        counts = {name: say.number(len(rows)) for name, rows in self.rows.items()}
        self.which.options = [
            (say.text("Watchlist ({n})", n=counts[CUSTOMERS]), CUSTOMERS),
            (say.text("Work list of consultants ({n})", n=counts[TASKS]), TASKS),
        ]
        self.which.value = kept
        self.back.description, self.forth.description = say.text("Back"), say.text("Next")
        self.csv.description = say.text("Download {format}", format="CSV")
        self.xlsx.description = say.text("Download {format}", format="XLSX")
        self.details.description = say.text("only whom an action reaches, with names and contact details")
        self._turn(0 if same else -self.page)

    def _turn(self, pages: int) -> None:
        self.page += pages
        if self.say is not None and self.loaded is not None:
            self._draw(self.say, self.loaded)

    def _draw(self, say: Language, loaded: Loaded) -> None:
        own = self.rows[self.which.value]
        last = max(0, (len(own) - 1) // ROWS)
        self.page = min(max(0, self.page), last)
        first = self.page * ROWS
        part = own.iloc[first : first + ROWS]
        tasks = self.which.value == TASKS
        self.title.value = _title(say, tasks=tasks)
        self.details.layout.display = "none" if tasks else ""
        if part.empty:
            self.table.value = f"<p>{html.escape(_nobody(say, tasks=tasks))}</p>"
        else:
            self.table.value = _tasks(say, loaded, part) if tasks else _customers(say, loaded, part)
        numbers = {"first": say.number(first + 1), "last": say.number(first + len(part)), "n": say.number(len(own))}
        self.where.value = say.text("{first} to {last} of {n}", **numbers) if len(part) else ""
        self.back.disabled, self.forth.disabled = self.page == 0, self.page == last
        self.csv.disabled = self.xlsx.disabled = own.empty


def _title(say: Language, *, tasks: bool) -> str:
    if tasks:
        note = say.text(
            "Whose loyalty is worth an effort now, by branch and adviser: complaints of the last {days} days that wait for an answer first, then by what is left after costs.",
            days=say.number(work_list.RECENT_DAYS),
        )
        return layout.title(say.text("Work list of consultants"), note)
    note = say.text("Those with most to save first. Names and contact details are only in the download.")
    return layout.title(say.text("Watchlist"), note)


def _nobody(say: Language, *, tasks: bool) -> str:
    if tasks:
        return say.text("Nobody is on the work list: no effort of a consultant pays at present.")
    return say.text("Nobody fits this choice; choose more.")


def _customers(say: Language, loaded: Loaded, rows: pd.DataFrame) -> str:
    currency = loaded.company.currency
    heads = [
        ("", say.text("Customer")),
        ("n", say.text("Risk within 90 days")),
        ("", say.text("Likeliest reason")),
        ("n", say.text("Value at stake")),
        ("", say.text("Decision")),
        ("n", say.text("Expected saving")),
        ("n", say.text("Cost")),
        ("n", say.text("Left after costs")),
    ]
    body = []
    for _, row in rows.iterrows():
        acts = bool(row["action"])
        money = [say.money(row[f"{name}_minor"], currency, 2) if acts else "–" for name in ("saving", "cost", "net")]
        known = pd.notna(row["risk_90"])
        body.append(
            (
                _card(row),
                say.percent(row["risk_90"]) if known else "–",
                words.reason(say, str(row["reason"])) if row["reason"] else "–",
                say.money(row["value_at_stake_minor"], currency) if pd.notna(row["value_at_stake_minor"]) else "–",
                words.decision(say, row),
                *money,
            )
        )
    return layout.table(heads, body)


def _tasks(say: Language, loaded: Loaded, rows: pd.DataFrame) -> str:
    currency = loaded.company.currency
    heads = [
        ("", say.text("Branch · adviser")),
        ("", say.text("Customer")),
        ("", say.text("Why")),
        ("", say.text("What to do")),
        ("n", say.text("Cost")),
        ("n", say.text("Left after costs")),
    ]
    body = []
    for _, row in rows.iterrows():
        minutes = say.text("{n} min", n=say.number(row["minutes"])) if pd.notna(row["minutes"]) else ""
        body.append(
            (
                " · ".join(filter(None, [loaded.branches.get(row["branch_id"], row["branch_id"]), row["employee_id"]])),
                _card(row),
                " · ".join(words.why(say, one, currency=currency) for one in json.loads(row["why"])),
                " · ".join([words.task_by(say, row), *(words.what(say, one) for one in json.loads(row["what"]))]),
                " · ".join(filter(None, [say.money(row["cost_minor"], currency, 2), minutes])),
                say.money(row["net_minor"], currency, 2) if pd.notna(row["net_minor"]) else "–",
            )
        )
    return layout.table(heads, body)


def _card(row: pd.Series) -> layout.Html:
    """Return the customer's number as a link to the customer card."""
    number = str(row["customer_id"])
    return layout.link("customer_card", number, customer=number)


def exported(say: Language, loaded: Loaded, which: str, rows: pd.DataFrame) -> pd.DataFrame:
    """Return a list as it is exported: codes and amounts for machines, decisions and reasons in words for people."""
    if which == TASKS:
        currency = loaded.company.currency
        why, what = (
            ["; ".join(tell(one) for one in json.loads(text)) for text in rows[name]]
            for name, tell in (
                ("why", lambda one: words.why(say, one, currency=currency)),
                ("what", lambda one: words.what(say, one)),
            )
        )
        branch = rows["branch_id"].map(loaded.branches).fillna(rows["branch_id"])
        out = rows.assign(branch=branch, why=why, what=what)
        return out[["branch", *rows.columns]].reset_index(drop=True)
    columns = ["customer_id", "branch_id", "action", "code", "risk_90", "reason", "value_at_stake_minor"]
    out = rows[[*columns, "saved", "saving_minor", "cost_minor", "net_minor"]].round({"risk_90": 5, "saved": 5})
    out = out.round({"saving_minor": 1, "net_minor": 1})
    return out.assign(decision=[words.decision(say, row) for _, row in rows.iterrows()]).reset_index(drop=True)
