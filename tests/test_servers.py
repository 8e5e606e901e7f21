"""`crm dashboards` and `crm lab` as a person starts them: the printed link opens, without its token nothing does."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("command", [["dashboards"], ["lab", "--no-browser"]], ids=["dashboards", "lab"])
def test_the_printed_link_opens_and_needs_its_token(command: list[str], tmp_path: Path) -> None:
    started = [sys.executable, "-m", "crmlib.cli", *command, "--data", str(tmp_path)]
    with subprocess.Popen(started, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            link = next(line.strip() for line in process.stdout if "http://" in line)
            with urllib.request.urlopen(link, timeout=30) as answer:
                assert answer.status == 200
            assert re.search(r"token=[\w-]{20,}", link)
            bare = urllib.request.Request(re.sub(r"(//[^/]*)/.*", r"\1/api/contents", link))
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(bare, timeout=30)
            assert refused.value.code in (403, 404)
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
