"""The first page: a card for each dashboard, with the question that it answers."""

from __future__ import annotations

import html
from collections.abc import Iterable

from crmlib.views import texts
from crmlib.views.texts import later

CARDS = {
    "campaign_targeting": (
        later("Campaign targeting"),
        later("Whom should we contact about a product, and where does contacting more stop paying?"),
    ),
    "audience_builder": (
        later("Audience builder"),
        later("Which customers meet these conditions, how many are they, and who may be contacted?"),
    ),
    "product_matrices": (
        later("Product matrices"),
        later("Which segment holds, wants and is worth which product, and what is bought after what?"),
    ),
    "campaigns": (
        later("Campaigns"),
        later("What is planned, what is running, and what did each campaign really earn?"),
    ),
    "retention_watchlist": (
        later("Retention watchlist"),
        later("Who may leave, whom is it worth keeping and how, and whom do we let go, decently?"),
    ),
    "offer_desk": (
        later("Offer desk"),
        later("Who is calling, what should we offer now, and why?"),
    ),
    "customer_card": (
        later("Customer card"),
        later("Who is this customer: history, credit, value, risk of leaving and loyalty at a glance?"),
    ),
    "loyalty": (
        later("Loyalty"),
        later("Would customers recommend us, who stays, what moves them, and whom should we care for now?"),
    ),
    "due_list": (
        later("Due list"),
        later("Who needs the next delivery, whom do we visit on which day, and what should be delivered?"),
    ),
    "demand": (
        later("Demand"),
        later("How much will be wanted, where and when, how sure is that, and what would change it?"),
    ),
}
_STYLE = """
body { font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; color: #23272f;
  margin: 0; background: #f5f6f8; }
main { max-width: 1080px; margin: 0 auto; padding: 28px 20px; }
header { display: flex; flex-flow: row wrap; justify-content: space-between; align-items: baseline; gap: 12px; }
h1 { font-size: 26px; margin: 0 0 4px; } nav a { margin-left: 14px; color: #00568a; }
nav [aria-current] { color: #23272f; font-weight: 650; text-decoration: none; }
ul { list-style: none; margin: 18px 0 0; padding: 0; display: grid; gap: 16px;
  grid-template-columns: repeat(auto-fill, minmax(300px, 1fr)); }
li a { display: block; height: 100%; box-sizing: border-box; background: #fff; border: 1px solid #dfe3e8; border-radius: 12px;
  padding: 16px 18px; color: inherit; text-decoration: none; }
li a:hover, li a:focus { border-color: #0072b2; box-shadow: 0 0 0 2px #0072b233; outline: none; }
h2 { font-size: 18px; margin: 0 0 6px; color: #00568a; } p { margin: 0; color: #4b5260; line-height: 1.45; }
"""


def page(names: Iterable[str], *, language: str, base: str) -> str:
    """Return the HTML of the first page: ``names`` of the notebooks there are, ``base`` the path to their folder.

    A dashboard of one's own, which has no card here, is listed by its name.
    """
    say = texts.speak(language)
    known = {name: place for place, name in enumerate(CARDS)}
    cards = []
    for name in sorted(names, key=lambda name: (known.get(name, len(known)), name)):
        title, question = CARDS.get(name, (name.replace("_", " ").capitalize(), ""))
        address = html.escape(f"{base}{name}.ipynb?language={say.code}")
        words = (html.escape(say.text(title)), html.escape(say.text(question) if question else ""))
        cards.append(f'<li><a href="{address}"><h2>{words[0]}</h2><p>{words[1]}</p></a></li>')
    tongues = "".join(
        f'<a href="?language={code}" lang="{code}"{" aria-current=true" if code == say.code else ""}>{name}</a>'
        for code, name in texts.LANGUAGES.items()
    )
    heading = html.escape(say.text("Dashboards"))
    return (
        f'<!doctype html><html lang="{say.code}"><head><meta charset="utf-8"><title>{heading}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>'
        f"<body><main><header><h1>{heading}</h1><nav>{tongues}</nav></header><ul>{''.join(cards)}</ul></main></body></html>"
    )
