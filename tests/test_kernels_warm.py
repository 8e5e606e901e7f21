"""Kernels forked from a warm parent: real processes, real signals, libraries with threads of their own in the child."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning.factory import KernelProvisionerFactory

from crmlib.errors import EnvironmentFault
from crmlib.serving import provisioner, warm

pytestmark = pytest.mark.skipif(not warm.possible(), reason="kernels are forked on Linux only")

SMALL = ("ipykernel.kernelapp", "ipykernel.ipkernel")
LIBRARIES = """
import duckdb, numpy as np, pyarrow as pa, pyarrow.compute as pc, xgboost
print(duckdb.sql("select sum(x)::bigint from range(3000000) t(x)").fetchone()[0])
with duckdb.connect() as own:
    print(own.execute("select count(*) from range(1000000) t(x) where x % 2 = 0").fetchone()[0])
print(pc.sum(pa.array(range(1000)), ).as_py(), pa.cpu_count() > 0)
print(int((np.ones((300, 300)) @ np.ones((300, 300))).sum()))
table = xgboost.DMatrix(np.arange(200.0).reshape(100, 2), label=np.arange(100) % 2)
print(len(xgboost.train({"nthread": 2, "objective": "binary:logistic"}, table, 3).predict(table)))
"""


@pytest.fixture(scope="module")
def parent() -> Iterator[warm.Parent]:
    with warm.parent() as started:
        assert started
        yield started


@asynccontextmanager
async def kernel(**settings: Any) -> AsyncIterator[tuple[AsyncKernelManager, Callable[[str], Awaitable[str]]]]:
    """A kernel, forked if that is possible, and a function that runs code in it and returns what it printed."""
    KernelProvisionerFactory.instance().default_provisioner_name = provisioner.NAME
    started = AsyncKernelManager(kernel_name="python3")
    try:
        await started.start_kernel(**settings)
        client = started.client()
        client.start_channels()
        await client.wait_for_ready(timeout=60)

        async def run(code: str) -> str:
            said: list[str] = []

            def hear(message: dict[str, Any]) -> None:
                said.append(message["content"].get("text") or "\n".join(message["content"].get("traceback", [])))

            await client.execute_interactive(code, output_hook=hear, timeout=60)
            return "".join(said).strip()

        yield started, run
        client.stop_channels()
    finally:
        if started.has_kernel:
            await started.shutdown_kernel(now=True)
        KernelProvisionerFactory.clear_instance()


def pid_of(started: AsyncKernelManager) -> int:
    number = started.provisioner.pid  # type: ignore[union-attr]
    assert number
    return int(number)


def gone(pid: int, *, within: float = 20) -> bool:
    """Whether a process ends and is reaped: nothing of it is left, not even a zombie."""
    give_up = time.monotonic() + within
    while psutil.pid_exists(pid) and time.monotonic() < give_up:
        time.sleep(0.05)
    return not psutil.pid_exists(pid)


def test_a_kernel_is_a_child_of_the_warm_parent_and_its_libraries_work(parent: warm.Parent, tmp_path: Path) -> None:
    async def check() -> None:
        env = {**os.environ, "CRM_ONLY_HERE": "yes"}
        async with kernel(env=env, cwd=str(tmp_path)) as (started, run), kernel() as (_, other):
            assert psutil.Process(pid_of(started)).ppid() == parent.process.pid
            assert await run("import os; print(os.environ['CRM_ONLY_HERE'], os.getcwd())") == f"yes {tmp_path}"
            assert await other("import os; print('CRM_ONLY_HERE' in os.environ)") == "False"
            assert await run(LIBRARIES) == "4499998500000\n500000\n499500 True\n27000000\n100"
            assert await run("import os; print(os.getpid() == os.getpgrp() == os.getsid(0))") == "True"
            draw = "import random, numpy; print(random.random(), numpy.random.rand())"
            assert await run(draw) != await other(draw), "the state of chance is not copied"

    asyncio.run(check())


def test_the_parent_has_one_thread_and_holds_nothing_of_its_kernels(parent: warm.Parent) -> None:
    async def check() -> None:
        async with kernel() as (_, run):
            await run("1")

    asyncio.run(check())
    process = psutil.Process(parent.process.pid)
    assert process.num_threads() == 1
    before = process.num_fds()
    asyncio.run(check())
    assert process.num_fds() == before and process.open_files() == []


def test_a_kernel_has_the_parents_imports_but_not_its_descriptors(parent: warm.Parent) -> None:
    async def check() -> None:
        async with kernel() as (_, run):
            look = "import sys; print(all(n in sys.modules for n in ('pandas', 'duckdb', 'crmlib.views.demand', 'xgboost')))"
            assert await run(look) == "True"
            held = "import os; print([t for n in os.listdir('/proc/self/fd') if 'crm-warm' in (t := os.path.realpath(f'/proc/self/fd/{n}'))])"
            assert await run(held) == "[]"

    asyncio.run(check())


def test_kill_interrupt_and_restart_work_on_a_process_that_is_not_ours(parent: warm.Parent) -> None:
    async def check() -> None:
        async with kernel() as (started, run):
            first = pid_of(started)
            assert await started.is_alive()
            sleeping = asyncio.create_task(run("import time\ntime.sleep(60)"))
            await asyncio.sleep(0.5)
            await started.interrupt_kernel()
            assert "KeyboardInterrupt" in await sleeping
            await started.restart_kernel(now=True)
            assert gone(first) and pid_of(started) != first
            os.kill(pid_of(started), signal.SIGKILL)
            assert gone(pid_of(started)) and not await started.is_alive()
            await started.shutdown_kernel(now=True)

    asyncio.run(check())


def test_what_a_kernel_started_ends_with_it(parent: warm.Parent) -> None:
    async def check() -> int:
        async with kernel() as (started, run):
            child = int(await run("import subprocess; print(subprocess.Popen(['sleep', '300']).pid)"))
            await started.shutdown_kernel(now=True)
            return child

    assert gone(asyncio.run(check()))


def test_another_parent_takes_over_and_living_kernels_live_on() -> None:
    async def check() -> None:
        with warm.parent(SMALL) as own:
            assert own
            async with kernel() as (_, run):
                os.kill(own.process.pid, signal.SIGKILL)
                own.process.wait()
                own.keep()
                assert await run("print(6 * 7)") == "42"
                async with kernel() as (second, _):
                    assert psutil.Process(pid_of(second)).ppid() == own.process.pid

    asyncio.run(check())


def test_a_parent_that_ends_again_and_again_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    with warm.parent(SMALL) as own:
        assert own
        for _ in range(3):
            own.process.kill()
            own.process.wait()
            own.keep()
        assert "start cold" in caplog.text
        with pytest.raises(EnvironmentFault, match="this kernel starts cold: the warm parent does not answer"):
            warm.fork([sys.executable, "-m", "ipykernel_launcher", "-f", "x"], env=os.environ, cwd=Path.cwd())


def test_without_a_parent_kernels_start_cold(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(warm.ADDRESS, raising=False)
    with pytest.raises(EnvironmentFault, match="starts cold: no warm parent was started"):
        warm.fork([sys.executable, "-m", "ipykernel_launcher"], env=os.environ, cwd=Path.cwd())

    async def check() -> None:
        async with kernel() as (started, run):
            assert await run("print(1)") == "1"
            assert psutil.Process(pid_of(started)).ppid() == os.getpid()

    asyncio.run(check())


@pytest.mark.parametrize(
    ("command", "env", "why"),
    [
        (["R", "-e", "IRkernel::main()"], {}, "R is not this Python's kernel"),
        ([sys.executable, "-m", "ipykernel_launcher"], {"OMP_NUM_THREADS": "7"}, "its OMP_NUM_THREADS is not"),
        ([sys.executable, "-m", "ipykernel_launcher"], {"PYTHONHASHSEED": "7"}, "its PYTHONHASHSEED is not"),
    ],
)
def test_what_cannot_be_forked_says_why(parent: warm.Parent, command: list[str], env: dict[str, str], why: str) -> None:
    with pytest.raises(EnvironmentFault, match=why):
        warm.fork(command, env={**os.environ, **env}, cwd=Path.cwd())


def test_requests_that_make_no_sense_leave_the_parent_alive(parent: warm.Parent) -> None:
    import socket

    for nonsense in (b"", b"short", (9).to_bytes(8, "big"), (1 << 40).to_bytes(8, "big"), b"\0" * 7 + b"\2" + b"{}"):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(parent.address))
            connection.sendall(nonsense)

    async def check() -> None:
        async with kernel() as (started, _):
            assert psutil.Process(pid_of(started)).ppid() == parent.process.pid

    asyncio.run(check())


def test_kernels_and_parent_end_when_the_server_is_killed(tmp_path: Path) -> None:
    """Everything is told by a pipe that only the server holds; no chance to clean up is needed."""
    code = f"""
