"""The kernels of the dashboards: whose each one is, and when one that nobody looks at ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jupyter_server._tz import utcnow
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from traitlets import Float, Integer, Unicode

from crmlib.serving.channels import MESSAGES
from crmlib.views import visitor as visitors
from crmlib.views.visitor import Visitor


class Kernels(AsyncMappingKernelManager):
    """Kernels by id. One belongs to nobody until it is given to a visitor, once; nobody else ever reaches it."""

    most = Integer(help="how many there may be at a time; 0: as many as the memory bears").tag(config=True)
    alone_seconds = Float(60.0, help="a kernel whose page is closed ends after so long, if not at once").tag(
        config=True
    )
    unseen_seconds = Float(180.0, help="a kernel whose page never connected ends after so long").tag(config=True)
    idle_seconds = Float(3600.0, help="a kernel in which nothing happened ends after so long").tag(config=True)
    visits = Unicode(help="folder in which kernels read who is looking").tag(config=True)

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.allowed_message_types = MESSAGES
        self.on_end: Callable[[str], None] = lambda _kernel_id: None
        self._owners: dict[str, tuple[str, str]] = {}  # name and role
        self._alone: dict[str, float] = {}  # until when a kernel without a connection may live

    # ---------------------------------------------------------------- whose

    def give(self, kernel_id: str, who: Visitor) -> None:
        """Give a kernel to the visitor whose page is about to be sent; it can be given only once."""
        if kernel_id in self._owners or not who.name:
            raise RuntimeError(f"kernel {kernel_id} is given to a second visitor, or to nobody")
        visitors.arrived(Path(self.visits), kernel_id, name=who.name, role=who.role.name, shared=who.shared)
        self._owners[kernel_id] = (who.name, who.role.name)
        self._alone[kernel_id] = time.monotonic() + self.unseen_seconds

    def belongs(self, kernel_id: str, who: Visitor) -> bool:
        """Return whether a kernel was given to this visitor in the same role; with another role it is another's."""
        return bool(who.name) and self._owners.get(kernel_id) == (who.name, who.role.name)

    # ---------------------------------------------------------------- ends

    def notify_connect(self, kernel_id: str) -> None:
        """Note that a page is connected."""
        super().notify_connect(kernel_id)
        self._alone.pop(kernel_id, None)

    def notify_disconnect(self, kernel_id: str) -> None:
        """Note that a page is no longer connected: reloaded, closed, dead, or without network for a moment."""
        super().notify_disconnect(kernel_id)
        if kernel_id in self._owners and not self._kernel_connections.get(kernel_id):
            self._alone[kernel_id] = time.monotonic() + self.alone_seconds

    async def shutdown_kernel(  # type: ignore[override]
        self, kernel_id: str, now: bool = False, restart: bool = False
    ) -> None:
        """End a kernel and forget who looked."""
        self._owners.pop(kernel_id, None)
        self._alone.pop(kernel_id, None)
        try:
            await super().shutdown_kernel(kernel_id, now=now, restart=restart)
        finally:
            (Path(self.visits) / f"{kernel_id}.json").unlink(missing_ok=True)
            self.on_end(kernel_id)

    async def sweep(self) -> None:
        """End the kernels that died, that nobody is connected to any more, and in which nothing happens."""
        for kernel_id in list(self._kernels):
            why = await self._useless(kernel_id)
            if why and kernel_id in self._kernels:
                self.log.info("kernel %s ends: %s", kernel_id, why)
                await self.shutdown_kernel(kernel_id, now=True)

    async def _useless(self, kernel_id: str) -> str:
        kernel = self._kernels[kernel_id]
        if kernel.has_kernel and not await kernel.is_alive():
            return "its process is gone"
        if kernel_id not in self._owners:
            return ""  # made ready for somebody to come
        if time.monotonic() > self._alone.get(kernel_id, float("inf")):
            return "no page is connected to it"
        last = getattr(kernel, "last_activity", None)
        if last and (utcnow() - last).total_seconds() > self.idle_seconds:
            return "nothing happened in it for long"
        return ""
