"""What each card of the demand dashboard shows: its title, its chart, and what is said below or in place of one."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from crmlib.models.demand import intervals
from crmlib.views import certainty, demand_data, layout, plots_demand
from crmlib.views import demand_words as words
from crmlib.views.demand_data import Chosen, Loaded
from crmlib.views.texts import Language

ENOUGH = 8
"""So many tested periods a series needs before its own error is told."""
_MOST_OVERRIDES = 8
_HARM = 0.01
"""Making levels add up harms one that gets worse by more than this share of its error."""


@dataclass(frozen=True, eq=False)
class Part:
    """A card. Attributes: ``title`` and ``note`` as HTML; ``figure`` None where there is nothing to draw."""

    title: str
    figure: go.Figure | None
    note: str = ""


def parts(say: Language, loaded: Loaded, chosen: Chosen, *, years: int, overrides: pd.DataFrame) -> dict[str, Part]:
    """Return every card by its name for a series; ``overrides`` is what the store knows of it (``overrides.table``)."""
    return {
        "path": _path(say, loaded, chosen, years, overrides),
        "errors": _errors(say, loaded, chosen),
        "added": _added(say, loaded, chosen),
        "plans": _plans(say, loaded, chosen),
        "hierarchy": _hierarchy(say, loaded, chosen),
    }


def nothing(title: str, why: str) -> Part:
    """Return a card that says why there is no chart."""
    return Part(title, None, f'<p class="crm-note">{html.escape(why)}</p>')


def series_title(say: Language, loaded: Loaded, chosen: Chosen) -> str:
    """Return the name of a series: "Kefir · North", or that it is everything together."""
    named = [loaded.name(f"{column}={value}") for column, value in chosen.keys.items()]
    return " · ".join(named) if named else say.text("All products, everywhere")


def unit(say: Language, loaded: Loaded, chosen: Chosen) -> str:
    """Return what is counted, for the axis of a chart."""
    contracts = loaded.source == "contracts"
    named = {
        "week": (say.text("Contracts a week"), say.text("Pieces a week")),
        "month": (say.text("Contracts a month"), say.text("Pieces a month")),
        "day": (say.text("Contracts a day"), say.text("Pieces a day")),
    }
    found = named.get(chosen.step, (say.text("Contracts"), say.text("Pieces")))
    return found[0] if contracts else found[1]


# ---------------------------------------------------------------- the chart of the series


def _path(say: Language, loaded: Loaded, chosen: Chosen, years: int, overrides: pd.DataFrame) -> Part:
    title = layout.title(
        series_title(say, loaded, chosen),
        say.text(
            "What was wanted, and what will be: in the dark band with 80%, in the light one with 95% probability."
        ),
    )
    if chosen.forecast.empty:
        return nothing(title, say.text("There is no forecast of this series."))
    figure = plots_demand.path(
        demand_data.recent(chosen.history, chosen.step, years=years),
        chosen.forecast,
        future=chosen.future,
        plans=chosen.plans,
        overrides=overrides[overrides["in_force"] & overrides["period"].isin(chosen.forecast["period"])],
        unit=unit(say, loaded, chosen),
        language=say.code,
    )
    told = [_how(say, loaded, chosen), *_cautions(say, chosen), _treated(say, chosen), _noted(say, loaded, chosen)]
    sure = say.text("no interval could be made: there are too few past errors.")
    figure = certainty.told(figure, certainty.none(say, sure) if chosen.unsure else words.bands(say))
    return Part(title, figure, "".join(told))


def _noted(say: Language, loaded: Loaded, chosen: Chosen) -> str:
    """Return what was noted about all series of the step, and what could not be made of it."""
    table = loaded.tables["notes"]
    rows = table[table["step"] == chosen.step] if len(table) else pd.DataFrame({"parameters": []})
    lines = [words.note(say, json.loads(one)) for one in rows["parameters"]]
    shown = {f"levels:{chosen.step}", f"intervals:{chosen.step}", *(["weeks"] if chosen.step == "day" else [])}
    lines += [words.lacking(say, part, why) for part, why in loaded.missing.items() if part in shown]
    items = "".join(f"<li>{html.escape(one)}</li>" for one in lines if one)
    head = html.escape(say.text("How it was made"))
    return f"<details><summary>{head}</summary><ul>{items}</ul></details>" if items else ""


def _why(say: Language, loaded: Loaded, part: str, otherwise: str) -> str:
    """Return why there is nothing of a part: what the job said, in the reader's language, else ``otherwise``."""
    return words.lacking(say, part, loaded.missing[part]) if part in loaded.missing else otherwise


