"""Pictures of loyalty: NPS over time and by group, drivers, who answers, the index, cohorts, points and mentions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from crmlib.views import certainty, plots, texts, tick_names
from crmlib.views.plots import BLUE, GREEN, GREY, INK, ORANGE, PALE, PALE_BLUES

_MONTHS = 24
"""The chart of cohorts shows so many joining months at most, the last ones."""
_ROW = 30  # pixels of a row with a dot and its interval
_LONG = 34  # characters of a row's name


def over_time(table: pd.DataFrame, *, weighted: bool, language: str = "en") -> go.Figure:
    """Return the score of each period with its interval, and the weighted score beside it.

    In: a table of ``Loaded.over_time``: period, answers, score, low, high, weighted, weighted_low, weighted_high.
    """
    say = texts.speak(language)
    drawn = plots.figure(language, "", say.text("NPS, points"))
    rows = table[table["score"].notna()]
    rows = rows.assign(place=[quarter(language, day).replace(" ", "<br>", 1) for day in rows["period"]])
    notes = [say.plural("{n} answer", "{n} answers", count) for count in rows["answers"]]
    plain = rows.assign(value=rows["score"], note=notes)
    _points(drawn, plain, name=say.text("as answered"), color=BLUE, say=say)
    own = rows[rows["weighted"].notna()] if weighted else rows.iloc[:0]
    if len(own):
        notes = [
            say.plural("counts as {n} answer", "counts as {n} answers", n) for n in own["weighted_effective"].round()
        ]
        after = own.assign(value=own["weighted"], low=own["weighted_low"], high=own["weighted_high"], note=notes)
        _points(drawn, after, name=say.text("if everybody had answered"), color=ORANGE, say=say)
    drawn.add_hline(y=0, line={"color": GREY, "width": 1})
    drawn.update_layout(hovermode="closest", height=300, showlegend=bool(len(own)))
    drawn.update_xaxes(
        type="category", categoryorder="array", categoryarray=list(rows["place"]), showgrid=False, tickangle=0
    )
    drawn.update_yaxes(tickformat="+d", nticks=7)
    return certainty.told(drawn, certainty.interval(say, 95))


def groups(table: pd.DataFrame, *, names: Mapping[str, str], language: str = "en") -> go.Figure:
    """Return the score of each group with its interval; filled where it differs from the rest, empty where not clearly.

    In: a table of ``Loaded.by_group``; groups without a score are left out; ``names`` of the groups.
    """
    say = texts.speak(language)
    drawn = plots.figure(language, say.text("NPS, points"), "")
    rows = table[table["score"].notna()].iloc[::-1]
    sure = rows["p_holm"] < 0.05
    rows = rows.assign(
        name=[names.get(name, name) for name in rows["group"]],
        value=rows["score"],
        note=[say.plural("{n} answer", "{n} answers", count) for count in rows["answers"]],
        color=np.where(sure, np.where(rows["difference"] > 0, GREEN, ORANGE), GREY),
    )
    _rows(drawn, rows, say)
    drawn.add_vline(x=0, line={"color": GREY, "width": 1})
    drawn.update_xaxes(tickformat="+d", nticks=5, tickangle=0)
    return certainty.told(drawn, certainty.interval(say, 95))


def drivers(table: pd.DataFrame, *, names: Mapping[str, str], language: str = "en") -> go.Figure:
    """Return what each driver adds to the recommendation, per point, with its interval.

    In: a table of ``drivers.drivers``: driver, effect, low, high, importance.
    """
    say = texts.speak(language)
    drawn = plots.figure(language, say.text("Points per point"), "")
    rows = table.sort_values("importance")
    rows = rows.assign(
        name=[names.get(name, name) for name in rows["driver"]],
        value=rows["effect"],
        note=[say.text("importance {share}", share=say.percent(share, 0)) for share in rows["importance"]],
        color=np.where((rows["low"] > 0) | (rows["high"] < 0), BLUE, GREY),
    )
    _rows(drawn, rows, say, digits=2)
    drawn.add_vline(x=0, line={"color": GREY, "width": 1})
    drawn.update_xaxes(nticks=6)
    return certainty.told(drawn, certainty.interval(say, 95))


def balance(table: pd.DataFrame, *, names: Mapping[str, str], language: str = "en") -> go.Figure:
    """Return how those who answered differ from everybody, before and after weighting.

    In: a table of ``response.balance``: feature, before, after (standard deviations).
    """
    say = texts.speak(language)
    drawn = plots.figure(language, "", "")
    rows = table.assign(size=table["before"].abs()).sort_values("size").tail(8)
    labels = [names.get(name, name) for name in rows["feature"]]
    places = [tick_names.plain(label) for label in labels]
    for column, name, color, symbol in (
        ("before", say.text("as answered"), BLUE, "circle"),
        ("after", say.text("weighted"), ORANGE, "diamond"),
    ):
        marker = {"color": color, "size": 10, "symbol": symbol}
        hover = "%{y}: %{x:+.2f}"
        drawn.add_scatter(x=rows[column], y=places, mode="markers", name=name, marker=marker, hovertemplate=hover)
    drawn.add_vrect(x0=-0.1, x1=0.1, fillcolor="rgba(138, 143, 152, 0.15)", line_width=0)
    drawn.update_layout(height=120 + _ROW * max(len(rows), 2), hovermode="closest")
    drawn.update_xaxes(tickformat="+.1f", nticks=4, tickangle=0)
    drawn.update_yaxes(type="category", showgrid=True, labelalias=tick_names.alias(labels, longest=_LONG))
    why = say.text("the customers who answered are compared with all customers themselves, not with a sample of them.")
    return certainty.told(drawn, certainty.none(say, why))


def weights(table: pd.DataFrame, *, names: Mapping[str, str], language: str = "en") -> go.Figure:
    """Return what speaks for staying and for leaving: the weights of the index with their intervals.

    In: a table of ``Index.weights``: driver, weight, low, high.
    """
    say = texts.speak(language)
    drawn = plots.figure(language, say.text("leaves · stays"), "")
    rows = table.assign(size=table["weight"].abs()).sort_values("size").tail(10).sort_values("weight")
    rows = rows.assign(
        name=[names.get(name, name) for name in rows["driver"]],
        value=rows["weight"],
        note="",
        color=np.where(rows["low"] > 0, GREEN, np.where(rows["high"] < 0, ORANGE, GREY)),
    )
    _rows(drawn, rows, say, digits=2)
    drawn.add_vline(x=0, line={"color": GREY, "width": 1})
    drawn.update_xaxes(tickformat="+.1f", nticks=4, tickangle=0)
    return certainty.told(drawn, certainty.interval(say, 95))


def calibration(table: pd.DataFrame, *, language: str = "en") -> go.Figure:
    """Return predicted against observed retention in ten groups by the index, with intervals.

    In: a table of ``index.bins``: customers, predicted, observed, low, high.
    """
    say = texts.speak(language)
    drawn = plots.figure(language, say.text("Predicted to stay"), say.text("Stayed for 180 days"))
    low, high = float(table[["predicted", "low"]].min().min()), float(table[["predicted", "high"]].max().max())
    line = {"color": GREY, "dash": "dot"}
    drawn.add_scatter(x=[low, high], y=[low, high], mode="lines", line=line, hoverinfo="skip", showlegend=False)
    notes = [say.plural("{n} customer", "{n} customers", count) for count in table["customers"]]
    drawn.add_scatter(
        x=table["predicted"],
        y=table["observed"],
        error_y=_error(table, "observed", BLUE),
        mode="markers",
        marker={"color": BLUE, "size": 9},
        customdata=notes,
        hovertemplate="%{x:.1%} → %{y:.1%}<br>%{customdata}<extra></extra>",
        showlegend=False,
    )
    drawn.update_layout(hovermode="closest", height=330, margin={"t": 12})
    drawn.update_xaxes(tickformat=".1~%")
    drawn.update_yaxes(tickformat=".1~%")
    return certainty.told(drawn, certainty.interval(say, 95))


def cohorts(
    grid: tuple[pd.Index, np.ndarray, np.ndarray, np.ndarray],
    *,
    sizes: Sequence[int],
    write: Callable[[float], str],
    unit: float = 1.0,
    language: str = "en",
) -> go.Figure:
    """Return the cohort chart: a row for each joining month, a column for each month since, darker is more.

    In: what ``loyalty_data.cohort_grid`` returns; ``sizes`` the customers of each row; ``write`` a value in a few letters;
    ``unit`` turns a value into what a person takes away (0.01 for cents).
    """
    say = texts.speak(language)
    index, value, low, high = grid
    keep = slice(max(0, len(index) - _MONTHS), None)
    months, value, low, high = index[keep], value[keep], low[keep], high[keep]
    value = value[:, : int(np.isfinite(value).any(axis=0).sum())]
    wide = value.shape[1]
    rows = [f"{month(language, day)} ({say.number(n)})" for day, n in zip(months, list(sizes)[keep], strict=True)]
    known = np.isfinite(value)
    told = [
        [
            say.text("{value}, 95% interval {low} to {high}", value=write(v), low=write(a), high=write(b)) if ok else ""
            for v, a, b, ok in zip(value[line], low[line, :wide], high[line, :wide], known[line], strict=True)
        ]
        for line in range(len(rows))
    ]
    # Every third number is written, all of them where there is room: the rest is under the mouse.
    cells = [
        [
            write(v) if ok and column and column % 3 == 0 else ""
            for column, (v, ok) in enumerate(zip(value[line], known[line], strict=True))
        ]
        for line in range(len(rows))
    ]
    drawn = plots.figure(language, say.text("Months since joining"), "")
    drawn.add_heatmap(
        z=value,
        customdata=np.dstack([value, low[:, :wide], high[:, :wide]]) * unit,
        x=list(range(wide)),
        y=list(range(len(rows))),
        text=cells,
        texttemplate="%{text}",
        textfont={"size": 11, "color": INK},
        hovertext=told,
        hovertemplate="%{hovertext}<extra></extra>",
        hoverongaps=False,
        colorscale=PALE_BLUES,
        showscale=False,
        xgap=1,
        ygap=1,
    )
    drawn.update_layout(height=90 + 22 * max(len(rows), 3), hovermode="closest", margin={"t": 8})
    drawn.update_xaxes(showgrid=False, zeroline=False, range=[-0.5, wide - 0.5], dtick=3)
    drawn.update_yaxes(
        tickvals=list(range(len(rows))),
        ticktext=rows,
        range=[len(rows) - 0.5, -0.5],
        showgrid=False,
        zeroline=False,
        tickfont={"size": 12},
    )
    where = say.text("Each number has its 95% interval: under the mouse, and in the numbers to be saved.")
    return certainty.told(drawn, where)


def points(table: pd.DataFrame, *, currency: str, language: str = "en", origin: str = "") -> go.Figure:
    """Return what the points still to be spent cost, up to the day and forecast, with the interval.

    In: the table "liability" of the points' job: ahead (months, 0 is the day), month (last day), liability_minor, low, high; ``origin`` of it.
    """
    say = texts.speak(language)
    unit = texts.major(1, currency)
    drawn = plots.figure(language, "", say.text("Cost of open points, {unit}", unit=say.symbol(currency)))
    table = table.assign(value=table["liability_minor"] * unit, low=table["low"] * unit, high=table["high"] * unit)
    past, ahead = table[table["ahead"] <= 0], table[table["ahead"] >= 0]
    edges = [*ahead["month"], *ahead["month"].iloc[::-1]]
    bounds = [*ahead["high"], *ahead["low"].iloc[::-1]]
    band = {"fill": "toself", "fillcolor": "rgba(213, 94, 0, 0.15)", "line": {"width": 0}, "mode": "lines"}
    drawn.add_scatter(x=edges, y=bounds, hoverinfo="skip", showlegend=False, **band)
    for rows, name, color, dash in (
        (past, say.text("so far"), BLUE, "solid"),
        (ahead, say.text("expected, of today's points"), ORANGE, "dash"),
    ):
        line = {"color": color, "width": 3, "dash": dash}
        drawn.add_scatter(
            x=rows["month"],
            y=rows["value"],
            mode="lines",
            name=name,
            line=line,
            # Not drawn, since the band is: the interval for whoever takes the numbers away.
            error_y={**_error(rows, "value", color), "visible": False},
            hovertemplate="%{y:,.0f}",
        )
    drawn.update_xaxes(type="date", tickformat="%m.%Y" if language == "ru" else "%b %Y", nticks=6)
    drawn.update_yaxes(rangemode="tozero", tickformat=",.0f")
    words = say.text("What was open is counted; the band around what is expected is its 95% interval.")
    return certainty.told(drawn, words, origin=origin)


def mentions(table: pd.DataFrame, *, language: str = "en") -> go.Figure:
    """Return the mentions of each month by kind: negative below, positive above the line.

    In: a table of ``mentions.monthly``: month, positive, neutral, negative.
    """
    say = texts.speak(language)
    drawn = plots.figure(language, "", say.text("Mentions a month"))
    rows = table.tail(_MONTHS)
    for column, name, color, sign in (
        ("neutral", say.text("neutral"), PALE, 1),
        ("positive", say.text("positive"), GREEN, 1),
        ("negative", say.text("negative"), ORANGE, -1),
    ):
        drawn.add_bar(
            x=rows["month"],
            y=sign * rows[column],
            name=name,
            marker={"color": color},
            customdata=rows[column],
            hovertemplate="%{customdata:,d}",
        )
    drawn.update_layout(barmode="relative", bargap=0.25)
    drawn.update_xaxes(type="date", tickformat="%m.%Y" if language == "ru" else "%b %Y", nticks=6)
    drawn.update_yaxes(tickformat=",d")
    return certainty.told(drawn, certainty.counted(say))


def quarter(language: str, day: Any) -> str:
    """Return a quarter as people write it.

    >>> quarter("en", pd.Timestamp("2025-04-01")), quarter("ru", pd.Timestamp("2025-04-01"))
    ('Q2 2025', 'II\\xa0кв. 2025')
    """
    given = pd.Timestamp(day)
    if language == "ru":
        return f"{('I', 'II', 'III', 'IV')[given.quarter - 1]}\u00a0кв. {given.year}"
    return f"Q{given.quarter} {given.year}"


def month(language: str, day: Any) -> str:
    """Return a month in short.

    >>> month("en", pd.Timestamp("2025-04-01")), month("ru", pd.Timestamp("2025-04-01"))
    ('Apr 2025', '04.2025')
    """
    return pd.Timestamp(day).strftime("%m.%Y" if language == "ru" else "%b %Y")


# ---------------------------------------------------------------- inside


def _points(drawn: go.Figure, rows: pd.DataFrame, *, name: str, color: str, say: texts.Language) -> None:
    """Draw a line of points with their intervals: place, value, low, high, note."""
    drawn.add_scatter(
        x=list(rows["place"]),
        y=rows["value"],
        mode="lines+markers",
        name=name,
        line={"color": color, "width": 2, "dash": "solid" if color == BLUE else "dash"},
        marker={"color": color, "size": 9},
        error_y=_error(rows, "value", color),
        customdata=_told(rows, say, 0),
        hovertemplate="%{x}<br>%{customdata}<extra></extra>",
    )


def _rows(drawn: go.Figure, rows: pd.DataFrame, say: texts.Language, *, digits: int = 0) -> None:
    """Draw a row for each line of the table: a dot with its interval: name, value, low, high, note, color."""
    words = _told(rows, say, digits)
    hover = [f"{tick_names.plain(name)}<br>{told}" for name, told in zip(rows["name"], words, strict=True)]
    rows = rows.assign(place=range(len(rows)), hover=hover)
    for color, own in rows.groupby("color", sort=False):
        drawn.add_scatter(
            x=own["value"],
            y=own["place"],
            error_x={**_error(own, "value", str(color)), "thickness": 3, "width": 0},
            mode="markers",
            marker={"color": color, "size": 11, "line": {"color": "white", "width": 1}},
            customdata=own["hover"],
            hovertemplate="%{customdata}<extra></extra>",
            showlegend=False,
        )
    drawn.update_layout(height=max(200, 90 + _ROW * max(len(rows), 2)), hovermode="closest", margin={"t": 12})
    tick_names.put(drawn, "y", list(rows["name"]), longest=_LONG)
    least, most = min(0.0, float(rows["low"].min())), max(0.0, float(rows["high"].max()))
    drawn.update_xaxes(range=[least - 0.04 * (most - least), most + 0.04 * (most - least)])
    edges = [-0.6, max(len(rows), 1) - 0.4]
    drawn.update_yaxes(range=edges, showgrid=False, zeroline=False)


def _told(rows: pd.DataFrame, say: texts.Language, digits: int) -> list[str]:
    out = []
    for value, low, high, note in zip(rows["value"], rows["low"], rows["high"], rows["note"], strict=True):
        numbers = {"value": value, "low": low, "high": high}
        written = {name: say.number(number, digits) for name, number in numbers.items()}
        words = say.text("{value}, 95% interval {low} to {high}", **written)
        out.append(f"{words}<br>{note}" if note else words)
    return out


def _error(rows: pd.DataFrame, value: str, color: str) -> dict[str, Any]:
    return {
        "array": rows["high"] - rows[value],
        "arrayminus": rows[value] - rows["low"],
        "symmetric": False,
        "thickness": 2,
        "width": 5,
        "color": color,
    }
