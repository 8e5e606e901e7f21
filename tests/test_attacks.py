"""What an attacker without a browser tries against the real server, for each way of proving who one is."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import made_servers
import pytest
import websocket
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from made_servers import PASSWORD, client, connected, log_in, logged_in, opened, say

from crmlib.store import audit, users

PAGES = ("/", "/voila/render/demand.ipynb", "/voila/render/customer_card.ipynb", "/voila/tree", "/voila/render/none")
CLOSED = (
    "/voila/api/contents",
    "/voila/api/contents/demand.ipynb",
    "/api/kernels",
    "/api/kernels/0a1ea349-61f0-4794-a62e-2d060a5f6d40",
    "/api/contents",
    "/api/sessions",
    "/api/terminals",
    "/voila/query/0a1ea349-61f0-4794-a62e-2d060a5f6d40",
    "/voila/files/demand.ipynb",
    "/voila/files/company.toml",
)
HIDDEN = ("SECRET-OF-THE-STORE", "root:x:0", "ipywidgets.IntSlider", "SQLite format")


@pytest.fixture(scope="module")
def dashboards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    names = ("demand", "customer_card")
    return made_servers.notebooks(
        tmp_path_factory.mktemp("served") / "dashboards", **dict.fromkeys(names, made_servers.SLIDER)
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    (folder / "company.toml").write_text("# SECRET-OF-THE-STORE", encoding="utf-8")
    return made_servers.people(folder)


@pytest.fixture(scope="module")
def team(data: Path, dashboards: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server for people with passwords."""
    log = tmp_path_factory.mktemp("log") / "server.log"
    with made_servers.serving(data, dashboards, access="users", log=log) as root:
        yield root


@pytest.fixture(scope="module")
def anna(team: str) -> Iterator[httpx.Client]:
    """An analyst who is logged in."""
    with logged_in(team, "anna") as visitor:
        yield visitor


@pytest.fixture(scope="module")
def vera(team: str) -> Iterator[httpx.Client]:
    """A viewer who is logged in."""
    with logged_in(team, "vera") as visitor:
        yield visitor


def looks_closed(answer: httpx.Response) -> bool:
    told = not any(word in answer.text for word in HIDDEN)
    return told and (answer.status_code in (400, 403, 404, 405, 414) or "/login" in answer.headers.get("Location", ""))


# ---------------------------------------------------------------- nobody known


@pytest.mark.parametrize("path", [*PAGES, *CLOSED])
def test_nobody_known_sees_nothing(team: str, path: str) -> None:
    with client(team) as nobody:
        assert looks_closed(nobody.get(path)), path
        for header in ("X-Forwarded-User", "Remote-User", "X-Crm-Identity", "X-Forwarded-Email", "X-Remote-User"):
            assert looks_closed(nobody.get(path, headers={header: "anna"})), header
        assert looks_closed(nobody.get(path, headers={"Authorization": "token undefined"}))
        assert looks_closed(nobody.get(path, params={"token": ""}))


def test_scripts_of_the_pages_are_not_for_everybody_either(team: str) -> None:
    with client(team) as nobody:
        for path in ("/crm/plotly.min.js", "/voila/static/voila.js", "/voila/templates/lab/static/voila.js"):
            assert looks_closed(nobody.get(path)), path


def test_a_made_up_or_changed_cookie_is_worth_nothing(team: str, vera: httpx.Client) -> None:
    with client(team) as forger:
        name, value = next((one.name, one.value) for one in vera.cookies.jar if one.name.startswith("username"))
        assert value
        for fake in (value[:-4] + "0000", value.replace("|", "!"), "2|1:0|10:1|4:user|4:YW5u|00", '{"n":"anna"}', ""):
            forger.cookies.set(name, fake, domain="127.0.0.1")
            assert looks_closed(forger.get("/voila/render/demand.ipynb")), fake
        forger.cookies.set(name, value, domain="127.0.0.1")
        assert forger.get("/login").status_code == 302, "the true one is what was tried"


# ---------------------------------------------------------------- passwords