def _how(say: Language, loaded: Loaded, chosen: Chosen) -> str:
    """Return how the forecast was made; a simpler method with its reason, as a note that cannot be overlooked."""
    main = chosen.main
    assert main is not None
    method, reason = str(main["method"]), str(main["reason"])
    if reason and not words.caution(say, reason):
        told = say.text(
            "A simpler method was used here ({method}), because {reason}.",
            method=words.method(say, method, chosen.step),
            reason=words.reason(say, reason),
        )
        return f'<p class="crm-note">{html.escape(told)}</p>'
    weights = loaded.of_level("weights", chosen.level)
    if method != "combination" or weights.empty:
        return _said(say.text("Made by: {methods}.", methods=words.method(say, method, chosen.step)))
    weights = weights[weights["weight"] >= 0.01].sort_values("weight", ascending=False)
    named = ", ".join(
        f"{words.method(say, name, chosen.step)} {say.percent(weight, 0)}"
        for name, weight in zip(weights["method"], weights["weight"], strict=True)
    )
    told = say.text("Made by: {methods}; the weights come from earlier periods.", methods=named)
    if main["reconciled"] == "weeks":
        told += " " + say.text("Then the days were moved to the level that the weeks are forecast to have.")
    elif main["reconciled"]:
        told += " " + say.text("Then all levels were made to add up.")
    return _said(told)


def _cautions(say: Language, chosen: Chosen) -> list[str]:
    """Return what the forecast could not know, and that it has no interval where that is so, as notes."""
    told = [words.caution(say, str(code)) for code in chosen.forecast["reason"].unique()]
    if chosen.unsure:
        told.append(
            say.text("How sure this is cannot be told: fewer than {n} past errors to go by.", n=intervals.LEAST_ERRORS)
        )
    return [f'<p class="crm-note">{html.escape(one)}</p>' for one in told if one]


def _treated(say: Language, chosen: Chosen) -> str:
    """Return how many periods of the history do not simply tell demand."""
    if chosen.history.empty or "status" not in chosen.history:
        return ""
    counts = chosen.history["status"].value_counts()
    odd = [code for code in ("stocked_out", "closed", "gap", "return", "outlier", "zero") if counts.get(code, 0)]
    if not odd:
        return ""
    named = "; ".join(f"{words.status(say, code)}: {say.number(counts[code])}" for code in odd)
    whole = words.periods(say, chosen.step, len(chosen.history))
    return _said(say.text("Of {periods} on record, {named}.", periods=whole, named=named))


# ---------------------------------------------------------------- how good it is


def _errors(say: Language, loaded: Loaded, chosen: Chosen) -> Part:
    title = layout.title(
        say.text("How wrong was it so far?"),
        say.text(
            "Forecasts made as of earlier days, compared with what came: {level}.", level=words.level(say, chosen.level)
        ),
    )
    table = loaded.accuracy(chosen.level)
    if table.empty:
        why = say.text("The history is too short to test forecasts of this level.")
        return nothing(title, _why(say, loaded, f"errors:{chosen.level}", why))
    drawn = plots_demand.errors(table, naive=words.naive(say, chosen.step), language=say.code)
    return Part(title, _tested(say, drawn), _said(_own(say, loaded, chosen)))


def _tested(say: Language, drawn: go.Figure) -> go.Figure:
    """Return a chart of past errors with what is to be said of it: they are measured."""
    why = say.text("these are the errors made on past periods, all of them counted; the next may be larger or smaller.")
    return certainty.told(drawn, certainty.none(say, why))


def _own(say: Language, loaded: Loaded, chosen: Chosen) -> str:
    own = demand_data.measures(loaded.own_errors(chosen))
    if own["n"] < ENOUGH or not np.isfinite(own["wape"]):
        return say.text(
            "This series alone was tested too little to tell (found {n}, need {need}).", n=int(own["n"]), need=ENOUGH
        )
    values = {"wape": say.percent(own["wape"]), "bias": words.signed(say, own["bias"], 1)}
    inside = {"inside": say.percent(own["coverage_80"], 0), "wide": say.percent(own["coverage_95"], 0)}
    if not np.isfinite(own["coverage_80"]):
        return say.text("This series: error {wape}, bias {bias}.", **values)
    told = say.text(
        "This series: error {wape}, bias {bias}; {inside} of periods were within the 80% interval, {wide} within the 95% one.",
        **values,
        **inside,
    )
    if np.isfinite(own["wape_naive"]):
        bar = words.naive(say, chosen.step)
        beside = say.text("{naive} would have erred by {wape}.", naive=bar, wape=say.percent(own["wape_naive"]))
        told += f" {beside[:1].upper()}{beside[1:]}"
    return told


