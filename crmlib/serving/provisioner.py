"""A kernel provisioner that forks kernels from a warm parent, and starts them cold where it cannot."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning import LocalProvisioner

from crmlib.errors import EnvironmentFault
from crmlib.serving import warm

NAME = "crm-warm"
"""Its name among the entry points ``jupyter_client.kernel_provisioners``."""


class WarmProvisioner(LocalProvisioner):
    """Kernels of ``crmlib.serving.warm``, looked after as jupyter_client looks after processes of its own."""

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Start the kernel and return how to reach it."""
        cwd = Path(kwargs.get("cwd") or Path.cwd())
        try:
            forked = await asyncio.to_thread(warm.fork, cmd, env=kwargs["env"], cwd=cwd)
        except EnvironmentFault as why:
            self.log.warning("%s", why)
            return await super().launch_kernel(cmd, **kwargs)
        self.process = cast(Any, forked)
        self.pid = self.pgid = forked.pid  # it leads a group of its own
        self.cwd = cwd
        return self.connection_info

    async def send_signal(self, signum: int) -> None:
        """Send a signal to the kernel and what it started; its number may be another's once it has ended."""
        if self.process and self.process.poll() is None:
            await super().send_signal(signum)
