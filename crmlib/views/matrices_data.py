"""What the dashboard of product matrices shows: read once, counted for each way to put customers into rows."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import sqlalchemy as sa

from crmlib import paths, warehouse
from crmlib.decisions import audiences, cells, eligibility, matrices, memberships
from crmlib.errors import NotFoundError
from crmlib.store import score_sets, segment_sets, session
from crmlib.store.tables import Audience, Pointer, ScoreSet, SegmentSet
from crmlib.views import segment_words
from crmlib.views.texts import Language
from crmlib.warehouse import company as companies
from crmlib.warehouse.snapshot import Snapshot

MODEL = "propensity"
MOST_ROWS = 40
"""Attributes of more different values make no rows that a person could read."""

PERIODS = (30, 90, 180)
SEGMENT_MEASURES = ("penetration", "propensity", "expected_profit")
CROSS_MEASURES = ("lift", "rate")
NEED_SCORES = ("propensity", "expected_profit")


@dataclass(frozen=True, eq=False)
class Loaded:
    """What belongs to the newest scores, or, where there are none, to the served warehouse; made by ``load``.

    Attributes: ``data`` folder; ``snapshot``; ``company``; ``score_set`` (None without scores); ``products`` in the order
    shown (product_id, name, product_group); ``rows`` the ways to put customers into rows; ``known`` of ``matrices.prepare``;
    ``rules`` of eligibility; ``saved`` segmentations; ``tables`` already counted.
    """

    data: Path
    snapshot: Snapshot
    company: companies.Company
    score_set: ScoreSet | None
    products: pd.DataFrame
    rows: list[str]
    known: matrices.Known
    rules: pd.DataFrame
    saved: list[str]
    tables: dict[tuple[Any, ...], pd.DataFrame] = field(default_factory=dict)

    @cached_property
    def names(self) -> dict[str, str]:
        """The names of the products by product_id."""
        return dict(zip(self.products["product_id"], self.products["name"], strict=True))

    def segment_names(self, say: Language, by: str) -> dict[str, str]:
        """Return the names in words of the segments of a saved segmentation; none for other rows."""
        if by not in self.saved:
            return {}
        description = segment_sets.newest(self.data, by).description
        return segment_words.names(say, description) if description.get("segments") else {}

    def measures(self, by: str) -> list[str]:
        """Return the measures there are for a way to put customers into rows."""
        found = [*CROSS_MEASURES, *SEGMENT_MEASURES] if by == memberships.HOLDS else list(SEGMENT_MEASURES)
        return [name for name in found if self.score_set is not None or name not in NEED_SCORES]

    @property
    def unpriced(self) -> list[str]:
        """The names of the products without a margin."""
        if self.known.priced is None:
            return []
        return [
            self.names[name] for name, priced in zip(self.known.products, self.known.priced, strict=True) if not priced
        ]


def newest(data: Path) -> tuple[int | None, ...]:
    """Return what changes when there are newer scores, data, segments or audiences."""
    if not data.is_dir():
        return ()
    with session.session(data) as store:
        numbers = [
            store.scalar(sa.select(sa.func.max(ScoreSet.score_set_id)).where(ScoreSet.model == MODEL)),
            store.scalar(sa.select(Pointer.version).where(Pointer.name == "served")),
            store.scalar(sa.select(sa.func.max(SegmentSet.segment_set_id))),
            store.scalar(sa.select(sa.func.max(Audience.audience_id))),
        ]
    return tuple(numbers)


def load(data: Path) -> Loaded:
    """Return what the matrices are counted from.

    Raises NotFoundError where there is no data folder or warehouse, EnvironmentFault where a file is damaged.
    """
    if not data.is_dir():
        raise NotFoundError(
            f"{data}: there is no such data folder; run `crm demo`, or load your own files with `crm load`"
        )
    try:
        scored: ScoreSet | None = score_sets.newest(data, MODEL)
    except NotFoundError:
        scored = None
    version = scored.warehouse_version if scored else None
    wh = warehouse.open(paths.warehouse(data), version=version)
    if wh.period is None:
        raise NotFoundError(f"version {wh.version} of the warehouse holds no events; load some data with `crm load`")
    snapshot = wh.snapshot(scored.as_of if scored else wh.period[1])
    company = companies.read(data / "company.toml") if (data / "company.toml").exists() else wh.company
    columns = ["customer_id", "product_id", "score", "low", "high"]
    scores = score_sets.read(data, scored, columns=columns) if scored else None
    rules = eligibility.rules(snapshot, file=data / eligibility.RULES_FILE)
    products = snapshot.table("products", ["product_id", "name", "product_group"])
    saved, named = _saved(data)
    return Loaded(
        data=data,
        snapshot=snapshot,
        company=company,
        score_set=scored,
        products=products.sort_values(["product_group", "name"], ignore_index=True),
        rows=[*saved, *_attributes(snapshot), *[f"{memberships.AUDIENCE}{name}" for name in named]],
        saved=saved,
        known=matrices.prepare(snapshot, scores=scores, company=company, rules=rules),
        rules=rules,
    )


def _saved(data: Path) -> tuple[list[str], list[str]]:
    """Return the names of the saved segmentations and audiences."""
    with session.session(data) as store:
        segmentations = sorted(store.scalars(sa.select(SegmentSet.segmentation).distinct()))
        return segmentations, sorted(store.scalars(sa.select(Audience.name).distinct()))


def _attributes(snapshot: Snapshot) -> list[str]:
    """Return the ways to put customers into rows that the snapshot's tables allow: by holdings, attributes, age."""
    customers = snapshot.table("customers", ["birth_date", *dict.fromkeys(memberships.ATTRIBUTES.values())])
    usable = [name for name, column in memberships.ATTRIBUTES.items() if 1 < customers[column].nunique() <= MOST_ROWS]
    age = [memberships.AGE] if customers["birth_date"].notna().any() else []
    return [memberships.HOLDS, *usable, *age]


