"""What the sample bank's customers would have done: responses to a campaign of one's own, drawn from the planted truth."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from crmlib.errors import DataError, UsageError
from crmlib.samples.bank_model import CONTACT_KINDS
from crmlib.samples.bank_quarter import CONTACT_DAYS, WITHIN_DAYS
from crmlib.samples.sample import Sample, truth

REFUSES = 0.25
"""Share of those contacted who refuse at once, of who buys nothing."""


@dataclass(frozen=True, eq=False)
class Responses:
    """What came of a campaign.

    Attributes: ``contacts`` with customer_id, product_id, channel, contacted_at, outcome, answered_at; ``contracts`` with
    contract, customer_id, product_id, opened_on, channel; ``planted`` (which no analysis may read) with customer_id,
    product_id, channel, the probability of buying ``p`` as assigned and ``p_none`` without contact.
    """

    contacts: pd.DataFrame
    contracts: pd.DataFrame
    planted: pd.DataFrame


@dataclass(frozen=True)
class ResponseFiles:
    """The files of a campaign tool: ``lists`` of contacts and ``bought`` contracts, for a mapping to load."""

    lists: list[Path]
    bought: list[Path]


def respond(
    sample: Sample,
    assigned: pd.DataFrame,
    *,
    as_of: dt.date | str,
    seed: int,
    reached: Mapping[str, float] | None = None,
) -> Responses:
    """Draw what a campaign assigned at the quarter end ``as_of`` leads to within 90 days, from the planted truth.

    In: ``assigned`` with customer_id, product_id (that of the arm; for the control group the product watched), channel
    ("call", "mail", "email") and control (bool); ``reached`` the share of contacts by channel that reach anybody (default:
    all). A customer who could not buy the product does not; who is not reached behaves as if left alone. Contacts fall
    on the first 20 days and, for who buys, not after the purchase.

    Raises DataError for a date of which there is no truth, UsageError for an unknown channel or a share that is none.
    """
    given = _checked(assigned, reached or {})
    day = pd.Timestamp(as_of)
    chances = _chances(sample, given, day)
    rng = np.random.default_rng(seed)
    size = len(given)
    wanted = given["channel"].map(reached or {}).fillna(1.0).to_numpy(dtype=float)
    touched = ~given["control"].to_numpy(dtype=bool) & (rng.random(size) < wanted)
    place = np.array([CONTACT_KINDS.index(name) + 1 if name else 0 for name in given["channel"]])
    p = np.where(touched, chances[np.arange(size), place], chances[:, 0])
    draw, when, early, hour, refuses = rng.random((5, size))
    bought = np.where(draw < p, 1 + (when * WITHIN_DAYS).astype(int), 0)
    last = np.minimum(np.where(bought > 0, bought, CONTACT_DAYS), CONTACT_DAYS)
    contact = 1 + (early * last).astype(int)
    moment = day + pd.to_timedelta(contact, "D") + pd.to_timedelta((8 + 9 * hour).round(2), "h").round("s")
    opened = day + pd.to_timedelta(bought, "D")
    said = np.select([bought > 0, refuses < REFUSES], ["accepted", "refused"], "")
    answered = np.where(bought > 0, opened + pd.Timedelta(hours=18), moment + pd.Timedelta(minutes=10))
    contacts = given[["customer_id", "product_id", "channel"]].assign(
        contacted_at=moment, outcome=said, answered_at=pd.Series(answered, index=given.index).where(said != "")
    )
    sold = given.loc[bought > 0, ["customer_id", "product_id"]]
    contracts = sold.assign(
        opened_on=opened[bought > 0], channel=np.where(touched, given["channel"], "branch")[bought > 0]
    )
    names = [f"R{day:%y%m%d}-{number:06d}" for number in range(len(sold))]
    contracts.insert(0, "contract", names)
    planted = given[["customer_id", "product_id", "channel", "control"]].assign(
        p=p, p_none=chances[:, 0], p_contact=chances[np.arange(size), place]
    )
    return Responses(contacts[touched].reset_index(drop=True), contracts.reset_index(drop=True), planted)


def write(responses: Responses, folder: str | os.PathLike[str], *, until: dt.date | str | None = None) -> ResponseFiles:
    """Write contacts.csv and bought.csv as a campaign tool would, with what had happened by the end of ``until``."""
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    end = pd.Timestamp.max if until is None else pd.Timestamp(until) + pd.Timedelta(days=1)
    contacts = responses.contacts[responses.contacts["contacted_at"] < end]
    known = contacts["answered_at"] < end
    contacts = contacts.assign(
        outcome=contacts["outcome"].where(known, ""), answered_at=contacts["answered_at"].where(known)
    )
    contracts = responses.contracts[responses.contracts["opened_on"] < end]
    lists, bought = target / "contacts.csv", target / "bought.csv"
    contacts.to_csv(lists, index=False, date_format="%Y-%m-%dT%H:%M:%S")
    contracts.to_csv(bought, index=False, date_format="%Y-%m-%d")
    return ResponseFiles([lists], [bought])


def _checked(assigned: pd.DataFrame, reached: Mapping[str, float]) -> pd.DataFrame:
    missing = sorted({"customer_id", "product_id", "channel", "control"} - set(assigned))
    if missing:
        raise DataError(f"the assignment has no column {', '.join(missing)}")
    control = assigned["control"].astype(bool)
    channel = assigned["channel"].fillna("").astype("str").where(~control, "")
    unknown = sorted(set(channel[~control]) - set(CONTACT_KINDS))
    if unknown:
        raise UsageError(
            f"channel {unknown[0] or 'none'!r} is in an arm, but the truth knows only {', '.join(CONTACT_KINDS)}; use those"
        )
    for name, share in reached.items():
        if name not in CONTACT_KINDS or not 0 <= share <= 1:
            raise UsageError(f"reached of {name!r} is {share}; give shares from 0 to 1 for {', '.join(CONTACT_KINDS)}")
    texts = {name: assigned[name].astype("str") for name in ("customer_id", "product_id")}
    return assigned.assign(**texts, channel=channel, control=control).reset_index(drop=True)


def _chances(sample: Sample, given: pd.DataFrame, day: pd.Timestamp) -> np.ndarray:
    """Return the probability of buying (rows × none, call, mail, email) of each pair; 0 for who could not buy."""
    wanted = [("as_of", "=", day.date()), ("product_id", "in", given["product_id"].unique().tolist())]
    table = pq.read_table(sample.truth / "purchases", filters=wanted).to_pandas()
    if table.empty:
        known = sorted({f"{at:%Y-%m-%d}" for at in pd.to_datetime(truth(sample, "churn")["as_of"]).unique()})
        raise DataError(f"there is no truth as of {day:%Y-%m-%d}; the sample has it as of {', '.join(known)}")
    keys = {name: table[name].astype("str") for name in ("customer_id", "product_id")}
    columns = ["p_none", *[f"p_{kind}" for kind in CONTACT_KINDS]]
    pairs = given[["customer_id", "product_id"]]
    found = pairs.merge(table.assign(**keys), on=list(pairs), how="left", validate="many_to_one")
    return found[columns].fillna(0.0).to_numpy(dtype=float)
