"""Secrets: found by reference, refused in the clear, and nowhere in what runs leave behind."""

from __future__ import annotations

import datetime as dt
import io
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_runs import slot

from crmlib.errors import EnvironmentFault, NotFoundError, RunError, UsageError
from crmlib.runs import alerts, attempts, backup, logs, notebooks, secrets
from crmlib.store import slots

CANARY = 'canary-7f3a"&<ключ>\\9'
NOW = dt.datetime(2026, 1, 31, 6)


def write(data: Path, name: str, value: str, mode: int = 0o600) -> Path:
    file = data / "secrets" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(value, encoding="utf-8")
    file.chmod(mode)
    return file


def test_a_secret_is_found_in_the_environment_first_and_then_in_the_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "KEY", "from the file\n")
    assert secrets.get("secret:KEY", tmp_path) == secrets.get("KEY", tmp_path) == "from the file"
    monkeypatch.setenv("CRM_SECRET_KEY", "from the environment")
    assert secrets.resolve("secret:KEY", tmp_path) == "from the environment"
    assert secrets.resolve("plain", tmp_path) == "plain" and secrets.resolve(7, tmp_path) == 7


def test_what_systemd_passes_on_is_a_secret_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "KEY").write_text("from systemd")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "given"))
    assert secrets.get("KEY", tmp_path) == "from systemd" and "from systemd" in secrets.known(tmp_path).values()


def test_secrets_that_cannot_be_used_say_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        NotFoundError, match=r"secret NONE is not there; set CRM_SECRET_NONE, or write it to .*secrets/NONE"
    ):
        secrets.get("NONE", tmp_path)
    with pytest.raises(UsageError, match="a name has letters, digits and _"):
        secrets.get("secret:../../etc/passwd", tmp_path)
    monkeypatch.setenv("CRM_SECRET_TINY", "short")
    with pytest.raises(EnvironmentFault, match="shorter than 8 characters"):
        secrets.get("TINY", tmp_path)
    write(tmp_path, "OPEN", "seen by everybody", 0o644)
    with pytest.raises(EnvironmentFault, match=r"can be read by others \(mode 644\); write `chmod 600"):
        secrets.get("OPEN", tmp_path)
    (tmp_path / "secrets" / "BYTES").write_bytes(b"\xff" * 20)
    (tmp_path / "secrets" / "BYTES").chmod(0o600)
    with pytest.raises(EnvironmentFault, match="no text in UTF-8"):
        secrets.get("BYTES", tmp_path)


@given(
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=8, max_size=40).filter(
        lambda t: len(t.strip()) >= 8
    )
)
def test_no_usual_way_of_writing_a_secret_gets_past_scrub(value: str) -> None:
    import html
    from urllib.parse import quote

    ways = [
        value,
        json.dumps(value),
        json.dumps(value, ensure_ascii=False),
        repr(value),
        html.escape(value),
        quote(value),
    ]
    ways += [json.dumps({"message": way}) for way in ways]
    for way in ways:
        clean = secrets.scrub_values(f"before {way} after", [value])
        assert value not in clean and "***" in clean and clean.startswith("before ") and clean.endswith(" after")


def test_lines_of_a_long_secret_do_not_get_past_either() -> None:
    value = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\nBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj\n-----END KEY-----"
    for line in value.splitlines():
        assert line not in secrets.scrub_values(f'"{line}\\n",', [value])


def test_output_in_pieces_is_scrubbed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRM_SECRET_KEY", CANARY)
    target = io.BytesIO()
    stream = secrets.Scrubbed(target, tmp_path)
    for byte in f"one {CANARY} two\n\xff {CANARY}".encode():
        stream.write(bytes([byte]))
    stream.close()
    assert target.getvalue().decode() == "one *** two\n\xff ***"


def test_a_secret_itself_is_refused_as_a_parameter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRM_SECRET_KEY", CANARY)
    secrets.refuse_values({"password": "secret:KEY"}, tmp_path)
    with pytest.raises(UsageError, match=r"parameter password holds the value of the secret KEY.*write secret:KEY"):
        secrets.refuse_values({"password": [{"deep": f"x{CANARY}"}]}, tmp_path)


