"""The one way data leave the workbench: formula-safe, in the audit log before the file or picture is released."""

from __future__ import annotations

import csv
import datetime as dt
import errno
import hashlib
import io
import json
import os
import re
import secrets
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sqlalchemy.orm import Session

from crmlib.decisions import watermarks
from crmlib.errors import DataError, EnvironmentFault, UsageError
from crmlib.store import audit, files, tables
from crmlib.warehouse import schema

FORMATS = ("csv", "xlsx")
XLSX_ROWS = 1_048_575  # of a sheet, without the heading
# A text that begins with one of these may be taken for a formula (OWASP ASVS 5.0, 1.2.10).
_DANGEROUS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20", "\t", "\r", "\n", "\0")
# Where a spreadsheet parts columns at semicolons or tabs, it takes quotes within a line for text: what follows one of
# these inside a text begins a cell there.
_INNER = re.compile(r"(?<=[;\t\r\n])(?=[\s\"]*[=+\-@\uff1d\uff0b\uff0d\uff20])")
_PHONE = re.compile(r"\+[0-9]{7,15}")
_NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


def export(
    table: pd.DataFrame,
    *,
    data: Path,
    actor: str,
    purpose: str,
    content: dict[str, Any],
    now: dt.datetime,
    name: str,
    format: str = "csv",
    permitted: pd.DataFrame | None = None,
    watermark: bool = False,
    role: str = "",
) -> Path:
    """Write a table below ``data/exports`` and return the file; who took what and why is on record before.

    The record is a row of the store's exports and an entry "export" of the audit log, written as one; the entry holds
    the number of that row, what and how much was taken, and a checksum of the row's ``content``.

    In: ``table`` any columns; text that a spreadsheet could take for a formula gets an apostrophe, numbers stay
    numbers; ``actor`` and ``role`` who takes it; ``content`` what it is (product, cut-off, versions), ``now`` the UTC
    time, ``name`` the beginning of the file's name; ``format`` "csv" (UTF-8 with BOM, all text quoted) or "xlsx". A table with contact details (columns
    whose sensitivity in the schema is "contact") needs ``permitted`` (customer_id and channel, see
    ``call_list.permitted``), and each of its rows must be in it. With ``watermark`` one made-up row is put among the
    others: its customer_id (``watermarks.MARK``) and all its details are of nobody, and the record's content says which
    it is (``content["watermark"]``), so that a file that turns up somewhere can be traced to its export.

    Raises UsageError for an unknown format or an empty actor or purpose, DataError for contact details without consent
    or a table too long for a sheet, EnvironmentFault where the file cannot be written. Then nothing is left behind.
    """
    _check_request(format, actor, purpose, name)
    _check_consent(table, permitted)
    rows = len(table)
    if watermark:
        mark = watermarks.new(secrets.token_bytes(8))
        table, content = watermarks.marked(table, mark), {**content, "watermark": mark}
    if format == "xlsx" and len(table) > XLSX_ROWS:
        raise DataError(f"{len(table):,} rows do not fit into one sheet of {XLSX_ROWS:,}; export as CSV")
    folder = data / "exports"
    part = files.temporary(folder, f".{format}")
    try:
        files.make_folder(folder)
        _write(part, table, format)
        checksum = hashlib.sha256(part.read_bytes()).hexdigest()
        target = folder / f"{name}-{now:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}.{format}"
        record = tables.Export(
            requested_at=now,
            actor=actor,
            purpose=purpose,
            content=content,
            rows=rows,
            checksum=checksum,
            file=target.relative_to(data).as_posix(),
        )
        _record(data, record, role=role)
        part.rename(target)
        try:
            files.sync(folder)
        except OSError:
            target.unlink(missing_ok=True)  # what is told as not written must not be there to be taken
            raise
    except OSError as error:
        remedy = files.remedy(error) if error.errno == errno.EIO else "free some space or get the right to write there"
        raise EnvironmentFault(
            f"{folder}: the export could not be written ({error.strerror or error}); {remedy}"
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return target


def picture(data: Path, *, actor: str, role: str, purpose: str, content: dict[str, Any], now: dt.datetime) -> None:
    """Enter in the audit log that a chart is taken away as a picture; call it before the picture is released.

    In: ``actor`` and ``role`` who takes it, ``content`` which chart of which dashboard and the versions behind it; a
    chart shows aggregates only, so there is no file and no consent to check.

    Raises UsageError for an empty actor or purpose, DataError for content that names personal columns, EnvironmentFault
    where it cannot be recorded.
    """
    _check_words(actor, purpose)
    audit.record(data, actor=actor, role=role, action="picture", now=now, content={"purpose": purpose, **content})


def _record(data: Path, record: tables.Export, *, role: str) -> None:
    """Enter an export in the store and in the audit log, both or none."""
    with audit.writing(data) as log:
        with Session(bind=log.connection) as store:
            store.add(record)
            store.flush()
            content = {
                "export": record.export_id,
                "purpose": record.purpose,
                "file": record.file,
                "rows": record.rows,
                "checksum": record.checksum,
                "content_checksum": content_checksum(record.content),
            }
        who = {"actor": record.actor, "role": role}
        audit.add(log, **who, action="export", now=record.requested_at, content=content)


def content_checksum(content: dict[str, Any]) -> str:
    """Return the SHA-256 of an export's content, by which the audit log shows whether the store's row was changed."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def safe_text(value: str) -> str:
    """Return a text that no spreadsheet takes for a formula.

    >>> safe_text("=2+5"), safe_text("Prague - New Town")
    ("'=2+5", 'Prague - New Town')
    >>> safe_text("Ann;=2+5")
    "Ann;'=2+5"
    """
    value = _INNER.sub("'", value)
    return f"'{value}" if value.startswith(_DANGEROUS) else value


def _check_request(format: str, actor: str, purpose: str, name: str) -> None:
    if format not in FORMATS:
        raise UsageError(f"format is {format!r}; use {' or '.join(FORMATS)}")
    _check_words(actor, purpose)
    if not re.fullmatch(r"[\w-]{1,80}", name):
        raise UsageError(f"name is {name!r}; use up to 80 letters, digits, - and _")


def _check_words(actor: str, purpose: str) -> None:
    for parameter, value in (("actor", actor), ("purpose", purpose)):
        if not value.strip():
            raise UsageError(f"{parameter} is empty; an export is recorded with who takes it and why")


def _check_consent(table: pd.DataFrame, permitted: pd.DataFrame | None) -> None:
    details = [column for column in table.columns if column in contact_columns()]
    if permitted is None:
        if details:
            raise DataError(
                f"the table has contact details ({', '.join(details)}); give permitted= to check each row's consent, or leave them out"
            )
        return
    missing = [column for column in ("customer_id", "channel") if column not in table.columns]
    if missing:
        raise DataError(f"the table has no column {', '.join(missing)}; consent is checked by customer_id and channel")
    pairs = pd.MultiIndex.from_frame(table[["customer_id", "channel"]].astype(str))
    refused = ~pairs.isin(pd.MultiIndex.from_frame(permitted[["customer_id", "channel"]].astype(str)))
    if refused.any():
        example = pairs[refused][0]
        raise DataError(
            f"{int(refused.sum()):,} of {len(table):,} rows have no consent for their channel, for example customer {example[0]} by {example[1]}; "
            "make the list again from the newest consents"
        )


def contact_columns() -> set[str]:
    """Return the names of the columns that are contact details in every table of the schema that has them."""
    kinds: dict[str, set[str]] = {}
    for table in schema.tables().values():
        for column in table.columns:
            kinds.setdefault(column.name, set()).add(column.info.get("sensitivity", "none"))
    return {name for name, found in kinds.items() if found == {"contact"}}


def _write(path: Path, table: pd.DataFrame, format: str) -> None:
    if format == "csv":
        _write_csv(path, table)
    else:
        _write_xlsx(path, table)
    with path.open("rb+") as written:
        os.fsync(written.fileno())


def _write_csv(path: Path, table: pd.DataFrame) -> None:
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC)
        writer.writerow([safe_text(str(column)) for column in table.columns])
        values = [_plain(table[column]) for column in table.columns]
        for row in zip(*values, strict=True):
            writer.writerow([safe_text(value) if isinstance(value, str) else value for value in row])


def _write_xlsx(path: Path, table: pd.DataFrame) -> None:
    # Imported on use: half a second that no page should wait for.
    from openpyxl import Workbook  # noqa: PLC0415
    from openpyxl.cell import WriteOnlyCell  # noqa: PLC0415
    from openpyxl.styles import Font  # noqa: PLC0415
    from openpyxl.utils import get_column_letter  # noqa: PLC0415

    book = Workbook(write_only=True)
    sheet = book.create_sheet("list")
    sheet.freeze_panes = "A2"
    for number, column in enumerate(table.columns, start=1):
        sheet.column_dimensions[get_column_letter(number)].width = min(max(len(str(column)) + 2, 12), 40)

    def cell(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        plain = _NOT_IN_XML.sub("", value)
        # A telephone number is written as text, so its plus sign is no formula and needs no apostrophe.
        made = WriteOnlyCell(sheet, plain if _PHONE.fullmatch(value) else safe_text(plain))
        made.data_type, made.number_format = "s", "@"
        return made

    heading = []
    for column in table.columns:
        title = cell(str(column))
        title.font = Font(bold=True)
        heading.append(title)
    sheet.append(heading)
    values = [_plain(table[column]) for column in table.columns]
    for row in zip(*values, strict=True):
        sheet.append([cell(value) for value in row])
    # In memory first: a zip file that could not be finished complains about it once more, past every handler.
    content = io.BytesIO()
    book.save(content)
    path.write_bytes(content.getvalue())


def _plain(column: pd.Series) -> list[Any]:
    """Return a column's values as numbers, booleans, dates or text of Python's own; empty ones as None."""
    values = column.astype(object).where(column.notna(), None).tolist()
    return [_plain_value(value) for value in values]


def _plain_value(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, pd.Timestamp):
        value = value.to_pydatetime()
    if isinstance(value, dt.datetime) and value.time() == dt.time() and value.tzinfo is None:
        return value.date()
    kept = value is None or isinstance(value, bool | int | float | dt.date)
    return value if kept else str(value)
