"""The sample bank as it stood on an earlier day: its files without what came later, to live on from there."""

from __future__ import annotations

import datetime as dt
import os
from dataclasses import replace
from pathlib import Path

import pandas as pd

from crmlib.errors import DataError
from crmlib.samples import bank_products as catalogue
from crmlib.samples.bank_population import FIRST_NUMBER
from crmlib.samples.sample import Sample

_RUSSIAN = "%d.%m.%Y"
# File: column of the customer, column of the day it was known, format, and days that hide columns while they lie ahead.
_TEXTS: dict[str, tuple[str, str, str, dict[str, tuple[str, ...]]]] = {
    "clients": ("client_no", "actual_from", _RUSSIAN, {"closed": ("closed", "closed_why")}),
    "contracts": ("client", "entered_at", "", {"ended": ("ended", "ended_why")}),
    "permissions": ("client", "stated_at", "", {}),
    "campaign_members": ("client", "chosen_at", "", {}),
}
_FORMS = {"clients": {"sep": ";", "encoding": "cp1251"}}
_WHOLE = ("products", "analogues", "offices", "staff", "campaigns")

MOST_CHILDREN = 9
"""Children that a household of the sample has at most; more is one of the bad rows."""

CONTACT_DAYS = 180
"""Contacts of so many days back are kept: as far as a contact policy looks."""


def past(
    sample: Sample, *, as_of: dt.date | str, folder: str | os.PathLike[str], customers: int | None = None
) -> Sample:
    """Write what the bank knew at the end of ``as_of`` into an empty folder, in files of the same names.

    Left out are the files that a campaign does not need: transactions, balances, applications, answers, complaints, points
    and children, the bad rows, and contacts of more than ``CONTACT_DAYS`` ago. ``customers`` keeps the first so many. The
    truth stays that of the whole sample.

    Raises DataError for a folder that is not empty or a day before the records begin.
    """
    target, day = Path(folder), pd.Timestamp(as_of)
    if target.exists() and any(target.iterdir()):
        raise DataError(f"{target} is not empty; name a new folder")
    target.mkdir(parents=True, exist_ok=True)
    last = FIRST_NUMBER + customers - 1 if customers else None
    for name in _WHOLE:
        (target / f"{name}.csv").write_bytes((sample.folder / f"{name}.csv").read_bytes())
    for name in _TEXTS:
        table = _known(sample.folder / f"{name}.csv", name, day, last)
        if name == "clients" and table.empty:
            raise DataError(f"the bank had no customers yet at {day:%Y-%m-%d}; take a later day")
        table.to_csv(target / f"{name}.csv", index=False, **_FORMS.get(name, {}))  # type: ignore[call-overload]
    for path in sorted(sample.folder.glob("contacts_*.parquet")):
        end = day + pd.Timedelta(days=1)
        rows = pd.read_parquet(path, filters=[("at", "<", end), ("at", ">=", end - pd.Timedelta(days=CONTACT_DAYS))])
        rows = rows[_kept(rows["client"], last)]
        if len(rows):
            hidden = ~(rows["answered_at"] < end)
            rows = rows.assign(**{name: rows[name].where(~hidden) for name in ("answered_at", "result")})
            rows.to_parquet(target / path.name, index=False)
    company = target / "company.toml"
    company.write_bytes(sample.company.read_bytes())
    files = sorted([*target.glob("*.csv"), *target.glob("*.parquet")])
    return replace(sample, folder=target, files=files, company=company)


def _known(path: Path, name: str, day: pd.Timestamp, last: int | None) -> pd.DataFrame:
    """Return the good rows of a text file known at the end of a day; columns that a later day reveals are emptied."""
    owner, known, pattern, hiding = _TEXTS[name]
    table = pd.read_csv(path, dtype="str", keep_default_na=False, **_FORMS.get(name, {}))  # type: ignore[call-overload]
    form = {"format": pattern} if pattern else {"format": "ISO8601"}
    moments = pd.to_datetime(table[known], errors="coerce", **form)  # type: ignore[call-overload]
    table = table[(moments < day + pd.Timedelta(days=1)) & _kept(table[owner], last)]
    if name == "contracts":
        table = table[table["product_code"].isin(catalogue.IDS) & (table["signed"] != "")]
    if name == "clients":
        born = pd.to_datetime(table["born"], format=_RUSSIAN, errors="coerce")
        table = table[(born.notna() | (table["born"] == "")) & (pd.to_numeric(table["kids"]) <= MOST_CHILDREN)]
    for revealed, columns in hiding.items():
        later = ~(pd.to_datetime(table[revealed], errors="coerce", **form) <= day)  # type: ignore[call-overload]
        table = table.assign(**{column: table[column].where(~later, "") for column in columns})
    return table


def _kept(owners: pd.Series, last: int | None) -> pd.Series:
    numbers = pd.to_numeric(owners, errors="coerce")
    return numbers.ge(FIRST_NUMBER) & (numbers.le(last) if last else numbers.lt(10 * FIRST_NUMBER - 20))
