"""What the campaign targeting dashboard shows: saved scores read, and counted in advance for every cut-off."""

from __future__ import annotations

import datetime as dt
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import sqlalchemy as sa

from crmlib import paths, warehouse
from crmlib.decisions import call_list, policy
from crmlib.errors import EnvironmentFault, NotFoundError
from crmlib.store import session
from crmlib.store.tables import Model, Pointer, ScoreSet
from crmlib.warehouse import company as companies

log = logging.getLogger(__name__)

MODEL = "propensity"
POINTS = 200  # of a curve on the screen
TOP_REASONS = 6


@dataclass(frozen=True, eq=False)
class Targeting:
    """The newest scores and what belongs to them; made by ``load``.

    Attributes: ``score_set`` and ``model`` rows of the store (detached), ``run_id`` of the run that made the scores,
    ``served_version`` of the warehouse now; ``company``; ``products`` (product_id, name, margin_minor) that have scores
    and a margin; ``allowed`` (customer_id, channel); ``gains`` of the back test (may be empty); ``data`` the folder.
    """

    data: Path
    score_set: ScoreSet
    model: Model | None
    run_id: int | None
    served_version: int | None
    company: companies.Company
    products: pd.DataFrame
    allowed: pd.DataFrame
    gains: pd.DataFrame

    @property
    def scores_file(self) -> Path:
        """The Parquet file of the scores."""
        return self.data / self.score_set.file

    @property
    def reasons_file(self) -> Path:
        """The Parquet file of the reasons of those worth contacting."""
        return self.scores_file.with_name(f"{self.scores_file.stem}-reasons.parquet")

    @cached_property
    def names(self) -> dict[str, str]:
        """The names of the products by product_id."""
        return dict(zip(self.products["product_id"], self.products["name"], strict=True))

    @property
    def channels(self) -> list[str]:
        """The channels by which at least one customer may be contacted, the cheapest first."""
        costs = self.company.contact_costs_minor
        return sorted(set(self.allowed["channel"]), key=lambda channel: (costs[channel], channel))


@dataclass(frozen=True, eq=False)
class Choice:
    """One product and channel, counted for every cut-off.

    Attributes: ``ranked`` the customers who may be contacted, by expected profit (see ``call_list.candidates``);
    ``curve`` of ``call_list.profit_curve``; ``best`` cut-off; ``customers`` and ``buyers`` expected among all scored;
    ``reasons`` (customer_id, reasons: lists of codes) of the best of those worth contacting; ``kinds`` one code of each
    of the most frequent reasons for, ``counts`` how many of the first n customers have it (a row per n, a column per
    kind), ``explained`` how many of the first n have reasons at all.
    """

    product_id: str
    ranked: pd.DataFrame
    curve: pd.DataFrame
    best: int
    customers: int
    buyers: float
    reasons: pd.DataFrame
    kinds: list[dict[str, object]]
    counts: np.ndarray
    explained: np.ndarray

    @property
    def worth(self) -> int:
        """The number of customers worth contacting."""
        return int((self.ranked["expected_profit_minor"] > 0).sum())


def newest(data: Path) -> int | None:
    """Return the number of the newest set of scores, None where there is none."""
    with session.session(data) as store:
        return store.scalar(sa.select(sa.func.max(ScoreSet.score_set_id)).where(ScoreSet.model == MODEL))


