"""The one chart widget: a plotly figure drawn by one plotly.js a page, in Voila and in JupyterLab alike."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import anywidget
import plotly
import plotly.graph_objects as go
import plotly.io.json
import traitlets

from crmlib.views.sketch import Sketch

log = logging.getLogger(__name__)

_HERE = Path(__file__).parent

FORMATS = ("png", "csv", "xlsx")


def plotly_js() -> Path:
    """Return the file of plotly.js that belongs to the installed plotly."""
    return Path(plotly.__file__).parent / "package_data" / "plotly.min.js"


@cache
def _plotly_js_bytes() -> bytes:
    return plotly_js().read_bytes()


class Chart(anywidget.AnyWidget):
    """A plotly figure on the page; ``update`` sends a new one, which replaces the old.

    ``clicked`` is called with x, y and customdata of the point a person clicked; ``worded`` returns what stands under a
    figure (``foot``: ``lines`` of text, and ``take``, the label of each format it can be taken away in); ``taken`` is
    called with this chart and a format of ``FORMATS`` when a person asks for it.

    A figure that cannot be drawn takes the old picture off the page and says why, and ``failure`` holds the message.
    """

    _esm = (_HERE / "chart.js").read_text(encoding="utf-8")
    _css = (_HERE / "chart.css").read_text(encoding="utf-8")
    spec = traitlets.Unicode("{}").tag(sync=True)
    revision = traitlets.Int(0).tag(sync=True)
    trouble = traitlets.Unicode("This chart could not be drawn; reload the page.").tag(sync=True)

    clickable = traitlets.Bool(False).tag(sync=True)
    foot = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        figure: go.Figure,
        *,
        clicked: Callable[[dict[str, Any]], None] | None = None,
        worded: Callable[[go.Figure | Sketch], dict[str, Any]] | None = None,
        taken: Callable[[Chart, str], None] | None = None,
    ) -> None:
        self._drawn: go.Figure | Sketch = figure
        self._clicked, self._worded, self._taken = clicked, worded, taken
        super().__init__(spec=_json(figure), clickable=clicked is not None)
        self.failure = ""
        self.on_msg(self._receive)

    @property
    def figure(self) -> go.Figure:
        """The figure drawn."""
        if isinstance(self._drawn, Sketch):
            self._drawn = self._drawn.figure()
        return self._drawn

    def update(self, figure: go.Figure | Sketch) -> None:
        """Draw another figure in place of the present one."""
        self._drawn = figure
        with self.hold_sync():
            self.failure = ""
            self.revision += 1
            self.spec = _json(figure)
            self.reword()

    def reword(self) -> None:
        """Say anew what stands under the chart."""
        if self._worded:
            self.foot = self._worded(self._drawn)

    def save_picture(self, name: str) -> None:
        """Have the browser save the chart as it stands as a PNG file of this name."""
        self.send({"kind": "picture", "name": name})

    def _receive(self, _widget: Any, message: dict[str, Any], _buffers: list[bytes]) -> None:
        if message.get("kind") == "plotly.js":
            self.send({"kind": "plotly.js"}, [_plotly_js_bytes()])
        elif message.get("kind") == "clicked" and self._clicked:
            self._clicked({name: message.get(name) for name in ("x", "y", "customdata")})
        elif message.get("kind") == "take" and self._taken and message.get("format") in FORMATS:
            self._taken(self, str(message["format"]))
        elif message.get("kind") == "failed":
            self.failure = str(message.get("message", ""))[:500]
            log.error("a chart could not be drawn: %s", self.failure)


def _json(figure: go.Figure | Sketch) -> str:
    if isinstance(figure, Sketch):
        return str(plotly.io.json.to_json_plotly(figure.spec()))
    text = figure.to_json(validate=False)
    assert text is not None
    return text
