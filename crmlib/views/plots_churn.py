"""Pictures of leaving: who is still here, who left for which reason, and what goes with it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from crmlib.errors import DataError
from crmlib.views import churn_words, plots, retention_words, texts
from crmlib.views.plots import GREY, PALETTE

_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")


def survival(curve: pd.DataFrame, *, names: Mapping[str, str] | None = None, language: str = "en") -> go.Figure:
    """Return the share still here over the days, a step line a group with its band of the interval.

    In: a table of ``curves.kaplan_meier``; ``names`` of the groups in words.
    """
    say = texts.speak(language)
    _need(curve, {"group", "time", "survival", "low", "high"})
    drawn = plots.figure(language, say.text("Days"), say.text("Share still here"))
    for number, (group, rows) in enumerate(curve.groupby("group", sort=False)):
        name = (names or {}).get(str(group), str(group))
        _step(drawn, rows, "survival", name, number)
    lowest = float(curve["low"].min()) if curve["low"].notna().any() else 0.0
    drawn.update_yaxes(tickformat=".0%" if lowest < 0.9 else ".1%", range=[max(0.0, lowest - 0.01), 1.002])
    return drawn


def incidence(table: pd.DataFrame, *, group: str = "(all)", language: str = "en") -> go.Figure:
    """Return the share that left over the days, a step line a reason with its band; they compete, so they add up.

    In: a table of ``curves.cumulative_incidence``; ``group`` is the one shown.
    """
    say = texts.speak(language)
    _need(table, {"group", "reason", "time", "incidence", "low", "high"})
    own = table[table["group"] == group]
    if own.empty:
        raise DataError(f"there is no group {group!r}; there are {', '.join(map(str, table['group'].unique()))}")
    drawn = plots.figure(language, say.text("Days"), say.text("Share that left"))
    ends = own.groupby("reason")["incidence"].last().sort_values(ascending=False)
    for number, reason in enumerate(ends.index):
        _step(drawn, own[own["reason"] == reason], "incidence", retention_words.reason(say, str(reason)), number)
    drawn.update_yaxes(tickformat=".1%", rangemode="tozero")
    return drawn


def ratios(table: pd.DataFrame, *, language: str = "en") -> go.Figure:
    """Return how many times more leave, by covariate and reason: a dot with its interval; right of 1 more leave, left fewer.

    In: the hazards beside the churn scores: reason, covariate, hazard_ratio, low, high; rows without a ratio are left out.
    """
    say = texts.speak(language)
    _need(table, {"reason", "covariate", "hazard_ratio", "low", "high"})
    known = table[table["hazard_ratio"].notna()]
    rows = list(dict.fromkeys(known["covariate"]))[::-1]
    reasons = list(dict.fromkeys(known["reason"]))
    drawn = plots.figure(language, say.text("Times as many leave"), "")
    drawn.add_vline(x=1, line={"color": GREY, "dash": "dot"})
    for number, reason in enumerate(reasons):
        own = known[known["reason"] == reason]
        color = PALETTE[number % len(PALETTE)]
        place = [rows.index(name) + 0.16 * ((len(reasons) - 1) / 2 - number) for name in own["covariate"]]
        drawn.add_scatter(
            x=own["hazard_ratio"],
            y=place,
            mode="markers",
            name=retention_words.reason(say, str(reason)),
            marker={"color": color, "size": 9, "symbol": number},
            error_x={
                "array": own["high"] - own["hazard_ratio"],
                "arrayminus": own["hazard_ratio"] - own["low"],
                "symmetric": False,
                "color": color,
                "thickness": 1.5,
            },
            hovertemplate="%{x:.2f} ×",
        )
    names = [churn_words.covariate(say, str(name)) for name in rows]
    drawn.update_yaxes(tickvals=list(range(len(rows))), ticktext=names, range=[-0.6, len(rows) - 0.4], zeroline=False)
    drawn.update_xaxes(type="log", tickvals=[0.1, 0.25, 0.5, 1, 2, 4, 8, 16], ticksuffix=" ×")
    drawn.update_layout(height=110 + 44 * max(len(rows), 2), hovermode="closest")
    return drawn


def _step(drawn: go.Figure, rows: pd.DataFrame, value: str, name: str, number: int) -> None:
    """Draw a step line and, lighter, the band of its interval."""
    color, dash = PALETTE[number % len(PALETTE)], _DASHES[number % len(_DASHES)]
    red, green, blue = (int(color[place : place + 2], 16) for place in (1, 3, 5))
    times = rows["time"].to_numpy(float)
    steps = np.repeat(times, 2)[1:]
    low, high = (np.repeat(rows[side].ffill().to_numpy(float), 2)[:-1] for side in ("low", "high"))
    drawn.add_scatter(
        x=np.concatenate([steps, steps[::-1]]),
        y=np.concatenate([high, low[::-1]]),
        fill="toself",
        fillcolor=f"rgba({red}, {green}, {blue}, 0.12)",
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
        showlegend=False,
    )
    line = {"color": color, "width": 2.5, "shape": "hv", "dash": dash}
    drawn.add_scatter(x=times, y=rows[value], mode="lines", name=name, line=line, hovertemplate="%{y:.2%}")


def _need(table: pd.DataFrame, columns: set[str]) -> None:
    missing = sorted(columns - set(table.columns))
    if missing:
        raise DataError(f"the table to plot has no column {', '.join(missing)}; it has {', '.join(table.columns)}")