def load(data: Path) -> Targeting:
    """Return the newest scores and what belongs to them.

    Raises NotFoundError where there are no scores yet or their warehouse version was removed, EnvironmentFault where a
    file is damaged.
    """
    if not data.is_dir():
        raise NotFoundError(
            f"{data}: there is no such data folder; run `crm demo`, or load your own files with `crm load`"
        )
    number = newest(data)
    if number is None:
        raise NotFoundError(
            f"{data} holds no scores yet; run `crm demo`, or `crm train` and `crm score` on your own data"
        )
    with session.session(data) as store:
        scores = store.get_one(ScoreSet, number)
        same = (Model.name == scores.model) & (Model.model_version == scores.model_version)
        model = store.scalar(sa.select(Model).where(same))
        pointer = store.scalar(sa.select(Pointer.version).where(Pointer.name == "served"))
        store.expunge_all()
    known = warehouse.open(paths.warehouse(data), version=scores.warehouse_version).snapshot(scores.as_of)
    company = known.warehouse.company
    if (data / "company.toml").exists():
        company = companies.read(data / "company.toml")
    products = known.table("products", ["product_id", "name", "margin_minor", "currency"])
    earned = call_list.margins(products, company=company)
    named = earned.merge(products[["product_id", "name"]], on="product_id", validate="one_to_one")
    scored = _parquet(data / scores.file, columns=["product_id"])["product_id"].unique()
    customers = known.table("customers", ["customer_id"])["customer_id"]
    return Targeting(
        data=data,
        score_set=scores,
        model=model,
        run_id=scores.run_id,
        served_version=pointer,
        company=company,
        products=named[named["product_id"].isin([str(name) for name in scored])]
        .sort_values("name")
        .reset_index(drop=True),
        allowed=policy.reachable(known, customers, company=company),
        gains=_optional(data / model.folder / "gains.parquet") if model else pd.DataFrame(),
    )


def choose(targeting: Targeting, product_id: str, channel: str | None) -> Choice:
    """Return one product and channel (None: the one that earns most), counted for every cut-off."""
    columns = ["customer_id", "product_id", "score", "low", "high"]
    scores = _parquet(targeting.scores_file, columns=columns, filters=[("product_id", "==", product_id)])
    scores = scores.assign(product_id=scores["product_id"].astype(str))
    found = call_list.candidates(
        scores,
        targeting.allowed,
        margins=targeting.products[["product_id", "margin_minor"]],
        company=targeting.company,
        channel=channel,
    )
    ranked = found.sort_values(["expected_profit_minor", "customer_id"], ascending=[False, True]).reset_index(drop=True)
    margin = targeting.products.set_index("product_id")["margin_minor"][product_id]
    curve = call_list.profit_curve(ranked, margin_minor=float(margin), contact_cost_minor=ranked["cost_minor"])
    reasons = _reasons(targeting, product_id)
    kinds, counts = _count_reasons(ranked, reasons)
    return Choice(
        product_id=product_id,
        ranked=ranked,
        curve=curve,
        best=call_list.best_cutoff(curve),
        customers=len(scores),
        buyers=float(scores["score"].sum()),
        reasons=reasons,
        kinds=kinds,
        counts=counts,
        explained=np.concatenate([[0], ranked["customer_id"].isin(reasons["customer_id"]).cumsum()]),
    )


def thinned(curve: pd.DataFrame, *keep: int) -> pd.DataFrame:
    """Return some ``POINTS`` rows of a curve, evenly spread, among them those numbered in ``keep``.

    >>> len(thinned(pd.DataFrame({"contacts": range(10_000)}), 17))
    201
    """
    rows = np.unique(np.concatenate([np.linspace(0, len(curve) - 1, POINTS).astype(int), keep]).astype(int))
    return curve.iloc[rows]