def _added(say: Language, loaded: Loaded, chosen: Chosen) -> Part:
    title = layout.title(
        say.text("What does each step add?"),
        say.text("Error of the level after each step; what adds nothing should be left out. Orange: it got worse."),
    )
    table = loaded.of_level("value_added", chosen.level)
    if table.empty:
        why = say.text("Nothing has been compared at this level yet.")
        return nothing(title, _why(say, loaded, f"value_added:{chosen.level}", why))
    names = {code: words.added(say, code, chosen.step) for code in table["step"]}
    note = ""
    if not table["step"].eq("override").any():
        note = say.text("No override has met its period yet, so what overrides add is not known.")
    drawn = plots_demand.value_added(table, names=names, language=say.code)
    return Part(title, _tested(say, drawn), _said(note) + _sure_steps(say, table, names))


def _sure_steps(say: Language, table: pd.DataFrame, names: dict[str, str]) -> str:
    """Return between which ends each step's change of the error lies, where enough series tell."""
    known = table[table["low"].notna() & table["high"].notna()] if "low" in table else table.iloc[:0]
    told = [
        say.text(
            "{step}: {low} to {high} points",
            step=names[row["step"]],
            low=words.points(say, row["low"]),
            high=words.points(say, row["high"]),
        )
        for row in known.to_dict("records")
    ]
    return _said(say.text("95% intervals of the change: {steps}.", steps="; ".join(told))) if told else ""


def _plans(say: Language, loaded: Loaded, chosen: Chosen) -> Part:
    title = layout.title(
        say.text("How good are the plans?"),
        say.text(
            "How far past plans lay above or below what came. Grey: it may be chance. Plans enter by their record."
        ),
    )
    table = loaded.tables["judgement"]
    if table.empty:
        return nothing(title, _why(say, loaded, "plans", say.text("No plans or outside forecasts were loaded.")))
    known = table[table["bias"].notna()]
    if known.empty:
        return nothing(title, say.text("No plan has met its period yet, so nothing is known of their bias."))
    drawn = certainty.told(plots_demand.plans(known, language=say.code), certainty.interval(say, 95))
    return Part(title, drawn, _said(_unknown(say, table)))


def _unknown(say: Language, table: pd.DataFrame) -> str:
    few = table[table["bias"].isna()]["source"].tolist()
    return say.text("Too few to judge: {sources}.", sources=", ".join(map(str, few))) if few else ""


def _hierarchy(say: Language, loaded: Loaded, chosen: Chosen) -> Part:
    title = layout.title(
        say.text("Does adding up harm any level?"),
        say.text("Error of each level by itself, and after the forecasts of all levels were made to add up."),
    )
    table = loaded.tables["coherence"]
    rows = table[table["step"] == chosen.step] if len(table) else table
    if rows.empty:
        one = say.text("There is one level only at this step, so nothing has to add up.")
        return nothing(title, _why(say, loaded, f"coherence:{chosen.step}", one))
    grid = compared(rows)
    names = {level: words.level(say, level) for level in grid["level"]}
    worse = grid[grid["after"] > grid["before"] * (1 + _HARM)]
    note = ""
    if len(worse):
        told = say.text("It makes worse: {levels}.", levels=", ".join(names[level] for level in worse["level"]))
        note = f'<p class="crm-note">{html.escape(told)}</p>'
    return Part(title, _tested(say, plots_demand.hierarchy(grid, names=names, language=say.code)), note)