def table(loaded: Loaded, by: str, measure: str, *, within_days: int, next_only: bool) -> pd.DataFrame:
    """Return one matrix in one form, whatever the measure: a row a cell.

    Out: segment, product_id, value, low, high (nan where hidden), base (customers behind it), hits (holders, takers,
    contacts), hidden, and what else the sentence about a cell needs.
    """
    crossed = by == memberships.HOLDS and measure in CROSS_MEASURES
    key = (by, within_days, next_only) if crossed else (by,)
    if key not in loaded.tables:
        loaded.tables[key] = (
            cross(loaded, within_days=within_days, next_only=next_only)
            if crossed
            else matrices.of_segments(loaded.known, memberships.members(loaded.snapshot, by, data=loaded.data))
        )
    found = loaded.tables[key]
    if crossed:
        found = found.rename(columns={"holds": "segment", "takes": "product_id"})
        picked = {"base": "customers", "hits": "takers", "hidden": "hidden"}
        bounds = (measure, f"{measure}_low", f"{measure}_high")
    else:
        picked = {
            "penetration": {"base": "customers", "hits": "holders", "hidden": "holders_hidden"},
            "propensity": {"base": "candidates", "hits": "candidates", "hidden": "scores_hidden"},
            "expected_profit": {"base": "candidates", "hits": "contacts", "hidden": "contacts_hidden"},
        }[measure]
        unit = "_minor" if measure == "expected_profit" else ""
        bounds = (f"{measure}{unit}", f"{measure}_low{unit}", f"{measure}_high{unit}")
    more = {
        name: found[name]
        for name in ("base_customers", "base_takers", "base_rate", "rate", "cost_minor")
        if name in found
    }
    out = {name: found[column] for name, column in zip(("value", "low", "high"), bounds, strict=True)}
    own = {name: found[column] for name, column in picked.items()}
    return pd.DataFrame({"segment": found["segment"], "product_id": found["product_id"], **out, **own, **more})


def cross_date(loaded: Loaded, within_days: int) -> dt.date:
    """Return the last day after which the records run for another ``within_days``, but not after the snapshot."""
    period = loaded.snapshot.warehouse.period
    assert period is not None
    return min(loaded.snapshot.as_of, period[1] - dt.timedelta(days=within_days))


def cross(loaded: Loaded, *, within_days: int, next_only: bool) -> pd.DataFrame:
    """Return the cross-product matrix of the last date whose outcome is known."""
    date = cross_date(loaded, within_days)
    wh = loaded.snapshot.warehouse
    return matrices.cross_product(wh, date, within_days=within_days, next_only=next_only)


def cell_audience(loaded: Loaded, by: str, measure: str, segment: str, product_id: str) -> tuple[cells.Cell, int]:
    """Return the audience of a cell and how many customers it holds.

    Of an expected-profit cell it keeps to a probability from which at least the cheapest contact pays.
    """
    least = None
    if measure == "expected_profit":
        place = loaded.known.products.index(product_id)
        pairs = loaded.known.pairs
        assert pairs is not None
        own = pairs[(pairs["column"] == place) & (pairs["profit"] > 0)]
        least = float(own["score"].min()) if len(own) else 1.0
    cell = cells.audience(
        by, segment, product_id, rules=loaded.rules, company=loaded.company, score_at_least=least, data=loaded.data
    )
    return cell, audiences.count(loaded.snapshot, cell.conditions, data=loaded.data)


def save_audience(loaded: Loaded, name: str, cell: cells.Cell, *, now: dt.datetime, actor: str) -> Audience:
    """Save the audience of a cell under a name."""
    return audiences.save(loaded.data, name, cell.conditions, now=now, actor=actor)