def test_a_session_and_its_cookie(team: str, data: Path) -> None:
    with client(team) as visitor:
        assert log_in(visitor, "anna", "wrong wrong wrong").status_code == 401
        assert looks_closed(visitor.get("/"))
        answer = log_in(visitor, " Anna ")
        assert answer.status_code == 303 and answer.headers["Location"] == "/"
        cookie = answer.headers["Set-Cookie"]
        assert "HttpOnly" in cookie and "SameSite=Lax" in cookie and "expires" not in cookie.lower()
        assert PASSWORD not in str(dict(visitor.cookies)) and visitor.get("/").status_code == 200
    found = audit.entries(data)
    logins = found[found["action"].isin(["login", "login refused"]) & (found["actor"] == "anna")]
    assert {"login", "login refused"} <= set(logins["action"])
    assert PASSWORD not in found.to_string() and "wrong wrong" not in found.to_string()


def test_a_login_wants_the_token_of_its_own_form(team: str) -> None:
    with client(team) as visitor:
        body = {"name": "anna", "password": PASSWORD}
        assert visitor.post("/login", data=body).status_code == 403
        visitor.get("/login")
        assert visitor.post("/login", data=body | {"_xsrf": "2|12345678|x|1"}).status_code == 403
        assert not [one for one in visitor.cookies.jar if one.name.startswith("username")]


def test_logging_out_ends_the_session_for_a_stolen_cookie_too(team: str) -> None:
    with logged_in(team, "max") as visitor, client(team) as thief:
        thief.cookies.update(visitor.cookies)
        assert thief.get("/").status_code == 200
        form = visitor.get("/logout")
        assert form.status_code == 200 and "max" in form.text, "a link alone logs nobody out"
        assert visitor.get("/").status_code == 200
        xsrf = visitor.cookies["_xsrf"]
        assert visitor.post("/logout", data={"_xsrf": xsrf}).status_code == 303
        assert looks_closed(visitor.get("/")) and looks_closed(thief.get("/"))


@pytest.mark.parametrize("change", ["role", "password", "removed"])
def test_a_change_ends_the_sessions_of_before(team: str, data: Path, change: str) -> None:
    name, now = f"change-{change}", dt.datetime(2025, 7, 2)
    users.add(data, name, "analyst", PASSWORD, now=now)
    with logged_in(team, name) as visitor:
        channels = connected(visitor, opened(visitor, "demand")) if change == "role" else None
        if change == "role":
            users.set_role(data, name, "viewer", now=now)
        elif change == "password":
            users.set_password(data, name, "other quiet words", now=now)
        else:
            users.remove(data, name, now=now)
        time.sleep(2.2)
        assert looks_closed(visitor.get("/"))
        if channels is None:
            return
        say(channels, "kernel_info_request", {})
        heard = channels.recv_data()
        while heard[0] == websocket.ABNF.OPCODE_TEXT:
            heard = channels.recv_data()
        assert heard[0] == websocket.ABNF.OPCODE_CLOSE, "the page that was open is cut off too"


def test_guessing_passwords_is_slowed_down_by_user(team: str, data: Path) -> None:
    users.add(data, "guessed", "viewer", PASSWORD, now=dt.datetime(2025, 7, 2))
    with client(team) as visitor:
        codes = [log_in(visitor, "guessed", f"guess number {n:04d}").status_code for n in range(11)]
        assert codes == [401] * 10 + [429]
        last = log_in(visitor, "guessed")
        assert last.status_code == 429 and int(last.headers["Retry-After"]) > 600
        assert "Too many attempts" in last.text, "even the right password must wait, or guessing would go on"
        words = log_in(visitor, "guessed", headers={"Accept-Language": "ru"}).text
        assert "Слишком много неудачных попыток. Повторите через 15 минут." in words
        assert log_in(visitor, "vera").status_code == 303, "others are not kept out"


@pytest.mark.parametrize(
    "after",
    [
        "//evil.example/", "https://evil.example", "/\\evil.example", "\\\\evil.example", "/%5C/evil.example", "///evil.example",
        "javascript:alert(1)", "http:evil.example", "/logout", "/login?next=/login", "/\t/evil.example", "//127.0.0.1:1/x",
    ],
)  # fmt: skip
def test_nobody_is_sent_elsewhere_after_logging_in(vera: httpx.Client, after: str) -> None:
    answer = vera.get("/login", params={"next": after})
    assert answer.status_code == 400 or answer.headers["Location"] in ("/", "/%5C/evil.example"), after


