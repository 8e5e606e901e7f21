"""How to start the server of the dashboards, and where it answers; started as a process of its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

HOST = "127.0.0.1"
TOKEN_VARIABLE = "CRM_DASHBOARD_TOKEN"
SECRET_VARIABLE = "CRM_PROXY_SECRET"


def command(data: Path, *, port: int, dashboards: Path, access: str = "token", kernels: int = 0) -> list[str]:
    """Return the command that serves the notebooks of ``dashboards`` on the data folder, with ``environment``.

    ``access`` says how people prove who they are (``identity_settings.TIERS``), ``kernels`` how many dashboards may be
    open at a time, 0 as many as the memory bears.
    """
    return [
        *(sys.executable, "-m", "crmlib.serving.server", f"--data={data.absolute()}"),
        *(f"--port={port}", f"--dashboards={dashboards.absolute()}", f"--access={access}"),
        f"--kernels={kernels}",
    ]


def environment(token: str = "", secret: str = "") -> dict[str, str]:
    """Return the environment for ``command``: the token of the link, and the secret shared with a company's proxy.

    They travel in it since every user of a machine can read the arguments of a command.
    """
    return {**os.environ, TOKEN_VARIABLE: token, SECRET_VARIABLE: secret}


def url(port: int, token: str, name: str = "") -> str:
    """Return the link to a dashboard, or to the first page, with its token.

    >>> url(8866, "secret", "campaign_targeting")
    'http://127.0.0.1:8866/voila/render/campaign_targeting.ipynb?token=secret'
    """
    page = f"voila/render/{name}.ipynb" if name else ""
    return f"http://{HOST}:{port}/{page}" + (f"?token={token}" if token else "")
