"""Tiles and tables of the campaigns dashboard: answers and effects as words and numbers."""

from __future__ import annotations

import math

import pandas as pd

from crmlib.decisions import campaigns, experiments, small_cells
from crmlib.views import campaign_words, layout, small_cells_words, texts
from crmlib.views.campaigns_data import Loaded, Measured


def plan_tiles(say: texts.Language, answer: campaigns.Answer, loaded: Loaded, *, clashes: int) -> str:
    """Return what a plan would come to, as tiles."""
    needed = say.number(answer.needed.members)
    enough = (
        say.text("enough: {n} are needed", n=needed) if answer.enough else say.text("too few: {n} are needed", n=needed)
    )
    smallest = ""
    if answer.members >= 4:
        value = experiments.smallest_effect(
            answer.members,
            rate=answer.plan.baseline,
            control_share=answer.plan.control_share,
            arms=len(answer.plan.arms),
        )
        smallest = say.text("+{points} points", points=say.number(100 * value, 2)) if math.isfinite(value) else "–"
    budget = answer.plan.budget_minor
    currency = loaded.company.currency
    spent = say.text("of {money}", money=say.money(budget, currency)) if budget else say.text("no limit")
    return layout.tiles(
        [
            (say.text("Audience"), say.number(answer.audience), say.text("customers")),
            (say.text("Take part"), say.number(answer.members), enough),
            (say.text("Contacted"), say.number(answer.treated), say.text("drawn at random")),
            (say.text("Left alone"), say.number(answer.control), say.text("control group")),
            (say.text("Smallest effect found"), smallest, say.text("4 times out of 5")),
            (say.text("Cost"), say.money(answer.cost_minor, currency), spent),
            (say.text("Clashes"), say.number(clashes), say.text("with other campaigns")),
        ]
    )


def with_reached(answer: campaigns.Answer) -> pd.DataFrame:
    """Return the refusals with a row of those reached for each arm."""
    table = answer.refusals
    rows = []
    for arm in answer.plan.arms:
        refused = int(table.loc[table["arm"] == arm.name, "customers"].sum())
        rows.append({"arm": arm.name, "code": "", "customers": answer.audience - refused})
    return pd.concat([pd.DataFrame(rows), table], ignore_index=True)


def effect_tiles(say: texts.Language, found: Measured, currency: str) -> list[tuple[str, str, str]]:
    """Return how many were assigned and contacted, and what that cost, for tiles."""
    results = found.results
    treated = results[~results["control"]]
    tiles = [
        (say.text("Assigned to an arm"), say.number(len(treated)), ""),
        (say.text("Left alone"), say.number(len(results) - len(treated)), say.text("control group")),
        (say.text("Contacted"), say.number(int(treated["contacted"].sum())), ""),
        (say.text("Cost of contacts"), say.money(float(treated["cost_minor"].sum()), currency), ""),
    ]
    if found.contaminated:
        note = say.text("contacted all the same")
        tiles.append((say.text("Of the control group"), say.number(found.contaminated), note))
    return tiles


def progress_tiles(say: texts.Language, found: Measured) -> list[tuple[str, str, str]]:
    """Return how many were contacted, refused and bought so far, for tiles."""
    last = found.progress.groupby("arm").tail(1)
    sums = {name: int(last[name].sum()) for name in ("members", "contacted", "refused", "bought")}
    control = int(last.loc[last["arm"] == "control", "members"].sum())
    return [
        (say.text("Members"), say.number(sums["members"]), ""),
        (say.text("Left alone"), say.number(control), say.text("control group")),
        (say.text("Contacted"), say.number(sums["contacted"]), ""),
        (say.text("Refused"), _count(say, sums["refused"]), ""),
        (say.text("Bought"), _count(say, sums["bought"]), say.text("control group included")),
    ]


def _count(say: texts.Language, persons: int) -> str:
    return small_cells_words.few(say) if 0 < persons < small_cells.SMALLEST else say.number(persons)


def shares(say: texts.Language, buyers: pd.Series) -> list[str]:
    """Return which shares of an arm and of its control group bought; not where these are fewer than 10 persons.

    In: a row of the table of effects on conversions. The additional buyers tell how far the shares are apart, so with
    one the other is hidden.
    """
    groups = [(buyers["arm_mean"], buyers["customers"]), (buyers["control_mean"], buyers["control"])]
    small = [
        0.5 <= share * size < small_cells.SMALLEST - 0.5 for share, size in groups
    ]  # False where there is no share
    if any(small) and (math.isfinite(buyers["total"]) or all(small)):
        return [small_cells_words.few(say) if few else "–" for few in small]
    shown = zip(groups, small, strict=True)
    return [small_cells_words.few(say) if few else say.percent(share, 2) for (share, _), few in shown]


def clashes(say: texts.Language, found: pd.DataFrame, loaded: Loaded) -> str:
    """Return the HTML of what a plan shares with other campaigns, "" for nothing."""
    if found.empty:
        return ""
    names = dict(zip(loaded.products["product_id"], loaded.products["name"], strict=True))
    rows = []
    for found_row in found.to_dict("records"):
        row = {str(name): value for name, value in found_row.items()}
        kind, what = campaign_words.clash(say, row, products=names)
        rows.append((row["name"], kind, what, f"{say.date(row['first_day'])} – {say.date(row['last_day'])}"))
    heads = [("", say.text("Campaign")), ("", say.text("Clash")), ("", say.text("What")), ("", say.text("When"))]
    body = layout.title(say.text("Clashes with other campaigns")) + layout.table(heads, rows)
    return f'<div class="crm-card" style="margin-top:12px">{body}</div>'


def group_table(
    say: texts.Language, found: Measured, products: pd.DataFrame, currency: str
) -> tuple[list[tuple[str, str]], list[list[str]]]:
    """Return heads and rows of the table of groups: how many bought, and what each arm brought with its interval.

    In: ``products`` (product_id, name) for the names of the arms.
    """
    heads = [
        ("", say.text("Arm")),
        ("n", say.text("Customers")),
        ("n", say.text("Buyers")),
        ("n", say.text("Control group")),
        ("n", say.text("Additional buyers")),
        ("n", say.text("Additional profit")),
    ]
    rows = []
    for arm in dict.fromkeys(found.effects["arm"]):
        own = found.effects[found.effects["arm"] == arm].set_index("measure")
        buyers, profit = own.loc["conversions"], own.loc["profit_minor"]
        spans = []
        for row, shown in (
            (buyers, say.number),
            (profit, lambda value: say.money(value, currency)),
        ):
            known = math.isfinite(row["total"])
            spans.append(
                f"{shown(row['total'])} ({shown(row['total_low'])} … {shown(row['total_high'])})"
                if known
                else say.text("too few purchases")
            )
        rates = shares(say, buyers)
        rows.append([campaign_words.arm_of(say, str(arm), products), say.number(buyers["customers"]), *rates, *spans])
    return heads, rows
