"""The command lines a schedule may hold, checked by the parser that will read them."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from typing import NoReturn

from crmlib.errors import CrmError, UsageError

ENDLESS = ("dashboards", "demo", "lab", "schedule")
"""Commands that serve until they are stopped, or are themselves the scheduler."""

_OURS = ("--data", "--debug")


class _Refused(Exception):
    """What a parser has to say against its arguments."""


class _Parser(argparse.ArgumentParser):
    """A parser that raises where others end the process."""

    def error(self, message: str) -> NoReturn:
        raise _Refused(message)


def check(arguments: Sequence[str]) -> None:
    """Raise UsageError unless the arguments are a command of ``crm`` that ends by itself, with arguments it takes."""
    from crmlib.runs import commands  # noqa: PLC0415  (it lists this room's commands, the schedule's among them)

    known = {command.name: command for command in commands.COMMANDS}
    name = arguments[0] if arguments else ""
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = (
            f"did you mean {close[0]}?"
            if close
            else f"there are {', '.join(other for other in known if other not in ENDLESS)}"
        )
        raise UsageError(f"crm has no command {name!r}; {hint}")
    if name in ENDLESS:
        raise UsageError(f"`crm {name}` does not end by itself; start it on its own, not by the schedule")
    ours = [text for text in arguments if text.partition("=")[0] in _OURS]
    if ours:
        raise UsageError(f"{ours[0]} is the scheduler's own; take it out")
    parser = _Parser(prog=f"crm {name}", add_help=False)
    known[name].arguments(parser)
    try:
        parser.parse_args(list(arguments[1:]))
    except (_Refused, CrmError, argparse.ArgumentTypeError) as error:
        raise UsageError(f"`crm {' '.join(arguments)}`: {error}; `crm {name} --help` lists what it takes") from error
