"""The server of the dashboards: Voila on this machine only, behind a token, with kernels warmed up in advance.

Nothing is loaded from outside, sources and files stay on the server, and kernels nobody looks at are ended.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
from pathlib import Path
from typing import Any

import plotly.offline
import tornado.web
from jupyter_server.utils import url_path_join
from tornado.ioloop import PeriodicCallback
from traitlets.config import Config
from voila.app import Voila
from voila.tornado.handler import TornadoVoilaHandler
from voila.tornado.treehandler import TornadoVoilaTreeHandler

from crmlib.errors import EnvironmentFault
from crmlib.views import home
from crmlib.views.chart import plotly_js
from crmlib.views.serve import HOST, TOKEN_VARIABLE
from crmlib.views.texts import LANGUAGES

POOL = 1  # warm kernels kept for each dashboard
# Parts of JupyterLab that no dashboard uses; they would cost the page requests and megabytes.
UNUSED = ["jupyterlab-plotly", "jupyterlab_pygments"]
_REFILL_EVERY_MS = 60_000


class PageHandler(TornadoVoilaHandler):
    """A dashboard's page, which also sets the cookie without which a closed tab could not end its kernel."""

    async def get(self, path: str | None = None) -> None:
        """Answer with the page."""
        _ = self.xsrf_token
        await super().get(path)


class HomeHandler(TornadoVoilaTreeHandler):
    """The first page: the dashboard where there is only one, otherwise a card for each."""

    @tornado.web.authenticated
    async def get(self, path: str = "") -> None:
        """Answer with a redirection or the cards."""
        names = sorted(file.stem for file in Path(self.contents_manager.root_dir).glob("*.ipynb"))
        folder = url_path_join(self.base_url, "voila/render/")
        if len(names) == 1:
            self.redirect(f"{folder}{names[0]}.ipynb")
            return
        asked = [self.get_query_argument("language", "")]
        preferred = [part.strip()[:2] for part in self.request.headers.get("Accept-Language", "").split(",")]
        language = next((code for code in asked + preferred if code in LANGUAGES), "en")
        self.finish(home.page(names, language=language, base=folder))


class Dashboards(Voila):
    """Voila with this project's pages and nothing of a user's own configuration."""

    def _config_file_paths_default(self) -> list[str]:
        return []

    def init_handlers(self) -> list[Any]:
        """Return Voila's handlers with the page and the first page replaced, and the one script of the charts."""
        own = {TornadoVoilaHandler: PageHandler, TornadoVoilaTreeHandler: HomeHandler}
        handlers = [(rule[0], own.get(rule[1], rule[1]), *rule[2:]) for rule in super().init_handlers()]
        script = plotly_js()
        address = url_path_join(self.server_url, rf"/crm/({script.name})")
        return [(address, tornado.web.StaticFileHandler, {"path": str(script.parent)}), *handlers]

    def listen(self) -> None:
        """Answer until stopped, replacing warmed-up kernels that were ended for idleness."""
        PeriodicCallback(self._refill, _REFILL_EVERY_MS).start()
        super().listen()

    def _refill(self) -> None:
        for notebook in list(self.kernel_manager.notebook_data):
            self.kernel_manager.fill_if_needed(delay=0, notebook_name=notebook)


def configuration(dashboards: Path, *, port: int, token: str) -> Config:
    """Return the server's settings."""
    return Config(
        {
            "Voila": {
                "ip": HOST,
                "port": port,
                "port_retries": 0,
                "root_dir": str(dashboards),
                "token": token,
                "open_browser": False,
                "tornado_settings": {"xsrf_cookies": True},
            },
            "VoilaConfiguration": {
                "template": "crm",
                "theme": "light",
                "allow_template_override": "NO",
                "allow_theme_override": "NO",
                "file_allowlist": [],
                "extension_denylist": UNUSED,
                "preheat_kernel": True,
                "default_pool_size": POOL,
                "resources": {"crm": {"plotly": f"crm/{plotly_js().name}?v={plotly.offline.get_plotlyjs_version()}"}},
            },
            # The next kernel is warmed up only when the page just opened has had the processor for itself.
            "VoilaKernelManager": {"fill_delay": 5.0},
            "MappingKernelManager": {"cull_idle_timeout": 3600, "cull_interval": 120},
        }
    )


def main(arguments: list[str] | None = None) -> int:
    """Serve until interrupted; returns the exit code."""
    parser = argparse.ArgumentParser(prog="crmlib.views.server", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--dashboards", type=Path, required=True)
    given = parser.parse_args(arguments)
    token = os.environ.pop(TOKEN_VARIABLE, "")
    if not token:
        print(f"{TOKEN_VARIABLE} is not set; dashboards are never served without a token", file=sys.stderr)
        return 2
    try:
        _check_port(given.port)
    except EnvironmentFault as fault:
        print(fault, file=sys.stderr)
        return fault.exit_code
    os.environ["CRM_DATA"] = str(given.data)
    own = str(Path(__file__).with_name("voila"))
    os.environ["JUPYTER_PATH"] = os.pathsep.join(filter(None, [own, os.environ.get("JUPYTER_PATH")]))
    Dashboards.launch_instance(argv=[], config=configuration(given.dashboards, port=given.port, token=token))
    return 0


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise EnvironmentFault(
                f"port {port} is busy or not allowed ({error.strerror}); choose another one with --port"
            ) from error


if __name__ == "__main__":
    sys.exit(main())
