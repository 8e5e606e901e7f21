"""What a company's proxy says of who is looking: a signed token (RFC 7519), checked with every request."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import jwt
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from crmlib.errors import DataError
from crmlib.serving.identity_settings import Proxy, checked_secret

_LONGEST_TOKEN = 8_192  # characters
_LONGEST_NAME = 64
_LEEWAY_SECONDS = 30  # by which clocks may differ


class NotVerified(Exception):
    """A request that the proxy did not sign as it should; says what is wrong with it."""


class Verifier:
    """Checks what the proxy says; ``secret`` is the shared one, for HS256.

    Raises DataError for a key that cannot be used, UsageError for a secret that is too short.
    """

    def __init__(self, settings: Proxy, secret: str = "") -> None:
        self.settings = settings
        self._secret = checked_secret(secret) if settings.algorithm == "HS256" else b""
        self._read: tuple[int, str] = (0, "")
        try:
            self._key({})
        except (OSError, ValueError, jwt.PyJWTError) as error:
            raise DataError(
                f"{settings.key_file}: is no public key ({error}); write one as PEM, or a key set as JSON"
            ) from error

    def verified(self, headers: Mapping[str, str]) -> tuple[str, str]:
        """Return name and role of the person of a request; raises NotVerified where they are not signed as agreed."""
        settings = self.settings
        token = headers.get(settings.header, "")
        token = token[7:] if token[:7].lower() == "bearer " else token
        if not token:
            raise NotVerified(f"no header {settings.header}")
        if len(token) > _LONGEST_TOKEN:
            raise NotVerified(f"the token has {len(token)} characters")
        try:
            claims = jwt.decode(
                token,
                self._key(jwt.get_unverified_header(token)),
                algorithms=[settings.algorithm],  # never the one that the token names
                audience=settings.audience,
                issuer=settings.issuer,
                leeway=_LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud", settings.name_claim]},
            )
        except (jwt.PyJWTError, ValueError, OSError) as error:
            raise NotVerified(str(error) or type(error).__name__) from error
        return self._name(claims), self._role(claims)

    def _name(self, claims: Mapping[str, Any]) -> str:
        name = claims[self.settings.name_claim]
        if not isinstance(name, str) or not 0 < len(name) <= _LONGEST_NAME or not name.isprintable():
            raise NotVerified(f"{self.settings.name_claim} is no name of up to {_LONGEST_NAME} characters")
        return name

    def _role(self, claims: Mapping[str, Any]) -> str:
        said = claims.get(self.settings.role_claim, [])
        given = (
            {said}
            if isinstance(said, str)
            else {one for one in said if isinstance(one, str)}
            if isinstance(said, list)
            else set()
        )
        found = next((role for value, role in self.settings.roles.items() if value in given), None)
        if found is None:
            raise NotVerified(f"{self.settings.role_claim} maps to no role")
        return found

    def _key(self, header: Mapping[str, Any]) -> Any:
        """Return the key that checks a token; a file that was replaced is read anew, so keys can change any time."""
        path = self.settings.key_file
        if path is None:
            return self._secret
        changed = path.stat().st_mtime_ns
        if changed != self._read[0]:
            self._read = changed, path.read_text(encoding="utf-8")
        text = self._read[1]
        return _from_set(text, header) if text.lstrip().startswith("{") else load_pem_public_key(text.encode())


def _from_set(text: str, header: Mapping[str, Any]) -> Any:
    keys = jwt.PyJWKSet.from_dict(json.loads(text)).keys
    if any(one.key_type == "oct" for one in keys):
        raise ValueError("it holds a shared secret")
    named = [one for one in keys if one.key_id == header.get("kid")] if header.get("kid") else keys
    if not named:
        raise jwt.InvalidKeyError("no key has the token's kid")
    return named[0].key
