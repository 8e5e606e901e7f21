"""schedules.toml: what it means, and what is refused with file, job, key and remedy."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import nbformat
import pytest

from crmlib.errors import DataError, NotFoundError, UsageError
from crmlib.runs import schedule_file

SCORE = '[job.score]\nrun = ["score"]\nat = "0 4 * * *"\n'


def notebook(folder: Path, source: str = 'branch = "all"\nshare = 0.1\nlimit = None\ntags = ["a"]\ndata = ""') -> Path:
    cell = nbformat.v4.new_code_cell(source, metadata={"tags": ["parameters"]})
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), folder / "mine.ipynb")
    return folder / "mine.ipynb"


def read(folder: Path, text: str) -> schedule_file.Schedule:
    file = folder / "schedules.toml"
    file.write_text(text)
    return schedule_file.read(file)


def test_the_file_that_init_writes_is_valid_and_says_what_the_defaults_are(tmp_path: Path) -> None:
    schedule = schedule_file.read(schedule_file.EXAMPLE)
    assert list(schedule.jobs)[:3] == ["scores", "training", "forecast"]
    propensity, training = schedule.jobs["propensity_report"], schedule.jobs["training"]
    assert (propensity.at, propensity.zone) == (training.at, training.zone)
    scores = schedule.jobs["scores"]
    assert (scores.limit, scores.retries, scores.back_off, scores.catch_up) == (7200, 2, 300, "latest")
    assert (scores.late_after, scores.keep, scores.report) == (3600, 30, False)
    text = schedule_file.EXAMPLE.read_text()
    for line in ("(2h)", '(2, "5m")', '("latest")', '("1h")', "(30)", "(true)"):
        assert line in text
    words = schedule_file.placeholders(dt.datetime(2026, 1, 1), "UTC")
    assert all(f"{{{name}}}" in text for name in words)
    # The lines behind # are valid too once they are wanted.
    wanted = "\n".join(
        line[2:] if line.startswith(("# [", "# run =", "# at =", "# limit =", "# catch_up =", "# after =")) else line
        for line in text.splitlines()
    )
    assert read(tmp_path, wanted).jobs["scores"].after == ("load",)


def test_runs_by_hand_are_kept_as_the_file_says(tmp_path: Path) -> None:
    assert read(tmp_path, SCORE).keep is None
    assert read(tmp_path, "keep = 7\n" + SCORE).keep == 7
    for wrong, message in (("0", "keep: 0 was found; give 1 to"), ('"all"', "keep: 'all' was found; a whole number")):
        with pytest.raises(DataError, match=message):
            read(tmp_path, f"keep = {wrong}\n{SCORE}")


def test_a_secret_itself_in_the_file_is_refused_before_the_store_or_a_log_holds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook(tmp_path)
    monkeypatch.setenv("CRM_SECRET_CORE", "canary-of-the-core")
    file = tmp_path / "schedules.toml"
    report = '[job.report]\nnotebook = "mine.ipynb"\nat = "0 4 * * *"\nparameters = {{ branch = "{}" }}\n'
    load = '[job.load]\nrun = ["load", "{}", "--mapping", "m.toml"]\nat = "0 4 * * *"\n'
    for text, place in ((report, "job report: parameter branch"), (load, "job load: parameter run")):
        file.write_text(text.format("postgresql://crm:canary-of-the-core@db/core"))
        with pytest.raises(DataError, match=f"{place} holds the value of the secret CORE.*write secret:CORE"):
            schedule_file.read(file, tmp_path)
        file.write_text(text.format("secret:CORE"))
        assert len(schedule_file.read(file, tmp_path).jobs) == 1


def test_placeholders_are_seen_from_the_zone_of_the_job(tmp_path: Path) -> None:
    notebook(tmp_path)
    text = (
        'zone = "Europe/Moscow"\n[job.report]\nnotebook = "mine.ipynb"\nat = "30 2 1 * *"\n'
        'parameters = { branch = "{month_before}", tags = ["{day_before}", "{logical_date}"], limit = 5 }\n'
        '[job.churn]\nrun = ["churn", "--as-of", "{day_before}", "--definition", \'{"kind": "holding"}\']\nafter = ["report"]\n'
    )
    schedule = read(tmp_path, text)
    moment = dt.datetime(2026, 1, 31, 23, 30)  # 1 February, 02:30 in Moscow
    report = schedule_file.settings(schedule.jobs["report"], moment, schedule)
    assert report["parameters"] == {"branch": "2026-01", "tags": ["2026-01-31", "2026-02-01"], "limit": 5}
    assert report["command"][:3] == ["run", str(tmp_path / "mine.ipynb"), "--values"]
    assert report["command"][-1] == "--report"
    churn = schedule_file.settings(schedule.jobs["churn"], moment, schedule)
    assert churn["command"] == ["churn", "--as-of", "2026-01-31", "--definition", '{"kind": "holding"}']
    assert churn["after"] == {"report": "2026-01-31T23:30:00"}


def test_a_weekly_job_waits_for_the_last_run_of_a_daily_one(tmp_path: Path) -> None:
    text = SCORE + '[job.training]\nrun = ["train"]\nat = "0 5 * * sun"\nafter = ["score"]\n'
    schedule = read(tmp_path, text)
    waits = schedule_file.settings(schedule.jobs["training"], dt.datetime(2026, 2, 1, 5), schedule)["after"]
    assert waits == {"score": "2026-02-01T04:00:00"}


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("not [ toml", "schedules.toml: no valid TOML .* mend that line"),
        ("zone = 'UTC'\nretries = 3", "schedules.toml: unknown key retries; there are zone, keep and the tables"),
        ("zone = 'Mars/Olympus'", "schedules.toml: zone: 'Mars/Olympus' is no time zone"),
        ("zone = 3", "schedules.toml: zone: "),
        ("job = 3", r"write a table \[job.NAME\] for each job"),
        ("[job.Nightly]\nrun=['score']", "job 'Nightly': a name has small letters"),
        (SCORE + "retires = 3", "schedules.toml: job score: unknown key retires; there are after, at, back_off"),
        (SCORE + "retries = '3'", "job score, retries: '3' was found; a whole number is wanted"),
        (SCORE + "retries = true", "job score, retries: True was found; a whole number is wanted"),
        (SCORE + "retries = -1", "job score, retries: -1 was found; give 0 to 1000"),
        (SCORE + "keep = 0", "job score, keep: 0 was found; give 1 to"),
        (SCORE + "limit = '90'", "job score, limit: '90' is no duration; write a whole number with s, m, h or d"),
        (SCORE + "limit = '0s'", "job score, limit: '0s' leaves no time"),
        (SCORE + "back_off = '5 minutes'", "job score, back_off: '5 minutes' is no duration"),
        (SCORE + "catch_up = 'none'", "job score, catch_up: 'none' was found; write one of skip, latest, all"),
        (SCORE + "after = ['load']", "job score, after: there is no job 'load'; there are score"),
        (SCORE + "after = ['score']", "job score, after: score waits for score; take one of them out"),
        (SCORE + "zone = 'X'", "job score, zone: 'X' is no time zone"),
        (SCORE + "parameters = { a = 1 }", "job score, parameters: only a notebook has it"),
        (SCORE + "notebook = 'x'", "job score: give either run .* or notebook"),
        ("[job.a]\nat = '0 0 * * *'", "job a: give either run"),
        ("[job.a]\nrun = ['score']\nat = '0 0 * *'", "job a, at: '0 0 \\* \\*' has 4 fields"),
        ("[job.a]\nrun = ['score']", "job a, at: is missing and it waits for no other job"),
        ("[job.a]\nrun = ['score', 7]\nat = '0 0 * * *'", "job a, run: .* a list of texts is wanted"),
        ("[job.a]\nrun = ['scoer']\nat = '0 0 * * *'", "job a, run: crm has no command 'scoer'; did you mean score"),
        ("[job.a]\nrun = []\nat = '0 0 * * *'", "job a, run: crm has no command ''"),
        ("[job.a]\nrun = ['dashboards']\nat = '0 0 * * *'", "job a, run: `crm dashboards` does not end by itself"),
        ("[job.a]\nrun = ['schedule', 'tick']\nat = '0 0 * * *'", "`crm schedule` does not end by itself"),
        ("[job.a]\nrun = ['score', '--data', 'x']\nat = '0 0 * * *'", "--data is the scheduler's own; take it out"),
        ("[job.a]\nrun = ['score', '--model-versoin', '3']\nat = '0 0 * * *'", "unrecognized arguments.*--help` lists"),
        ("[job.a]\nrun = ['score', '--model-version', 'x']\nat = '0 0 * * *'", "job a, run: .*invalid"),
        ("[job.a]\nrun = ['load', 'x.csv']\nat = '0 0 * * *'", "job a, run: .*--mapping"),
        (
            "[job.a]\nrun = ['score', '--as-of', '{day}']\nat = '0 0 * * *'",
            r"job a, run: \{day\} is no placeholder; there are",
        ),
        ("[job.a]\nnotebook = 'nowhere'\nat = '0 0 * * *'", "job a, notebook: there is no 'nowhere'"),
        (
            "[job.a]\nnotebook = 'mine.ipynb'\nat = '0 0 * * *'\nparameters = { brnch = 'x' }",
            "no parameter brnch; did you mean branch",
        ),
        (
            "[job.a]\nnotebook = 'mine.ipynb'\nat = '0 0 * * *'\nparameters = { share = 'x' }",
            "job a, parameters: parameter share is 'x'",
        ),
        (
            "[job.a]\nnotebook = 'mine.ipynb'\nat = '0 0 * * *'\nparameters = { limit = 2026-01-01 }",
            "job a, parameters: .*JSON",
        ),
        (
            "[job.a]\nrun=['score']\nafter=['b']\n[job.b]\nrun=['score']\nafter=['c']\n[job.c]\nrun=['score']\nafter=['a']",
            "job a, after: a waits for b waits for c waits for a; take one of them out",
        ),
        (
            SCORE + "[job.b]\nrun=['score']\nat='0 5 * * *'\n[job.c]\nrun=['score']\nafter=['score', 'b']",
            "job c, at: is missing and the jobs it waits for are due at different times",
        ),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, match: str) -> None:
    notebook(tmp_path)
    with pytest.raises(DataError, match=match):
        read(tmp_path, text)


def test_a_missing_file_says_how_to_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule_file.servers, "project_folder", lambda _: tmp_path / "project" / "notebooks")
    with pytest.raises(NotFoundError, match="crm schedule init"):
        schedule_file.find(tmp_path)
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "schedules.toml").write_text("")
    assert schedule_file.find(tmp_path) == tmp_path / "project" / "schedules.toml"
    (tmp_path / "schedules.toml").write_text("")
    assert schedule_file.find(tmp_path) == tmp_path / "schedules.toml"


def test_an_unknown_placeholder_in_a_nested_value_is_refused() -> None:
    with pytest.raises(UsageError, match=r"\{today\} is no placeholder"):
        schedule_file.filled({"a": ["{today}"]}, {"logical_date": "2026-01-01"})
