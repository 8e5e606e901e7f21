"""Loyalty in words: groups, drivers, tests and what a tile says."""

from __future__ import annotations

import pandas as pd

from crmlib.views import wording
from crmlib.views.texts import Language, later

_KINDS = {
    "channel": later("Channel"),
    "branch_id": later("Branch"),
    "segment": later("Segment"),
}
_MEASURES = {
    "retained": later("Customers still here"),
    "revenue_minor": later("Fees paid a month, per customer who joined"),
}
_SURVEYS = {
    "loyalty": later("the whole relationship"),
    "service": later("after contacts with service"),
}
_QUESTIONS = {
    "speed": later("Speed"),
    "courtesy": later("Courtesy"),
    "competence": later("Competence"),
    "solution": later("Solution of the matter"),
    "price": later("Price"),
}
_INPUTS = {
    "age": later("Age"),
    "tenure": later("Length of the relationship"),
    "transactions": later("Transactions"),
    "products": later("Number of products"),
    "contacts": later("Contacts made by the customer"),
    "complaints": later("Complaints"),
    "answers": later("Answers given before"),
    "complaints_open": later("Unresolved complaints"),
    "complaints_compensated": later("Complaints compensated"),
    "complaints_explained": later("Complaints only explained"),
    "contacts_service": later("Contacts for service"),
    "contacts_information": later("Requests for information"),
    "contacts_out": later("Contacts made by us"),
    "product_groups": later("Kinds of products"),
    "activity": later("Transactions in 3 months"),
    "activity_trend": later("Trend of transactions"),
    "silence": later("Days without a transaction"),
    "mentions": later("Mentions in social networks"),
    "sentiment": later("Tone of mentions"),
}


def kind(say: Language, code: str) -> str:
    """Return how answers are split into groups."""
    return say.text(_KINDS[code])


def measure(say: Language, code: str) -> str:
    """Return what the chart of cohorts shows."""
    return say.text(_MEASURES[code])


def survey(say: Language, code: str) -> str:
    """Return what a survey is about; one of the company's own keeps its name."""
    return say.text(_SURVEYS[code]) if code in _SURVEYS else code


def question(say: Language, code: str) -> str:
    """Return a question of a survey; one of the company's own keeps its name."""
    return say.text(_QUESTIONS[code]) if code in _QUESTIONS else code


def sign(say: Language, code: str) -> str:
    """Return a driver of the index or an input of the weighting in words.

    >>> from crmlib.views.texts import speak
    >>> sign(speak("en"), "share_mobile"), sign(speak("en"), "contacts_complaint")
    ('Share of transactions: mobile', 'Contacts: complaint')
    """
    if code in _INPUTS:
        return say.text(_INPUTS[code])
    for prefix, words in (
        ("share_", say.text("Share of transactions: {what}", what="{what}")),
        ("complaints_", say.text("Complaints: {what}", what="{what}")),
        ("contacts_", say.text("Contacts: {what}", what="{what}")),
    ):
        if code.startswith(prefix):
            return words.format(what=wording.value(say, code[len(prefix) :]))
    return code


def change(say: Language, row: pd.Series | None) -> str:
    """Return whether the score has changed since the period before, in a few words; "" where that is not known."""
    if row is None or pd.isna(row["difference"]):
        return ""
    if row["p_holm"] >= 0.05:
        return say.text("since the quarter before; may be chance")
    return say.text("since the quarter before; more than chance")


def signed(say: Language, value: float, digits: int = 0) -> str:
    """Return points with their sign.

    >>> from crmlib.views.texts import speak
    >>> signed(speak("en"), 5.4), signed(speak("en"), -0.2), signed(speak("ru"), -3)
    ('+5', '0', '\\u22123')
    """
    rounded = round(value, digits) + 0.0
    written = say.number(abs(rounded), digits)
    return written if rounded == 0 else f"+{written}" if rounded > 0 else f"\u2212{written}"


def interval(say: Language, low: float, high: float) -> str:
    """Return an interval of scores."""
    return say.text("95% interval {low} to {high}", low=signed(say, low), high=signed(say, high))


def compared(say: Language, table: pd.DataFrame) -> str:
    """Return how the index compares with NPS, in sentences.

    In: a table of ``index.compare``.
    """
    names = ["value", "low", "high"]
    found = {row["measure"]: [float(row[name]) for name in names] for _, row in table.iterrows()}
    value, low, high = found["rank_correlation"]
    _, least, most = found["auc_difference"]
    # Two people of whom one left: how often the one who left was rated lower.
    first = say.plural(
        "Of {n} customer with an index and an answer, the one who left was rated lower than one who stayed in {index} of pairs "
        "by the index and in {nps} by the answer.",
        "Of {n} customers with an index and an answer, those who left were rated lower than those who stayed in {index} of pairs "
        "by the index and in {nps} by the answer.",
        int(table["customers"].iloc[0]),
        index=say.percent(found["auc_index"][0], 0),
        nps=say.percent(found["auc_nps"][0], 0),
    )
    if least > 0:
        second = say.text("The index foretells leaving better.")
    elif most < 0:
        second = say.text("The answer foretells leaving better.")
    else:
        second = say.text("Which foretells leaving better cannot be told yet.")
    third = say.text(
        "Rank correlation of the two: {value} ({low} to {high}).",
        value=signed(say, value, 2),
        low=signed(say, low, 2),
        high=signed(say, high, 2),
    )
    return f"{first} {second} {third}"
