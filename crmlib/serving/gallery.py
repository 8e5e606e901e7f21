"""The front door: a card for each dashboard that the visitor may open, with its question, its last picture and its state."""

from __future__ import annotations

import datetime as dt
import html
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from crmlib.serving import attention, pages
from crmlib.serving.attention import State
from crmlib.views import alert_words, cards, texts
from crmlib.views.cards import Card
from crmlib.views.texts import later
from crmlib.views.visitor import Visitor

_HERE = Path(__file__).parent

GROUPS = {
    "marketing": later("Win customers"),
    "keep": later("Keep customers"),
    "centre": later("Serve customers"),
    "planning": later("Plan supply and visits"),
    "operations": later("Watch over the workbench"),
    "own": later("Your own"),
}


@dataclass(frozen=True)
class Entry:
    """What is known of a dashboard before it has ever run: one of ``GROUPS``, its title and the question it answers."""

    group: str
    title: str
    question: str = ""


CARDS = {
    "campaign_targeting": Entry(
        "marketing",
        later("Campaign targeting"),
        later("Whom should we contact about a product, and where does contacting more stop paying?"),
    ),
    "audience_builder": Entry(
        "marketing",
        later("Audience builder"),
        later("Which customers meet these conditions, how many are they, and who may be contacted?"),
    ),
    "product_matrices": Entry(
        "marketing",
        later("Product matrices"),
        later("Which segment holds, wants and is worth which product, and what is bought after what?"),
    ),
    "campaigns": Entry(
        "marketing",
        later("Campaigns"),
        later("What is planned, what is running, and what did each campaign really earn?"),
    ),
    "retention_watchlist": Entry(
        "keep",
        later("Retention watchlist"),
        later("Who may leave, whom is it worth keeping and how, and whom do we let go, decently?"),
    ),
    "loyalty": Entry(
        "keep",
        later("Loyalty"),
        later("Would customers recommend us, who stays, what moves them, and whom should we care for now?"),
    ),
    "offer_desk": Entry(
        "centre",
        later("Offer desk"),
        later("Who is calling, what should we offer now, and why?"),
    ),
    "customer_card": Entry(
        "centre",
        later("Customer card"),
        later("Who is this customer: history, credit, value, risk of leaving and loyalty at a glance?"),
    ),
    "demand": Entry(
        "planning",
        later("Demand"),
        later("How much will be wanted, where and when, how sure is that, and what would change it?"),
    ),
    "due_list": Entry(
        "planning",
        later("Due list"),
        later("Who needs the next delivery, whom do we visit on which day, and what should be delivered?"),
    ),
    "runs": Entry(
        "operations",
        later("Runs"),
        later("What ran by itself, what is late, how long did it take, and what came of it?"),
    ),
}


def page(
    names: Iterable[str], *, data: Path, visitor: Visitor, language: str, base: str, now: dt.datetime, logout: str = ""
) -> str:
    """Return the HTML of the front door: ``names`` of the notebooks there are, ``base`` the path to their folder.

    Only what the visitor's role opens is shown. A dashboard of one's own, which has no entry here, is listed by its name.
    """
    say = texts.speak(language)
    shown = [name for name in _ordered(names) if visitor.role.opens(name)]
    found = attention.state(data, shown)
    groups = {group: [name for name in shown if _entry(name).group == group] for group in GROUPS}
    sections = [
        _section(say, group, [_card(say, data, name, found, base=base, now=now) for name in members])
        for group, members in groups.items()
        if members
    ]
    top = _start(say) if found.served is None else _alerts(say, found, base) if "runs" in shown else ""
    groups_of_doors = f'<div class="crm-groups">{"".join(sections)}</div>'
    body = f"{_search(say)}{top}{groups_of_doors}{_nothing(say, bool(shown))}"
    look = f"<style>{_text('gallery.css')}</style><script>{_text('gallery.js')}</script>"
    return pages.shell(say, say.text("Dashboards"), body + look, visitor=_who(say, visitor), logout=logout)


# ---------------------------------------------------------------- parts


def _ordered(names: Iterable[str]) -> list[str]:
    known = {name: place for place, name in enumerate(CARDS)}
    return sorted(names, key=lambda name: (known.get(name, len(known)), name))


def _entry(name: str) -> Entry:
    return CARDS.get(name) or Entry("own", name.replace("_", " ").capitalize())


def _section(say: texts.Language, group: str, doors: list[str]) -> str:
    heading = html.escape(say.text(GROUPS[group]))
    wide = f"crm-wide-{min(len(doors), 4)}"
    return f'<section class="crm-group {wide}"><h2>{heading}</h2><ul class="crm-doors">{"".join(doors)}</ul></section>'


