"""What every dashboard's tests ask: figures that say how sure they are, and people who may do less than an analyst."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openpyxl
import pandas as pd
import pytest

from crmlib.store import audit
from crmlib.views import certainty, chart_table, visitor
from crmlib.views.frame import Frame

KERNEL = "0a1ea349-61f0-4794-a62e-2d060a5f6d40"


def drawn(frame: Frame) -> Iterator[tuple[str, Any]]:
    """The charts of a dashboard that show something."""
    for name, chart in frame._charts.items():
        if chart.figure.data:
            yield name, chart


def check(frame: Frame, *, origin: str) -> set[str]:
    """Assert of every chart with data that it says how sure it is, where it comes from, and can be taken away."""
    found = set()
    for name, chart in drawn(frame):
        lines = chart.foot["lines"]
        assert certainty.of(chart.figure), f"{name} does not say how sure it is"
        assert len(lines) == 2 and lines[1] == certainty.of(chart.figure)
        assert origin in lines[0], f"{name} comes from {lines[0]!r}"
        assert set(chart.foot["take"]) == {"png", "csv", "xlsx"}
        table = chart_table.table(chart.figure)
        assert len(table) and len(table.columns) >= 2, f"{name} has no numbers to take away"
        assert table.columns.is_unique and not {"x", "y"} & set(table.columns)
        found.add(name)
    return found


def visit_as(monkeypatch: pytest.MonkeyPatch, folder: Path, role: str, *, name: str = "eva") -> None:
    """Let somebody of a role come to this process's kernel."""
    folder.mkdir(parents=True, exist_ok=True)
    monkeypatch.setenv(visitor.VISITS, str(folder))
    monkeypatch.setattr(visitor, "kernel_id", lambda: KERNEL)
    visitor.arrived(folder, KERNEL, name=name, role=role)


def refused(frame: Frame, action: Any, words: str) -> None:
    """Assert that a handler is refused with words that hold ``words``, and that nothing left the workbench."""
    before = _exports(frame.data)
    frame.guarded(action)()
    assert words in frame._trouble.value, frame._trouble.value or "nothing was refused"
    assert _exports(frame.data) == before, "a file was made all the same"


def _exports(data: Path) -> set[str]:
    folder = data / "exports"
    return {file.name for file in folder.iterdir()} if folder.is_dir() else set()


# ---------------------------------------------------------------- in a browser


def take_chart(page: Any, place: int, format: str) -> bytes:
    """What arrives when a person asks for the numbers of a chart on the page."""
    chart = page.locator(".crm-chart:visible").nth(place)
    with page.expect_download() as waiting:
        chart.get_by_role("button", name=format.upper()).click()
    return Path(waiting.value.path()).read_bytes()


def take_table(page: Any, place: int, format: str) -> bytes:
    """What arrives when a person asks for a table on the page."""
    with page.expect_download() as waiting:
        page.locator(".crm-scroll:visible .crm-takes").nth(place).get_by_role("button", name=format.upper()).click()
    return Path(waiting.value.path()).read_bytes()


def csv_of(content: bytes) -> pd.DataFrame:
    return pd.read_csv(io.BytesIO(content), encoding="utf-8-sig")


def xlsx_of(content: bytes) -> list[tuple[Any, ...]]:
    return list(openpyxl.load_workbook(io.BytesIO(content)).active.iter_rows(values_only=True))


def on_record(data: Path, number: int) -> pd.DataFrame:
    """The newest entries of the audit log, which holds together."""
    assert audit.verify(data).empty, "the audit log does not hold together"
    found = audit.entries(data, newest=number)
    assert set(found["action"]) <= {"export", "picture"}, found
    return found
