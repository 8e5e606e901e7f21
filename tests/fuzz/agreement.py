"""Whether the loader's reader makes of a file what the reference makes of it, line by line and cell by cell."""

from __future__ import annotations

from pathlib import Path

from crmlib.errors import CrmError, DataError
from crmlib.warehouse import delimited
from fuzz import malformed, reference


def read(path: Path, made: malformed.Made, *, block: int) -> list[reference.Row] | None:
    """Return what the loader's reader makes of a file; None where it refuses it in a sentence that names it."""
    wanted = dict.fromkeys(malformed.WANTED, "x")
    try:
        form = delimited.layout(path, encoding=made.encoding, delimiter=made.delimiter, wanted=wanted)
    except DataError as error:
        assert_sentence(error, path)
        return None
    found: list[reference.Row] = []
    for chunk in delimited.chunks(path, form, block=block):
        cells = zip(*[column.to_pylist() for column in chunk.columns], strict=True)
        found.extend(reference.Row(*row) for row in zip(chunk.lines.tolist(), cells, strict=True))
        found.extend(reference.Row(row.line, None) for row in chunk.refused)
    return sorted(found, key=lambda row: row.line)


def expected(made: malformed.Made) -> tuple[list[str], list[reference.Row]] | None:
    """Return header and rows by the reference; None for a file without a usable header."""
    text = reference.text(made.raw, made.encoding)
    for mark in (made.delimiter,) if made.delimiter else malformed.DELIMITERS:
        found = reference.read(text, mark)
        if found and reference.usable(found[0], malformed.WANTED):
            return found
    return None


def assert_sentence(error: CrmError, path: Path) -> None:
    """Check that a refusal is one sentence that names the file and can be read."""
    told = str(error)
    assert path.name in told, told
    assert 30 < len(told) < 2_000, told[:2_000]
    assert told.replace(path.name, "").isprintable(), repr(told)
