"""The command ``crm users``: who may open the dashboards with a password."""

from __future__ import annotations

import argparse
import getpass
import sys
from pathlib import Path

from crmlib.errors import UsageError
from crmlib.runs import clock
from crmlib.runs.command import Command

# ruff: noqa: PLC0415

_FORMS = {"add": "add NAME --role ROLE", "password": "password NAME", "role": "role NAME ROLE", "remove": "remove NAME"}


def _arguments(parser: argparse.ArgumentParser) -> None:
    actions = (
        "add NAME --role ROLE (the password is asked for, or read from standard input); list; password NAME; "
        "role NAME ROLE; remove NAME. Another password or role, and removal, end the sessions of before"
    )
    parser.add_argument("action", choices=["add", "list", "password", "role", "remove"], help=actions)
    parser.add_argument("name", nargs="?", metavar="NAME", default="")
    parser.add_argument("new_role", nargs="?", metavar="ROLE", default="")
    parser.add_argument(
        "--role", metavar="ROLE", default="", help="analyst, marketer, operator, viewer or one of roles.toml"
    )


def _users(given: argparse.Namespace, data: Path) -> None:
    from crmlib.store import users
    from crmlib.views import visitor

    now, action = clock.now(), given.action
    if action == "list":
        print(_listed(data))
        return
    name, role = users.tidy(given.name), given.role or given.new_role
    if not name or (action in ("add", "role")) != bool(role):
        raise UsageError(f"crm users {action} is not complete or says too much; write `crm users {_FORMS[action]}`")
    if role and role not in (known := visitor.roles(data)):
        raise UsageError(f"there is no role {role!r}; there are {', '.join(known)}")
    if action == "add":
        users.add(data, name, role, _password(name), now=now)
        done = f"{name} may come in as {role}"
    elif action == "password":
        users.set_password(data, name, _password(name), now=now)
        done = f"{name} has another password; sessions of before have ended"
    elif action == "role":
        users.set_role(data, name, role, now=now)
        done = f"{name} is {role} now; sessions of before have ended"
    else:
        users.remove(data, name, now=now)
        done = f"{name} is let in no longer; sessions of before have ended"
    _record(data, action, {"user": name, "to": role} if role else {"user": name})
    print(done)


def _password(name: str) -> str:
    """Return the password typed twice, or the one line on standard input; never one among the arguments."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    typed = getpass.getpass(f"Password of {name}: ")
    if typed != getpass.getpass("Once more: "):
        raise UsageError("the two passwords differ; nothing was changed, run it again")
    return typed


def _record(data: Path, action: str, content: dict[str, str]) -> None:
    from crmlib.store import audit

    audit.record(
        data,
        actor=f"{getpass.getuser()} (crm users)",
        role="machine",
        action=f"user {action}",
        now=clock.now(),
        content=content,
    )


def _listed(data: Path) -> str:
    from crmlib.store import users

    found = users.listed(data) if data.is_dir() else None
    if found is None or found.empty:
        return "no users yet; let one in with `crm users add NAME --role ROLE`"
    return str(found.assign(active=found["active"].map({True: "yes", False: "no"})).to_string(index=False))


COMMANDS = [Command("users", "who may open the dashboards with a password, and in which role", _arguments, _users)]
