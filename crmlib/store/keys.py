"""Secret keys of a data folder: made on first use, the same for every process, readable by their owner only."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from pathlib import Path

from crmlib.errors import EnvironmentFault
from crmlib.store import files

FOLDER = "keys"
"""Below the data folder; nobody but its owner may read it."""

AUDIT = "audit"
"""The key of the audit log's MACs; ``ELSEWHERE`` may name a file with it outside the data folder."""

PSEUDONYM = "pseudonym"
"""The key that turns customers into pseudonyms."""

ELSEWHERE = {AUDIT: "CRM_AUDIT_KEY_FILE"}
_BYTES = 32
_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")


def secret(data: Path, name: str) -> bytes:
    """Return the key of a name, made on first use; processes that come together get the same one.

    Raises EnvironmentFault where it cannot be made or read, or the file named in the environment is no key.
    """
    found = existing(data, name)
    return _made(data, name) if found is None else found


def existing(data: Path, name: str) -> bytes | None:
    """Return the key of a name, None where there is none yet; raises EnvironmentFault for a file that is no key."""
    path = where(data, name)
    try:
        text = path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        if _elsewhere(name):
            raise EnvironmentFault(
                f"{ELSEWHERE[name]} names {path}, which is not there; mount or restore that file, or make it with "
                f"`openssl rand -hex {_BYTES} > {path}` before the first entry"
            ) from None
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise EnvironmentFault(
            f"{path}: the key {name} cannot be read ({error}); give its owner the right to"
        ) from error
    if not re.fullmatch(rf"[0-9a-f]{{{2 * _BYTES},}}", text):
        raise EnvironmentFault(
            f"{path}: is no key of at least {2 * _BYTES} hexadecimal digits; put it back from a backup"
        )
    return bytes.fromhex(text if len(text) % 2 == 0 else text[:-1])


def of_log(data: Path) -> bytes:
    """Return the key of an audit log that has entries; raises EnvironmentFault where it is lost."""
    key = existing(data, AUDIT)
    if key is None:
        raise EnvironmentFault(
            f"{where(data, AUDIT)}: the key of the audit log is gone, but the log has entries; put it back from a "
            f"backup, or name the file that has it in {ELSEWHERE[AUDIT]}"
        )
    return key


def where(data: Path, name: str) -> Path:
    """Return the file of a key."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"a key's name is {name!r}; use small letters, digits and _")
    named = _elsewhere(name)
    return Path(named) if named else data / FOLDER / f"{name}.key"


def _elsewhere(name: str) -> str | None:
    return os.environ.get(ELSEWHERE[name]) if name in ELSEWHERE else None


def _made(data: Path, name: str) -> bytes:
    target = where(data, name)
    with files.reporting(target.parent):
        files.make_folder(target.parent)
        target.parent.chmod(0o700)
        staged = files.temporary(target.parent)
        handle = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)  # readable by its owner only
        try:
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(secrets.token_hex(_BYTES) + "\n")
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):
                os.link(staged, target)  # whole or not at all, and never over another process's key
            files.sync(target.parent)
        finally:
            staged.unlink(missing_ok=True)
    found = existing(data, name)
    assert found is not None, "the key was linked, by this process or another"
    return found