def still_permitted(targeting: Targeting, listed: pd.DataFrame, *, today: dt.date) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows of a list that the newest warehouse still permits, with contact details, and all permitted pairs.

    Consent may have been withdrawn, a relationship ended, and a limit of the contact policy been reached since the scores
    were made. In: ``listed`` with
    customer_id and channel. Out: its rows with given_name, family_name, phone, email, postcode and city added, each
    only where the channel needs it; and customer_id, channel of everybody who may be contacted.
    """
    return contactable(listed, data=targeting.data, company=targeting.company, today=today)


def contactable(
    listed: pd.DataFrame, *, data: Path, company: companies.Company, today: dt.date
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return what ``still_permitted`` does, for a list of any dashboard over the data folder."""
    now = warehouse.open(paths.warehouse(data))
    wanted = [
        "customer_id",
        "valid_from",
        "given_name",
        "family_name",
        "phone",
        "email",
        "postcode",
        "city",
        "closed_on",
    ]
    customers = now.table("customers")[wanted].sort_values("valid_from").drop_duplicates("customer_id", keep="last")
    open_ = customers[customers["closed_on"].isna() | (customers["closed_on"] >= pd.Timestamp(today))]
    allowed = call_list.permitted(now.table("consents"), open_["customer_id"], company=company)
    if now.period is not None:
        reachable = policy.reachable(now.snapshot(now.period[1]), open_["customer_id"], company=company)
        allowed = allowed.merge(reachable, on=["customer_id", "channel"], validate="one_to_one")
    pairs = listed.merge(allowed, on=["customer_id", "channel"], how="inner", validate="many_to_one")
    details = pairs.merge(
        open_.drop(columns=["valid_from", "closed_on"]), on="customer_id", how="left", validate="many_to_one"
    )
    needed = {"phone": ("call", "sms"), "email": ("email",), "postcode": ("mail",), "city": ("mail",)}
    for column, channels in needed.items():
        details[column] = details[column].where(details["channel"].isin(channels))
    return details, allowed


def _reasons(targeting: Targeting, product_id: str) -> pd.DataFrame:
    found = _optional(targeting.reasons_file, filters=[("product_id", "==", product_id)])
    if found.empty:
        return pd.DataFrame({"customer_id": pd.Series(dtype=str), "reasons": pd.Series(dtype=object)})
    return pd.DataFrame(
        {"customer_id": found["customer_id"], "reasons": [json.loads(text) for text in found["reasons"]]}
    )


def speaks_for(reason: dict[str, object]) -> bool:
    """Say whether a reason speaks for buying."""
    return reason.get("direction", "for") == "for"


def kind(reason: dict[str, object]) -> tuple[str, str]:
    """Return what a reason is about, whatever its numbers."""
    return str(reason.get("code", "")), str(reason.get("feature", ""))


def _count_reasons(ranked: pd.DataFrame, reasons: pd.DataFrame) -> tuple[list[dict[str, object]], np.ndarray]:
    """Return the most frequent kinds of reasons for, and how many of the first n customers have each."""
    place = dict(zip(ranked["customer_id"], range(len(ranked)), strict=True))
    rows: dict[tuple[str, str], set[int]] = {}
    example: dict[tuple[str, str], dict[str, object]] = {}
    for customer, codes in zip(reasons["customer_id"], reasons["reasons"], strict=True):
        if customer in place:
            for reason in filter(speaks_for, codes):
                rows.setdefault(kind(reason), set()).add(place[customer])
                example.setdefault(kind(reason), reason)
    frequent = sorted(rows, key=lambda one: (-len(rows[one]), one))[:TOP_REASONS]
    counts = np.zeros((len(ranked) + 1, len(frequent)), dtype=np.int64)
    for column, one in enumerate(frequent):
        counts[np.fromiter(rows[one], int) + 1, column] = 1
    return [example[one] for one in frequent], counts.cumsum(axis=0)


def _parquet(
    path: Path, *, columns: list[str] | None = None, filters: list[tuple[str, str, str]] | None = None
) -> pd.DataFrame:
    with _readable(path):
        return pd.read_parquet(path, columns=columns, filters=filters)


def _optional(path: Path, *, filters: list[tuple[str, str, str]] | None = None) -> pd.DataFrame:
    return _parquet(path, filters=filters) if path.exists() else pd.DataFrame()


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise NotFoundError(f"{path} is gone; score again with `crm score`") from error
    except (pa.ArrowInvalid, OSError) as error:
        log.exception("unreadable file")
        raise EnvironmentFault(f"{path} is damaged and cannot be read; score again with `crm score`") from error