def compared(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the error of each level before and after the method chosen: level, before, after; from the total down.

    In: level, method ("base" for each level by itself), wape, chosen.

    >>> rows = pd.DataFrame({"level": "total_week", "method": ["base", "wls"], "wape": [0.1, 0.08], "chosen": [False, True]})
    >>> compared(rows).to_dict("records")
    [{'level': 'total_week', 'before': 0.1, 'after': 0.08}]
    """
    before = rows[rows["method"] == "base"][["level", "wape"]].rename(columns={"wape": "before"})
    after = rows[rows["chosen"].astype(bool)][["level", "wape"]].rename(columns={"wape": "after"})
    both = before.merge(after, on="level", how="inner", validate="one_to_one")
    return both.sort_values(
        "level", key=lambda level: level.str.count("_") - level.str.startswith("total"), kind="stable"
    )[["level", "before", "after"]].reset_index(drop=True)


# ---------------------------------------------------------------- tiles and lists


def tiles(say: Language, loaded: Loaded, chosen: Chosen, *, final: pd.DataFrame) -> list[tuple[str, str, str]]:
    """Return the figures at the top: name, value, note. ``final`` is the forecast with the overrides in force applied."""
    if final.empty:
        return []
    first, shown = final.iloc[0], []
    note = say.text("80%: {low} to {high}", low=say.number(first["low_80"]), high=say.number(first["high_80"]))
    if chosen.unsure:
        note = say.text("how sure is not known")
    elif first["reason"] == "closed":
        note = words.reason(say, "closed")
    if np.isfinite(first["override"]):
        note = say.text("override; the forecast is {value}", value=say.number(first["mean"]))
    shown.append((words.period(say, chosen.step, first["period"]), say.number(first["final"]), note))
    ahead = demand_data.outlook(chosen, len(final))
    total = float(final["final"].sum())
    change = total / ahead["before"] - 1 if ahead["before"] > 0 else np.nan
    note = say.text("{change} on a year before", change=words.signed(say, change)) if np.isfinite(change) else ""
    note = " · ".join(filter(None, [note, say.text("the sum has no interval")]))
    name = say.text("Next {periods} together", periods=words.periods(say, chosen.step, len(final)))
    return [*shown, (name, say.number(total), note), *_quality_tiles(say, loaded, chosen)]


def _quality_tiles(say: Language, loaded: Loaded, chosen: Chosen) -> list[tuple[str, str, str]]:
    table = loaded.accuracy(chosen.level)
    if table.empty or not (table["ahead"] == 0).any():
        return []
    whole = table[table["ahead"] == 0].iloc[0]
    naive = whole["wape_naive"]
    beside = f"{words.naive(say, chosen.step)}: {say.percent(naive)}" if np.isfinite(naive) else ""
    lean = say.text("too high on average") if whole["bias"] > 0 else say.text("too low on average")
    inside = say.text("the 95% interval held {share}", share=say.percent(whole["coverage_95"], 0))
    shown = [
        (say.text("Error so far (WAPE)"), say.percent(whole["wape"]), beside),
        (say.text("Bias so far"), words.signed(say, whole["bias"], 1), lean),
    ]
    if np.isfinite(whole["coverage_80"]):
        shown.append((say.text("80% interval held"), say.percent(whole["coverage_80"], 0), inside))
    return shown


def override_list(say: Language, chosen: Chosen, rows: pd.DataFrame, *, elsewhere: int) -> str:
    """Return the HTML of the overrides of a series, those in force first: when, what, instead of what, why, who."""
    rows = rows.sort_values(["in_force", "made_at"], ascending=False)
    more = say.plural(
        "{n} override of other series is in force.", "{n} overrides of other series are in force.", elsewhere
    )
    told = f"<p>{html.escape(more)}</p>" if elsewhere else ""
    if rows.empty:
        return f"<p>{html.escape(say.text('Nobody has overridden this forecast.'))}</p>{told}"
    heads = [
        ("", say.text("Period")),
        ("n", say.text("Override")),
        ("n", say.text("Instead of")),
        ("", say.text("Why")),
        ("", say.text("Who, when")),
        ("", say.text("State")),
    ]
    lines: Sequence[list[str]] = [_override(say, chosen, row) for _, row in rows.head(_MOST_OVERRIDES).iterrows()]
    return layout.table(heads, lines) + told


def _override(say: Language, chosen: Chosen, row: pd.Series) -> list[str]:
    if row["in_force"]:
        state = say.text("in force")
    elif pd.notna(row["withdrawn_at"]):
        state = say.text("withdrawn by {who}", who=row["withdrawn_by"])
    else:
        state = say.text("replaced")
    return [
        words.period(say, chosen.step, row["period"]),
        say.number(row["quantity"]),
        "" if pd.isna(row["previous"]) else say.number(row["previous"]),
        row["reason"],
        f"{row['made_by']}, {words.moment(say, row['made_at'])}",
        state,
    ]


def _said(note: str) -> str:
    return f"<p>{html.escape(note)}</p>" if note else ""
