"""The picture of a customer's history at the desk: two years in lanes."""

from __future__ import annotations

import html
from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from crmlib.views import plots, texts

LANES = ("complaint", "contact_out", "contact_in", "application", "contract")
"""From the bottom of the picture to its top."""
_COLORS = {
    "contract": plots.GREEN,
    "application": plots.BLUE,
    "contact_in": plots.GREY,
    "contact_out": plots.PURPLE,
    "complaint": plots.ORANGE,
}
_SYMBOLS = {"closed": "x", "refused": "x", "accepted": "star"}


def timeline(events: pd.DataFrame, *, lanes: Sequence[tuple[str, str]], language: str = "en") -> go.Figure:
    """Return two years of a customer in lanes, a mark for each event.

    In: ``events`` with lane, on (date), mark (opened, closed, refused, accepted, others) and words (what the pointer
    shows); ``lanes`` code and name, from the bottom up.
    """
    drawn = plots.figure(language, "", "")
    for place, (code, _) in enumerate(lanes):
        own = events[events["lane"] == code]
        drawn.add_scatter(
            x=own["on"],
            y=[place] * len(own),
            mode="markers",
            marker={
                "size": 12,
                "color": _COLORS[code],
                "opacity": 0.85,
                "symbol": [_SYMBOLS.get(mark, "circle") for mark in own["mark"]],
                "line": {"width": 1, "color": plots.PAPER},
            },
            text=own["words"].map(html.escape),
            hovertemplate="%{x|%d.%m.%Y}<br>%{text}<extra></extra>",
            showlegend=False,
        )
    names = [name for _, name in lanes]
    drawn.update_yaxes(
        tickvals=list(range(len(names))), ticktext=names, range=[-0.6, len(names) - 0.4], automargin=True
    )
    drawn.update_xaxes(tickformat="%m.%Y")
    drawn.update_layout(hovermode="closest", height=240)
    return drawn


def ranking(offers: pd.DataFrame, *, currency: str, language: str = "en") -> go.Figure:
    """Return the ranked list of a product match as bars, the best at the top.

    In: ``offers`` with name and value_minor (minor units of ``currency``), the best first.
    """
    say = texts.speak(language)
    drawn = plots.figure(language, say.text("Expected value, {unit}", unit=say.symbol(currency)), "")
    rows = offers.iloc[::-1]
    unit = texts.major(1, currency)
    colors = [plots.GREY] * max(0, len(rows) - 3) + [plots.BLUE] * min(3, len(rows))
    drawn.add_bar(
        x=rows["value_minor"] * unit,
        y=rows["name"].map(html.escape),
        orientation="h",
        marker={"color": colors},
        hovertemplate="%{y}: %{x:,.2f} " + say.symbol(currency) + "<extra></extra>",
    )
    drawn.update_yaxes(automargin=True)
    drawn.update_xaxes(rangemode="tozero")
    drawn.update_layout(showlegend=False)
    return drawn
