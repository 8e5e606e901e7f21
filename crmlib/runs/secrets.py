"""Secrets by reference: ``secret:NAME`` in parameters and settings, the value only where it is used.

A value comes from the environment variable ``CRM_SECRET_<NAME>``, else from a file NAME in ``secrets/`` of the data
folder (readable by its owner alone), in the folder systemd passes on (``CREDENTIALS_DIRECTORY``) or in ``/run/secrets``.
What a run writes (notebooks, reports, logs, messages in the store) goes through ``scrub`` first.
"""

from __future__ import annotations

import html
import json
import logging
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

from crmlib import paths
from crmlib.errors import EnvironmentFault, NotFoundError, UsageError

PREFIX = "secret:"
VARIABLE = "CRM_SECRET_"
MOUNTED = Path("/run/secrets")
SHORTEST = 8
"""Characters a secret has at least: a shorter one could not be taken out of a text without spoiling it."""

HIDDEN = "***"

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_LARGEST_BYTES = 65_536

log = logging.getLogger(__name__)


def is_reference(value: object) -> bool:
    """Return whether a value is a reference to a secret.

    >>> is_reference("secret:SMTP_PASSWORD"), is_reference("hunter2")
    (True, False)
    """
    return isinstance(value, str) and value.startswith(PREFIX)


def get(reference: str, data: Path | None = None) -> str:
    """Return the value of a secret, named as ``NAME`` or ``secret:NAME``; ``data`` as of ``paths.data_folder``.

    Raises UsageError for a name that cannot be one, NotFoundError where there is no such secret, EnvironmentFault for
    one that others can read, that is too short, or that is no text.
    """
    name = reference.removeprefix(PREFIX)
    if not _NAME.fullmatch(name):
        raise UsageError(f"secret {name!r}: a name has letters, digits and _ and begins with a letter")
    value = os.environ.get(VARIABLE + name)
    where = f"the environment variable {VARIABLE}{name}"
    if value is None:
        for file in _files(name, data or paths.data_folder()):
            value, where = _read(file), str(file)
            break
    if value is None:
        own = (data or paths.data_folder()) / "secrets" / name
        raise NotFoundError(
            f"secret {name} is not there; set {VARIABLE}{name}, or write it to {own} and take others' rights away (chmod 600)"
        )
    if len(value) < SHORTEST:
        raise EnvironmentFault(f"secret {name} in {where} is shorter than {SHORTEST} characters; make a longer one")
    return value


def resolve(value: Any, data: Path | None = None) -> Any:
    """Return the secret where ``value`` is a reference to one, else the value itself; errors as of ``get``."""
    return get(value, data) if is_reference(value) else value


def known(data: Path | None = None) -> dict[str, str]:
    """Return every secret that a process on this data folder could come by, by name: what ``scrub`` takes out."""
    found = {
        name.removeprefix(VARIABLE): value
        for name, value in os.environ.items()
        if name.startswith(VARIABLE) and len(value) >= SHORTEST
    }
    for folder in _folders(data or paths.data_folder()):
        try:
            files = sorted(folder.iterdir())
        except OSError:
            continue
        for file in files:
            if file.name in found or not _NAME.fullmatch(file.name):
                continue
            try:
                value = _text(file)
            except (OSError, EnvironmentFault):  # what cannot be read here cannot be used in a run either
                continue
            if len(value) >= SHORTEST:
                found[file.name] = value
    return found


def scrub(text: str, data: Path | None = None) -> str:
    """Return a text in which ``***`` stands for every secret of ``known``, however JSON, HTML or a URL would write it."""
    return scrub_values(text, known(data).values())


def scrub_values(text: str, values: Any) -> str:
    """Return a text without the ``values``, in any of the forms in which they may have been written.

    >>> scrub_values('{"a": "p\\\\"ssword"}', ['p"ssword'])
    '{"a": "***"}'
    """
    forms = {form for value in values for form in _forms(value)}
    for form in sorted(forms, key=len, reverse=True):  # the longest first: one secret may be part of another
        text = text.replace(form, HIDDEN)
    return text


