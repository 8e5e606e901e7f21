"""The server of the dashboards: Voila on this machine only, behind a token, with kernels warmed up in advance.

Nothing is loaded from outside, sources and files stay on the server, and kernels nobody looks at are ended.
"""

from __future__ import annotations

import argparse
import datetime as dt
import functools
import os
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

import plotly.offline
import tornado.web
from jupyter_server.base.handlers import FileFindHandler
from jupyter_server.services.kernels.handlers import KernelHandler
from jupyter_server.utils import url_path_join
from jupyterlab_server.themes_handler import ThemesHandler
from tornado.ioloop import PeriodicCallback
from traitlets.config import Config
from voila.app import Voila
from voila.shutdown_kernel_handler import VoilaShutdownKernelHandler
from voila.static_file_handler import MultiStaticFileHandler, TemplateStaticFileHandler
from voila.tornado.kernel_websocket_handler import VoilaKernelWebsocketHandler
from voila.tornado.treehandler import TornadoVoilaTreeHandler

from crmlib import views
from crmlib.errors import CrmError, EnvironmentFault
from crmlib.serving import (
    channels,
    gallery,
    identity,
    identity_guard,
    identity_settings,
    memory,
    pages,
    provisioner,
    warm,
)
from crmlib.serving.handlers import OwnChannels, OwnEnd, OwnKernel, PageHandler
from crmlib.serving.kernels import Kernels
from crmlib.serving.places import Places
from crmlib.serving.serve import HOST, SECRET_VARIABLE, TOKEN_VARIABLE
from crmlib.views.chart import plotly_js

# Parts of JupyterLab that no dashboard uses; they would cost the page requests and megabytes.
UNUSED = ["jupyterlab-plotly", "jupyterlab_pygments"]
_LOOK_AFTER_MS = 1_000


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
        self.finish(
            gallery.page(
                names,
                data=Path(os.environ["CRM_DATA"]),
                visitor=identity.visitor(self),
                language=pages.language(self),
                base=folder,
                now=dt.datetime.now(dt.UTC).replace(tzinfo=None),
                logout=url_path_join(self.base_url, "logout"),
            )
        )


class Dashboards(Voila):
    """Voila with this project's pages and nothing of a user's own configuration."""

    def _config_file_paths_default(self) -> list[str]:
        return []

    places: Places
    warm_parent: warm.Parent | None = None

    def init_handlers(self) -> list[Any]:
        """Return the few addresses there are: what pages load, the pages, and to its owner a kernel."""
        most = self.kernel_manager.most or memory.kernels(memory.free(), forked=self.warm_parent is not None)
        self.places = Places(self, most=most)
        own = {
            KernelHandler: OwnKernel,
            VoilaKernelWebsocketHandler: OwnChannels,
            VoilaShutdownKernelHandler: OwnEnd,
            TornadoVoilaTreeHandler: HomeHandler,
        }
        open_to_visitors = {
            *(*own, TemplateStaticFileHandler, MultiStaticFileHandler, ThemesHandler, FileFindHandler),
            *(handler for _, handler in self.identity_provider.get_handlers()),
        }
        kept = [
            (rule[0], own.get(rule[1], rule[1]), *rule[2:])
            for rule in super().init_handlers()
            if rule[1] in open_to_visitors and "/voila/tree" not in rule[0]
        ]
        script = plotly_js()
        added = [
            (rf"/crm/({script.name})", tornado.web.StaticFileHandler, {"path": str(script.parent)}),
            (r"/voila/render/(.*)", PageHandler, {"places": self.places}),
        ]
        rules = [*((url_path_join(self.server_url, address), *rest) for address, *rest in added), *kept]
        return identity_guard.guarded(rules, base=self.base_url)

    def listen(self) -> None:
        """Answer until stopped, while pages are made ready and useless kernels end."""
        PeriodicCallback(self._look_after, _LOOK_AFTER_MS).start()
        self.app.listen = functools.partial(self.app.listen, max_body_size=identity_guard.LONGEST_BODY)
        super().listen()

    async def _look_after(self) -> None:
        if self.warm_parent is not None:
            self.warm_parent.keep()
        await self.places.look_after()


def configuration(dashboards: Path, *, port: int, who: dict[str, Any], kernels: dict[str, Any]) -> Config:
    """Return the server's settings; ``who`` are those of ``identity``, ``kernels`` those of ``Kernels``."""
    made = Config(
        {
            "Voila": {
                "ip": HOST,
                "port": port,
                "port_retries": 0,
                "root_dir": str(dashboards),
                "open_browser": False,
                "kernel_websocket_connection_class": channels.Connection,
            },
            "VoilaConfiguration": {
                "template": "crm",
                "theme": "light",
                "allow_template_override": "NO",
                "allow_theme_override": "NO",
                "file_allowlist": [],
                "extension_denylist": UNUSED,
                "multi_kernel_manager_class": Kernels,
                "resources": {
                    "crm": {
                        "plotly": f"crm/{plotly_js().name}?v={plotly.offline.get_plotlyjs_version()}",
                        **pages.for_template(),
                    }
                },
            },
            "Kernels": kernels,
            # A kernel that died took what its page shows along; another one under its id would only look alive.
            # Kernels are reached through sockets in a private folder: no other user of the machine can listen or call.
            "KernelManager": {"autorestart": False, "transport": _transport()},
            "KernelProvisionerFactory": {"default_provisioner_name": provisioner.NAME},
        }
    )
    made.merge(Config(who))
    return made


def main(arguments: list[str] | None = None) -> int:
    """Serve until interrupted; returns the exit code."""
    parser = argparse.ArgumentParser(prog="crmlib.serving.server", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--dashboards", type=Path, required=True)
    parser.add_argument("--kernels", type=int, default=0)
    parser.add_argument("--patience", type=float, default=60, help="seconds a kernel lives on without its page")
    parser.add_argument("--access", choices=identity_settings.TIERS, default="token")
    given = parser.parse_args(arguments)
    token = os.environ.pop(TOKEN_VARIABLE, "")
    secret = os.environ.pop(SECRET_VARIABLE, "")
    if given.access == "token" and not token:
        print(f"{TOKEN_VARIABLE} is not set; dashboards are never served without a token", file=sys.stderr)
        return 2
    try:
        _check_port(given.port)
        access = identity_settings.read(given.data, given.access)
        who = identity.configuration(access, given.data, token=token, secret=secret)
    except CrmError as fault:
        print(fault, file=sys.stderr)
        return fault.exit_code
    os.environ["CRM_DATA"] = str(given.data)
    own = str(Path(views.__file__).with_name("voila"))
    os.environ["JUPYTER_PATH"] = os.pathsep.join(filter(None, [own, os.environ.get("JUPYTER_PATH")]))
    with warm.parent() as parent, tempfile.TemporaryDirectory(prefix="crm-visits-") as visits:
        settings = configuration(
            given.dashboards,
            port=given.port,
            who=who,
            kernels={"visits": visits, "most": given.kernels, "alone_seconds": given.patience},
        )
        server = Dashboards.instance(config=settings)
        server.warm_parent = parent
        server.initialize([])
        server.start()
    return 0


def _transport() -> str:
    # The path of such a socket may have 107 characters, and what comes after the folder takes 65.
    return "ipc" if os.name != "nt" and len(tempfile.gettempdir()) <= 40 else "tcp"


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
