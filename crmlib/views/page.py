"""The page as a whole: says when a person opens it, saves files in the browser, warns when the kernel is gone."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import anywidget
import traitlets

_HERE = Path(__file__).parent
_LONGEST_QUERY = 2_000
_LONGEST_VALUE = 200

TYPES = {"csv": "text/csv", "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"}


class Page(anywidget.AnyWidget):
    """The invisible part of a dashboard; ``opened`` is called with the address' query when a person opens the page.

    ``taken`` is called with the id of a table and a format of ``TYPES`` when a person asks for a table; ``take`` holds
    the label of each format, none where nothing may be taken.

    A dashboard may have been computed in advance, so what it shows is checked for newer data at that moment.
    """

    # JupyterLab has no page of ours to bring the themes.
    _esm = "\n".join((_HERE / name).read_text(encoding="utf-8") for name in ("theme.js", "labels.js", "page.js"))
    _css = (_HERE / "page.css").read_text(encoding="utf-8")
    title = traitlets.Unicode("").tag(sync=True)
    language = traitlets.Unicode("en").tag(sync=True)
    who = traitlets.Unicode("").tag(sync=True)
    lost = traitlets.Unicode("").tag(sync=True)
    take = traitlets.Dict().tag(sync=True)

    def __init__(self, opened: Callable[[str], None], taken: Callable[[str, str], None]) -> None:
        super().__init__()
        self._opened, self._taken = opened, taken
        self.on_msg(self._receive)

    def save(self, path: Path) -> None:
        """Have the browser save a copy of the file; it goes over the page's own connection, not under an address."""
        self.send({"kind": "save", "name": path.name, "type": TYPES[path.suffix[1:]]}, [path.read_bytes()])

    def _receive(self, _widget: Any, message: dict[str, Any], _buffers: list[bytes]) -> None:
        self.send({"kind": "here"})
        if message.get("kind") == "opened":
            self._opened(str(message.get("query", ""))[:4000])
        elif message.get("kind") == "take" and message.get("format") in TYPES:
            self._taken(str(message.get("table", ""))[:64], str(message["format"]))


def asked_for(query: str) -> dict[str, str]:
    """Return what the address of a page asks for; whatever is not a plain name and a short value is left out.

    >>> asked_for("?audience=3&token=x&<b>=1")
    {'audience': '3'}
    """
    if len(query) > _LONGEST_QUERY:
        return {}
    found = parse_qsl(query.removeprefix("?"), max_num_fields=20)
    plain = {name: value for name, value in found if re.fullmatch(r"[a-z_]{1,32}", name) and name != "token"}
    return {name: value for name, value in plain.items() if len(value) <= _LONGEST_VALUE and value.isprintable()}
