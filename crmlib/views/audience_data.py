"""What the audience builder shows, without widgets: levels to choose from, templates, groups, counts and profiles."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa

from crmlib import paths, warehouse
from crmlib.decisions import audiences as audience
from crmlib.decisions import small_cells
from crmlib.decisions.audiences import sources
from crmlib.decisions.audiences.conditions import Data
from crmlib.decisions.audiences.fields import FIELDS, MEETINGS, column_of, declared
from crmlib.decisions.call_list import permitted
from crmlib.errors import NotFoundError
from crmlib.store import session
from crmlib.store.tables import Audience, Pointer, ScoreSet, SegmentSet
from crmlib.views.audience_words import Subject, subject_of, subjects
from crmlib.warehouse import Snapshot, schema

HIDDEN_BELOW = small_cells.SMALLEST
"""Cells with fewer customers are not shown: they would say too much about single people."""

AGES = (0, 18, 26, 36, 46, 56, 66, 200)
MOST_LEVELS = 300
Groups = list[tuple[str, list[Data]]]
"""What the builder edits: ("all" | "any" | "none", single conditions), all groups to be met."""


@dataclass(frozen=True, eq=False)
class Builder:
    """Everything the builder needs of one warehouse version; made by ``load``.

    Attributes: ``data`` the folder; ``snapshot``; ``subjects`` that can be asked for by key; ``products`` names by
    product_id; ``people`` one row a customer (customer_id, region, age); ``held`` (customer_id, product_group) of open
    contracts; ``allowed`` (customer_id, channel) of marketing consents; ``kept`` levels already read.
    """

    data: Path
    snapshot: Snapshot
    subjects: dict[str, Subject]
    products: dict[str, str]
    people: pd.DataFrame
    held: pd.DataFrame
    allowed: pd.DataFrame
    kept: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    @property
    def currency(self) -> str:
        """The currency of all amounts."""
        return self.snapshot.warehouse.company.currency

    def levels(self, name: str, subject: Subject) -> list[str]:
        """Return the levels of a filter, or of the subject's own field, in order; read when first asked for."""
        one = FIELDS[subject.field]
        if one.kind == "segment":
            table, column = "segments", str(subject.fixed["segmentation"])
        elif one.kind == "score":
            table, column = "scores", name
        else:
            table, column = column_of(one, name)
        if (table, column) not in self.kept:
            self.kept[table, column] = self._read(table, column)
        return self.kept[table, column]

    def _read(self, table: str, column: str) -> list[str]:
        if table == "segments":
            return _segments(self.data, column, self.snapshot.as_of)
        if table == "scores":
            return _scored(self.data, self.snapshot.as_of)
        found = set(declared(table, column))
        source = schema.tables()[table]
        if column in source.c:
            chosen = sa.select(source.c[column]).distinct().where(source.c[column].is_not(None)).limit(MOST_LEVELS + 1)
            found |= set(self.snapshot.warehouse.arrow(chosen).column(0).to_pylist())
        return sorted(found)[:MOST_LEVELS]


@dataclass(frozen=True, eq=False)
class Answer:
    """Who is in an audience.

    Attributes: ``conditions`` normal; ``customers`` in it; ``everybody`` there is; ``steps`` customers left after each
    condition of the outermost "all"; ``contactable`` by any channel; ``channels`` (channel, customers); ``regions``,
    ``ages``, ``products`` (label, customers, share, share_all; NaN where the cell is hidden).
    """

    conditions: Data
    customers: int
    everybody: int
    steps: list[int]
    contactable: int
    channels: pd.DataFrame
    regions: pd.DataFrame
    ages: pd.DataFrame
    products: pd.DataFrame


def newest(data: Path) -> tuple[Any, ...]:
    """Return what changes when there is newer data: the served version, scores, segments, audiences."""
    with session.session(data) as store:
        numbers = [ScoreSet.score_set_id, SegmentSet.segment_set_id, Audience.audience_id]
        return (
            store.scalar(sa.select(Pointer.version).where(Pointer.name == "served")),
            *[store.scalar(sa.select(sa.func.max(number))) for number in numbers],
        )


