"""The summaries of the retention watchlist: tiles, lines of break-even, the effects to show, and empty states."""

from __future__ import annotations

import html

import numpy as np
import pandas as pd

from crmlib.views import certainty, layout, retention_data, texts, wording
from crmlib.views.retention_data import Loaded

_GRID = 60  # points of a break-even curve


def measured(loaded: Loaded) -> pd.DataFrame:
    """Return the effects to show: of each channel all preventable departures, then by reason and of groups, where known."""
    own = loaded.measured
    if own.empty:
        return own
    own = own[(own["within_days"] == retention_data.CALIBRATED) & (own["reason"] != "")]
    own = own[np.isfinite(own["high"].astype(float)) & (own["control_left"] + own["treated_left"] >= 10)]
    whole = own["reason"].eq("preventable") & own["group"].eq("all")
    own = own[own["group"] != ""]  # those of no group say nearly the same as all
    return own.assign(first=~whole.reindex(own.index)).sort_values(["channel", "first"], kind="stable")


def lines(say: texts.Language, loaded: Loaded, risk: pd.Series) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    grid = np.geomspace(max(float(risk.min()), 1e-4) / 1.3, min(float(risk.max()) * 1.3, 1.0), _GRID)
    return {
        say.text("{channel} pays", channel=wording.value(say, name)): (
            grid,
            retention_data.break_even(loaded, name, grid),
        )
        for name in loaded.prevented
    }


def tiles(say: texts.Language, loaded: Loaded, rows: pd.DataFrame) -> str:
    currency = loaded.company.currency
    acts, gone = rows[rows["kind"] == "act"], rows[rows["kind"] == "let_go"]
    lost = rows["stake_minor"].clip(lower=0).sum()
    share = say.percent(rows["risk_90"].mean()) if rows["risk_90"].notna().any() else "–"
    by = ", ".join(f"{wording.value(say, name)}: {say.number(n)}" for name, n in acts["action"].value_counts().items())
    shown = layout.tiles(
        [
            (
                say.text("Expected departures in 90 days"),
                say.number(rows["risk_90"].sum()),
                say.plural("{share} of {n} customer", "{share} of {n} customers", len(rows), share=share),
            ),
            (say.text("Value they would take along"), say.money(lost, currency), say.text("if nothing is done")),
            (say.text("Worth keeping: make contact"), say.number(len(acts)), by or say.text("nobody")),
            (
                say.text("Expected saving"),
                say.money(acts["saving_minor"].sum(), currency),
                say.text("at a cost of {money}", money=say.money(acts["cost_minor"].sum(), currency)),
            ),
            (say.text("Let go, decently"), say.number(len(gone)), say.text("no effort to keep would pay")),
        ]
    )
    why = say.text(
        "departures, losses and savings are sums of what is expected; the evidence below shows how far they hold."
    )
    return f"{shown}<p><small>{html.escape(certainty.none(say, why))}</small></p>"


def times(say: texts.Language, times: float, average: float) -> str:
    share = say.percent(times * average)
    if times == 1:
        return say.text("the average ({share})", share=share)
    return say.text("{n} times the average ({share})", n=say.number(times), share=share)


def note(say: texts.Language, loaded: Loaded) -> str:
    if loaded.effects.empty:
        return say.text(
            "What a contact saves is unknown: no past retention campaign has a control group and enough departures. Run one first."
        )
    return ""


def nobody(say: texts.Language) -> str:
    return say.text("Nobody fits this choice; choose more.")


def nothing_known(say: texts.Language) -> str:
    return say.text("Nobody of this choice has a risk and a value to draw.")


def nobody_chosen(say: texts.Language) -> str:
    """Return what stands in place of a customer: how to choose one, and that it is recorded."""
    told = say.text(
        "Click a point, or type a number: here stand the decision, the figures and what the risk comes from."
    )
    recorded = say.text("Who looked at which customer is recorded.")
    return f"<h2>{html.escape(say.text('One customer'))}</h2><p>{html.escape(told)}</p><p>{html.escape(recorded)}</p>"


def unsure(say: texts.Language) -> str:
    """Return why risks, values and losses of the watchlist are drawn without intervals."""
    why = say.text("a loss is risk × value; the range of one customer's risk stands beside the chart, sums have none.")
    return certainty.none(say, why)