def test_after_logging_in_one_goes_on_where_one_wanted(team: str, vera: httpx.Client) -> None:
    inside = "/voila/render/demand.ipynb?series=a%2Fb"
    assert vera.get("/login", params={"next": inside}).headers["Location"] == inside
    with client(team) as nobody:
        assert (
            nobody.get(inside).headers["Location"] == "/login?next=%2Fvoila%2Frender%2Fdemand.ipynb%3Fseries%3Da%252Fb"
        )


# ---------------------------------------------------------------- roles and other people's kernels


@pytest.mark.parametrize(
    ("name", "opens", "refused"), [("vera", "demand", "customer_card"), ("otto", "customer_card", "demand")]
)
def test_the_direct_address_of_a_dashboard_that_does_not_open(team: str, name: str, opens: str, refused: str) -> None:
    with logged_in(team, name) as visitor:
        assert visitor.get(f"/voila/render/{opens}.ipynb").status_code == 200
        ways = [
            f"{refused}.ipynb",
            f"%{ord(refused[0]):x}{refused[1:]}.ipynb",
            f"./{refused}.ipynb",
            f"{refused}.ipynb/",
        ]
        answers = [visitor.get(f"/voila/render/{way}") for way in ways]
        assert [one.status_code for one in answers][:2] == [403, 403]
        assert all(looks_closed(one) for one in answers)
        assert "does not open it" in answers[0].text and "kernelId" not in answers[0].text
        russian = visitor.get(f"/voila/render/{refused}.ipynb", headers={"Accept-Language": "ru"}).text
        assert "Этот дашборд вам недоступен" in russian
        assert refused not in visitor.get("/").text, "the first page does not show it either"


def test_another_users_kernel_is_not_there(team: str, anna: httpx.Client) -> None:
    with logged_in(team, "eve") as eve, client(team) as nobody:
        kernel = opened(anna, "demand")
        assert anna.get(f"/api/kernels/{kernel}").status_code == 200
        xsrf = {"X-XSRFToken": eve.cookies["_xsrf"]}
        for visitor in (eve, nobody):
            assert looks_closed(visitor.get(f"/api/kernels/{kernel}"))
            assert looks_closed(visitor.post(f"/voila/api/shutdown/{kernel}", headers=xsrf))
            assert looks_closed(visitor.delete(f"/api/kernels/{kernel}", headers=xsrf))
            with pytest.raises(websocket.WebSocketBadStatusException) as refused:
                connected(visitor, kernel)
            assert refused.value.status_code in (403, 404)
        assert anna.get(f"/api/kernels/{kernel}").status_code == 200, "and it still runs"


# ---------------------------------------------------------------- other sites


def test_other_sites_change_and_connect_nothing(team: str, anna: httpx.Client) -> None:
    kernel, xsrf = opened(anna, "demand"), {"X-XSRFToken": anna.cookies["_xsrf"]}
    end = f"/voila/api/shutdown/{kernel}"
    assert anna.post(end).status_code == 403, "no token of the form"
    for foreign in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ):
        assert anna.post(end, headers=xsrf | foreign).status_code == 403, foreign
    for settings in (
        {"origin": "https://evil.example"},
        {"origin": "http://127.0.0.1.evil.example"},
        {"header": ["Sec-Fetch-Site: cross-site"]},
    ):
        with pytest.raises(websocket.WebSocketBadStatusException) as refused:
            connected(anna, kernel, **settings)
        assert refused.value.status_code == 403
    assert anna.get("/", headers={"Host": "evil.example"}).status_code == 403, "a name that only leads here"
    assert anna.get(f"/api/kernels/{kernel}").status_code == 200
    assert anna.post(end, headers=xsrf | {"Origin": team}).status_code == 204, "its own page may"


def test_every_answer_forbids_what_no_page_needs(team: str, anna: httpx.Client) -> None:
    with client(team) as nobody:
        found = [anna.get("/"), anna.get("/voila/render/demand.ipynb"), nobody.get("/login"), nobody.get("/nowhere")]
        found += [anna.get("/voila/static/voila.js"), anna.get("/api/kernels/x"), anna.get("/x?y=%00")]
        for answer in found:
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src" in policy and "frame-ancestors" in policy, answer.url
            assert "http:" not in policy and "https:" not in policy and " *" not in policy
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Referrer-Policy"] == "same-origin"
            assert "Access-Control-Allow-Origin" not in answer.headers and "Server" not in answer.headers
        assert all("no-store" in answer.headers["Cache-Control"] for answer in found[:4])