def _card(say: texts.Language, data: Path, name: str, found: State, *, base: str, now: dt.datetime) -> str:
    entry, card = _entry(name), cards.read(data, name) if found.served is not None else None
    words = _warning(say, found.wrong.get(name), card)
    flag = f'<p class="crm-flag"><span aria-hidden="true">!</span><span>{words}</span></p>' if words else ""
    day = max(filter(None, [found.as_of.get(name), _day(card)]), default=None)
    since = f'<p class="crm-since">{html.escape(_since(say, day, now))}</p>' if day else ""
    address = html.escape(f"{base}{name}.ipynb?language={say.code}")
    question = html.escape(say.text(entry.question) if entry.question else "")
    picture = (card.picture if card else "") or _text(
        f"pictures/{name}.svg" if name in cards.ONE_CUSTOMER else "pictures/none.svg"
    )
    return (
        f'<li class="crm-door"><a href="{address}"><div class="crm-picture">{picture}</div>'
        f"<h3>{html.escape(say.text(entry.title))}</h3><p>{question}</p>{since}{flag}</a></li>"
    )


def _warning(say: texts.Language, wrong: Mapping[str, Any] | None, card: Card | None) -> str:
    """Return in HTML what needs attention: what the store says, else the note that the dashboard itself shows."""
    if wrong:
        command = f"<code>{html.escape(wrong['command'])}</code>"
        if wrong["code"] == "missing":
            return html.escape(say.text("Nothing to show yet; it needs: {command}")).replace("{command}", command)
        words = say.text("Newer data are loaded; to count anew: {command}")
        return html.escape(words).replace("{command}", command)
    if card and card.note:
        # A note is in the language in which the dashboard was made ready.
        return html.escape(card.note if card.language == say.code else say.text("It has a note for you; open it."))
    return ""


def _day(card: Card | None) -> dt.date | None:
    return dt.date.fromisoformat(card.as_of) if card and card.as_of else None


def _since(say: texts.Language, day: dt.date, now: dt.datetime) -> str:
    words = say.text("Data up to {day}", day=say.date(day))
    age = (now.date() - day).days
    return f"{words} ({say.plural('{n} day ago', '{n} days ago', age)})" if age > 0 else words


def _alerts(say: texts.Language, found: State, base: str) -> str:
    if not found.alerts:
        return ""
    rows = "".join(
        f"<li>{html.escape(alert_words.subject(one.code, one.content, say.code))}</li>" for one in found.alerts
    )
    heading = html.escape(say.text("Needs attention"))
    address = html.escape(f"{base}runs.ipynb?language={say.code}")
    link = f'<a href="{address}">{html.escape(say.text("See the runs"))}</a>'
    return f'<section class="crm-alerts" aria-label="{heading}"><h2>{heading}</h2><ul>{rows}</ul>{link}</section>'


def _search(say: texts.Language) -> str:
    words = html.escape(say.text("Find a dashboard"))
    return (
        f'<form class="crm-search" role="search"><label for="crm-find">{words}</label>'
        '<input id="crm-find" type="search" autocomplete="off" spellcheck="false"></form>'
    )


def _start(say: texts.Language) -> str:
    """Return what to do where no data are loaded."""
    heading = html.escape(say.text("No data are loaded yet"))
    steps = {
        "crm demo": say.text("makes a sample company with everything computed, to look around in"),
        "crm load": say.text("loads your own files; then `crm score` and the other jobs fill the dashboards"),
    }
    rows = "".join(
        f"<dt><code>{name}</code></dt><dd>{html.escape(words).replace('`', '')}</dd>" for name, words in steps.items()
    )
    return f'<section class="crm-start" aria-label="{heading}"><h2>{heading}</h2><dl>{rows}</dl></section>'


def _nothing(say: texts.Language, some: bool) -> str:
    """Return what is said where the search finds nothing, or the role opens nothing."""
    words = (
        say.text("No dashboard has these words.") if some else say.text("Your role opens no dashboard; ask for one.")
    )
    return f'<p class="crm-nothing" role="status"{" hidden" if some else ""}>{html.escape(words)}</p>'


def _who(say: texts.Language, visitor: Visitor) -> str:
    roles = {
        "analyst": say.text("analyst"),
        "marketer": say.text("marketer"),
        "operator": say.text("operator"),
        "viewer": say.text("viewer"),
    }
    role = roles.get(visitor.role.name, visitor.role.name)
    return f"{visitor.name} · {role}" if visitor.name else ""


@cache
def _text(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")
