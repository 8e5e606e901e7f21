"""One product's list counted once for every cut-off, kept as a file that all dashboards map into memory.

At a million customers the counting takes seconds and the result is large; mapped, it is opened in milliseconds, and
thirty people looking at the same list share its pages.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from crmlib.decisions import call_list
from crmlib.store import files

TOP_REASONS = 6
_RANKED = (
    "customer_id",
    "product_id",
    "channel",
    "score",
    "low",
    "high",
    "cost_minor",
    "expected_profit_minor",
    "reasons",
)
_CURVE = (
    *("contacts", "expected_buyers", "cost_minor", "profit_minor"),
    *("buyers_low", "buyers_high", "profit_low_minor", "profit_high_minor"),
)
_KEPT = 2  # folders of prepared lists: of the newest scores and the ones before


@dataclass(frozen=True, eq=False)
class Choice:
    """One product and channel, counted for every cut-off; made by ``opened``.

    Attributes: ``best`` cut-off; ``worth`` customers worth contacting; ``customers`` and ``buyers`` expected among all
    scored; ``kinds`` one code of each of the most frequent reasons for.
    """

    product_id: str
    best: int
    worth: int
    customers: int
    buyers: float
    kinds: list[dict[str, Any]]
    rows: pa.Table
    sums: pa.Table

    @cached_property
    def ranked(self) -> pd.DataFrame:
        """The customers who may be contacted, by expected profit (see ``call_list.candidates``), and their reasons as JSON."""
        return self.rows.to_pandas(split_blocks=True)

    @cached_property
    def curve(self) -> pd.DataFrame:
        """What contacting the first n is expected to bring (see ``call_list.profit_curve``)."""
        return self.sums.select(_CURVE).to_pandas(split_blocks=True)

    @property
    def explained(self) -> np.ndarray:
        """How many of the first n customers have reasons at all, for n from 0."""
        return self.sums["explained"].chunk(0).to_numpy()

    def counts(self, n: int) -> np.ndarray:
        """Return how many of the first n customers have each of ``kinds`` among their reasons."""
        return np.array([self.sums[f"kind_{place}"][n].as_py() for place in range(len(self.kinds))], dtype=float)


def reasons(text: str | None) -> list[dict[str, Any]]:
    """Return a customer's reasons from the column ``reasons`` of a choice: codes, the strongest first."""
    return json.loads(text) if isinstance(text, str) else []


def speaks_for(reason: Mapping[str, Any]) -> bool:
    """Say whether a reason speaks for buying."""
    return reason.get("direction", "for") == "for"


def kind(reason: Mapping[str, Any]) -> tuple[str, str]:
    """Return what a reason is about, whatever its numbers."""
    return str(reason.get("code", "")), str(reason.get("feature", ""))


def write(
    file: Path, found: pd.DataFrame, texts: pd.DataFrame, *, product_id: str, margin_minor: float, scored: pd.Series
) -> None:
    """Count a list and keep it as a file.

    In: ``found`` of ``call_list.candidates`` for one product, ``texts`` (customer_id, reasons as JSON) of those that
    have any, ``margin_minor`` of the product, ``scored`` the scores of all customers, permitted or not. The file
    appears whole or not at all; whoever counts the same at the same time writes the same.
    """
    ranked = found.sort_values(["expected_profit_minor", "customer_id"], ascending=[False, True])
    ranked = ranked.merge(texts, on="customer_id", how="left", validate="one_to_one")
    curve = call_list.profit_curve(ranked, margin_minor=margin_minor, contact_cost_minor=ranked["cost_minor"])
    kinds, has = _kinds(ranked["reasons"])
    curve["explained"] = _cumulated(ranked["reasons"].notna().to_numpy())
    for place, one in enumerate(has):
        curve[f"kind_{place}"] = _cumulated(one)
    facts = {
        "product_id": product_id,
        "best": call_list.best_cutoff(curve),
        "worth": int((ranked["expected_profit_minor"] > 0).sum()),
        "customers": len(scored),
        "buyers": float(scored.sum()),
        "kinds": kinds,
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    part = files.temporary(file.parent)
    try:
        part.mkdir()
        _keep(part / "rows.arrow", ranked[list(_RANKED)], facts)
        _keep(part / "sums.arrow", curve, {})
        try:
            part.rename(file)
        except OSError:
            if not file.is_dir():  # otherwise somebody else was quicker
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def opened(file: Path) -> Choice:
    """Return what ``write`` kept, mapped into memory; raises OSError or ArrowInvalid for a file that is not whole."""
    rows, sums = (pa.ipc.open_file(pa.memory_map(str(file / name))).read_all() for name in ("rows.arrow", "sums.arrow"))
    facts = json.loads(rows.schema.metadata[b"facts"])
    return Choice(**facts, rows=rows.replace_schema_metadata(None), sums=sums.replace_schema_metadata(None))


def forget_older(folder: Path) -> None:
    """Remove the lists of scores that have been followed by others, all but the newest of them."""
    made = sorted((one for one in folder.iterdir() if one.is_dir()), key=lambda one: one.stat().st_mtime)
    for one in made[:-_KEPT]:
        shutil.rmtree(one, ignore_errors=True)


def _keep(file: Path, table: pd.DataFrame, facts: dict[str, Any]) -> None:
    arrow = pa.Table.from_pandas(table, preserve_index=False)
    # Large texts and one chunk a column are what pandas takes without copying.
    fields = [pa.field(f.name, pa.large_string() if pa.types.is_string(f.type) else f.type) for f in arrow.schema]
    arrow = arrow.cast(pa.schema(fields)).combine_chunks()
    arrow = arrow.replace_schema_metadata({"facts": json.dumps(facts)})
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, arrow.schema) as writer:
        writer.write_table(arrow)


def _cumulated(flags: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(flags)]).astype(np.int32)


def _kinds(texts: Sequence[str | None] | pd.Series) -> tuple[list[dict[str, Any]], list[np.ndarray]]:
    """Return the most frequent kinds of reasons for, and for each which customers have it."""
    rows: dict[tuple[str, str], list[int]] = {}
    example: dict[tuple[str, str], dict[str, Any]] = {}
    for place, text in enumerate(texts):
        for reason in filter(speaks_for, reasons(text)):
            rows.setdefault(kind(reason), []).append(place)
            example.setdefault(kind(reason), reason)
    frequent = sorted(rows, key=lambda one: (-len(set(rows[one])), one))[:TOP_REASONS]
    has = []
    for one in frequent:
        flags = np.zeros(len(texts), dtype=bool)
        flags[rows[one]] = True
        has.append(flags)
    return [example[one] for one in frequent], has
