"""What a job tells a person, and what it writes to its log."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from crmlib.runs import logs
from crmlib.runs.stages import Stages, size


def test_a_stage_says_its_name_time_and_notes(capsys: pytest.CaptureFixture[str]) -> None:
    stages = Stages()
    with stages.stage("load", "reading 3 files") as stage:
        stage.say("12 rows")
    printed = capsys.readouterr().out
    assert "reading 3 files" in printed
    assert printed.rstrip().endswith("s  12 rows")
    assert stages.seconds == stages.done[0].seconds > 0


def test_a_failing_stage_is_not_reported_as_done(capsys: pytest.CaptureFixture[str]) -> None:
    stages = Stages()
    with pytest.raises(ValueError, match="wrong"), stages.stage("load", "reading"):
        raise ValueError("wrong")
    assert stages.done == []


def test_size_counts_every_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 1_500_000)
    (tmp_path / "b").write_bytes(b"x" * 500_000)
    assert size(tmp_path) == "2.0 MB"
    assert size(tmp_path / "b") == "500 kB"


def test_log_lines_are_json_and_the_file_rotates(tmp_path: Path) -> None:
    file = logs.start(tmp_path)
    assert file == tmp_path / "logs" / "crm.log"
    logger = logging.getLogger("crmlib.test")
    logger.info("stage %s", "load", extra={"rows": 3, "name_": "Ёлка"})
    try:
        raise ValueError("x")
    except ValueError as error:
        logger.error("failed", exc_info=error)
    entries = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert entries[0]["message"] == "stage load"
    assert (entries[0]["rows"], entries[0]["name_"], entries[0]["level"]) == (3, "Ёлка", "info")
    assert "ValueError: x" in entries[1]["traceback"]
    for _ in range(2):
        logger.info("x" * 1_200_000)
    assert {path.name for path in file.parent.iterdir()} == {"crm.log", "crm.log.1"}


def test_a_folder_that_cannot_hold_logs_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file in the way")
    assert logs.start(tmp_path) is None
    logging.getLogger("crmlib.test").info("goes nowhere")
