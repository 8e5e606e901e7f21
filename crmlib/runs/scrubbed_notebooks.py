"""Where papermill writes an executed notebook: without secrets, at every step, so that a kill leaves none behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SCHEME = "without-secrets:"


def address(target: Path, data: Path) -> str:
    """Return what to give papermill as its output path so that it writes ``target`` without the secrets of ``data``."""
    from papermill import iorw  # noqa: PLC0415  (slow to import)

    from crmlib.runs import secrets  # noqa: PLC0415

    class Handler(iorw.LocalHandler):
        """Papermill's own way to files, with the secrets taken out of what is written; a kill leaves no half of a file."""

        def write(self, buf: str, path: str) -> Any:
            file = path.removeprefix(SCHEME)
            written = super().write(secrets.scrub(buf.replace(SCHEME, ""), data), f"{file}.part")
            Path(f"{file}.part").replace(file)
            return written

        def pretty_path(self, path: str) -> str:
            return path.removeprefix(SCHEME)

    # Looked up by the beginning of the path, first registered first: replaced, since the data folder may differ.
    registry = iorw.papermill_io
    registry._handlers = [(scheme, handler) for scheme, handler in registry._handlers if scheme != SCHEME]
    registry.register(SCHEME, Handler())
    return f"{SCHEME}{target}"
