"""A report on a dashboard: shown in a frame that is kept apart from the page, or saved as a file."""

from __future__ import annotations

from pathlib import Path

import anywidget

_HERE = Path(__file__).parent


class ReportView(anywidget.AnyWidget):
    """The place where a report is shown; it comes over the page's own connection, so nobody else can ask for it."""

    _esm = (_HERE / "report_view.js").read_text(encoding="utf-8")
    _css = (_HERE / "report_view.css").read_text(encoding="utf-8")

    def show(self, file: Path, *, title: str) -> None:
        """Show a report; ``title`` names it for those who cannot see it."""
        self.send({"kind": "show", "title": title}, [file.read_bytes()])

    def save(self, file: Path) -> None:
        """Have the browser save a copy of a report."""
        self.send({"kind": "save", "name": file.name}, [file.read_bytes()])

    def close_report(self) -> None:
        """Take the report off the page."""
        self.send({"kind": "none"})
