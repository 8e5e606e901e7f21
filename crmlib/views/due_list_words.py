"""The due list in words: why a customer is on it, why another is not, what an order proposal says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from crmlib.views.texts import Language


def reason(say: Language, code: Mapping[str, Any], products: Mapping[str, str]) -> str:
    """Return why a product is due at a customer."""
    name = products.get(str(code["product_id"]), str(code["product_id"]))
    days = say.plural("{n} day since the last order", "{n} days since the last order", int(code["days"]))
    usual = say.number(float(code["usual"]), 0 if float(code["usual"]) >= 10 else 1)
    known = {"product": name, "days": days, "usual": usual}
    if code["code"] == "overdue":
        return say.text("{product}: overdue, {days}, usually {usual}", **known)
    return say.text("{product}: {days}, usually {usual}", **known)


def left_out(say: Language, code: str) -> str:
    """Return why a customer is not visited."""
    known = {
        "no_consent": say.text("no consent to be contacted"),
        "holdout": say.text("left alone on purpose, to measure by"),
        "left": say.text("no longer a customer"),
        "open_complaint": say.text("a complaint is open"),
        "recent_complaint": say.text("complained lately"),
        "ignored": say.text("did not react to past contacts"),
        "limit_customer": say.text("contacted often enough lately"),
        "limit_household": say.text("contacted often enough lately"),
        "no_representative": say.text("no representative"),
        "not_worth": say.text("less is due than a visit costs"),
        "capacity": say.text("the representative's days are full"),
    }
    return known.get(code, code)


def proposal(say: Language, code: str) -> str:
    """Return what an order proposal wants said."""
    known = {
        "enough": say.text("enough in stock"),
        "shelf_life": say.text("more would spoil"),
        "pack_size": say.text("a whole pack would spoil"),
        "no_stock_record": say.text("stock not on record, taken as none"),
    }
    return known.get(code, "")


def summed(say: Language) -> str:
    """Return why what is due has no interval."""
    return say.text("what is due is chance × margin, summed; whether the chances hold is shown further below.")


def trusted(say: Language, quality: pd.DataFrame) -> str:
    """Return how well the chances told the days apart on which orders came, beside the simple rule."""
    if quality.empty:
        return say.text("Too few orders so far to test the chances on days they were not learnt from.")
    week = quality[quality["within_days"] == 7].set_index("method")
    rule = week["auc"].drop("hazard").to_numpy(float).max()
    return say.text(
        "Of two customers, one who ordered within a week and one who did not, the right one is first in {share} of cases; by the best simple rule in {rule}.",
        share=say.percent(week["auc"].to_numpy(float)[week.index == "hazard"][0], 0),
        rule=say.percent(rule, 0),
    )
