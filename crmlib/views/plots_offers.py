"""Pictures of the best offers: what is offered by which channel, what one more contact is worth, how firm the ranking is."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from crmlib.views import plots, texts, wording

_ASSUMPTIONS = {
    "margin": texts.later("Margin: {product}"),
    "horizon": texts.later("Horizon"),
    "discount": texts.later("Discount rate"),
    "loss": texts.later("Contracts lost each month"),
    "cost": texts.later("Cost of contact"),
}
_HEIGHT_OF_A_BAR = 30


def made(offers: pd.DataFrame, *, products: Mapping[str, str], language: str = "en") -> go.Figure:
    """Return how many offers of each product are made by which channel, as stacked bars, the most frequent on top.

    In: ``offers`` with product_id and channel, a row an offer; ``products`` their names.
    """
    say = texts.speak(language)
    figure = plots.figure(language, say.text("Number of offers"), "")
    counts = pd.crosstab(offers["product_id"], offers["channel"])
    counts = counts.loc[counts.sum(axis=1).sort_values().index]
    names = [products.get(name, name) for name in counts.index]
    for (channel, number), color in zip(counts.items(), plots.PALETTE, strict=False):
        word = wording.value(say, str(channel))
        figure.add_bar(
            x=number, y=names, orientation="h", name=word, marker={"color": color}, hovertemplate="%{y}: %{x:,d}"
        )
    figure.update_layout(barmode="stack", hovermode="closest", bargap=0.3, height=_height(len(counts)))
    figure.update_xaxes(tickformat=",d", rangemode="tozero")
    figure.update_yaxes(showgrid=False)
    return figure


def worth(resources: pd.DataFrame, *, currency: str, products: Mapping[str, str], language: str = "en") -> go.Figure:
    """Return what one more contact by each channel, or one more piece of a product, would earn, as bars.

    In: ``resources`` of ``offers.BestOffers``: kind, name, limit, used, price_minor; the budget is left out, for its
    price is that of money, not of a contact.
    """
    say = texts.speak(language)
    unit, symbol = texts.major(1, currency), say.symbol(currency)
    figure = plots.figure(language, say.text("One more would earn, {unit}", unit=symbol), "")
    rows = resources[(resources["kind"] != "budget") & np.isfinite(resources["limit"])].sort_values("price_minor")
    names = [
        products.get(name, name) if kind == "supply" else wording.value(say, name)
        for kind, name in zip(rows["kind"], rows["name"], strict=True)
    ]
    notes = [
        f"{say.money(price, currency, 2)} · {say.text('{used} of {limit} used', used=say.number(used), limit=say.number(limit))}"
        for price, used, limit in zip(rows["price_minor"], rows["used"], rows["limit"], strict=True)
    ]
    figure.add_bar(
        x=rows["price_minor"] * unit,
        y=names,
        orientation="h",
        marker={"color": plots.GREEN},
        text=notes,
        textposition="outside",
        cliponaxis=False,
        hoverinfo="skip",
        showlegend=False,
    )
    top = max(float(rows["price_minor"].max()) * unit, 0.01) if len(rows) else 1.0
    figure.update_layout(hovermode=False, bargap=0.4, height=_height(len(rows)))
    figure.update_xaxes(range=[0, top * 1.8], tickformat=",~r", nticks=5)
    figure.update_yaxes(showgrid=False)
    return figure


def tornado(table: pd.DataFrame, *, products: Mapping[str, str], language: str = "en", shown: int = 10) -> go.Figure:
    """Return how many customers get another best offer when an assumption is lower or higher, most sensitive on top.

    In: a table of ``value_sensitivity.sensitivity``: assumption, product_id, share, changed, gained_product_id,
    lost_product_id; the ``shown`` most sensitive assumptions are drawn, lower to the left and higher to the right.
    """
    say = texts.speak(language)
    figure = plots.figure(language, say.text("Customers who would get another best offer"), "")
    order = table.drop_duplicates(["assumption", "product_id"])[["assumption", "product_id"]].head(shown)[::-1]
    rows = order.merge(table, on=["assumption", "product_id"], how="left", validate="one_to_many")
    rows = rows.assign(
        name=[_name(say, row["assumption"], row["product_id"], products) for row in rows.to_dict("records")]
    )
    for sign, color in ((-1, plots.ORANGE), (1, plots.BLUE)):
        side = rows[np.sign(rows["share"]) == sign]
        change = say.percent(abs(float(side["share"].iloc[0])), 0) if len(side) else ""
        word = say.text("{change} lower", change=change) if sign < 0 else say.text("{change} higher", change=change)
        figure.add_bar(
            x=sign * side["changed"],
            y=side["name"],
            orientation="h",
            name=word,
            marker={"color": color},
            text=[say.percent(value) for value in side["changed"]],
            textposition="outside",
            cliponaxis=False,
            customdata=[_moved(say, row, products) for row in side.to_dict("records")],
            hovertemplate="%{customdata}<extra></extra>",
        )
    top = max(float(rows["changed"].max()), 0.001) * 1.3 if len(rows) else 1.0
    ticks = np.linspace(-top, top, 5)
    figure.update_layout(barmode="overlay", hovermode="closest", bargap=0.3, height=_height(len(order)))
    figure.update_xaxes(range=[-top, top], tickvals=ticks, ticktext=[say.percent(abs(value)) for value in ticks])
    figure.update_yaxes(showgrid=False)
    return figure


def _name(say: texts.Language, assumption: str, product: str, products: Mapping[str, str]) -> str:
    return say.text(_ASSUMPTIONS.get(assumption, assumption)).replace("{product}", products.get(product, product))


def _moved(say: texts.Language, row: Mapping[str, object], products: Mapping[str, str]) -> str:
    """Return who gains and who loses most, in words."""
    nothing = say.text("no offer")
    gained, lost = (str(row[f"{side}_product_id"]) for side in ("gained", "lost"))
    return say.text(
        "{changed} of customers: most to {gained}, most from {lost}",
        changed=say.percent(float(str(row["changed"]))),
        gained=products.get(gained, gained) or nothing,
        lost=products.get(lost, lost) or nothing,
    )


def _height(bars: int) -> int:
    return max(180, 110 + _HEIGHT_OF_A_BAR * bars)