def load(data: Path) -> Builder:
    """Return what the builder needs, as of the day of the newest scores, else of the last record.

    Raises NotFoundError where nothing was loaded yet, EnvironmentFault where a file is damaged.
    """
    if not data.is_dir():
        raise NotFoundError(
            f"{data}: there is no such data folder; run `crm demo`, or load your own files with `crm load`"
        )
    opened = warehouse.open(paths.warehouse(data))
    if opened.period is None:
        raise NotFoundError(f"version {opened.version} of the warehouse holds no events; load some data first")
    with session.session(data) as store:
        days = list(store.scalars(sa.select(ScoreSet.as_of).order_by(ScoreSet.score_set_id.desc()).limit(1)))
        segmentations = sorted(store.scalars(sa.select(SegmentSet.segmentation).distinct()))
    first, last = opened.period
    as_of = days[0] if days and first <= days[0] <= last else last
    known = opened.snapshot(as_of)
    every = known.table("customers", ["customer_id", "region", "birth_date", "closed_on"])
    every = every[every["closed_on"].isna()].drop(columns="closed_on").reset_index(drop=True)
    products = known.table("products", ["product_id", "name", "product_group"])
    held = known.table("holdings", ["customer_id", "product_id", "closed_on"])
    held = held[held["closed_on"].isna()].merge(
        products[["product_id", "product_group"]], on="product_id", validate="many_to_one"
    )
    return Builder(
        data=data,
        snapshot=known,
        subjects=_usable(subjects(segmentations), opened, scored=bool(days)),
        products=dict(zip(products["product_id"], products["name"], strict=True)),
        people=every.assign(age=_age(every["birth_date"], as_of)).drop(columns="birth_date"),
        held=held[["customer_id", "product_group"]].drop_duplicates().reset_index(drop=True),
        allowed=permitted(known.table("consents"), every["customer_id"], company=opened.company),
    )


def _usable(known: dict[str, Subject], opened: warehouse.Warehouse, *, scored: bool) -> dict[str, Subject]:
    """Leave out subjects of empty tables and columns, and scores where there are none."""
    sources = {FIELDS[one.field].table for one in known.values()} - {"scores", "segments"}
    named = {table: [one for one in known.values() if FIELDS[one.field].table == table] for table in sources}
    usable = []
    for table, asked in named.items():
        source = schema.tables()[table]
        columns = {FIELDS[one.field].column or FIELDS[one.field].time for one in asked} & set(source.c.keys())
        counts = [sa.func.count(source.c[name]).label(name) for name in sorted(columns)]
        row = opened.arrow(sa.select(sa.func.count().label("rows_"), *counts)).to_pylist()[0]
        usable += [
            one.key for one in asked if row.get(FIELDS[one.field].column or FIELDS[one.field].time, row["rows_"])
        ]
    other = [one.key for one in known.values() if one.field == "segment" or (one.field == "score" and scored)]
    return {key: one for key, one in known.items() if key in {*usable, *other}}


def _age(birth: pd.Series, as_of: dt.date) -> pd.Series:
    before = (birth.dt.month > as_of.month) | ((birth.dt.month == as_of.month) & (birth.dt.day > as_of.day))
    return as_of.year - birth.dt.year - before.astype(int)


def _segments(data: Path, segmentation: str, as_of: dt.date) -> list[str]:
    found = audience.segments_of(data, segmentation, as_of)
    return sorted(found.column("segment").to_pandas().dropna().astype(str).unique())


def _scored(data: Path, as_of: dt.date) -> list[str]:
    found = audience.scores_of(data, "propensity", as_of)
    return sorted(found.column("product_id").to_pandas().dropna().astype(str).unique())


# ---------------------------------------------------------------- groups


