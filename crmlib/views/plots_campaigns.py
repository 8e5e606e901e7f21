"""Pictures of campaigns: the calendar, the contact plan, whom it reaches, how it goes on."""

from __future__ import annotations

import datetime as dt

import pandas as pd
import plotly.graph_objects as go

from crmlib.views import certainty, plots, texts, tick_names
from crmlib.views.plots import AMBER, BLUE, GREEN, GREY, INK, ORANGE, PALE, PALETTE, PURPLE, SKY, YELLOW

STATES = {
    "draft": GREY,
    "approved": AMBER,
    "planned": AMBER,
    "assigned": BLUE,
    "running": BLUE,
    "finished": GREEN,
    "past": GREEN,
    "cancelled": PALE,
}
_BAR = 24  # pixels of a campaign in the calendar
_DAY_MS = 86_400_000
_REASONS = 4  # told apart in the picture of refusals; the rest is one bar
_REST = "(rest)"


def gantt(
    table: pd.DataFrame, *, words: dict[str, str], language: str = "en", today: dt.date | None = None
) -> go.Figure:
    """Return the calendar: a bar per campaign over its dates, coloured by its state.

    In: campaign_id, name, state, starts_on, ends_on; ``words`` of the states; ``today`` is marked.
    """
    figure = plots.figure(language, "", "")
    rows = table.sort_values(["starts_on", "campaign_id"]).reset_index(drop=True)
    for state in dict.fromkeys(rows["state"]):
        own = rows[rows["state"] == state]
        first, last = pd.to_datetime(own["starts_on"]), pd.to_datetime(own["ends_on"])
        figure.add_bar(
            base=first,
            x=((last - first).dt.days + 1) * _DAY_MS,
            y=own.index,
            orientation="h",
            name=words.get(state, state),
            marker={"color": STATES.get(state, INK)},
            customdata=[
                [tick_names.plain(name), *map(texts.speak(language).date, days)]
                for name, *days in zip(own["name"], first.dt.date, last.dt.date, strict=True)
            ],
            hovertemplate="%{customdata[0]}<br>%{customdata[1]} – %{customdata[2]}<extra></extra>",
        )
    if today is not None:
        figure.add_vline(x=pd.Timestamp(today), line={"color": INK, "width": 1, "dash": "dot"})
    tick_names.put(figure, "y", list(rows["name"]), longest=34)
    figure.update_yaxes(showgrid=False)
    figure.update_xaxes(type="date", tickformat="%m.%Y" if language == "ru" else "%b %Y")
    figure.update_layout(height=max(200, 90 + _BAR * len(rows)), bargap=0.3, barmode="overlay", hovermode="closest")
    say = texts.speak(language)
    return certainty.told(figure, certainty.none(say, say.text("these are dates as planned or recorded.")))


def schedule(table: pd.DataFrame, *, words: dict[str, str], language: str = "en") -> go.Figure:
    """Return the contact plan: contacts a day by channel (channel, day, contacts); ``words`` of the channels."""
    say = texts.speak(language)
    figure = plots.figure(language, "", say.text("Contacts a day"))
    for color, (channel, rows) in zip(PALETTE * 2, table.groupby("channel", sort=True), strict=False):
        name = words.get(str(channel), str(channel))
        figure.add_bar(
            x=rows["day"],
            y=rows["contacts"],
            name=name,
            marker={"color": color},
            width=0.8 * _DAY_MS,
            hovertemplate="%{y:,d}",
        )
    figure.update_layout(barmode="stack", showlegend=True)
    _days(figure, table["day"], language)
    figure.update_yaxes(rangemode="tozero", tickformat=",d")
    why = say.text("these are contacts as planned; chance decides which arm a customer gets, and with it the channel.")
    return certainty.told(figure, certainty.none(say, why))


def refusals(table: pd.DataFrame, *, audience: int, words: dict[str, str], language: str = "en") -> go.Figure:
    """Return for each arm how many of the audience it may reach, and why not the others (arm, code, customers)."""
    say = texts.speak(language)
    figure = plots.figure(language, say.text("Customers of the audience"), "")
    arms = list(dict.fromkeys(table["arm"]))[::-1]
    place = {arm: number for number, arm in enumerate(arms)}
    colors = (BLUE, PALE, AMBER, PURPLE, ORANGE, SKY, GREY, YELLOW, GREEN, INK)
    sums = table[table["code"] != ""].groupby("code")["customers"].sum().sort_values(ascending=False)
    table = table.assign(code=table["code"].where(~table["code"].isin(sums.index[_REASONS:]), _REST))
    table = table.groupby(["arm", "code"], sort=False)["customers"].sum().reset_index()
    codes = sorted(
        set(table["code"]),
        key=lambda code: (code != "", code == _REST, -table.loc[table["code"] == code, "customers"].sum()),
    )
    for code, color in zip(codes, colors * 2, strict=False):
        rows = table[table["code"] == code]
        figure.add_bar(
            x=rows["customers"],
            y=rows["arm"].map(place),
            orientation="h",
            name=say.text("other reasons") if code == _REST else words.get(code, code),
            marker={"color": color},
            hovertemplate="%{x:,d}",
        )
    figure.update_layout(barmode="stack", height=240 + 40 * len(arms), bargap=0.35, hovermode="closest")
    figure.update_layout(margin={"t": 96})
    figure.update_xaxes(range=[0, max(audience, 1)], tickformat=",d")
    figure.update_yaxes(tickvals=list(place.values()), ticktext=[tick_names.plain(arm) for arm in arms], showgrid=False)
    return certainty.told(figure, certainty.counted(say))


def progress(table: pd.DataFrame, *, column: str, words: dict[str, str], language: str = "en") -> go.Figure:
    """Return the share of each arm's members contacted, refused or bought so far, by day.

    In: a table of ``campaigns.progress``; ``column`` "contacted", "refused" or "bought"; ``words`` of the arms.
    """
    say = texts.speak(language)
    figure = plots.figure(language, "", say.text("Share of the members"))
    arms = sorted(set(table["arm"]), key=lambda arm: (arm == "control", arm))
    for arm, color in zip(arms, PALETTE * 2, strict=False):
        rows = table[table["arm"] == arm]
        line = {"color": GREY, "width": 2, "dash": "dot"} if arm == "control" else {"color": color, "width": 2.5}
        share = rows[column] / rows["members"]
        name = words.get(arm, arm)
        figure.add_scatter(x=rows["day"], y=share, mode="lines", name=name, line=line, hovertemplate="%{y:.1%}")
    _days(figure, table["day"], language)
    top = max(float((table[column] / table["members"]).max()) * 1.05, 0.01)
    figure.update_yaxes(range=[0, top], tickformat=".1%" if column == "bought" else ".0%")
    return certainty.told(figure, certainty.counted(say))


def _days(figure: go.Figure, days: pd.Series, language: str) -> None:
    """Make the x axis one of days, of a week at least, without times of day."""
    if len(days):
        first, last = pd.Timestamp(days.min()), pd.Timestamp(days.max())
        room = max(1.0, (7 - (last - first).days) / 2)
        figure.update_xaxes(range=[first - pd.Timedelta(days=room), last + pd.Timedelta(days=room)])
    figure.update_xaxes(type="date", tickformat="%d.%m.%y" if language == "ru" else "%d %b %y", nticks=5)
