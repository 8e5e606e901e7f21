"""Who is looking: settings of access, tokens of a proxy, limits of attempts, addresses, pages."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from crmlib import serving, views
from crmlib.errors import CrmError, DataError, NotFoundError, UsageError
from crmlib.serving import identity_guard, identity_proxy, identity_settings, login, login_limits
from crmlib.serving.identity import Refused
from crmlib.views import texts

WHOLE = """
[proxy]
issuer = "https://login.bank.example"
audience = "crm"
algorithm = "HS256"
secret = "secret:PROXY"
[proxy.roles]
staff = "viewer"
"""
SECRET = "s" * 32


def written(data: Path, text: str) -> Path:
    (data / "access.toml").write_text(text, encoding="utf-8")
    return data


# ---------------------------------------------------------------- settings


def test_without_settings_it_is_the_token(tmp_path: Path) -> None:
    assert identity_settings.read(tmp_path) == identity_settings.Access("token")


def test_a_proxys_settings(tmp_path: Path) -> None:
    found = identity_settings.read(written(tmp_path, 'public_address = "https://crm.bank.example/"' + WHOLE), "proxy")
    assert found.public_address == "https://crm.bank.example" and found.proxy is not None
    assert found.proxy.roles == {"staff": "viewer"} and found.proxy.header == "X-Crm-Identity"


@pytest.mark.parametrize(
    ("text", "tier", "kind", "told"),
    [
        ("", "sso", UsageError, "access is 'sso'; use one of token, users, proxy"),
        ("", "users", NotFoundError, "there are no users yet; let the first one in with `crm users add"),
        ("", "proxy", NotFoundError, r"access.toml: there is no \[proxy\]; docs/access.md has an example"),
        ("x = ", "token", DataError, "access.toml: cannot be read .* mend it or remove it"),
        ("tier = 1", "token", DataError, "'tier' is not known; there are public_address"),
        (
            'public_address = "http://crm.bank.example"',
            "token",
            DataError,
            "public_address is 'http://.*; write https://",
        ),
        (
            WHOLE.replace("issuer", "issuers"),
            "proxy",
            DataError,
            r"'issuers' of \[proxy\] is not known; there are algor",
        ),
        (
            WHOLE.replace('audience = "crm"', ""),
            "proxy",
            DataError,
            "says no audience; without it anybody's token would do",
        ),
        (
            WHOLE.replace("HS256", "none"),
            "proxy",
            DataError,
            "algorithm of .* is 'none'; use one of RS256, ES256, HS256",
        ),
        (WHOLE.replace("secret:PROXY", "hunter2"), "proxy", DataError, 'HS256 wants secret = "secret:NAME"'),
        (WHOLE.replace("HS256", "RS256"), "proxy", DataError, "RS256 wants key_file, the proxy's public key"),
        (WHOLE.replace('"viewer"', '"boss"'), "proxy", DataError, "must map what the proxy says to roles: analyst"),
        (
            WHOLE.replace("[proxy.roles]", 'header = "X: y"\n[proxy.roles]'),
            "proxy",
            DataError,
            "header of .* is 'X: y'",
        ),
    ],
)
def test_settings_that_do_not_do(tmp_path: Path, text: str, tier: str, kind: type[CrmError], told: str) -> None:
    with pytest.raises(kind, match=told):
        identity_settings.read(written(tmp_path, text) if text else tmp_path, tier)


# ---------------------------------------------------------------- the proxy's word


def verifier(**other: Any) -> identity_proxy.Verifier:
    usual = {"issuer": "https://i", "audience": "crm", "algorithm": "HS256", "roles": {"a": "analyst", "v": "viewer"}}
    return identity_proxy.Verifier(identity_settings.Proxy(**usual | other), SECRET)


def signed(key: Any = SECRET, algorithm: str = "HS256", **other: Any) -> dict[str, str]:
    usual = {"iss": "https://i", "aud": "crm", "sub": "anna", "roles": ["v"]}
    expires = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=1)
    return {"X-Crm-Identity": jwt.encode(usual | {"exp": expires} | other, key, algorithm)}


def test_a_shared_secret() -> None:
    assert verifier().verified(signed()) == ("anna", "viewer")
    assert verifier().verified(signed(roles="a")) == ("anna", "analyst")
    for wrong in (signed("t" * 32), signed(algorithm="HS384", key="s" * 48), signed(roles=[]), signed(roles=7), {}):
        with pytest.raises(identity_proxy.NotVerified):
            verifier().verified(wrong)


@given(st.text(max_size=200))
def test_no_text_is_a_proof(text: str) -> None:
    with pytest.raises(identity_proxy.NotVerified):
        verifier().verified({"X-Crm-Identity": text})


def test_an_elliptic_key_in_a_header_of_another_name(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    kinds = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    file = tmp_path / "key.pem"
    file.write_bytes(key.public_key().public_bytes(*kinds))
    made = verifier(algorithm="ES256", key_file=file, header="Authorization")
    token = signed(key, "ES256")["X-Crm-Identity"]
    assert made.verified({"Authorization": f"Bearer {token}"}) == ("anna", "viewer")
    file.unlink()
    with pytest.raises(identity_proxy.NotVerified):
        made.verified({"Authorization": f"Bearer {token}"})


def test_keys_that_do_not_do(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text("no key", encoding="utf-8")
    with pytest.raises(DataError, match=r"key\.pem: is no public key .* write one as PEM"):
        verifier(algorithm="RS256", key_file=tmp_path / "key.pem")
    (tmp_path / "key.pem").write_text('{"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "1"}]}', encoding="utf-8")
    with pytest.raises(DataError, match="it holds a shared secret"):
        verifier(algorithm="RS256", key_file=tmp_path / "key.pem")
    with pytest.raises(UsageError, match="the secret of the proxy has 5 bytes; HS256 wants 32 or more"):
        identity_settings.checked_secret("short")


# ---------------------------------------------------------------- limits


def test_attempts_by_user_and_by_address() -> None:
    limits = login_limits.Limits()
    assert [limits.attempt("a", f"10.0.0.{n}", now=float(n)) for n in range(10)] == [0.0] * 10
    assert limits.attempt("a", "10.0.1.1", now=10.0) == 890.0 and limits.attempt("b", "10.0.1.1", now=10.0) == 0.0
    assert limits.attempt("a", "10.0.1.1", now=901.0) == 0.0, "a quarter of an hour later"
    spray = login_limits.Limits()
    waits = [spray.attempt(f"user{n}", "10.0.0.7", now=0.0) for n in range(31)]
    assert waits == [0.0] * 30 + [900.0], "many names from one address"


def test_who_gets_in_has_no_failures_but_the_others_of_the_address_stay() -> None:
    limits = login_limits.Limits()
    for _ in range(9):
        limits.attempt("a", "x", now=0.0)
    limits.succeeded("a", "x")
    assert [limits.attempt("a", "y", now=0.0) for _ in range(10)] == [0.0] * 10
    assert len(limits._failures["address x"]) == 8


def test_a_flood_of_attempts_is_told_once_in_a_quarter_of_an_hour() -> None:
    limits = login_limits.Limits()
    assert [limits.told("a", "x", now=0.0), limits.told("a", "y", now=1.0), limits.told("b", "x", now=2.0)] == [
        False,
        True,
        True,
    ]
    assert not limits.told("b", "z", now=3.0) and not limits.told("a", "x", now=901.0)


def test_the_memory_of_failures_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login_limits, "_MOST_KEPT", 50)
    limits = login_limits.Limits()
    for n in range(500):
        limits.attempt(f"user{n}", f"address{n}", now=0.0)
    assert len(limits._failures) <= 50


# ---------------------------------------------------------------- addresses and pages


@given(st.text(max_size=60))
def test_where_to_go_next_is_always_here(asked: str) -> None:
    found = login.own_address(asked, "/")
    assert found.startswith("/") and not found.startswith("//") and "\\" not in found and found.isprintable()


def test_a_refusal_says_what_to_do_in_both_languages() -> None:
    for code, words in (("en", "ask who runs the workbench"), ("ru", "попросите администратора")):
        page = login.refusal(Refused(403, "dashboard", role="<b>viewer"), texts.speak(code), home="/")
        assert words in page and "&lt;b&gt;viewer" in page and "<b>viewer" not in page
    assert "Close the ones you no longer need" in login.refusal(Refused(429, "places"), texts.speak("en"), home="/")


def test_every_handler_of_events_in_the_pages_is_one_that_the_policy_names() -> None:
    found = set()
    for folder in (Path(views.__file__).parent, Path(serving.__file__).parent):
        for path in [*folder.rglob("*.py"), *folder.rglob("*.j2"), *folder.rglob("*.js")]:
            found |= set(re.findall(r"""\son[a-z]{4,}="([^"]+)""", path.read_text(encoding="utf-8")))
    assert found <= set(identity_guard.INLINE), "the browser would refuse them"
