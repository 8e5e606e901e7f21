"""Rows out of the tables of a database, read part by part as texts."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from crmlib.errors import DataError, NotFoundError
from crmlib.warehouse.delimited import Refused
from crmlib.warehouse.mapping import FileMapping

ROWS = 50_000
"""Rows fetched at a time."""


def matching(text: str, mapping: FileMapping) -> tuple[sa.URL, list[str]]:
    """Return the address of a database and its tables that the mapping has sections for.

    Raises NotFoundError for a file that is not there, DataError where it cannot be opened or no table matches.
    """
    engine = None
    try:
        url = sa.make_url(text)
        engine = sa.create_engine(url)
        if url.get_backend_name() == "sqlite" and url.database and not Path(url.database).is_file():
            raise NotFoundError(f"{url.database}: there is no such database file; check the name and the folder")
        inspector = sa.inspect(engine)
        names = sorted({*inspector.get_table_names(), *inspector.get_view_names()})
    except (sa.exc.SQLAlchemyError, ImportError) as error:
        shown = text.split("://", maxsplit=1)[0]
        raise DataError(
            f"cannot open the {shown} database ({first_line(error)}); check the address, which looks like "
            "postgresql+psycopg://user@host/name or sqlite:///path/file.db, and that its driver is installed"
        ) from error
    finally:
        if engine is not None:
            engine.dispose()
    shown = url.render_as_string(hide_password=True)
    fed = [name for name in names if mapping.matching(name)]
    if not fed:
        raise DataError(f"{shown}: no table there matches {mapping.name}; it has {', '.join(names[:20]) or 'none'}")
    return url, fed


def columns(url: sa.URL, name: str) -> tuple[str, ...]:
    """Return the names of a table's columns; raises DataError where they cannot be read."""
    engine = sa.create_engine(url)
    try:
        return tuple(column["name"] for column in sa.inspect(engine).get_columns(name))
    except sa.exc.SQLAlchemyError as error:
        raise _unreadable(name, error) from error
    finally:
        engine.dispose()


def pieces(
    url: sa.URL, name: str, headers: Sequence[str], content: hashlib._Hash
) -> Iterator[tuple[list[pa.Array], list[Refused], int]]:
    """Yield the rows of a table, numbered from 1, no refused ones and their number; add them to the hash of the ``content``.

    Raises DataError where they cannot be read.
    """
    engine = sa.create_engine(url)
    # Plain columns without types: SQLAlchemy would stop at the first date that is none.
    select: Any = sa.select(*[sa.column(header) for header in headers]).select_from(sa.table(name))
    content.update(repr(list(headers)).encode())
    line = 1
    try:
        with engine.connect().execution_options(stream_results=True, yield_per=ROWS) as database:
            for part in database.execute(select).partitions():
                texts = [[_plain_text(value) for value in row] for row in part]
                content.update(repr(texts).encode("utf-8", "surrogatepass"))
                found = [pa.array(column, pa.string()) for column in zip(*texts, strict=True)]
                yield [pa.array(range(line, line + len(part)), pa.int64()), *found], [], len(part)
                line += len(part)
    except sa.exc.SQLAlchemyError as error:
        raise _unreadable(name, error) from error
    finally:
        engine.dispose()


def _unreadable(name: str, error: Exception) -> DataError:
    return DataError(
        f"table {name} of the database cannot be read ({first_line(error)}); see that the connection holds, and that a "
        "view's own tables are there"
    )


def _plain_text(value: Any) -> str | None:
    """Return a database's value as text: ISO dates and times (UTC where they know their zone), decimal points."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dt.datetime):
        return (value.astimezone(dt.UTC).replace(tzinfo=None) if value.tzinfo else value).isoformat(sep=" ")
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