# ---------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    "path",
    [
        "/voila/files/../../../../etc/passwd",
        "/voila/files/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/voila/files/%252e%252e/%252e%252e/etc/passwd",
        "/voila/files/..%5c..%5cetc/passwd",
        "/voila/files/..\\..\\company.toml",
        "/voila/static/..%2f..%2f..%2f..%2f..%2fetc/passwd",
        "/voila/static//etc/passwd",
        "/voila/labextensions/../../../../../etc/passwd",
        "/voila/labextensions/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/voila/templates/..%2f..%2f/static/etc/passwd",
        "/voila/templates/lab/static/../../../../../../../etc/passwd",
        "/voila/templates/x",
        "/crm/..%2fplotly.py",
        "/crm/../store.sqlite",
        "/voila/render/../data/store.ipynb",
        "/voila/render/%2e%2e%2fstore.sqlite",
        "/voila/render//etc/passwd",
        "/voila/render/demand.ipynb%00.png",
        "/voila/render/demand",
        "/voila/api/themes/..%2f..%2fetc/passwd",
        "//evil.example/%2e%2e",
    ],
)
def test_no_address_leads_out_of_its_folder(team: str, anna: httpx.Client, path: str) -> None:
    with socket.create_connection(("127.0.0.1", int(team.rpartition(":")[2])), timeout=20) as raw:
        cookies = "; ".join(f"{one.name}={one.value}" for one in anna.cookies.jar)
        asked = f"GET {path} HTTP/1.1\r\nHost: {team[7:]}\r\nCookie: {cookies}\r\nConnection: close\r\n\r\n"
        raw.sendall(asked.encode())  # as it is: a client's library would tidy it up
        answer = b"".join(iter(lambda: raw.recv(65_536), b"")).decode(errors="replace")
    assert answer.split(" ", 2)[1] in ("400", "403", "404"), answer[:200]
    assert not any(word in answer for word in HIDDEN) and "Traceback" not in answer


@pytest.mark.parametrize(
    "query",
    [
        "x=" + "a" * 201,
        "&".join(f"a{n}=1" for n in range(21)),
        "customer=" + "%00",
        "customer=%0d%0aSet-Cookie:x=1",
        "%3Cscript%3E=1",
        "a.b=1",
        "a=%ff%fe",
        "template=lab",
        "a" * 33 + "=1",
        "x=1&" * 700,
    ],
)
def test_strange_queries_are_refused_in_words(team: str, query: str) -> None:
    with client(team) as anna:
        answer = anna.get(f"/login?{query}", headers={"Accept-Language": "ru"})
        assert (answer.status_code in (400, 414) and "не читается" in answer.text) or "адрес" in answer.text.lower()
        assert "Traceback" not in answer.text and "<script>1" not in answer.text


@pytest.mark.parametrize("part", ["address", "header", "body"])
def test_an_enormous_request_does_no_harm(team: str, part: str) -> None:
    host, size = team[7:], 300_000
    asked = {"address": f"GET /login?{'x' * size} HTTP/1.1\r\nHost: {host}\r\n\r\n"}
    asked["header"] = f"GET /login HTTP/1.1\r\nHost: {host}\r\nCookie: a={'x' * size}\r\n\r\n"
    asked["body"] = f"POST /login HTTP/1.1\r\nHost: {host}\r\nContent-Length: {4 * size}\r\n\r\n"
    place = "127.0.0.1", int(host.rpartition(":")[2])
    with socket.create_connection(place, timeout=20) as raw, contextlib.suppress(ConnectionError):
        raw.sendall(asked[part].encode())
        answer = raw.recv(65_536)
        assert not answer or answer.split(b" ")[1] in (b"400", b"414", b"431")
    with client(team) as visitor:
        assert visitor.get("/login?" + "x" * 60_000).status_code in (400, 414)
        assert visitor.get("/login").status_code == 200


# ---------------------------------------------------------------- code and messages to the kernel


