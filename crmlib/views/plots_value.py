"""Pictures of the value of customers: what they earn and cost, who earns it, what is foreseen, what is missing."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from crmlib.views import plots, texts, wording

_LINES = {
    "interest": texts.later("Interest"),
    "fees": texts.later("Fees and premiums"),
    "products": texts.later("Other products (stated margin)"),
    "commissions": texts.later("Commissions on transactions"),
    "contacts": texts.later("Our contacts"),
    "service": texts.later("Service to the customer"),
    "operations": texts.later("Handling transactions"),
    "contracts": texts.later("Keeping contracts"),
    "complaints": texts.later("Complaints to settle"),
    "contracts_minor": texts.later("Contracts held today"),
    "new_minor": texts.later("Contracts still to come"),
    "activity_minor": texts.later("Commissions on transactions"),
    "upkeep_minor": texts.later("Service and contacts"),
}
_BAR = 30


def account(amounts: pd.Series, *, currency: str, language: str = "en") -> go.Figure:
    """Return what came in, what was spent and what is left, as a waterfall.

    In: ``amounts`` in minor units by line (those of ``actual.LINES`` or ``predicted.PARTS``), costs below zero.
    """
    say = texts.speak(language)
    unit = texts.major(1, currency)
    figure = plots.figure(language, say.symbol(currency), "")
    names = [say.text(_LINES.get(str(name), str(name))) for name in amounts.index]
    values = [*(amounts * unit), float(amounts.sum() * unit)]
    figure.add_waterfall(
        y=[*names, say.text("What is left")],
        x=values,
        measure=[*["relative"] * len(names), "total"],
        orientation="h",
        text=[say.money(value / unit, currency) for value in values],
        textposition="outside",
        cliponaxis=False,
        increasing={"marker": {"color": plots.BLUE}},
        decreasing={"marker": {"color": plots.ORANGE}},
        totals={"marker": {"color": plots.GREEN}},
        connector={"line": {"color": plots.GREY, "width": 1}},
        hoverinfo="skip",
        showlegend=False,
    )
    top = float(np.cumsum(amounts.to_numpy(float)).max()) * unit
    figure.update_layout(hovermode=False, height=_height(len(values)))
    figure.update_xaxes(range=[min(0.0, *np.cumsum(values[:-1])), top * 1.25], tickformat=",.0f")
    figure.update_yaxes(showgrid=False, autorange="reversed")
    return figure


def periods(table: pd.DataFrame, *, currency: str, language: str = "en") -> go.Figure:
    """Return income, costs and what is left by period.

    In: the table of ``actual.summary`` over several periods, added up: period, income_minor, contact_cost_minor,
    service_cost_minor, actual_minor.
    """
    say = texts.speak(language)
    unit = texts.major(1, currency)
    figure = plots.figure(language, "", say.symbol(currency))
    for column, name, color, sign in (
        ("income_minor", say.text("Income"), plots.BLUE, 1),
        ("contact_cost_minor", say.text("Our contacts"), plots.PURPLE, -1),
        ("service_cost_minor", say.text("Service"), plots.ORANGE, -1),
    ):
        figure.add_bar(x=table["period"], y=sign * unit * table[column], name=name, marker={"color": color})
    line = {"color": plots.INK, "width": 2}
    figure.add_scatter(
        x=table["period"],
        y=unit * table["actual_minor"],
        name=say.text("What is left"),
        mode="lines+markers",
        line=line,
    )
    figure.update_layout(barmode="relative", bargap=0.3)
    figure.update_xaxes(tickvals=table["period"], ticktext=table["period"].dt.strftime("%Y-%m"))
    figure.update_yaxes(tickformat=",.0f")
    return figure


def pyramid(tiers: pd.DataFrame, *, language: str = "en") -> go.Figure:
    """Return the value pyramid: a bar a tier of customers, as wide as its share of the value, the most valuable on top.

    In: a table of ``pyramid.tiers``.
    """
    say = texts.speak(language)
    figure = plots.figure(language, say.text("Share of the whole value"), "")
    names = [
        say.text("the top {share}", share=_share(say, high))
        if low == 0
        else say.text("{low} to {high}", low=_share(say, low), high=_share(say, high))
        for low, high in zip(tiers["from_share"], tiers["to_share"], strict=True)
    ]
    notes = [
        say.plural("{share} from {n} customer", "{share} from {n} customers", number, share=say.percent(share))
        for number, share in zip(tiers["customers"], tiers["share"], strict=True)
    ]
    # Centred bars make the shape that the name promises; a tier that costs more than it earns has no width.
    width = tiers["share"].clip(lower=0)
    figure.add_bar(
        y=names,
        x=width,
        base=-width / 2,
        orientation="h",
        marker={"color": [plots.BLUE if share >= 0 else plots.ORANGE for share in tiers["share"]]},
        hoverinfo="skip",
        showlegend=False,
    )
    reach = float(width.max()) / 2 if len(tiers) else 0.5
    for name, note in zip(names, notes, strict=True):
        figure.add_annotation(x=reach * 1.1, y=name, text=note, showarrow=False, xanchor="left", font={"size": 12})
    figure.update_layout(hovermode=False, bargap=0.12, height=_height(len(tiers)))
    figure.update_xaxes(visible=False, range=[-reach * 1.1, reach * 2.7])
    figure.update_yaxes(showgrid=False, autorange="reversed")
    return figure


def check(table: pd.DataFrame, *, currency: str, language: str = "en") -> go.Figure:
    """Return what was predicted, what the year before had been and what came, by groups of customers by prediction.

    In: the table of ``backtest.tenths``.
    """
    say = texts.speak(language)
    unit = texts.major(1, currency)
    figure = plots.figure(
        language, say.text("Customers by predicted value, from the lowest tenth to the highest"), say.symbol(currency)
    )
    means = table.set_index("tenth")[["predicted_minor", "last_minor", "actual_minor"]] * unit
    figure.add_bar(x=means.index, y=means["actual_minor"], name=say.text("what came"), marker={"color": plots.PALE})
    for column, name, color, dash in (
        ("predicted_minor", say.text("predicted"), plots.BLUE, "solid"),
        ("last_minor", say.text("the same as the year before"), plots.ORANGE, "dot"),
    ):
        line = {"color": color, "width": 3, "dash": dash}
        figure.add_scatter(x=means.index, y=means[column], name=name, mode="lines+markers", line=line)
    figure.update_xaxes(dtick=1)
    figure.update_yaxes(tickformat=",.0f", rangemode="tozero")
    return figure


def gaps(
    table: pd.DataFrame, *, products: Mapping[str, str], currency: str, language: str = "en", shown: int = 12
) -> go.Figure:
    """Return the products that make the gap, the largest on top.

    In: gaps of ``potential.Potential`` (product_id, gap_minor, a row a customer and product).
    """
    say = texts.speak(language)
    unit = texts.major(1, currency)
    figure = plots.figure(language, say.text("Gap to comparable customers, {unit}", unit=say.symbol(currency)), "")
    sums = table.groupby("product_id", observed=True)["gap_minor"].agg(["sum", "size"]).sort_values("sum").tail(shown)
    figure.add_bar(
        x=sums["sum"] * unit,
        y=[products.get(str(name), str(name)) for name in sums.index],
        orientation="h",
        marker={"color": plots.BLUE},
        text=[
            f"{say.money(row['sum'], currency)} · {say.plural('{n} customer', '{n} customers', row['size'])}"
            for _, row in sums.iterrows()
        ],
        textposition="outside",
        cliponaxis=False,
        hoverinfo="skip",
        showlegend=False,
    )
    top = float(sums["sum"].max()) * unit if len(sums) else 1.0
    figure.update_layout(hovermode=False, bargap=0.35, height=_height(len(sums)))
    figure.update_xaxes(range=[0, top * 1.6], tickformat=",.0f", nticks=5)
    figure.update_yaxes(showgrid=False)
    return figure


def alive(
    curve: pd.DataFrame, thresholds: pd.DataFrame, *, currency: str, asked: float = 0.3, language: str = "en"
) -> go.Figure:
    """Return what each action brings at each probability of being alive, with the break-even marked.

    In: tables of ``lifetime.alive``: ``curve`` (action, alive, net_minor) and ``thresholds`` (from_alive, to_alive,
    action) for customers of one value; ``asked`` is the probability in question.
    """
    say = texts.speak(language)
    unit = texts.major(1, currency)
    figure = plots.figure(
        language,
        say.text("Probability that the customer is still active"),
        say.text("The action brings, {unit}", unit=say.symbol(currency)),
    )
    actions = [name for name in curve["action"].unique() if name != "nothing"]
    colors = dict(zip(actions, plots.PALETTE, strict=False))
    zero = {"color": plots.GREY, "dash": "dot"}
    figure.add_scatter(x=[0, 1], y=[0, 0], mode="lines", name=say.text("do nothing"), line=zero, hoverinfo="skip")
    for name in actions:
        rows = curve[curve["action"] == name]
        line = {"color": colors[name], "width": 3}
        word = wording.value(say, name)
        figure.add_scatter(x=rows["alive"], y=rows["net_minor"] * unit, mode="lines", name=word, line=line)
    for edge in thresholds["from_alive"].iloc[1:]:
        figure.add_vline(x=edge, line={"color": plots.INK, "dash": "dash", "width": 1})
        note = say.text("break-even at {share}", share=say.percent(edge, 0))
        figure.add_annotation(
            x=edge, y=1, yref="paper", text=note, showarrow=False, xanchor="left", yanchor="top", xshift=4
        )
    action = str(thresholds.loc[thresholds["to_alive"] >= asked, "action"].iloc[0])
    word = say.text("do nothing") if action == "nothing" else wording.value(say, action)
    at = curve[(curve["action"] == action) & (np.abs(curve["alive"] - asked) < 0.006)]["net_minor"]
    figure.add_scatter(
        x=[asked],
        y=[float(at.iloc[0]) * unit if len(at) else 0.0],
        mode="markers+text",
        text=[say.text("at {share}: {action}", share=say.percent(asked, 0), action=word)],
        textposition="top right",
        textfont={"color": plots.ORANGE, "size": 13, "weight": 600},
        marker={"color": "white", "size": 15, "line": {"color": plots.ORANGE, "width": 3}},
        showlegend=False,
        hoverinfo="skip",
    )
    figure.update_xaxes(tickformat=".0%", range=[0, 1])
    figure.update_layout(height=320)
    return figure


def _share(say: texts.Language, share: float) -> str:
    return say.percent(share, 0 if abs(round(share * 100) - share * 100) < 0.05 else 1)


def _height(bars: int) -> int:
    return max(180, 100 + _BAR * bars)