import sys, time; sys.path.insert(0, {str(Path(__file__).parent)!r})
import asyncio, test_kernels_warm as t
from crmlib.serving import warm
async def main():
    with warm.parent(t.SMALL) as own:
        async with t.kernel() as (started, run):
            child = await run("import subprocess; print(subprocess.Popen(['sleep', '300']).pid)")
            print(own.process.pid, t.pid_of(started), child, flush=True)
            await asyncio.sleep(300)
asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        pids = [int(part) for part in server.stdout.readline().split()]
        assert len(pids) == 3 and all(map(psutil.pid_exists, pids))
        server.kill()
        assert all(map(gone, pids))


def test_the_socket_is_for_this_user_alone(parent: warm.Parent) -> None:
    assert parent.folder.stat().st_mode & 0o077 == 0


def test_a_forked_kernel_gives_a_page_all_its_widgets_at_once(parent: warm.Parent) -> None:
    async def main() -> list[dict[str, Any]]:
        async with kernel() as (started, run):
            await run("import ipywidgets; slider = ipywidgets.IntSlider(value=17)")
            client = started.client()
            client.start_channels()
            answers = []
            opening = {"comm_id": "c1", "target_name": "jupyter.widget.control", "data": {}}
            asking = {"comm_id": "c1", "data": {"method": "request_states"}}
            first = client.session.msg("comm_open", opening, metadata={"version": "1.0.0"})
            for message in (first, client.session.msg("comm_msg", asking)):
                client.shell_channel.send(message)
            while not answers:
                heard = await client.get_iopub_msg(timeout=30)
                if heard["msg_type"] == "comm_msg":
                    answers.append(heard["content"]["data"])
            client.stop_channels()
            return answers

    states = asyncio.run(main())[0]["states"].values()
    assert [one["state"]["value"] for one in states if one["model_name"] == "IntSliderModel"] == [17]
