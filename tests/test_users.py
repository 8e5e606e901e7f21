"""People with passwords: what is kept, who is let in, what ends a session, and the command ``crm users``."""

from __future__ import annotations

import datetime as dt
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crmlib import cli
from crmlib.errors import NotFoundError, UsageError
from crmlib.store import audit, users

NOW, LATER = dt.datetime(2025, 7, 1, 9), dt.datetime(2025, 7, 2, 9)
PASSWORD = "four quiet words here"


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the stretching of passwords quick, where the cost itself is not what is tested."""
    monkeypatch.setattr(users, "_LOG2_N", 4)
    monkeypatch.setattr(users, "_NOBODY", users._NOBODY.replace("ln=15", "ln=4"))


def test_a_person_comes_in_with_their_password_only(tmp_path: Path) -> None:
    users.add(tmp_path, "Maria.Silva", "marketer", PASSWORD, now=NOW)
    assert users.check(tmp_path, " maria.SILVA ", PASSWORD) == users.Known("maria.silva", "marketer", 1)
    for name, password in (
        ("maria.silva", PASSWORD + " "),
        ("maria.silva", ""),
        ("mario", PASSWORD),
        ("", ""),
        ("%", ""),
    ):
        assert users.check(tmp_path, name, password) is None
    assert users.check(tmp_path, "maria.silva", "x" * 10_000) is None


def test_only_a_salted_hash_is_kept(tmp_path: Path) -> None:
    for name in ("anna", "boris"):
        users.add(tmp_path, name, "viewer", PASSWORD, now=NOW)
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("store.sqlite*"))
    assert PASSWORD.encode() not in kept and kept.count(b"scrypt$ln=") >= 2
    assert users._hashed(PASSWORD) != users._hashed(PASSWORD), "each has a salt of its own"


@pytest.mark.parametrize("unknown", ["nobody", "gone"])
def test_an_unknown_user_is_compared_at_the_same_cost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unknown: str
) -> None:
    users.add(tmp_path, "anna", "viewer", PASSWORD, now=NOW)
    users.add(tmp_path, "gone", "viewer", PASSWORD, now=NOW)
    users.remove(tmp_path, "gone", now=NOW)
    costs: list[tuple[int, ...]] = []
    stretched = users._stretched
    monkeypatch.setattr(users, "_stretched", lambda *given: costs.append(given[2:]) or stretched(*given))
    users.check(tmp_path, "anna", "wrong")
    users.check(tmp_path, unknown, PASSWORD)
    assert len(costs) == 2 and costs[0] == costs[1]


def test_the_cost_is_what_the_documentation_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert (2**users._LOG2_N, users._R, users._P) == (32_768, 8, 3) and users._NOBODY.startswith(
        "scrypt$ln=15,r=8,p=3$"
    )
    hashed = users._hashed(PASSWORD)
    assert users._fits(hashed, PASSWORD) and not users._fits(hashed, PASSWORD.upper())
    assert not users._fits(users._NOBODY, ""), "no empty password fits nobody"


def test_scrypt_agrees_with_rfc_7914_section_12_third_vector(monkeypatch: pytest.MonkeyPatch) -> None:
    found = users._stretched("pleaseletmein", b"SodiumChloride", 14, 8, 1)
    assert found.hex().startswith("7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2")


@given(st.text(max_size=80))
@settings(max_examples=60)
def test_no_damaged_hash_lets_anybody_in(text: str) -> None:
    assert not users._fits(text, PASSWORD)
    assert not users._fits(f"scrypt$ln=4,r=8,p=1${text}$", PASSWORD)


def test_accents_are_one_password_however_they_are_typed(tmp_path: Path) -> None:
    users.add(tmp_path, "anna", "viewer", "Café am Morgen", now=NOW)
    assert users.check(tmp_path, "anna", "Cafe\u0301 am Morgen")


def test_every_change_ends_the_sessions_of_before(tmp_path: Path) -> None:
    users.add(tmp_path, "anna", "viewer", PASSWORD, now=NOW)
    users.set_role(tmp_path, "anna", "analyst", now=LATER)
    assert users.current(tmp_path, "anna") == users.Known("anna", "analyst", 2)
    users.set_password(tmp_path, "anna", "other quiet words", now=LATER)
    assert users.current(tmp_path, "anna") == users.Known("anna", "analyst", 3)
    assert users.check(tmp_path, "anna", PASSWORD) is None
    users.remove(tmp_path, "anna", now=LATER)
    assert users.current(tmp_path, "anna") is None and users.check(tmp_path, "anna", "other quiet words") is None
    assert not users.listed(tmp_path)["active"].any()
    users.add(tmp_path, "anna", "viewer", PASSWORD, now=LATER)
    assert users.current(tmp_path, "anna") == users.Known("anna", "viewer", 5), "an old cookie does not come back"


def test_what_is_refused(tmp_path: Path) -> None:
    users.add(tmp_path, "anna", "viewer", PASSWORD, now=NOW)
    with pytest.raises(UsageError, match="there is a user anna already"):
        users.add(tmp_path, "anna", "viewer", PASSWORD, now=NOW)
    with pytest.raises(UsageError, match="the name of the user is '<b>'; use up to 64 small letters"):
        users.add(tmp_path, "<b>", "viewer", PASSWORD, now=NOW)
    with pytest.raises(UsageError, match="the password has 11 characters; use 12 to 256"):
        users.add(tmp_path, "boris", "viewer", "x" * 11, now=NOW)
    for weak in ("aaaaaaaaaaaaaa", "boris1234567", "121212121212"):
        with pytest.raises(UsageError, match="the password can be guessed"):
            users.add(tmp_path, "boris", "viewer", weak, now=NOW)
    for change in (users.remove, lambda *given, now: users.set_role(*given, "viewer", now=now)):
        with pytest.raises(NotFoundError, match="there is no user 'nobody'; `crm users list` shows"):
            change(tmp_path, "nobody", now=NOW)


# ---------------------------------------------------------------- the command


def crm(monkeypatch: pytest.MonkeyPatch, data: Path, *words: str, typed: str = PASSWORD) -> int:
    monkeypatch.setattr("sys.stdin", io.StringIO(typed + "\n"))
    return cli.main(["users", *words, "--data", str(data)])


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert crm(monkeypatch, tmp_path, "list") == 0 and "no users yet" in capsys.readouterr().out
    assert crm(monkeypatch, tmp_path, "add", "Anna", "--role", "marketer") == 0
    assert crm(monkeypatch, tmp_path, "role", "anna", "viewer") == 0
    assert crm(monkeypatch, tmp_path, "password", "anna", typed="other quiet words") == 0
    assert users.check(tmp_path, "anna", "other quiet words") == users.Known("anna", "viewer", 3)
    assert crm(monkeypatch, tmp_path, "list") == 0
    assert "anna" in (shown := capsys.readouterr().out) and "viewer" in shown and "scrypt" not in shown
    assert crm(monkeypatch, tmp_path, "remove", "anna") == 0 and users.current(tmp_path, "anna") is None
    log = audit.entries(tmp_path)
    assert {"user add", "user role", "user password", "user remove"} <= set(log["action"])
    assert "quiet words" not in log.to_string()
    assert not [path for path in (tmp_path / "logs").glob("*") if "quiet words" in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize(
    "wrong",
    [
        (["add", "boris"], PASSWORD, 2, "write `crm users add NAME --role ROLE`"),
        (["add"], PASSWORD, 2, "write `crm users add NAME --role ROLE`"),
        (["remove", "boris", "viewer"], PASSWORD, 2, "write `crm users remove NAME`"),
        (["add", "boris", "--role", "boss"], PASSWORD, 2, "there is no role 'boss'; there are analyst, marketer"),
        (["add", "boris", "--role", "viewer"], "short", 2, "the password has 5 characters"),
        (["add", "boris", "--role", "viewer"], "", 2, "the password has 0 characters"),
        (["password", "nobody"], PASSWORD, 4, "there is no user 'nobody'"),
    ],
)
def test_the_command_says_what_is_wrong(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    wrong: tuple[list[str], str, int, str],
) -> None:
    words, typed, code, told = wrong
    assert crm(monkeypatch, tmp_path, *words, typed=typed) == code
    assert told in capsys.readouterr().err
    assert users.listed(tmp_path).empty


def test_a_password_is_typed_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    answers = iter([PASSWORD, "another quiet one", PASSWORD, PASSWORD])
    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("getpass.getpass", lambda _prompt: next(answers))
    add = ["users", "add", "anna", "--role", "viewer", "--data", str(tmp_path)]
    assert cli.main(add) == 2 and "the two passwords differ" in capsys.readouterr().err
    assert cli.main(add) == 0 and users.check(tmp_path, "anna", PASSWORD)