def test_no_message_runs_code(anna: httpx.Client, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    code = f"open({str(mark)!r}, 'w').close()"
    channels = connected(anna, opened(anna, "demand"))
    for channel in ("shell", "control", "stdin", "iopub"):
        say(
            channels,
            "execute_request",
            {"code": code, "silent": False, "user_expressions": {"x": code}},
            channel=channel,
        )
        say(channels, "input_reply", {"value": code}, channel=channel)
    for kind in ("inspect_request", "complete_request", "history_request", "is_complete_request"):
        say(channels, kind, {"code": code, "cursor_pos": 1, "hist_access_type": "tail", "n": 9})
    for kind in ("debug_request", "shutdown_request", "interrupt_request", "create_subshell_request"):
        say(
            channels,
            kind,
            {"restart": False, "command": "evaluate", "arguments": {"expression": code}},
            channel="control",
        )
    number = say(channels, "kernel_info_request", {})
    heard = made_servers.answers(channels, number, "kernel_info_reply")
    kinds = {one["msg_type"] for one in heard}
    assert not kinds & {
        "execute_reply",
        "execute_input",
        "complete_reply",
        "inspect_reply",
        "history_reply",
        "debug_reply",
    }
    assert not mark.exists() and not kinds & {"shutdown_reply", "error", "stream"}
    channels.close()


def test_hostile_values_of_widgets_change_nothing(anna: httpx.Client) -> None:
    channels = connected(anna, opened(anna, "demand"))
    number = say(channels, "comm_info_request", {"target_name": "jupyter.widget"})
    comms = made_servers.answers(channels, number, "comm_info_reply")[-1]["content"]["comms"]
    assert comms
    hostile: list[Any] = [
        "<img src=x onerror=alert(1)>",
        None,
        [1],
        {"a": 1},
        10**400,
        -1,
        1e308,
        True,
        "=cmd|'/C calc'!A0",
    ]
    for comm in comms:
        for value in hostile:
            say(channels, "comm_msg", {"comm_id": comm, "data": {"method": "update", "state": {"value": value}}})
        say(channels, "comm_msg", {"comm_id": comm, "data": {"method": "custom", "content": {"__class__": "x"}}})
        say(channels, "comm_msg", {"comm_id": comm, "data": "no record"})
    say(channels, "comm_open", {"comm_id": "1", "target_name": "os", "target_module": "os", "data": {}})
    header = {"msg_id": "m", "msg_type": "comm_open", "username": "", "session": "s", "version": "5.3", "date": ""}
    state = {"_model_module": "@jupyter-widgets/controls", "_model_module_version": "2.0.0", "_model_name": "HTMLModel"}
    state |= {name.replace("model", "view"): one.replace("Model", "View") for name, one in state.items()}
    own = {"comm_id": "own", "target_name": "jupyter.widget", "data": {"state": state}}
    told = {"parent_header": {}, "metadata": {"version": "2.1.0"}, "content": own}
    channels.send(json.dumps({"channel": "shell", "header": header, **told}))
    number = say(channels, "comm_info_request", {})
    there = made_servers.answers(channels, number, "comm_info_reply")[-1]["content"]["comms"]
    assert set(comms) <= set(there) and "own" not in there, "a page makes no widgets"
    for junk in ("{}", "[]", "null", "{", '{"channel": "shell"}', json.dumps({"channel": "x", "header": {}})):
        channels.send(junk)
    channels.close()
    channels = connected(anna, opened(anna, "demand"))
    number = say(channels, "kernel_info_request", {})
    assert made_servers.answers(channels, number, "kernel_info_reply")
    channels.close()
    assert anna.get("/").status_code == 200


# ---------------------------------------------------------------- the link with the token


def test_the_token_opens_and_leaves_the_address(data: Path, dashboards: Path, tmp_path: Path) -> None:
    token, log = "the-token-of-this-test-0123456789", tmp_path / "server.log"
    with made_servers.serving(data, dashboards, access="token", log=log, token=token) as root:
        for wrong in ("", "x", token[:-1], token + "0", token.upper(), "%00", "token"):
            with client(root) as visitor:
                assert looks_closed(visitor.get("/voila/render/demand.ipynb", params={"token": wrong})), wrong
                assert looks_closed(visitor.get("/", headers={"Authorization": f"token {wrong}".strip()}))
                assert looks_closed(visitor.get("/", headers={"Authorization": f"Basic {wrong}".strip()}))
        with client(root) as visitor:
            first = visitor.get("/voila/render/demand.ipynb", params={"token": token, "series": "milk"})
            assert first.status_code == 302 and first.headers["Location"] == "/voila/render/demand.ipynb?series=milk"
            page = visitor.get(first.headers["Location"])
            assert page.status_code == 200 and token not in page.text
            assert visitor.post("/voila/api/shutdown/x", params={"token": token}).status_code == 403, "no xsrf"
        with client(root, Authorization=f"token {token}") as script:
            assert script.get("/").status_code == 200
        with client(root) as typed:
            form = log_in(typed, "", "")
            assert form.status_code == 401 and "This is not the token" in form.text
            xsrf = typed.cookies["_xsrf"]
            assert typed.post("/login", data={"_xsrf": xsrf, "token": token}).status_code == 303
            assert typed.get("/").status_code == 200
    assert token not in log.read_text(encoding="utf-8"), "nor does it stand in the server's log"


# ---------------------------------------------------------------- what a proxy signs


@pytest.fixture(scope="module")
def keys() -> dict[str, Any]:
    return {"own": rsa.generate_private_key(65_537, 2048), "other": rsa.generate_private_key(65_537, 2048)}


def public(key: Any) -> bytes:
    kinds = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return bytes(key.public_key().public_bytes(*kinds))


@pytest.fixture(scope="module")
def company(
    keys: dict[str, Any], dashboards: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Path]]:
    """A server behind a proxy that signs."""
    data = tmp_path_factory.mktemp("company")
    (data / "proxy.pem").write_bytes(public(keys["own"]))
    (data / "access.toml").write_text(
        'public_address = "https://crm.bank.example"\n[proxy]\nissuer = "https://login.bank.example"\naudience = "crm"\n'
        'algorithm = "RS256"\nkey_file = "proxy.pem"\nname_claim = "preferred_username"\nrole_claim = "groups"\n'
        '[proxy.roles]\ncrm-admins = "analyst"\ncrm-view = "viewer"\n',
        encoding="utf-8",
    )
    log = tmp_path_factory.mktemp("log") / "proxy.log"
    with made_servers.serving(data, dashboards, access="proxy", log=log) as root:
        yield root, data


