"""What the server answers: a dashboard's page, and to its owner alone a kernel."""

from __future__ import annotations

import html
import inspect
import secrets
from typing import Any

import tornado.web
from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.services.kernels.handlers import KernelHandler
from tornado.iostream import StreamClosedError
from voila.shutdown_kernel_handler import VoilaShutdownKernelHandler
from voila.tornado.kernel_websocket_handler import VoilaKernelWebsocketHandler

from crmlib.serving import identity, pages
from crmlib.serving.opening import Opening
from crmlib.serving.places import ASK_AGAIN_SECONDS, Places
from crmlib.views import texts
from crmlib.views.visitor import Visitor

TICKET = "crm_ticket"
_FAILED = """<script>document.getElementById("loading")?.remove()</script><p class="crm-error" role="alert">{}</p>"""
_HEARTBEAT = "<script>window.voila_heartbeat()</script>\n"


class PageHandler(JupyterHandler):
    """A dashboard's page for one visitor, with a kernel of their own that knows who they are."""

    def initialize(self, places: Places) -> None:
        """Take what all requests share."""
        self.places = places

    @tornado.web.authenticated
    async def get(self, path: str) -> None:
        """Answer with the page, or with one that waits for a place."""
        if path not in self.places.notebooks():
            raise tornado.web.HTTPError(404)
        identity.refuse_unless_opens(self, path.removesuffix(".ipynb"))
        _ = self.xsrf_token  # without this cookie a closed tab could not end its kernel
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.set_header("Cache-Control", "no-store")
        ticket = self.get_cookie(TICKET) or secrets.token_urlsafe(12)
        who = identity.visitor(self)
        entered = self.places.enter(path, ticket, name="" if who.shared else who.name)
        if entered is None:
            raise identity.Refused(429, "places")
        if isinstance(entered, int):
            self.set_cookie(TICKET, ticket, httponly=True, samesite="Strict", path=self.base_url)
            self._wait(entered)
        else:
            self.clear_cookie(TICKET, path=self.base_url)
            try:
                await self._send(entered, who)
            except StreamClosedError:
                await self.places.leave(entered)  # the visitor went away before the page was there
            except Exception:
                await self.places.leave(entered)
                if not self._headers_written:
                    raise
                say = texts.speak(pages.language(self))
                self.write(_FAILED.format(html.escape(say.text("The page could not be made; reload it in a minute."))))

    async def _send(self, page: Opening, who: Visitor) -> None:
        kernels: Any = self.kernel_manager
        given = False
        async for part in page.parts():
            # The head has no kernel in it yet; before the first part that has, the kernel knows its visitor.
            if not given and page.kernel.done():
                kernels.give(page.kernel.result(), who)
                given = True
            self.write(part or _HEARTBEAT)
            await self.flush()

    def _wait(self, ahead: int) -> None:
        say = texts.speak(pages.language(self))
        words = say.text(
            "Each open dashboard needs memory of its own, and there is none left for another one. As soon as somebody "
            "closes one, yours opens here by itself. Close the dashboards you no longer need."
        )
        line = (
            say.plural("{n} person waits before you.", "{n} people wait before you.", ahead)
            if ahead
            else say.text("You are the next one.")
        )
        self.set_status(503)
        self.set_header("Retry-After", str(ASK_AGAIN_SECONDS))
        title = say.text("All places are taken just now")
        self.finish(pages.message(say, title, f"{line} {words}", home=self.base_url, again=ASK_AGAIN_SECONDS))


class Owned:
    """A kernel answers to whom it was given and to nobody else; for others there is no such kernel."""

    async def prepare(self: Any) -> None:
        """Refuse whoever this kernel was not given to."""
        ahead = super().prepare()  # type: ignore[misc]
        if inspect.isawaitable(ahead):
            await ahead
        kernel_id = self.path_kwargs.get("kernel_id") or self.path_args[0]
        if not self._finished and not self.kernel_manager.belongs(kernel_id, identity.visitor(self)):
            raise tornado.web.HTTPError(404)


class OwnKernel(Owned, KernelHandler):  # type: ignore[misc]
    """Whether one's kernel is there."""

    SUPPORTED_METHODS = ("GET", "HEAD")


class OwnChannels(Owned, VoilaKernelWebsocketHandler):
    """The connection of a page with its kernel."""


class OwnEnd(Owned, VoilaShutdownKernelHandler):
    """What a page says when it is closed."""
