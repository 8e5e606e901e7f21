"""What the start panel is handed by the floor that runs notebooks: the notebooks, the ledger, and how to begin a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pandas as pd


class Field(Protocol):
    """One typed parameter of a notebook."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def default(self) -> Any:
        """The value it has where none is given; its type is what a value must have."""

    @property
    def help(self) -> str:
        """The comment behind it."""


@dataclass(frozen=True)
class Notebook:
    """One notebook: ``path`` from the project's folder, title and question from its first cell, its parameters.

    ``trouble`` says what is wrong with one that cannot be run with parameters.
    """

    path: str
    title: str
    question: str
    fields: Sequence[Field]
    trouble: str = ""

    @property
    def file(self) -> str:
        """The name by which the ledger knows it."""
        return self.path.rpartition("/")[2]


class Begun(Protocol):
    """A run in a process of its own."""

    def run_id(self) -> int | None:
        """Return its number in the ledger, None where it has none (yet)."""

    def ended(self) -> str | None:
        """Return None while it runs, then what it said last where it failed, else ""."""

    def stop(self) -> None:
        """Ask it to end; what it has done so far is kept."""


@dataclass(frozen=True)
class Work:
    """What the panel shows and does.

    ``history`` returns the newest runs (``store.ledger.COLUMNS``), ``progress`` how many code cells of a running notebook
    are done and how many there are (0, 0 where nobody knows). ``begin`` takes a notebook, parameters as they were typed
    and whether a report is wanted; it raises UsageError for a wrong one before anything starts. ``address`` returns a
    file of the data folder as JupyterLab opens it, "" for one it cannot reach.
    """

    notebooks: Sequence[Notebook]
    dashboards: Sequence[Notebook]
    history: Callable[[], pd.DataFrame]
    progress: Callable[[int], tuple[int, int]]
    begin: Callable[[Notebook, Mapping[str, str], bool], Begun]
    address: Callable[[str], str]
