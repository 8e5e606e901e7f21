"""What the campaign targeting dashboard shows: saved scores read, and counted in advance for every cut-off."""

from __future__ import annotations

import datetime as dt
import hashlib
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa

from crmlib import paths, warehouse
from crmlib.decisions import call_list, policy
from crmlib.errors import EnvironmentFault, NotFoundError
from crmlib.store import files, session
from crmlib.store.tables import Model, Pointer, ScoreSet
from crmlib.views import targeting_prepared
from crmlib.views.targeting_prepared import Choice
from crmlib.warehouse import company as companies
from crmlib.warehouse import engine
from crmlib.warehouse.snapshot import Snapshot

log = logging.getLogger(__name__)

MODEL = "propensity"
POINTS = 200  # of a curve on the screen


@dataclass(frozen=True, eq=False)
class Targeting:
    """The newest scores and what belongs to them; made by ``load``.

    Attributes: ``score_set`` and ``model`` rows of the store (detached), ``run_id`` of the run that made the scores,
    ``served_version`` of the warehouse now; ``company``; ``products`` (product_id, name, margin_minor) that have scores
    and a margin; ``channels`` by which at least one customer may be contacted, the cheapest first; ``gains`` of the back
    test (may be empty); ``data`` the folder; ``prepared`` the folder of what was counted for these scores and this
    company file.
    """

    data: Path
    score_set: ScoreSet
    model: Model | None
    run_id: int | None
    served_version: int | None
    company: companies.Company
    products: pd.DataFrame
    channels: list[str]
    gains: pd.DataFrame
    prepared: Path

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
    scored = _products(data / scores.file)
    prepared = data / "cache" / "targeting" / f"{scores.score_set_id}-{_fingerprint(scores, company)}"
    return Targeting(
        data=data,
        score_set=scores,
        model=model,
        run_id=scores.run_id,
        served_version=pointer,
        company=company,
        products=named[named["product_id"].isin(scored)].sort_values("name").reset_index(drop=True),
        channels=_channels(prepared / "allowed.parquet", known, company),
        gains=_optional(data / model.folder / "gains.parquet") if model else pd.DataFrame(),
        prepared=prepared,
    )


def choose(targeting: Targeting, product_id: str, channel: str | None) -> Choice:
    """Return one product and channel (None: the one that earns most), counted for every cut-off.

    Raises NotFoundError or EnvironmentFault where the scores are gone or damaged.
    """
    name = hashlib.blake2s(f"{product_id}/{channel or ''}".encode(), digest_size=12).hexdigest()
    file = targeting.prepared / name
    try:
        return targeting_prepared.opened(file)
    except (OSError, pa.ArrowInvalid):
        shutil.rmtree(file, ignore_errors=True)  # nobody has counted it yet, or it is not whole
    _prepare(targeting, file, product_id, channel)
    return targeting_prepared.opened(file)


def prepare(data: Path) -> int:
    """Count every product's list by the channel that earns most, so that pages open at once; return how many there are."""
    loaded = load(data)
    for product in loaded.products["product_id"]:
        choose(loaded, product, None)
    return len(loaded.products)


def _prepare(targeting: Targeting, file: Path, product_id: str, channel: str | None) -> None:
    columns = ["customer_id", "product_id", "score", "low", "high"]
    scores = _parquet(targeting.scores_file, columns=columns, filters=[("product_id", "==", product_id)])
    scores = scores.assign(product_id=scores["product_id"].astype(str))
    found = call_list.candidates(
        scores,
        _parquet(targeting.prepared / "allowed.parquet"),
        margins=targeting.products[["product_id", "margin_minor"]],
        company=targeting.company,
        channel=channel,
    )
    texts = _optional(targeting.reasons_file, filters=[("product_id", "==", product_id)])
    texts = (
        texts[["customer_id", "reasons"]] if len(texts) else pd.DataFrame({"customer_id": [], "reasons": []}, dtype=str)
    )
    margin = targeting.products.set_index("product_id")["margin_minor"][product_id]
    targeting_prepared.write(
        file, found, texts, product_id=product_id, margin_minor=float(margin), scored=scores["score"]
    )


def _fingerprint(scores: ScoreSet, company: companies.Company) -> str:
    """Return what changes when a list must be counted anew: other scores or another company file."""
    return hashlib.blake2s(f"{scores.checksum}{company!r}".encode(), digest_size=8).hexdigest()


def _products(file: Path) -> list[str]:
    with _readable(file), engine.connect() as database:
        try:
            rows = database.execute("SELECT DISTINCT product_id::VARCHAR FROM read_parquet($1)", [str(file)]).fetchall()
        except duckdb.Error as error:
            raise pa.ArrowInvalid(str(error)) if file.exists() else FileNotFoundError(str(file)) from error
    return [name for (name,) in rows]


def _channels(file: Path, known: Snapshot, company: companies.Company) -> list[str]:
    """Return the channels of the pairs that may be contacted, the cheapest first; the pairs are kept in ``file``."""
    if not file.exists():
        customers = known.table("customers", ["customer_id"])["customer_id"]
        allowed = policy.reachable(known, customers, company=company)
        file.parent.mkdir(parents=True, exist_ok=True)
        files.write_parquet(allowed.astype("str"), file)
        targeting_prepared.forget_older(file.parent.parent)
    found = pq.read_table(file, columns=["channel"], read_dictionary=["channel"])["channel"].unique().to_pylist()
    return sorted(found, key=lambda channel: (company.contact_costs_minor[channel], channel))


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
