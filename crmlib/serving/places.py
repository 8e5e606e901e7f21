"""Places for visitors: how many kernels there may be, pages made ready before anybody comes, and who waits."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from crmlib.serving import memory
from crmlib.serving.line import Line
from crmlib.serving.opening import Opening
from crmlib.views import visitor as visitors

ASK_AGAIN_SECONDS = 5
_EACH_AT_LEAST = 3  # places for one person, however few there are; otherwise half of all
_QUIET_SECONDS = 5.0  # after a visitor came, that page has the processor for itself


class Places:
    """``most`` kernels at a time; ``pool`` pages of each dashboard are kept ready while there is room.

    A page made ready is for whoever comes first, and only for them. When all places are taken, pages that nobody has
    yet are given up first; then people wait in line.
    """

    def __init__(self, app: Any, *, most: int, pool: int = 1, free: Callable[[], int] = memory.free) -> None:
        self.most, self.pool, self._free = most, pool, free
        self._app, self._kernels = app, app.kernel_manager
        self._kernels.on_end = self._ended
        self.each = max(_EACH_AT_LEAST, most // 2)
        self.line = Line(patience=3 * ASK_AGAIN_SECONDS)
        self._visited: list[Opening] = []
        self._waiting: list[Opening] = []  # made ready, or being made ready
        self._last_visit = -_QUIET_SECONDS
        # Starting a dashboard keeps one processor busy; more at once would only make each of them late.
        self._starts = asyncio.Semaphore(os.cpu_count() or 1)

    # ---------------------------------------------------------------- for visitors

    def enter(self, notebook: str, ticket: str, *, name: str = "") -> Opening | int | None:
        """Return the visitor's own page, or how many wait before them; None for who has too many pages open.

        ``name`` is whose pages count together, "" where several people go by one name. A person waits once for each
        dashboard, whatever ticket their browser shows.
        """
        if name and sum(one.whose == name for one in self._visited) >= self.each:
            return None
        ticket = f"{name} {notebook}" if name else ticket
        now = time.monotonic()
        ahead = self.line.ahead(ticket, now=now)
        if self.most - len(self._visited) <= ahead or (self._short() and not self._waiting):
            return ahead
        self.line.leave(ticket)
        self._last_visit = now
        page = next((one for one in self._waiting if one.notebook == notebook and not one.failed), None)
        if page is not None:
            self._waiting.remove(page)
        else:
            given_up = self._waiting.pop(0) if self._waiting and self._full() else None
            page = self._open(notebook, instead_of=given_up)
        page.whose = name
        self._visited.append(page)
        return page

    async def leave(self, page: Opening) -> None:
        """Take a page away that its visitor will not see."""
        if page in self._visited:
            self._visited.remove(page)
        await self._end(page)

    def notebooks(self) -> list[str]:
        """Return the dashboards' notebooks."""
        return sorted(path.name for path in Path(self._app.root_dir).glob("*.ipynb"))

    # ---------------------------------------------------------------- in the background

    async def look_after(self) -> None:
        """End useless kernels and make the next page ready, if nobody is waiting for a processor."""
        await self._kernels.sweep()
        for kept in (self._visited, self._waiting):
            for one in [one for one in kept if one.failed]:
                kept.remove(one)
                await self._end(one)
        busy = any(not one.ready for one in [*self._visited, *self._waiting])
        quiet = time.monotonic() - self._last_visit >= _QUIET_SECONDS
        if busy or not quiet or len(self.line) or self._full() or self._short():
            return
        ready = [one.notebook for one in self._waiting]
        lacking = next((name for name in self.notebooks() if ready.count(name) < self.pool), None)
        if lacking:
            self._waiting.append(self._open(lacking))

    def _full(self) -> bool:
        return len(self._visited) + len(self._waiting) >= self.most

    def _short(self) -> bool:
        return self._free() < memory.RESERVE_BYTES

    def _ended(self, kernel_id: str) -> None:
        for kept in (self._visited, self._waiting):
            for one in [
                one for one in kept if one.kernel.done() and not one.failed and one.kernel.result() == kernel_id
            ]:
                kept.remove(one)

    def _open(self, notebook: str, *, instead_of: Opening | None = None) -> Opening:
        async def start(name: str) -> str:
            if instead_of is not None:
                await self._end(instead_of)
            kernel_id: str = await self._kernels.start_kernel(kernel_name=name, path="", env=self._environment())
            return kernel_id

        return Opening(self._app, notebook, start=start, gate=self._starts)

    async def _end(self, page: Opening) -> None:
        page.making.cancel()
        await asyncio.wait([page.making])
        if page.kernel.done() and page.kernel.exception() is None and page.kernel.result() in self._kernels:
            await self._kernels.shutdown_kernel(page.kernel.result(), now=True)

    def _environment(self) -> dict[str, str]:
        """Return what kernels find in their environment; nothing of any visitor's."""
        return {**os.environ, visitors.VISITS: self._kernels.visits}