def notebook(path: Path, last: str) -> Path:
    cells = [
        nbformat.v4.new_markdown_cell("# Canary"),
        nbformat.v4.new_code_cell('key = "secret:KEY"', metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell(
            "from crmlib import secrets\nvalue = secrets.get(key)\nprint(value, repr(value), [value])"
        ),
        nbformat.v4.new_code_cell(
            "import html, sys\nprint(value, file=sys.stderr)\n{'a': value, 'b': html.escape(value)}"
        ),
        nbformat.v4.new_code_cell(
            "from IPython.display import HTML, Markdown, display\ndisplay(HTML(html.escape(value)), Markdown(value))"
        ),
        nbformat.v4.new_code_cell(last),
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


def found_below(folder: Path, value: str) -> list[str]:
    """Files that hold a value, its letters or its form in JSON, SQLite's among them."""
    forms = {value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], "canary-7f3a"}
    files = [path for path in folder.rglob("*") if path.is_file() and path.parent.name != "secrets"]
    return [str(path) for path in files if any(form.encode() in path.read_bytes() for form in forms)]


def test_canary_no_secret_ends_up_in_a_notebook_report_log_alert_backup_or_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    write(data, "KEY", CANARY)
    logs.start(data)
    good, bad = (
        notebook(tmp_path / "good.ipynb", "1"),
        notebook(tmp_path / "bad.ipynb", "raise ValueError(f'refused {value}')"),
    )
    executed = notebooks.run(good, {"key": "secret:KEY"}, data=data, report=True)
    assert "***" in executed.read_text(encoding="utf-8") and '"secret:KEY"' in executed.read_text(
        encoding="utf-8"
    ).replace("\\", "")
    with pytest.raises(RunError, match=r"cell \d+ failed: ValueError: refused \*\*\*") as failure:
        notebooks.run(bad, {"key": "secret:KEY"}, data=data)
    logging.getLogger("crmlib.test").error("failed with %s", CANARY, exc_info=failure.value)
    alerts.raise_alert(data, topic="failed/x", code="failed", content={"message": f"refused {CANARY}"}, now=NOW)
    with pytest.raises(UsageError, match="holds the value of the secret"):
        notebooks.run(good, {"key": CANARY}, data=data)
    command = [sys.executable, "-m", "crmlib.cli", "--data", str(data), "run", str(bad), "-p", f"key={CANARY}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and CANARY not in done.stdout + done.stderr
    logging.getLogger("crmlib").handlers[0].flush()
    (data / "warehouse").mkdir()
    made = backup.make(data, tmp_path / "safe", now=NOW)
    assert len(list((data / "reports").iterdir())) >= 1 and len(list((data / "runs").iterdir())) == 2
    assert found_below(data, CANARY) == [] and found_below(made.folder, CANARY) == []
    assert "canary" not in "".join(capfd.readouterr())


def test_canary_the_log_of_a_scheduled_command_has_no_secret(tmp_path: Path) -> None:
    data = tmp_path / "data"
    write(data, "KEY", CANARY)
    bad = notebook(tmp_path / "bad.ipynb", "raise ValueError(f'refused {value}')")
    from crmlib.store import session

    settings = {"command": ["run", str(bad), "-p", "key=secret:KEY"], "folder": str(tmp_path), "limit_seconds": 120}
    with session.session(data) as store:
        store.add(slot("canary", NOW, "waiting", settings={**settings, "retries": 0, "back_off_seconds": 0}))
        store.commit()
    import threading

    clock = dt.datetime.now(dt.UTC).replace(tzinfo=None)
    held = slots.claim(data, worker="here/1/0.0", now=clock, lease=attempts.LEASE, log=attempts.LOG)
    assert held is not None
    result = attempts.supervise(data, held, now=lambda: clock, stop=threading.Event())
    assert result.state == "failed" and "refused ***" in str(result.message)
    assert found_below(data, CANARY) == [] and list((data / "logs" / "schedule").glob("*.log"))


def test_no_secret_is_seen_while_a_notebook_still_runs(tmp_path: Path) -> None:
    """A kill at that moment must leave none behind."""
    data = tmp_path / "data"
    write(data, "KEY", CANARY)
    slow = notebook(tmp_path / "slow.ipynb", "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)")
    code = f"from pathlib import Path; from crmlib.runs import notebooks; notebooks.run(Path({str(slow)!r}), {{}}, data=Path({str(data)!r}))"
    subprocess.run([sys.executable, "-c", code], env=os.environ, capture_output=True, check=False)
    assert list((data / "runs").glob(".*running.ipynb")), "the working file is there"
    assert found_below(data, CANARY) == []