def scrub_content(content: Any, data: Path | None = None) -> Any:
    """Return plain JSON without secrets in its texts, names included."""
    return json.loads(scrub(json.dumps(content, ensure_ascii=False, default=str), data))


def refuse_values(parameters: Mapping[str, Any], data: Path | None = None) -> None:
    """Raise UsageError where a parameter, which is kept in clear text, holds a secret itself and not its reference."""
    held = known(data)
    for name, value in parameters.items():
        written = json.dumps(value, ensure_ascii=False, default=str)
        for secret, text in held.items():
            if any(form in written for form in _forms(text)):
                raise UsageError(
                    f"parameter {name} holds the value of the secret {secret}, and parameters are kept; "
                    f"write {PREFIX}{secret} and have the notebook ask for it"
                )


class Scrubbed:
    """Where a process writes its output, line by line, without the secrets; ``target`` is a binary file."""

    def __init__(self, target: Any, data: Path | None = None) -> None:
        self.target, self.values = target, list(known(data).values())
        self._kept = b""
        # A secret of several lines is only seen where they stand together.
        self._lines = max((value.strip().count("\n") for value in self.values), default=0)

    def write(self, part: bytes) -> None:
        """Write what is complete of the output so far; the rest waits for its line to end."""
        lines = (self._kept + part).splitlines(keepends=True)
        waiting = self._lines + (0 if lines and lines[-1].endswith(b"\n") else 1)
        ready = lines[: len(lines) - waiting] if waiting else lines
        self._kept = b"".join(lines[len(ready) :])
        self._put(b"".join(ready))

    def close(self) -> None:
        """Write what was waiting; the target stays open."""
        self._put(self._kept)
        self._kept = b""

    def _put(self, part: bytes) -> None:
        if part:
            text = part.decode("utf-8", "surrogateescape")
            self.target.write(scrub_values(text, self.values).encode("utf-8", "surrogateescape"))
            self.target.flush()


# ---------------------------------------------------------------- parts of the above


def _folders(data: Path) -> Iterator[Path]:
    yield data / "secrets"
    if passed := os.environ.get("CREDENTIALS_DIRECTORY"):
        yield Path(passed)
    yield MOUNTED


def _files(name: str, data: Path) -> Iterator[Path]:
    for folder in _folders(data):
        if (folder / name).is_file():
            yield folder / name


def _read(file: Path) -> str:
    """Return the secret in a file; of the data folder's own the rights are checked, others are their platform's business."""
    if file.parent.name == "secrets" and file.parent != MOUNTED and os.name != "nt":
        mode = stat.S_IMODE(file.stat().st_mode)
        if mode & 0o077:
            raise EnvironmentFault(f"{file} can be read by others (mode {mode:o}); write `chmod 600 {file}`")
    try:
        return _text(file)
    except OSError as error:
        raise EnvironmentFault(
            f"{file}: cannot be read ({error.strerror}); give its owner the right to read"
        ) from error


def _text(file: Path) -> str:
    with file.open("rb") as opened:
        content = opened.read(_LARGEST_BYTES + 1)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise EnvironmentFault(f"{file} is no text in UTF-8; write the secret as text") from error
    if len(content) > _LARGEST_BYTES or "\0" in text:
        raise EnvironmentFault(f"{file} is no secret of at most {_LARGEST_BYTES} bytes of text; write the secret anew")
    return text.rstrip("\r\n")


def _forms(value: str) -> set[str]:
    """Return how a value may have been written: plain, in JSON, in a Python text, in HTML, in a URL; long lines alone."""
    whole = {value, value.strip()}
    whole |= {line.strip() for line in value.splitlines() if len(line.strip()) >= 2 * SHORTEST}
    forms = set()
    for text in whole:
        written = {text, repr(text)[1:-1], html.escape(text), html.escape(text, quote=False)}
        written |= {quote(text), quote_plus(text), quote(text, safe="")}
        written |= {text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")}
        for _twice in range(2):  # a message that is JSON itself, in a notebook, which is JSON
            written |= {json.dumps(form, ensure_ascii=plain)[1:-1] for form in written for plain in (True, False)}
        forms |= written
    return {form for form in forms if len(form) >= SHORTEST}
