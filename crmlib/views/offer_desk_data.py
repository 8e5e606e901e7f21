"""What the offer desk shows, without a widget: the desk with the newest model, and its parts as tables of words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import sqlalchemy as sa

from crmlib import features
from crmlib.decisions import desk, match
from crmlib.decisions.desk import Desk, Prompt
from crmlib.errors import NotFoundError
from crmlib.models import live, registry
from crmlib.store import session
from crmlib.store.tables import Model, Pointer
from crmlib.views import desk_words, wording
from crmlib.views.texts import Language

CHANNELS = ("call", "branch")
"""Where the customer is: on the telephone or at the counter."""


@dataclass(frozen=True, eq=False)
class Loaded:
    """A desk ready to answer: ``names`` of products; ``match`` opens the product match, None without a model."""

    desk: Desk
    names: dict[str, str]
    match: Callable[[], match.Match] | None


def load(data: Path) -> Loaded:
    """Open the desk on the served warehouse version with the newest model; without one it has no offers, and says so."""
    try:
        registered = registry.load(data)
    except NotFoundError:
        opened = desk.open(data)
        return Loaded(opened, _names(opened), None)
    spec = features.from_json(registered.specification)
    ready = live.prepare(registered.model, features.describe(spec))
    scorer = desk.Scorer(ready.score, ready.reasons, spec, name=registered.name, version=registered.version)
    opened = desk.open(data, scorer)
    _ = opened.household  # counted before the first customer is on the line
    return Loaded(opened, _names(opened), lambda: match.open(opened))


def newest(data: Path) -> tuple[int | None, int | None]:
    """Return what changes when there are newer data or a newer model: the served version and the last model."""
    with session.session(data) as store:
        version = store.scalar(sa.select(Pointer.version))
        return version, store.scalar(sa.select(sa.func.max(Model.model_id)))


def contracts(say: Language, prompt: Prompt, names: Mapping[str, str]) -> list[list[str]]:
    """Return a row of words per open contract: product, since, until, balance."""
    rows = []
    for one in prompt.holdings:
        minor = one.amount_minor if one.balance_minor is None else one.balance_minor
        money = "" if minor is None else say.money(minor, one.currency)
        until = "" if one.matures_on is None else say.date(one.matures_on)
        rows.append([names.get(one.product_id, one.product_id), say.date(one.opened_on), until, money])
    return rows


def offered(say: Language, prompt: Prompt, names: Mapping[str, str], *, most: int = 8) -> list[list[str]]:
    """Return a row of words per earlier offer, the newest first: day, product, channel, what came of it."""
    return [
        [
            say.date(one.at.date()),
            names.get(one.product_id, one.product_id),
            wording.value(say, one.channel),
            desk_words.outcome(say, one.outcome),
        ]
        for one in prompt.before[:most]
    ]


def avoided(say: Language, prompt: Prompt, names: Mapping[str, str], *, currency: str) -> list[list[str]]:
    """Return a row of words per product not to offer, what is held already left out: product, why not."""
    return [
        [names.get(one.product_id, one.product_id), desk_words.why_not(say, one, names, currency=currency)]
        for one in prompt.avoid
        if one.reason["code"] != "already_held"
    ]


def timeline(say: Language, prompt: Prompt, names: Mapping[str, str]) -> pd.DataFrame:
    """Return the events of ``plots_desk.timeline``: lane, on, mark, words."""
    rows = [
        (one["lane"], one["on"], one.get("outcome") or one["code"], desk_words.event(say, one, names))
        for one in prompt.timeline
    ]
    table = pd.DataFrame(rows, columns=["lane", "on", "mark", "words"])
    return table.assign(on=pd.to_datetime(table["on"]))


def _names(opened: Desk) -> dict[str, str]:
    return {product: str(row["name"]) for product, row in opened.products.items()}
