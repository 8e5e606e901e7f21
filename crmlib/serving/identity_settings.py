"""How people prove who they are: what ``access.toml`` of the data folder says of it.

``public_address`` is where people open the dashboards when a proxy with TLS stands in front. ``[proxy]`` says how the
company's proxy signs who is looking; see docs/access.md.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from crmlib.errors import DataError, NotFoundError, UsageError
from crmlib.store import users
from crmlib.views import visitor

TIERS = ("token", "users", "proxy")
ALGORITHMS = ("RS256", "ES256", "HS256")
_SHORTEST_SECRET = 32  # bytes, RFC 7518 section 3.2: as long as the hash


@dataclass(frozen=True)
class Proxy:
    """How a company's proxy says who is looking: a signed token (RFC 7519) in ``header``.

    ``key_file`` holds the public key (PEM, or a key set in JSON) for RS256 and ES256; ``secret`` refers to the shared one
    for HS256. ``roles`` maps values of ``role_claim`` to roles; the first that a person has counts.
    """

    issuer: str
    audience: str
    algorithm: str
    roles: dict[str, str] = field(default_factory=dict)
    header: str = "X-Crm-Identity"
    key_file: Path | None = None
    secret: str = ""
    name_claim: str = "sub"
    role_claim: str = "roles"


@dataclass(frozen=True)
class Access:
    """One of ``TIERS``, and what belongs to it."""

    tier: str = "token"
    public_address: str = ""
    proxy: Proxy | None = None


def read(data: Path, tier: str = "token") -> Access:
    """Return how people prove who they are with this data folder.

    Raises UsageError for an unknown tier, NotFoundError where it needs users or settings that are not there, and
    DataError for a file that is not understood.
    """
    if tier not in TIERS:
        raise UsageError(f"access is {tier!r}; use one of {', '.join(TIERS)}")
    content = _content(data / "access.toml")
    address = _address(data / "access.toml", content.get("public_address", ""))
    if tier == "users" and not users.listed(data)["active"].any():
        raise NotFoundError("there are no users yet; let the first one in with `crm users add NAME --role analyst`")
    if tier != "proxy":
        return Access(tier, address)
    if "proxy" not in content:
        raise NotFoundError(f"{data / 'access.toml'}: there is no [proxy]; docs/access.md has an example")
    return Access(tier, address, _proxy(data, content["proxy"]))


def _content(file: Path) -> dict[str, Any]:
    if not file.exists():
        return {}
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DataError(f"{file}: cannot be read ({error}); mend it or remove it") from error
    strange = set(content) - {"public_address", "proxy"}
    if strange:
        raise DataError(f"{file}: {min(strange)!r} is not known; there are public_address and [proxy]")
    return content


def _address(file: Path, address: object) -> str:
    if address == "":
        return ""
    parts = urlsplit(address) if isinstance(address, str) else urlsplit("")
    if parts.scheme != "https" or not parts.hostname or parts.path not in ("", "/") or parts.query:
        raise DataError(f"{file}: public_address is {address!r}; write https://, the host and nothing after it")
    return f"https://{parts.netloc}"


def _proxy(data: Path, content: object) -> Proxy:
    file = data / "access.toml"
    known = set(Proxy.__dataclass_fields__)
    if not isinstance(content, dict) or not set(content) <= known:
        strange = sorted(set(content) - known)[0] if isinstance(content, dict) else "[proxy]"
        raise DataError(f"{file}: {strange!r} of [proxy] is not known; there are {', '.join(sorted(known))}")
    for name in ("issuer", "audience", "algorithm"):
        if not isinstance(content.get(name), str) or not content[name]:
            raise DataError(f"{file}: [proxy] says no {name}; without it anybody's token would do")
    roles = content.get("roles")
    own = visitor.roles(data)
    if not isinstance(roles, dict) or not roles or not all(role in own for role in roles.values()):
        raise DataError(f"{file}: [proxy.roles] must map what the proxy says to roles: {', '.join(own)}")
    key = content.get("key_file")
    made = Proxy(**{**content, "key_file": None if key is None else (data / str(key))})
    _check_key(file, made)
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]{0,63}", str(made.header)):
        raise DataError(f"{file}: header of [proxy] is {made.header!r}; write the name of one, such as X-Crm-Identity")
    return made


def _check_key(file: Path, proxy: Proxy) -> None:
    if proxy.algorithm not in ALGORITHMS:
        raise DataError(f"{file}: algorithm of [proxy] is {proxy.algorithm!r}; use one of {', '.join(ALGORITHMS)}")
    if proxy.algorithm == "HS256":
        if proxy.key_file is not None or not str(proxy.secret).startswith("secret:"):
            raise DataError(
                f'{file}: HS256 wants secret = "secret:NAME" and no key_file; the secret itself never stands here'
            )
    elif proxy.secret or proxy.key_file is None or not proxy.key_file.is_file():
        raise DataError(
            f"{file}: {proxy.algorithm} wants key_file, the proxy's public key, and no secret; found {proxy.key_file}"
        )


def checked_secret(secret: str) -> bytes:
    """Return the shared secret of HS256 as bytes; raises UsageError where it is too short to be safe."""
    if len(secret.encode()) < _SHORTEST_SECRET:
        raise UsageError(
            f"the secret of the proxy has {len(secret.encode())} bytes; HS256 wants {_SHORTEST_SECRET} or more at random"
        )
    return secret.encode()
