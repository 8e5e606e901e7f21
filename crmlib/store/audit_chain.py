"""The MACs that chain the audit log: pure functions of a key and what an entry says."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

COLUMNS = {
    "entry": "int64",
    "happened_at": "datetime64[us]",
    "actor": "str",
    "role": "str",
    "action": "str",
    "subject": "str",
    "content": "object",
}
"""What an entry says, with types; ``happened_at`` in UTC, ``subject`` a pseudonym, ``content`` plain JSON."""


def mac_of(key: bytes, entry: Mapping[str, Any], before: str) -> str:
    """Return the MAC of an entry (the columns of ``COLUMNS``) that follows the entry with the MAC ``before``."""
    written = {name: entry[name] for name in COLUMNS}
    written["happened_at"] = entry["happened_at"].isoformat()
    return _mac(key, "entry", json.dumps({**written, "before": before}, sort_keys=True, separators=(",", ":")))


def seal_of(key: bytes, entry: int, mac: str) -> str:
    """Return the seal of a head at an entry."""
    return _mac(key, "head", f"{entry} {mac}")


def pseudonym_of(key: bytes, customer_id: str) -> str:
    """Return what a customer is called in the log, with the key of pseudonyms."""
    return _mac(key, "customer", customer_id)


def _mac(key: bytes, kind: str, text: str) -> str:
    # What kind of thing it is stands in front, so that no MAC of one kind passes for another.
    return hmac.digest(key, f"{kind}\n{text}".encode("utf-8", "surrogatepass"), hashlib.sha256).hex()