def groups_of(conditions: Data, known: Mapping[str, Subject]) -> Groups | None:
    """Return normal conditions as groups to edit; None where they are nested deeper, or ask for what has no words."""
    groups: Groups = [("all", [])]
    for part in conditions.get("all", [conditions]):
        if "field" in part:
            groups[0][1].append(part)
        elif "not" in part:
            if groups[-1][0] != "none":
                groups.append(("none", []))
            groups[-1][1].append(part["not"])
        elif "any" in part and all("field" in one for one in part["any"]):
            groups.append(("any", list(part["any"])))
        else:
            return None
    if any(subject_of(one, known) is None for _, group in groups for one in group):
        return None
    return [group for group in groups if group[1]] or [("all", [])]


def conditions_of(groups: Groups) -> Data:
    """Return the normal conditions of groups.

    >>> conditions_of([("all", []), ("none", [{"field": "children", "operator": "ge", "value": 1}])])
    {'not': {'field': 'children', 'operator': 'ge', 'value': 1}}
    """
    parts: list[Data] = []
    for kind, group in groups:
        if kind == "any" and group:
            parts.append({"any": group})
        else:
            parts += [{"not": one} for one in group] if kind == "none" else group
    return audience.normal({"all": parts})


def start(subject: Subject, builder: Builder) -> Data:
    """Return the condition a subject begins with: one that makes sense as it stands."""
    one = FIELDS[subject.field]
    leaf: Data = {"field": subject.field}
    where = dict(subject.fixed)
    if one.kind == "score":
        where["product_id"] = builder.levels("product_id", subject)[0]
    if where:
        leaf["where"] = where
    if one.time and one.table in ("transactions", "contacts", "applications", "complaints"):
        leaf["window"] = {"whole_months": 1} if one.table == "transactions" else {"months": 3}
    if one.ahead:
        leaf["window"] = {"months": 2}
    if one.kind == "score":
        asked: tuple[str, Any] = ("top_share", 0.1)
    elif one.type == "text":
        asked = ("eq", (builder.levels(one.name, subject) or [""])[0])
    elif one.type == "date":
        asked = ("ge", "1980-01-01")
    elif one.kind == "measure" and not one.money:
        asked = ("ge", 1)
    else:
        asked = ("ge", {"age_years": 18, "tenure_months": 12, "children": 1}.get(one.name, 100_000))
    return {**leaf, "operator": asked[0], "value": asked[1]}


# ---------------------------------------------------------------- templates


def templates(builder: Builder) -> dict[str, Data]:
    """Return the examples one can begin with, by name, as far as this company's data allow them."""
    known, found = builder.subjects, {}
    if {"region", "met", "turnover", "holds"} <= set(known):
        found["acceptance"] = _quiet_and_rich(builder)
    if "maturing" in known:
        found["maturing"] = {"field": "holdings.maturing", "window": {"months": 2}, "operator": "ge", "value": 1}
    if "transactions" in known:
        quiet = {"field": "transactions.count", "window": {"months": 3}, "operator": "eq", "value": 0}
        found["sleeping"] = {"all": [quiet, {"field": "tenure_months", "operator": "ge", "value": 12}]}
    if "score" in known:
        product = builder.levels("product_id", known["score"])[0]
        likely = {"field": "score", "where": {"model": "propensity", "product_id": product}, "operator": "top_share"}
        has = {"field": "holdings.count", "where": {"product_id": product}, "operator": "ge", "value": 1}
        found["likely"] = {"all": [{**likely, "value": 0.1}, {"not": has}]}
    return {name: audience.normal(one) for name, one in found.items()}


