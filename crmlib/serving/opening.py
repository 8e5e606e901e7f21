"""A dashboard's page in the making: the notebook runs in a kernel of its own while the page is written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from voila.notebook_renderer import NotebookRenderer
from voila.utils import get_page_config

SILENCE_SECONDS = 10.0


class _Renderer(NotebookRenderer):
    """Voila's writer of pages, which asks for the kernel when the page's head is written and not before."""

    async def _jinja_kernel_start(self, nb: Any, kernel_id: Any, kernel_future: Any) -> str:
        kernel_id = await self.start(nb.metadata.kernelspec.name)
        kernel = self.kernels.get_kernel(kernel_id)
        started: str = await super()._jinja_kernel_start(nb, kernel_id, kernel)
        return started


class Opening:
    """One page and its kernel. The page is for one visitor: what has been sent of it is gone.

    When the head of the page is written, it waits in line at ``gate``, which it holds until it is done, and calls
    ``start`` with the kernel's name for the kernel's id.
    """

    def __init__(
        self, app: Any, notebook: str, *, start: Callable[[str], Awaitable[str]], gate: asyncio.Semaphore
    ) -> None:
        self.notebook, self.whose = notebook, ""
        self.kernel: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._start, self._app = start, app
        self._gate, self._through = gate, False
        self._parts: list[str] = []
        self._more = asyncio.Event()
        self.making = asyncio.create_task(self._make())
        self.making.add_done_callback(self._made)

    @property
    def ready(self) -> bool:
        """Whether the page is written."""
        return self.making.done()

    @property
    def failed(self) -> bool:
        """Whether there is no page to be had."""
        return self.making.done() and (self.making.cancelled() or self.making.exception() is not None)

    async def parts(self) -> AsyncIterator[str]:
        """Yield the page's parts as they are written, and "" now and then where nothing is; raises what went wrong."""
        sent = 0
        while True:
            while sent < len(self._parts):
                sent += 1
                yield self._parts[sent - 1]
            if self.making.done():
                self.making.result()
                if sent == len(self._parts):
                    return
                continue
            self._more.clear()
            try:
                await asyncio.wait_for(self._more.wait(), SILENCE_SECONDS)
            except TimeoutError:
                yield ""

    async def _make(self) -> None:
        try:
            renderer = self._renderer()
            await renderer.initialize()
            async for part, _resources in renderer.generate_content_generator():
                self._parts.append(part)
                self._more.set()
        except BaseException as error:
            if not self.kernel.done():
                self.kernel.set_exception(error)
                self.kernel.exception()  # whoever waits for it gets it; nobody may
            raise
        finally:
            self._more.set()
            if self._through:
                self._gate.release()

    def _made(self, making: asyncio.Task[None]) -> None:
        error = None if making.cancelled() else making.exception()
        if error is not None:
            self._app.log.error("the page %s could not be made", self.notebook, exc_info=error)

    async def _kernel(self, name: str) -> str:
        self._through = await self._gate.acquire()
        kernel_id = await self._start(name)
        self.kernel.set_result(kernel_id)
        return kernel_id

    def _renderer(self) -> _Renderer:
        app = self._app
        shared = {"base_url": app.base_url, "log": app.log, "voila_configuration": app.voila_configuration}
        renderer = _Renderer(
            voila_configuration=app.voila_configuration,
            traitlet_config=app.config,
            notebook_path=self.notebook,
            template_paths=app.template_paths,
            config_manager=app.config_manager,
            contents_manager=app.contents_manager,
            base_url=app.base_url,
            kernel_spec_manager=app.kernel_spec_manager,
            page_config=get_page_config(settings=app.app.settings, **shared),
            mathjax_config=app.mathjax_config,
            mathjax_url=app.mathjax_url,
        )
        renderer.start, renderer.kernels = self._kernel, app.kernel_manager
        return renderer