def claims(**other: Any) -> dict[str, Any]:
    now = dt.datetime.now(dt.UTC)
    usual = {"iss": "https://login.bank.example", "aud": "crm", "preferred_username": "anna", "groups": ["crm-view"]}
    return {**usual, "exp": now + dt.timedelta(minutes=5), "nbf": now, "iat": now} | other


def test_who_the_proxy_signed_comes_in_by_role(company: tuple[str, Path], keys: dict[str, Any]) -> None:
    root, _ = company
    with client(root, **{"X-Crm-Identity": jwt.encode(claims(), keys["own"], "RS256")}) as visitor:
        answer = visitor.get("/voila/render/demand.ipynb")
        assert answer.status_code == 200
        cookies = answer.headers.get_list("Set-Cookie")
        assert cookies and all("Secure" in one for one in cookies if one.startswith("_xsrf"))
        assert visitor.get("/voila/render/customer_card.ipynb").status_code == 403
        assert "log out there" in visitor.get("/logout").text
        page = visitor.get("/", headers={"Host": "crm.bank.example"})
        assert (
            page.status_code == 200 and visitor.get("/", headers={"Host": "crm.bank.example.evil"}).status_code == 403
        )
    both = claims(groups=["other", "crm-view", "crm-admins"])
    with client(root, **{"X-Crm-Identity": f"Bearer {jwt.encode(both, keys['own'], 'RS256')}"}) as visitor:
        assert "customer_card" in visitor.get("/").text, "the first role named counts"


