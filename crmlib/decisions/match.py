"""Product match: a few answers, with the history where there is one, give a ranked list; and what to ask next.

What has not been answered yet is filled in with what comparable customers would answer: the customers of a sample
who are most like the answers given. Each of them completes the answers to one whole person; the ``score`` function
and the rules of eligibility value every product for each. The list ranks products by the mean. A question is worth what
its answer is expected to add to the first three offers,

    worth = Σ P(answer) best(mean(value | answer)) − best(mean(value)),   best(v) = Σ v_(k) / log2(k + 1),  k = 1 … 3

the expected value of sample information (Raiffa and Schlaifer 1961, "Applied Statistical Decision Theory", chapter 4),
with the discount by place of Järvelin and Kekäläinen (2002, ACM Transactions on Information Systems 20, pages 422-446).
The next question is the one worth most. Nothing is stored: the caller records what came of it (``desk.record``).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa

from crmlib.decisions import desk as desks
from crmlib.decisions import desk_history, desk_rules, eligibility, match_questions
from crmlib.decisions.desk import Desk
from crmlib.decisions.match_questions import NO_PLAN, PLAN, Answer, Question
from crmlib.errors import DataError, UsageError
from crmlib.features import source

SAMPLE = 240
"""Comparable customers that stand for all: each is scored at every answer."""
PLAN_LEVER = 2.0
"""How much a plan stated raises the value of its products: the highest lever a business priority may have."""
_SEEN = 1 / np.log2(np.arange(desks.OFFERS) + 2)
"""How much each place of the list counts: 1, 0.63, 0.5."""
_PEOPLE = 20_000
_NOISE = 1e-9  # of rounding: sums of the same numbers in another order


@dataclass(frozen=True, eq=False)
class Match:
    """A product match opened on a desk: ``questions`` that can be asked, ``people`` whose answers stand for all."""

    desk: Desk
    questions: list[Question]
    people: pd.DataFrame = field(repr=False)
    groups: dict[str, str] = field(repr=False)


@dataclass(frozen=True)
class Ranking:
    """The answer of a match.

    ``offers``: product_id, value_minor (expected, minor units), probability, allowed (share of the comparable for whom
    the offer is allowed), best (share of them for whom it is the best offer), sorted by value. ``ask``: question,
    worth_minor and changes (chance that the best offer becomes another), the best to ask next first; empty when all is
    answered. ``reasons`` of the first offers, as codes; ``answers`` given and ``recorded`` in the history.
    """

    offers: pd.DataFrame
    ask: pd.DataFrame
    reasons: dict[str, list[dict[str, Any]]]
    answers: dict[str, Answer]
    recorded: dict[str, Answer]

    @property
    def next(self) -> str | None:
        """The question to ask next; None when no answer can change the best offer any more."""
        worth = self.ask[self.ask["worth_minor"] > 0]
        return None if worth.empty else str(worth["question"].iloc[0])


def open(desk: Desk, *, seed: int = 0) -> Match:
    """Open a product match on a desk; ``seed`` fixes which customers stand for all.

    Raises UsageError for a desk without a score function, DataError where the warehouse knows no open customer.
    """
    if desk.scorer is None or desk.features is None:
        raise UsageError("a product match needs a score function; open the desk with a scorer")
    levels = {feature.name: feature.levels for feature in desk.features.features}
    groups = {name: str(row["product_group"]) for name, row in desk.products.items() if row["product_group"]}
    offered = sorted({groups[name] for name in desk.terms if name in groups})
    asked = match_questions.questions(levels, offered if len(offered) > 1 else ())
    if not asked:
        raise UsageError("the model uses nothing a customer could be asked; train one with attributes of customers")
    return Match(desk, asked, _people(desk, asked, seed), groups)


def rank(
    match: Match, answers: Mapping[str, Any], *, customer_id: str | None = None, now: dt.datetime | None = None
) -> Ranking:
    """Return the ranked list for the answers given so far, and what to ask next.

    For a customer the history counts, and answers just typed replace what is on record; without one only the answers do.
    With ``now``, the UTC time, what the customer said to earlier offers counts too: products at rest are left out. Raises UsageError for an answer that cannot be, NotFoundError for an unknown customer, DataError for one who objected
    to profiling.
    """
    given = match_questions.checked(answers, match.questions)
    base, facts, known = _start(match, customer_id)
    resting = desks.resting(match.desk, customer_id, now=now) if customer_id is not None and now is not None else {}
    told = {**known, **given}
    people = comparable(match, told).assign(**told)
    valued = _valued(match, base, facts, people, resting)
    offers = _listed(valued)
    features = {one.feature: told[one.name] for one in match.questions if one.feature and one.name in told}
    assert match.desk.scorer is not None
    first = offers.loc[offers["value_minor"] > 0, "product_id"].head(desks.OFFERS).tolist()
    reasons = match.desk.scorer.reasons({**base, **features}, first)
    return Ranking(offers, _worth(match, valued, people, told), reasons, given, known)


def comparable(match: Match, told: Mapping[str, Answer]) -> pd.DataFrame:
    """Return customers whose answers stand for those not given: the most alike of a sample, each with its answers.

    Alike by the answers given: the same choices, numbers near on the scale of their ranks.
    """
    people = match.people
    away = np.zeros(len(people))
    for one in match.questions:
        if one.name not in told or one.name == PLAN:
            continue
        own = people[one.name]
        if one.kind == "choice":
            away += (own != told[one.name]).to_numpy(float)
        else:
            ordered = np.sort(own.to_numpy(float))
            place = np.searchsorted(ordered, own.to_numpy(float)) / len(own)
            away += 2 * np.abs(place - np.searchsorted(ordered, float(told[one.name])) / len(own))
    nearest = np.argsort(away, kind="stable")[:SAMPLE]
    return people.iloc[np.sort(nearest)].reset_index(drop=True)


def _start(match: Match, customer_id: str | None) -> tuple[dict[str, Any], desk_rules.Facts, dict[str, Answer]]:
    """Return the features and facts known before any answer, and what they already answer."""
    desk = match.desk
    if customer_id is None:
        return {}, desk_rules.prospect(desk.rules, as_of=desk.snapshot.as_of, company=desk.company), {}
    rows = desks.rows_of(desk, customer_id)
    if desk_history.objects(rows["consents"], "profiling"):
        raise DataError(f"customer {customer_id} objected to profiling; no products are matched for this customer")
    base = desks.values(desk, customer_id)
    facts = desk_rules.facts(rows, desk.rules, as_of=desk.snapshot.as_of, company=desk.company)
    return base, facts, match_questions.recorded(base, match.questions)


@dataclass(frozen=True)
class _Valued:
    """Products valued for people (people × products): ``value`` in minor units, ``chance``, ``allowed``."""

    products: list[str]
    value: np.ndarray
    chance: np.ndarray
    allowed: np.ndarray


def _valued(
    match: Match, base: dict[str, Any], facts: desk_rules.Facts, people: pd.DataFrame, resting: Collection[str]
) -> _Valued:
    """Value every product for each of the people, who share what is known and told and differ in the rest."""
    desk = match.desk
    assert desk.scorer is not None
    named = {one.name: one.feature for one in match.questions if one.feature}
    which, distinct = pd.factorize(pd.MultiIndex.from_frame(people[list(named)]))
    rows = [{**base, **dict(zip(named.values(), values, strict=True))} for values in distinct]
    scores = desk.scorer.score(rows)
    scored = list(dict.fromkeys(scores["product_id"]))
    wanted = (set(desk.terms) & set(desk.rules.products)) - set(resting)
    products = [name for name in scored if name in wanted]
    chance = scores["score"].to_numpy(float).reshape(len(rows), len(scored))[which]
    chance = chance[:, [scored.index(name) for name in products]]
    who = desk_rules.answered(facts, people)
    codes = eligibility.judge(who, desk.rules.rows, products=desk.rules.products)
    allowed = codes[:, [desk.rules.products.index(name) for name in products]] == 0
    terms = [desk.terms[name] for name in products]
    each = np.array([one["margin_minor"] * one["retention"] * one["lever"] for one in terms])
    value = chance * each * allowed
    if PLAN in people:
        planned = people[PLAN].to_numpy(object)[:, None] == np.array([match.groups.get(p) for p in products], object)
        value = value * np.where(planned, PLAN_LEVER, 1.0)
    return _Valued(products, value, chance, allowed)


def _listed(valued: _Valued) -> pd.DataFrame:
    best = np.bincount(valued.value.argmax(axis=1), minlength=len(valued.products)) / len(valued.value)
    table = pd.DataFrame(
        {
            "product_id": pd.Series(valued.products, dtype="str"),
            "value_minor": valued.value.mean(axis=0),
            "probability": valued.chance.mean(axis=0),
            "allowed": valued.allowed.mean(axis=0),
            "best": best,
        }
    )
    return table.sort_values(["value_minor", "product_id"], ascending=[False, True], ignore_index=True)


def _worth(match: Match, valued: _Valued, people: pd.DataFrame, told: Mapping[str, Answer]) -> pd.DataFrame:
    """Return each question not answered yet, what its answer is worth and how much of the list it changes."""
    now = valued.value.mean(axis=0)
    rows = []
    for one in match.questions:
        if one.name in told:
            continue
        answer = match_questions.bins(people[one.name], one)
        worth = changes = 0.0
        for _, members in answer.groupby(answer).indices.items():
            mean, share = valued.value[members].mean(axis=0), len(members) / len(answer)
            worth += share * (_best(mean) - _best(now))
            changes += share * _change(now, mean)
        rows.append((one.name, worth if worth > _NOISE * _best(now) else 0.0, changes))
    table = pd.DataFrame(rows, columns=["question", "worth_minor", "changes"]).astype({"question": "str"})
    return table.sort_values(["worth_minor", "changes"], ascending=False, kind="stable", ignore_index=True)


def _best(value: np.ndarray) -> float:
    """Return what the first offers of a list are worth: each counts by its place, since the first is seen most."""
    return float(np.sort(value)[::-1][: desks.OFFERS] @ _SEEN)


def _change(before: np.ndarray, after: np.ndarray) -> float:
    """Return the share of the first places that another offer takes."""
    first = [np.argsort(-value, kind="stable")[: desks.OFFERS] for value in (before, after)]
    return float((first[0] != first[1]).mean())


def _people(desk: Desk, asked: Sequence[Question], seed: int) -> pd.DataFrame:
    """Return the answers of a sample of open customers: a row each, gaps filled from another customer at random."""
    day = source.day_number(desk.snapshot.as_of)
    known = desk.snapshot.select("customers").subquery("known")
    listed: list[Any] = [known.c.customer_id]
    for one in asked:
        if one.name == "age_years":
            age = (day - source.epoch_day(known.c.birth_date)) / source.DAYS_PER_YEAR
            listed.append(sa.cast(age, sa.Double).label(one.name))
        elif one.name != PLAN:
            listed.append(known.c[one.name])
    drawn = sa.func.hash(known.c.customer_id, seed)
    query = sa.select(*listed).where(known.c.closed_on.is_(None)).order_by(drawn, known.c.customer_id).limit(_PEOPLE)
    found = desk.snapshot.warehouse.read(query)
    if found.empty:
        raise DataError(f"as of {desk.snapshot.as_of} no customer has an open relationship; load customers first")
    random = np.random.default_rng(seed)
    people = {one.name: _filled(found[one.name], one, random) for one in asked if one.name != PLAN}
    if any(one.name == PLAN for one in asked):
        plans = next(one.options for one in asked if one.name == PLAN)
        people[PLAN] = random.choice(np.array([*plans, *[NO_PLAN] * (len(plans) - 2)], dtype=object), len(found))
    return pd.DataFrame(people)


def _filled(column: pd.Series, question: Question, random: np.random.Generator) -> np.ndarray:
    """Return the answers on record, with each gap filled by one of them drawn at random."""
    if question.kind == "choice":
        values = column.where(column.isin(question.options)).astype(object)
    else:
        values = column.astype("Float64").astype(float)
    present = values.dropna().to_numpy()
    if not len(present):
        present = np.array([question.options[0] if question.kind == "choice" else question.low], dtype=object)
    out = values.to_numpy(copy=True)
    gaps = values.isna().to_numpy()
    out[gaps] = random.choice(present, int(gaps.sum()))
    return out
