"""How to start the server of the dashboards, and where it answers; started as a process of its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

HOST = "127.0.0.1"
TOKEN_VARIABLE = "CRM_DASHBOARD_TOKEN"


def command(data: Path, *, port: int, dashboards: Path) -> list[str]:
    """Return the command that serves the notebooks of ``dashboards`` on the data folder, with ``environment``."""
    return [
        *(sys.executable, "-m", "crmlib.views.server", f"--data={data.absolute()}"),
        *(f"--port={port}", f"--dashboards={dashboards.absolute()}"),
    ]


def environment(token: str) -> dict[str, str]:
    """Return the environment for ``command``.

    The token travels in it since every user of a machine can read the arguments of a command.
    """
    return {**os.environ, TOKEN_VARIABLE: token}


def url(port: int, token: str, name: str = "") -> str:
    """Return the link to a dashboard, or to the first page, with its token.

    >>> url(8866, "secret", "campaign_targeting")
    'http://127.0.0.1:8866/voila/render/campaign_targeting.ipynb?token=secret'
    """
    page = f"voila/render/{name}.ipynb" if name else ""
    return f"http://{HOST}:{port}/{page}?token={token}"