def forged(keys: dict[str, Any]) -> dict[str, str]:
    own, past = keys["own"], dt.datetime.now(dt.UTC) - dt.timedelta(minutes=5)
    future = past + dt.timedelta(minutes=15)
    header, body, signature = jwt.encode(claims(), own, "RS256").split(".")
    admin = jwt.encode(claims(groups=["crm-admins"]), keys["other"], "RS256").split(".")[1]
    without = {name: {one: value for one, value in claims().items() if one != name} for name in ("exp", "iss", "aud")}
    # The library refuses to sign with a public key as a secret, so the attacker does it by hand.
    import base64
    import hashlib
    import hmac

    def part(value: dict[str, Any]) -> str:
        return (
            base64.urlsafe_b64encode(json.dumps(value, default=lambda x: int(x.timestamp())).encode())
            .decode()
            .rstrip("=")
        )

    confused = f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part(claims())}"
    mac = hmac.new(public(own), confused.encode(), hashlib.sha256).digest()
    return {
        "nothing": "",
        "a bare name": "anna",
        "no algorithm": jwt.encode(claims(), None, "none"),
        "no algorithm, other letters": f"{part({'alg': 'nOnE'})}.{part(claims())}.",
        "no signature": f"{header}.{body}.",
        "another's key": jwt.encode(claims(), keys["other"], "RS256"),
        "another's key and kid": jwt.encode(claims(), keys["other"], "RS256", headers={"kid": "../../dev/null"}),
        "public key as a secret": f"{confused}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}",
        "another algorithm": jwt.encode(claims(), ec.generate_private_key(ec.SECP256R1()), "ES256"),
        "RS512": jwt.encode(claims(), own, "RS512"),
        "a key of its own in the header": jwt.encode(
            claims(),
            keys["other"],
            "RS256",
            headers={"jwk": json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(keys["other"].public_key()))},
        ),
        "other claims": f"{header}.{admin}.{signature}",
        "expired": jwt.encode(claims(exp=past), own, "RS256"),
        "not yet": jwt.encode(claims(nbf=future), own, "RS256"),
        "another audience": jwt.encode(claims(aud="mail"), own, "RS256"),
        "another issuer": jwt.encode(claims(iss="https://login.evil.example"), own, "RS256"),
        **{f"no {name}": jwt.encode(rest, own, "RS256") for name, rest in without.items()},
        "no role": jwt.encode(claims(groups=["staff"]), own, "RS256"),
        "a role's name itself": jwt.encode(claims(groups=["analyst"]), own, "RS256"),
        "roles of a strange kind": jwt.encode(claims(groups={"crm-admins": True}), own, "RS256"),
        "an empty name": jwt.encode(claims(preferred_username=""), own, "RS256"),
        "no name": jwt.encode(claims(preferred_username=7), own, "RS256"),
        "a long name": jwt.encode(claims(preferred_username="a" * 65), own, "RS256"),
        "enormous": jwt.encode(claims(more="x" * 9_000), own, "RS256"),
        "twice": f"{jwt.encode(claims(), own, 'RS256')},{jwt.encode(claims(), keys['other'], 'RS256')}",
    }


def test_what_the_proxy_did_not_sign_is_refused(company: tuple[str, Path], keys: dict[str, Any]) -> None:
    root, _ = company
    for what, token in forged(keys).items():
        with client(root, **{"X-Crm-Identity": token, "X-Forwarded-User": "anna", "Remote-User": "anna"}) as visitor:
            for path in ("/", "/voila/render/demand.ipynb", "/login", "/crm/plotly.min.js"):
                answer = visitor.get(path)
                assert answer.status_code == 403 and "ipywidgets" not in answer.text, (what, path)
            assert not visitor.cookies, what
    with client(root, **{"Authorization": f"Bearer {jwt.encode(claims(), keys['own'], 'RS256')}"}) as visitor:
        answer = visitor.get("/", headers={"Accept-Language": "ru"})
        assert answer.status_code == 403 and "Вход не выполнен" in answer.text, "only in the header agreed on"


def test_keys_can_be_replaced_while_the_server_runs(company: tuple[str, Path], keys: dict[str, Any]) -> None:
    root, data = company
    token = {"X-Crm-Identity": jwt.encode(claims(), keys["other"], "RS256", headers={"kid": "new"})}
    with client(root, **token) as visitor:
        assert visitor.get("/").status_code == 403
        algorithm = jwt.algorithms.RSAAlgorithm
        both = [
            json.loads(algorithm.to_jwk(keys[one].public_key())) | {"kid": kid}
            for one, kid in (("own", "old"), ("other", "new"))
        ]
        before = (data / "proxy.pem").read_bytes()
        try:
            (data / "proxy.pem").write_text(json.dumps({"keys": both}), encoding="utf-8")
            assert visitor.get("/").status_code == 200
            assert (
                client(root, **{"X-Crm-Identity": jwt.encode(claims(), keys["other"], "RS256", headers={"kid": "old"})})
                .get("/")
                .status_code
                == 403
            )
        finally:
            (data / "proxy.pem").write_bytes(before)
        assert visitor.get("/").status_code == 403
