"""Telling a person at the terminal what a job is doing, how long it took and what it wrote."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

log = logging.getLogger(__name__)


@dataclass
class Stage:
    """One stage of a job: ``say`` adds to what is printed at its end."""

    name: str
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)

    def say(self, note: str) -> None:
        """Add a note to the line printed when the stage ends."""
        self.notes.append(note)

    def line(self) -> str:
        """Return the line printed when the stage has ended."""
        return f"{self.name:<10} {self.seconds:6.1f} s  {' · '.join(self.notes)}".rstrip()


@dataclass
class Stages:
    """The stages of one job, in order."""

    quiet: bool = False
    done: list[Stage] = field(default_factory=list)

    @contextmanager
    def stage(self, name: str, doing: str) -> Iterator[Stage]:
        """Run one stage: says what begins, and at its end how long it took and what it wrote."""
        current = Stage(name)
        if not self.quiet:
            print(f"{name:<10}   …      {doing}", end="\r" if sys.stdout.isatty() else "\n", flush=True)
        started = time.perf_counter()
        yield current
        current.seconds = time.perf_counter() - started
        self.done.append(current)
        log.info("stage %s", name, extra={"seconds": round(current.seconds, 2), "notes": current.notes})
        if not self.quiet:
            clear = "\033[K" if sys.stdout.isatty() else ""
            print(f"{clear}{current.line()}", flush=True)

    @property
    def seconds(self) -> float:
        """Wall time of all stages, seconds."""
        return sum(stage.seconds for stage in self.done)


def size(path: Path) -> str:
    """Return the size of a file or folder for people.

    >>> size(Path("/does/not/exist"))
    '0 kB'
    """
    files = [path] if path.is_file() else list(path.rglob("*")) if path.is_dir() else []
    total = sum(file.stat().st_size for file in files if file.is_file())
    return f"{total / 1e6:.1f} MB" if total >= 1e6 else f"{total // 1000} kB"


def shown(path: Path) -> str:
    """Return a path as a person at the terminal would write it: relative to the current folder where it lies below."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
