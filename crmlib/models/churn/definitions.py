"""What counts as leaving: definitions as data, to be shown to whoever reads a figure made with them.

Contractual: the relationship ends (``Relationship``), or the last contract of a product does (``Holding``).
Non-contractual: nothing ends, but the activity fades (``Fading``).
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from typing import Any

from crmlib.errors import UsageError

FORMAT = 1
OTHER = "other"
"""The reason of who left for a reason that the definition does not name, or for none on record."""

Groups = tuple[tuple[str, tuple[str, ...]], ...]

_COMPETING: Groups = (
    ("competitor", ("competitor",)),
    ("price", ("price",)),
    ("service", ("service",)),
    ("death_or_moving", ("death", "moving")),
)
_OF_HOLDINGS: Groups = (*_COMPETING, ("matured", ("matured",)), ("customer", ("customer",)))


@dataclass(frozen=True)
class Relationship:
    """The customer ends the relationship: ``customers.closed_on``.

    Attributes: ``reasons`` competing reasons, each with the values of ``closed_reason`` that count as it.
    """

    reasons: Groups = _COMPETING

    kind = "relationship"

    def __post_init__(self) -> None:
        _check_reasons(self.reasons)

    @property
    def name(self) -> str:
        """The name under which models and scores of this definition are saved."""
        return "churn"


@dataclass(frozen=True)
class Holding:
    """The customer's last open contract of a product, or of a group of products, ends: ``holdings.closed_on``.

    Attributes: ``product_id`` or ``product_group``, one of them; ``renewed_within_days``: who opens another such
    contract by so many days after the end has renewed, not left; ``reasons`` as in ``Relationship``.
    """

    product_id: str = ""
    product_group: str = ""
    renewed_within_days: int = 30
    reasons: Groups = _OF_HOLDINGS

    kind = "holding"

    def __post_init__(self) -> None:
        if bool(self.product_id) == bool(self.product_group):
            raise UsageError("a definition of leaving by holding needs a product_id or a product_group, one of the two")
        _check_days("renewed_within_days", self.renewed_within_days, least=0)
        _check_reasons(self.reasons)

    @property
    def name(self) -> str:
        """The name under which models and scores of this definition are saved."""
        # It names a folder too, so that nothing of a product's id may lead out of it.
        return "churn_" + re.sub(r"[^\w-]+", "-", self.product_id or self.product_group)


@dataclass(frozen=True)
class Fading:
    """The customer's activity fades: transactions in the last ``window_days`` fall to ``share`` of the own pace, or below.

    The own pace is the number of transactions in the ``before_days`` up to the date at which one looks; only customers
    with at least ``fewest`` of them, who have not faded yet, can fade. With ``share`` 0 to fade is to fall silent.
    Transactions of the categories ``left_out`` (what the company books by itself) are not activity. Who ends the
    relationship first has left for the competing reason "closed".
    """

    window_days: int = 60
    share: float = 0.0
    before_days: int = 365
    fewest: int = 12
    left_out: tuple[str, ...] = ("fee",)

    kind = "fading"

    def __post_init__(self) -> None:
        _check_days("window_days", self.window_days, least=1)
        _check_days("before_days", self.before_days, least=self.window_days)
        _check_days("fewest", self.fewest, least=1)
        if not 0 <= self.share < 1:
            raise UsageError(
                f"share is {self.share}; the part of the own pace to fall to must be at least 0 and below 1"
            )

    @property
    def name(self) -> str:
        """The name under which models and scores of this definition are saved."""
        return "churn_fading"

    @property
    def reasons(self) -> Groups:
        """The competing reasons: faded, and the end of the relationship."""
        return (("faded", ("faded",)), ("closed", ("closed",)))


Definition = Relationship | Holding | Fading
_KINDS: dict[str, type[Relationship] | type[Holding] | type[Fading]] = {
    "relationship": Relationship,
    "holding": Holding,
    "fading": Fading,
}


def to_json(definition: Definition) -> str:
    """Return a definition as JSON text, to be kept with every model and table made with it.

    >>> to_json(Fading(window_days=90))[:46]
    '{"format": 1, "kind": "fading", "window_days":'
    """
    return json.dumps({"format": FORMAT, "kind": definition.kind, **asdict(definition)}, ensure_ascii=False)


def from_json(text: str) -> Definition:
    """Return the definition written by ``to_json``, or by hand; raises UsageError for one that is none.

    >>> from_json('{"kind": "holding", "product_id": "credit_card"}').name
    'churn_credit_card'
    """
    try:
        given = json.loads(text)
        kind = given.pop("kind")
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise UsageError(
            f'a definition of leaving is JSON with a kind, for example {{"kind": "relationship"}}; found {text[:60]!r}'
        ) from error
    if given.pop("format", FORMAT) != FORMAT:
        raise UsageError(f"the definition of leaving is of another format than {FORMAT}; write it anew")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise UsageError(f"unknown kind {kind!r} of leaving; there are {', '.join(_KINDS)}")
    if "reasons" in given:
        given["reasons"] = _groups(given["reasons"])
    if "left_out" in given:
        given["left_out"] = _texts("left_out", given["left_out"])
    for name in ("product_id", "product_group"):
        if not isinstance(given.get(name, ""), str):
            raise UsageError(f"{name} is {given[name]!r}; write it as text, in quotes")
    try:
        return _KINDS[kind](**given)
    except TypeError as error:
        known = ", ".join(field for field in _KINDS[kind].__dataclass_fields__)
        raise UsageError(f"a definition of kind {kind} has {known}; found {', '.join(given)}") from error


def described(definition: Definition) -> dict[str, Any]:
    """Return the definition as a code with parameters, for the words of notebooks and dashboards.

    >>> described(Holding(product_group="cards"))["code"]
    'leaving_holding'
    """
    parameters = {name: value for name, value in asdict(definition).items() if name != "reasons"}
    reasons = [{"reason": name, "values": list(values)} for name, values in definition.reasons]
    return {"code": f"leaving_{definition.kind}", **parameters, "reasons": reasons}


def reason_of(definition: Definition, value: str | None) -> str:
    """Return the competing reason that a recorded reason counts as.

    >>> reason_of(Relationship(), "moving"), reason_of(Relationship(), None)
    ('death_or_moving', 'other')
    """
    return {found: name for name, values in definition.reasons for found in values}.get(value or "", OTHER)


def _groups(given: Any) -> Groups:
    if not isinstance(given, list) or not all(isinstance(one, list) and len(one) == 2 for one in given):
        raise UsageError(f'reasons is {given!r}; write a list such as [["price", ["price", "fees"]]]')
    return tuple((str(name), _texts(f"the reason {name!r}", values)) for name, values in given)


def _texts(what: str, given: Any) -> tuple[str, ...]:
    if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
        raise UsageError(f'{what} holds {given!r}; write a list of texts such as ["price", "fees"]')
    return tuple(given)


def _check_days(name: str, days: int, *, least: int) -> None:
    if isinstance(days, bool) or not isinstance(days, int) or days < least:
        raise UsageError(f"{name} is {days!r}; give a whole number of at least {least}")


def _check_reasons(reasons: Groups) -> None:
    names = [name for name, _ in reasons]
    values = [value for _, found in reasons for value in found]
    if not names:
        raise UsageError("a definition of leaving needs at least one reason; leave reasons out for the usual ones")
    if OTHER in names or "" in names:
        raise UsageError(f"a reason cannot be called {OTHER!r} or be empty: that is who left for a reason not named")
    for what, found in (("reason", names), ("recorded reason", values)):
        twice = sorted({one for one in found if found.count(one) > 1})
        if twice:
            raise UsageError(f"the {what} {twice[0]!r} stands twice in the definition; each has one place")
