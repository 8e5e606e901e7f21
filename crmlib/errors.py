"""The errors a user of the workbench can cause and mend; each carries the exit code of the command line."""

from __future__ import annotations


class CrmError(Exception):
    """Something the user can mend; the message names what was found and what to do."""

    exit_code = 1


class UsageError(CrmError):
    """A parameter is missing, unknown or of the wrong type."""

    exit_code = 2


class DataError(CrmError):
    """The data given cannot be used: a bad file, mapping, date or table; nothing was changed."""

    exit_code = 3


class NotFoundError(CrmError):
    """A warehouse, version, model, file or column that was asked for does not exist."""

    exit_code = 4


class RunError(CrmError):
    """A notebook or job started and failed."""

    exit_code = 5


class EnvironmentFault(CrmError):
    """The machine refused: no space, no permission, a busy port, a damaged file."""

    exit_code = 6


class RefusedError(CrmError):
    """The person's role does not allow it."""

    exit_code = 7