def _quiet_and_rich(builder: Builder) -> Data:
    """Customers of one region who met no consultant for 3 months, turned over much last month and have no loan."""
    region = builder.levels("region", builder.subjects["region"])[0]
    loans = {"product_group": "loans"} if "loans" in builder.levels("product_group", builder.subjects["holds"]) else {}
    met = {"field": "contacts.count", "where": {"channel": list(MEETINGS)}, "window": {"months": 3}}
    # 100,000 is little in one currency and a fortune in another: the largest round amount that finds some customers.
    for amount in (10**7, 10**6, 10**5):
        month = {"field": "transactions.turnover_minor", "window": {"whole_months": 1}, "operator": "gt"}
        wanted: Data = {
            "all": [
                {"field": "region", "operator": "eq", "value": region},
                {**met, "operator": "eq", "value": 0},
                {**month, "value": amount},
                {"not": {"field": "holdings.count", "where": loans, "operator": "ge", "value": 1}},
            ]
        }
        if _count(builder, wanted) >= HIDDEN_BELOW:
            break
    return wanted


def _count(builder: Builder, conditions: Data) -> int:
    return audience.count(builder.snapshot, conditions, data=builder.data)


# ---------------------------------------------------------------- the answer


def answer(builder: Builder, conditions: Data) -> Answer:
    """Return who fulfils the conditions; raises what ``audiences.count`` raises."""
    found = audience.customers(builder.snapshot, conditions, data=builder.data)["customer_id"]
    everybody, *steps = audience.steps(builder.snapshot, conditions, data=builder.data)
    people = builder.people
    inside = people["customer_id"].isin(found)
    allowed = builder.allowed[builder.allowed["customer_id"].isin(found)]
    channels = allowed.groupby("channel").size().rename("customers").reset_index()
    ages = pd.cut(people["age"].astype(float), AGES, right=False, labels=[str(low) for low in AGES[:-1]])
    held = builder.held.merge(people[["customer_id"]], on="customer_id", validate="many_to_one")
    own = held[held["customer_id"].isin(found)]
    return Answer(
        conditions=conditions,
        customers=len(found),
        everybody=everybody,
        steps=steps,
        contactable=allowed["customer_id"].nunique(),
        channels=channels.sort_values("customers", ascending=False, ignore_index=True),
        regions=_cells(people.loc[inside, "region"], people["region"], len(found), everybody),
        ages=_cells(ages[inside], ages, len(found), everybody),
        products=_cells(own["product_group"], held["product_group"], len(found), everybody, apart=False),
    )


def made_with(builder: Builder, conditions: Data) -> list[ScoreSet | SegmentSet]:
    """Return the saved scores and segments that conditions ask for, each once."""
    return sources.asked_for(conditions, builder.data, builder.snapshot.as_of)


def _cells(inside: pd.Series, every: pd.Series, number: int, everybody: int, *, apart: bool = True) -> pd.DataFrame:
    """Return label, customers, share of the audience and of everybody; NaN where ``small_cells`` hides a count.

    Small may be those of a group who are in the audience, those who are not, and the whole group. Where every customer
    is in one group only (``apart``) the groups add up to the audience and to everybody, those of no known group too.
    """
    all_ = every.dropna().astype(str).value_counts().sort_index()
    own = inside.dropna().astype(str).value_counts().reindex(all_.index).fillna(0).astype(int)
    counts = pd.DataFrame({"inside": own, "outside": all_ - own})
    if apart:
        rest = {"inside": number - own.sum(), "outside": everybody - number - (all_ - own).sum()}
        counts = pd.concat([counts, pd.DataFrame([rest])], ignore_index=True)
        found = small_cells.hide(counts, column_totals="known", total="known")
        few, hidden = found.cells["inside"].to_numpy()[:-1], found.rows.to_numpy()[:-1]
    else:
        alone = [small_cells.hide(counts.loc[[label]], column_totals="none", total="none") for label in all_.index]
        few = np.array([bool(one.cells["inside"].iloc[0]) for one in alone], dtype=bool)
        hidden = np.array([bool(one.rows.iloc[0]) for one in alone], dtype=bool)
    shown = own.mask(few).astype(float)
    return pd.DataFrame(
        {
            "label": all_.index,
            "customers": shown.to_numpy(),
            "share": (shown / max(number, 1)).to_numpy(),
            "share_all": (all_.mask(hidden) / max(everybody, 1)).to_numpy(),
        }
    )
