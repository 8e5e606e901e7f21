"""Who is looking at a dashboard, and what that person may do.

Roles stand in ``roles.toml`` of this package; a file of that name in the data folder takes its place. Dashboards are
made ready before anybody looks, so the server writes who came to ``<visits>/<kernel id>.json``, in a folder that only
it and its kernels can read, before it hands out the page; until then a dashboard shows what nobody in particular may see.
"""

from __future__ import annotations

import getpass
import json
import os
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from crmlib.errors import DataError

RIGHTS = ("names", "export", "change")
"""``names``: may have names and contact details shown, which is logged; ``export``: may take files away; ``change``:
may save, plan, approve, record."""

VISITS = "CRM_VISITS"
"""The environment variable that names the folder of visits; without it a notebook runs for the person who started it."""

ANALYST = "analyst"


@dataclass(frozen=True)
class Role:
    """What people of a role may do: ``rights`` of ``RIGHTS``; ``dashboards`` they may open, ("*",) for every one."""

    name: str
    rights: frozenset[str] = frozenset()
    dashboards: tuple[str, ...] = ()

    def opens(self, dashboard: str) -> bool:
        """Return whether people of this role may open a dashboard."""
        return "*" in self.dashboards or dashboard in self.dashboards


@dataclass(frozen=True)
class Visitor:
    """A person who looks at a dashboard; without a name nobody does yet.

    ``shared``: several people may go by this name, since whoever has the link or the notebook does; then names that
    have to be two people's are typed, else they are the visitors' own.
    """

    name: str
    role: Role
    shared: bool = False

    def may(self, right: str) -> bool:
        """Return whether the person has a right of ``RIGHTS``."""
        return right in self.role.rights


NOBODY = Visitor("", Role("nobody"))


def roles(data: Path) -> dict[str, Role]:
    """Return the roles by name: of ``roles.toml`` in the data folder, else the ones that come with the package.

    Raises DataError for a file that cannot be read, an unknown right or a role without dashboards.
    """
    own = data / "roles.toml"
    file = own if own.exists() else Path(__file__).with_name("roles.toml")
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DataError(f"{file}: cannot be read ({error}); mend it or remove it to use the usual roles") from error
    return {name: _role(file, name, content) for name, content in found.items()}


def _role(file: Path, name: str, content: object) -> Role:
    known = {"rights", "dashboards"}
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,31}", name) or not isinstance(content, dict) or not set(content) <= known:
        raise DataError(
            f"{file}: role {name!r} is not understood; write [{name}] with rights = […] and dashboards = […]"
        )
    rights, dashboards = content.get("rights", []), content.get("dashboards", [])
    strange = [right for right in rights if right not in RIGHTS]
    if strange:
        raise DataError(f"{file}: role {name} has the right {strange[0]!r}; there are {', '.join(RIGHTS)}")
    if not dashboards or not all(isinstance(one, str) for one in dashboards):
        raise DataError(f'{file}: role {name} names no dashboards; write dashboards = ["*"] for every one')
    return Role(name, frozenset(rights), tuple(dashboards))


def kernel_id() -> str:
    """Return the id of the kernel this process is, "" for none."""
    from ipykernel.connect import get_connection_file  # noqa: PLC0415

    try:
        found = re.fullmatch(r"kernel-([0-9a-f-]{36})\.json", Path(get_connection_file()).name)
    except RuntimeError:
        return ""
    return found[1] if found else ""


def current(data: Path) -> Visitor:
    """Return who is looking: whoever runs the notebook where there is no server, ``NOBODY`` before the server says who."""
    folder = os.environ.get(VISITS)
    if not folder:
        rights = Role(ANALYST, frozenset(RIGHTS), ("*",))
        return Visitor(getpass.getuser(), rights, shared=True)
    try:
        visit = json.loads((Path(folder) / f"{kernel_id()}.json").read_text(encoding="utf-8"))
        name, role = str(visit["name"]), roles(data)[visit["role"]]
    except (OSError, ValueError, KeyError):
        return NOBODY
    return Visitor(name, role, shared=visit.get("shared") is True)


def arrived(folder: Path, kernel: str, *, name: str, role: str, shared: bool = False) -> None:
    """Write that a person has come to a kernel's page; the server's part of ``current``."""
    target = folder / f"{kernel}.json"
    part = target.with_suffix(".part")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump({"name": name, "role": role, "shared": shared}, file)
    part.replace(target)
