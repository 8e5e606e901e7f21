"""How many kernels the machine bears."""

from __future__ import annotations

from pathlib import Path

import psutil

FORKED_BYTES, COLD_BYTES = 100 << 20, 250 << 20
"""What one open dashboard takes of the machine's memory: forked from the warm parent, and started cold."""

RESERVE_BYTES = 512 << 20
"""What is left to everything else."""

MOST, FEWEST = 64, 4


def free(groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the bytes that can still be used: of the machine, or of the container this runs in."""
    available = int(psutil.virtual_memory().available)
    try:
        limit = (groups / "memory.max").read_text().strip()
        used = int((groups / "memory.current").read_text())
        kept = dict(line.split() for line in (groups / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return available
    # Pages of files that are not in use are given back when they are needed.
    return min(available, int(limit) - used + int(kept.get("inactive_file", 0))) if limit.isdecimal() else available


def kernels(available: int, *, forked: bool) -> int:
    """Return how many kernels fit into ``available`` bytes.

    >>> kernels(24 << 30, forked=True), kernels(2 << 30, forked=False), kernels(0, forked=True)
    (64, 6, 4)
    """
    fit = (available - RESERVE_BYTES) // (FORKED_BYTES if forked else COLD_BYTES)
    return max(FEWEST, min(MOST, fit))
