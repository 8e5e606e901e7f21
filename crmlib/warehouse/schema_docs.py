"""Writes docs/schema.md from the schema: run ``python -m crmlib.warehouse.schema_docs`` in the checkout's root."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa

from crmlib.warehouse import build, schema

TARGET = Path("docs/schema.md")

_INTRODUCTION = """# Canonical tables

Made from `crmlib/warehouse/schema.py` by `python -m crmlib.warehouse.schema_docs`; change it there. Layout version \
{version}.

A mapping file brings the columns of your sources to these names once, at load; nothing else in the workbench knows
other names. Money is in whole minor units (cents) of the row's `currency`, times are UTC.

- **Kind** of a table: *event* rows happen once; *dated* rows hold from their date until the next row of the same key;
  *reference* rows have no date.
- **Key**: the columns that identify a row of the source. A later load that brings the same key with other content makes
  a new version of the row; the old one stays for its time.
- **Needed**: a row without it goes to quarantine.
- **Hidden until**: in a snapshot the column is empty unless the moment in that other column is before the day's end.
- **Sensitivity**: none, personal, contact (identifies or reaches a person) or special (special categories, GDPR Art. 9).

Every table also has these columns, which no source maps (except `recorded_at`, where the source knows it):

| column | type | meaning |
|---|---|---|
"""


def markdown() -> str:
    """Return the documentation of all canonical tables as Markdown."""
    system = [
        f"| `{name}` | {build.duckdb_type(sa.Column(name, type_()))} | {text} |"
        for name, (type_, text) in schema.SYSTEM_COLUMNS.items()
    ]
    parts = [_INTRODUCTION.format(version=schema.FORMAT_VERSION) + "\n".join(system)]
    parts += [_section(table) for table in schema.tables().values()]
    return "\n\n".join(parts) + "\n"


def _section(table: sa.Table) -> str:
    happened = table.info["happened"]
    key = ", ".join(f"`{name}`" for name in schema.natural_key(table))
    lines = [
        f"## {table.name}",
        "",
        f"{table.comment} Kind: {table.info['kind']}{f', by `{happened}`' if happened else ''}. Key: {key}.",
        "",
        "| column | type | unit | meaning | needed | values | refers to | hidden until | sensitivity |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for column in schema.source_columns(table):
        info = column.info
        cells = [
            f"`{column.name}`",
            build.duckdb_type(column),
            info["unit"],
            column.doc,
            "yes" if info["required"] else "",
            _values(info),
            info["refers"] and f"[{info['refers']}](#{info['refers']})",
            info["known_from"] and f"`{info['known_from']}`",
            "" if info["sensitivity"] == "none" else info["sensitivity"],
        ]
        lines.append("| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def _values(info: dict[str, Any]) -> str:
    if info["values"]:
        return ", ".join(info["values"])
    if info["low"] is not None and info["high"] is not None:
        return f"{info['low']} to {info['high']}"
    if info["low"] is not None:
        return f"at least {info['low']}"
    return "" if info["high"] is None else f"at most {info['high']}"


if __name__ == "__main__":
    TARGET.write_text(markdown(), encoding="utf-8")
