"""The examples of docs/schedules.md are at least valid in the eyes of whoever reads them."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import pytest

from crmlib import cli
from crmlib.runs import due, schedule_file

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "docs" / "examples" / "schedules"


def arguments(command: str) -> list[str]:
    """The arguments of crm in a command line."""
    return re.split(r"crm(?:\.exe)?\s", command, maxsplit=1)[1].split(" >>")[0].split()


def test_every_example_calls_a_command_that_there_is() -> None:
    lines = [(EXAMPLES / "crontab").read_text().splitlines()[-1].partition("&&")[2]]
    for name in ("crm-schedule.service", "crm-tick.service"):
        lines += re.findall(r"^ExecStart=(.*)$", (EXAMPLES / name).read_text(), re.MULTILINE)
    assert len(lines) == 3
    for line in lines:
        assert cli.parser().parse_args(arguments(line)).command == "schedule"


def test_the_crontab_says_every_minute() -> None:
    line = (EXAMPLES / "crontab").read_text().splitlines()[-1]
    assert len(due.parse(" ".join(line.split()[:5])).minutes) == 60


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd")
@pytest.mark.parametrize("name", ["crm-schedule.service", "crm-tick.service", "crm-tick.timer"])
def test_systemd_accepts_the_units(name: str, tmp_path: Path) -> None:
    for file in EXAMPLES.glob("crm-*.*"):
        text = file.read_text().replace("/srv/crm/.venv/bin/crm", "/bin/true").replace("User=crm", "User=root")
        (tmp_path / file.name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", str(tmp_path / name)], capture_output=True, text=True, check=False
    )
    about_ours = [line for line in done.stderr.splitlines() if str(tmp_path) in line or name in line]
    assert about_ours == []


def test_the_windows_task_is_xml_with_what_a_task_needs() -> None:
    space = {"t": "http://schemas.microsoft.com/windows/2004/02/mit/task"}
    task = ElementTree.parse(EXAMPLES / "crm-tick.xml").getroot()
    assert task.findtext(".//t:Repetition/t:Interval", namespaces=space) == "PT1M"
    given = task.findtext(".//t:Exec/t:Arguments", namespaces=space)
    assert given and cli.parser().parse_args(given.split()).action == "tick"


@pytest.mark.parametrize("name", ["airflow_dag.py", "dagster_job.py"])
def test_the_adapters_are_python_that_calls_the_tick(name: str) -> None:
    tree = ast.parse((EXAMPLES / name).read_text())
    texts = " ".join(
        node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    assert "crm schedule tick" in texts


def test_the_file_in_the_page_is_valid_and_every_key_is_explained(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "schedules.md").read_text()
    [example] = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    assert set(tomllib.loads(example)["job"]) == {"load", "scores", "monthly_report"}
    (tmp_path / "schedules.toml").write_text(example)
    assert schedule_file.read(tmp_path / "schedules.toml").jobs["scores"].zone == "Europe/Moscow"
    for key in schedule_file._KINDS:
        assert f"`{key}`" in page
