"""Marks in exported lists: one made-up row each, by which a list that turns up somewhere can be traced to its export.

A mark is ``WM`` and 12 characters of base 32 that are drawn for the export and kept in its record. It is the made-up
row's customer_id; its name, telephone and e-mail are worked out of it: +999 is a country code that nobody has, and
``watermark.invalid`` a domain that cannot exist (RFC 2606). Who is written to there shows who used the list, and for what.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import sqlalchemy as sa

from crmlib.errors import NotFoundError
from crmlib.store import session
from crmlib.store.tables import Export

MARK = re.compile(r"WM[A-Z2-7]{12}")
DOMAIN = "watermark.invalid"
_GIVEN = ("Alva", "Ennis", "Ilan", "Merle", "Noor", "Robin", "Sasha", "Vivian")
_FAMILY = ("Aldermark", "Fennwick", "Hollstad", "Lindmere", "Norrvale", "Ostermoor", "Ravensund", "Westergren")


def new(seed: bytes) -> str:
    """Return the mark that belongs to a seed.

    >>> new(b"one")
    'WMO2JMHLJVIC5Y'
    """
    return "WM" + base64.b32encode(hashlib.sha256(seed).digest()).decode()[:12]


def marked(table: pd.DataFrame, mark: str) -> pd.DataFrame:
    """Return the table with the made-up row of a mark among its rows.

    What could give it away is copied from a row drawn with the mark: the row stands beside one like it. A table without
    a column customer_id, or without rows, stays as it is.
    """
    if "customer_id" not in table or table.empty:
        return table
    rng = np.random.default_rng(list(mark.encode()))
    place = int(rng.integers(len(table)))
    row = table.iloc[[place]].copy()
    row["customer_id"] = mark
    if "contact_id" in row:
        row["contact_id"] = str(row["contact_id"].iloc[0]).rsplit(":", 1)[0] + f":{mark}"
    for column, made in _details(mark, rng).items():
        if column in row and row[column].notna().all():
            row[column] = made()
    return pd.concat([table.iloc[: place + 1], row, table.iloc[place + 1 :]], ignore_index=True)


def _details(mark: str, rng: np.random.Generator) -> dict[str, Callable[[], str]]:
    return {
        "given_name": lambda: str(rng.choice(_GIVEN)),
        "family_name": lambda: str(rng.choice(_FAMILY)),
        "phone": lambda: f"+999{int(rng.integers(10**8, 10**9))}",
        "email": lambda: f"{mark.lower()}@{DOMAIN}",
    }


def is_marked(value: object) -> bool:
    """Say whether a value of a table is the customer_id of a mark.

    >>> is_marked("WMO2JMHLJVIC5Y"), is_marked("10000001")
    (True, False)
    """
    return bool(MARK.fullmatch(str(value)))


def traced(data: Path, mark: str) -> Export:
    """Return the record of the export that a mark belongs to (detached); raises NotFoundError for one of nobody's."""
    with session.session(data) as store:
        for row in store.scalars(sa.select(Export).order_by(Export.export_id.desc())):
            if row.content.get("watermark") == mark:
                store.expunge(row)
                return row
    raise NotFoundError(
        f"no export of this data folder has the mark {mark!r}; ask whoever keeps the folder it came from"
    )
