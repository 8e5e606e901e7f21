"""The command ``crm``.

Exit codes: 0 well, 1 unexpected, 2 wrong usage, 3 unusable data, 4 not found, 5 a run failed, 6 the machine refused
(space, permission, port, damaged file), 7 the role does not allow it, 130 interrupted.
"""

from __future__ import annotations

import argparse
import errno
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from crmlib import __version__, paths
from crmlib.errors import CrmError, EnvironmentFault
from crmlib.runs import commands, logs, secrets

log = logging.getLogger("crmlib.cli")  # by name: started with -m, this module is called __main__

_REMEDIES = {
    errno.ENOSPC: "no space is left; free some (`crm versions prune`) and run it again",
    errno.EDQUOT: "the disk quota is used up; free some space (`crm versions prune`) and run it again",
    errno.EACCES: "permission denied; choose another folder with --data or ask for access",
    errno.EPERM: "permission denied; choose another folder with --data or ask for access",
    errno.EROFS: "the file system is read-only; choose another folder with --data",
    errno.EIO: "the disk reported an error; check it before anything else",
}


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--data", metavar="DIR", default=argparse.SUPPRESS, help="data folder (default: CRM_DATA, else ./data)"
    )
    common.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show tracebacks")
    top = argparse.ArgumentParser(prog="crm", description=__doc__.split("\n")[0], parents=[common])
    top.add_argument("--version", action="version", version=f"crm {__version__}")
    subparsers = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in commands.COMMANDS:
        sub = subparsers.add_parser(command.name, help=command.help, description=command.help, parents=[common])
        command.arguments(sub)
        sub.set_defaults(run=command.run)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    given = parser().parse_args(arguments)
    debug = getattr(given, "debug", False)
    data = paths.data_folder(getattr(given, "data", None))
    logs.stop()
    file = logs.start(data) if _may_log(data, given.command) else None
    log.info("command", extra={"arguments": list(arguments if arguments is not None else sys.argv[1:])})
    try:
        return int(given.run(given, data) or 0)
    except KeyboardInterrupt:
        print("\ncrm: interrupted; nothing is half written", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0
    except Exception as error:
        if debug:
            raise
        fault = _fault(error)
        log.error("command failed", exc_info=error)
        if fault:
            print(f"crm: {secrets.scrub(str(fault), data)}", file=sys.stderr)
            return fault.exit_code
        where = f"; the traceback is in {file}" if file else ""
        shown = secrets.scrub(_first_line(error), data)
        print(f"crm: unexpected {type(error).__name__}: {shown} (--debug shows more{where})", file=sys.stderr)
        return 1


def _may_log(data: Path, command: str) -> bool:
    """Commands that only look leave no data folder behind where there was none; what is restored comes into an empty one."""
    return command != "restore" and (data.is_dir() or command in commands.WRITING)


def _fault(error: Exception) -> CrmError | None:
    """Return the error as one a user can mend, if it is one."""
    if isinstance(error, CrmError):
        return error
    if isinstance(error, OSError) and error.errno in _REMEDIES:
        return EnvironmentFault(f"{error.filename or 'the data folder'}: {_REMEDIES[error.errno]}")
    return None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0]


if __name__ == "__main__":
    sys.exit(main())
