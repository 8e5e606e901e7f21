"""Writing the sample bank's files: formats as different as a real bank's exports, and a few rows that are wrong."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from crmlib.samples import bank_model as model
from crmlib.samples import bank_products as catalogue
from crmlib.samples.bank_block import Block
from crmlib.samples.bank_columns import customers
from crmlib.samples.bank_events import Rows
from crmlib.samples.columns import days, numbers, pick
from crmlib.samples.exports import Format, as_text, spoiled, write_text

GOOD_PER_BAD = 1_500
"""There is one bad row for so many good ones in the files of ``_SPOILED``, at least one in the first block."""


_FORMATS = {
    "clients": Format(";", "cp1251"),
    "children": Format(",", "utf-8-sig"),
    "requests": Format(";", "utf-8-sig"),
    "points": Format("\t"),
    "complaints": Format(quoted=True),
    "products": Format(quoted=True),
    "mentions": Format(quoted=True),
}
_PARQUET = ("operations", "balances", "contacts")

# File: what is wrong, and the values put into copies of good rows. The copies get keys of their own, so that no good
# row becomes a conflicting duplicate and the truth stays exact. "*" stands for a new key.
_SPOILED: dict[str, list[tuple[str, dict[str, str | None]]]] = {
    "clients": [
        ("impossible date", {"actual_from": "01.02.2001", "born": "31.02.1990"}),
        ("out of range", {"actual_from": "01.03.2001", "kids": "97"}),
    ],
    "contracts": [
        ("unknown product", {"contract": "*", "product_code": "teleport"}),
        ("missing date", {"contract": "*", "signed": None}),
    ],
    "operations": [("unknown customer", {"op_id": "*", "client": "99999999"})],
    "contacts": [("missing channel", {"contact_no": "*", "way": None})],
    "answers": [("not a number", {"answer_no": "*", "mark": "ten"})],
}
_RAGGED = {"requests": "one;field;too;few"}


def write_tables(folder: Path, tables: dict[str, pa.Table], *, block: int) -> pa.Table:
    """Write a block's tables into the folder, bad rows included; return how many there are by file and rule.

    Parquet files are one part a block; text files are extended, the first block begins them.
    """
    planted: list[dict[str, str | int]] = []
    for name, table in tables.items():
        out = table if name in _PARQUET else as_text(table)
        for rule, values in _SPOILED.get(name, []):
            count = max(table.num_rows // GOOD_PER_BAD // len(_SPOILED[name]), int(block == 0))
            out = pa.concat_tables([out, spoiled(out.slice(0, count), values, mark=f"X{block}-{rule[:3]}")])
            planted.append({"file": name, "rule": rule, "rows": min(count, table.num_rows)})
        if name in _PARQUET:
            pq.write_table(out, folder / f"{name}_{block:05d}.parquet", compression="zstd", write_statistics=False)
            continue
        line = _RAGGED.get(name, "") if block == 0 else ""
        write_text(folder / f"{name}.csv", out, form=_FORMATS.get(name, Format()), first=block == 0, more=line)
        if line:
            planted.append({"file": name, "rule": "ragged line", "rows": 1})
    schema = pa.schema([("file", pa.string()), ("rule", pa.string()), ("rows", pa.int64())])
    return pa.Table.from_pylist([row for row in planted if row["rows"]], schema=schema)


def write_truth(folder: Path, block: Block, planted: pa.Table) -> None:
    """Write the truth of a block, one part of each table; tables of no rows are left out."""
    found = block.truth
    tables = {
        "purchases": _purchases(block),
        "churn": pa.table({**_who(block, "churn"), **_floats(found["churn"])}),
        "effects": pa.table(
            {
                **_who(block, "effects"),
                "responder": pick(model.RESPONDERS, found["effects"]["responder"]),
                **_floats({n: v for n, v in found["effects"].items() if n.startswith("effect_")}),
            }
        ),
        "loyalty": pa.table({**_who(block, "loyalty"), **_floats(found["loyalty"])}),
        "duplicates": _duplicates(block),
        "bad_rows": planted,
    }
    for name, table in tables.items():
        if table.num_rows:
            target = folder / name
            target.mkdir(parents=True, exist_ok=True)
            texts = [column.name for column in table.schema if not pa.types.is_floating(column.type)]
            path = target / f"{block.number:05d}.parquet"
            pq.write_table(table, path, use_dictionary=texts, write_statistics=False, compression="lz4")


def _who(block: Block, name: str) -> dict[str, pa.Array]:
    rows = block.truth[name]
    return {"customer_id": customers(block, rows["customer"]), "as_of": days(rows["as_of"])}


def _floats(rows: Rows) -> dict[str, pa.Array]:
    return {name: pa.array(values) for name, values in rows.items() if values.dtype.kind == "f"}


def _purchases(block: Block) -> pa.Table:
    """Return the true probabilities; ids as Arrow dictionaries, which Parquet writes several times faster."""
    rows = block.truth["purchases"]
    ids = numbers(block.people.number)
    return pa.table(
        {
            "customer_id": pa.DictionaryArray.from_arrays(pa.array(rows["customer"].astype("int32")), ids),
            "as_of": days(rows["as_of"]),
            "product_id": pa.DictionaryArray.from_arrays(
                pa.array(rows["product"].astype("int32")), pa.array(catalogue.IDS)
            ),
            **_floats(rows),
        }
    )


def _duplicates(block: Block) -> pa.Table:
    """Return both records of each person who has two: ``person_id`` is the number of the first one."""
    twin = block.people.twin
    second = (twin >= 0).nonzero()[0]
    return pa.table(
        {
            "customer_id": numbers(block.people.number[[*second, *twin[second]]]),
            "person_id": numbers(block.people.number[[*twin[second], *twin[second]]]),
        }
    )
