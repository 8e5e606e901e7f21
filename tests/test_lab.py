"""The workspace of JupyterLab: its start page, runs with parameters, launcher cards, completion, dashboards in notebooks."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import browser
import made_scores
import nbformat
import pytest

import crmlib
from crmlib.errors import UsageError
from crmlib.runs import lab, lab_cards, notebooks
from crmlib.store import ledger
from crmlib.views import lab_form, lab_panel, lab_work

ROOT = Path(__file__).parents[1]
SMALL = {
    "01_sums": """share = 0.2  # of the whole
count = 3  # how many
wide = False  # or narrow
names = ["a"]  # of the parts
language = "en"  # en or ru""",
    "02_slow": "seconds = 60.0  # how long it takes",
}
CODE = {
    "01_sums": ["assert count != 13, 'unlucky'", "print(share * count)"],
    "02_slow": ["1 + 1", "import time; time.sleep(seconds)", "2"],
}


def project(folder: Path) -> Path:
    """A project of two small notebooks beside the start page, and one dashboard."""
    (folder / "notebooks").mkdir(parents=True)
    (folder / "dashboards").mkdir()
    shutil.copy(ROOT / "notebooks" / f"{lab.START}.ipynb", folder / "notebooks")
    shutil.copy(ROOT / "dashboards" / "campaign_targeting.ipynb", folder / "dashboards")
    for name, values in SMALL.items():
        made = nbformat.v4.new_notebook()
        made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        first = nbformat.v4.new_markdown_cell(f"# The {name[3:]}\n\n**Question:** what is <{name}>?")
        given = nbformat.v4.new_code_cell(values, metadata={"tags": ["parameters"]})
        made.cells = [first, given, *map(nbformat.v4.new_code_cell, CODE[name])]
        nbformat.write(made, folder / "notebooks" / f"{name}.ipynb")
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return project(tmp_path_factory.mktemp("project"))


@pytest.fixture
def data(root: Path) -> Iterator[Path]:
    """A data folder within the project, so that JupyterLab reaches what runs leave."""
    yield root / "data"
    shutil.rmtree(root / "data", ignore_errors=True)


@pytest.fixture
def work(root: Path, data: Path) -> lab_work.Work:
    return lab.work(data, root=root)


def ended(run: lab_work.Begun) -> str:
    give_up = time.monotonic() + 120
    while (said := run.ended()) is None:
        assert time.monotonic() < give_up
        time.sleep(0.1)
    return said


# ---------------------------------------------------------------- what there is


def test_the_projects_notebooks_are_listed_in_reading_order_with_their_questions() -> None:
    found = lab.work(Path("nowhere"), root=ROOT).notebooks
    assert [one.file[:2] for one in found] == [f"{number:02d}" for number in range(1, len(found) + 1)]
    assert all(one.question.endswith("?") and one.title and not one.trouble for one in found)
    assert len(lab.work(Path("nowhere"), root=ROOT).dashboards) == len(list(ROOT.glob("dashboards/*.ipynb")))


def test_a_notebook_that_cannot_be_run_is_listed_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "01_broken.ipynb").write_text("{", encoding="utf-8")
    (found,) = lab.listed(tmp_path)
    assert found.title == "01_broken" and "not a readable notebook" in found.trouble


def test_files_that_jupyterlab_cannot_reach_have_no_address(root: Path, data: Path, tmp_path: Path) -> None:
    inside, outside = data / "runs" / "a.ipynb", tmp_path / "a.ipynb"
    inside.parent.mkdir(parents=True)
    inside.touch()
    outside.touch()
    assert lab.address(inside, root) == "data/runs/a.ipynb"
    assert lab.address(outside, root) == "" and lab.address(data / "runs" / "b.ipynb", root) == ""


def test_the_cards_of_the_launcher_name_every_notebook_and_dashboard(root: Path, tmp_path: Path) -> None:
    below = lab_cards.write(tmp_path, root=root) / lab_cards.NAME
    known = json.loads((below / "static" / "cards.json").read_text(encoding="utf-8"))
    assert known["runs"] == ["notebooks/00_start.ipynb", "dashboards/campaign_targeting.ipynb"]
    assert [card["title"] for card in known["cards"]] == ["Start", "The sums", "The slow", "Campaign targeting"]
    package = json.loads((below / "package.json").read_text(encoding="utf-8"))
    assert (below / package["jupyterlab"]["_build"]["load"]).is_file() and package["name"] == lab_cards.NAME


# ---------------------------------------------------------------- the form


def test_the_form_has_a_control_for_each_parameter_and_gives_what_was_changed(work: lab_work.Work) -> None:
    form = lab_form.Form()
    form.show(work.notebooks[0])
    kinds = {name: type(control).__name__ for name, control in form.controls.items()}
    texts = {"share": "Text", "count": "Text", "names": "Text"}
    assert kinds == {**texts, "wide": "Checkbox", "language": "Dropdown"}
    assert form.values() == {}
    form.controls["count"].value, form.controls["wide"].value = "4", True
    form.controls["names"].value = '["b", "c"]'
    assert form.values() == {"count": "4", "wide": "true", "names": '["b", "c"]'}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"count": "many"}, "parameter count is 'many'; a whole number is wanted, like 3"),
        ({"names": "a, b"}, "parameter names is 'a, b'; a JSON list is wanted"),
        ({"cuont": "1"}, "has no parameter cuont; did you mean count"),
    ],
)
def test_a_wrong_parameter_is_refused_before_anything_starts(
    given: dict[str, str], message: str, work: lab_work.Work
) -> None:
    with pytest.raises(UsageError, match=message):
        work.begin(work.notebooks[0], given, True)
    assert work.history().empty


def test_errors_are_said_in_the_readers_language(work: lab_work.Work, data: Path) -> None:
    panel = lab_panel.Start(data, work, language="ru")
    panel.form.controls["count"].value = "many"
    panel.go.click()
    assert "параметр count равен &#x27;many&#x27;; нужно целое число" in panel.frame._trouble.value
    assert panel.begun is None and not panel.go.disabled
    assert "не запускался" in panel.lists["books"].value and "&lt;01_sums&gt;" in panel.lists["books"].value


# ---------------------------------------------------------------- runs


def test_a_run_from_the_panel_shows_its_progress_and_result(work: lab_work.Work, data: Path) -> None:
    panel = lab_panel.Start(data, work)
    panel.form.controls["count"].value = "5"
    shown = []

    async def click() -> None:
        panel.result.observe(lambda change: shown.append(change["new"]), "value")
        panel.go.click()
        assert panel.go.disabled and not panel.stop.disabled
        assert panel.following
        await panel.following

    asyncio.run(click())
    assert any("running" in words for words in shown), shown
    assert "✕" not in panel.result.value and "crm-state-succeeded" in panel.result.value
    run = ledger.runs(data).iloc[0]
    assert run["parameters"]["count"] == 5 and run["state"] == "succeeded"
    for file in (run["output"], f"reports/{Path(run['output']).stem}.html"):
        assert (data / file).is_file() and f"data/{file}" in panel.result.value
    assert "01_sums.ipynb" in panel.lists["runs"].value and "count=5" in panel.lists["runs"].value
    assert not panel.go.disabled and panel.stop.disabled
    said = lab.lab_words.conclusions(panel.frame.say, work, work.history())
    assert "**1** of **2**" in said and "Next in reading order: **The slow**" in said


def test_a_failed_run_says_which_cell_and_why(work: lab_work.Work, data: Path) -> None:
    run = work.begin(work.notebooks[0], {"count": "13"}, False)
    assert re.search(r"01_sums.ipynb: cell \d failed: AssertionError: unlucky", ended(run))
    panel = lab_panel.Start(data, work)
    assert "unlucky" in panel.lists["runs"].value and "-failed.ipynb" in panel.lists["runs"].value


def test_a_run_can_be_stopped_and_tells_how_far_it_is(work: lab_work.Work, data: Path) -> None:
    run = work.begin(work.notebooks[1], {}, False)
    give_up = time.monotonic() + 90
    while (number := run.run_id()) is None or work.progress(number)[0] < 2:
        assert run.ended() is None and time.monotonic() < give_up
        time.sleep(0.1)
    assert work.progress(number)[1] >= 4
    assert "running, cell 3 of" in lab_panel.Start(data, work).lists["runs"].value
    run.stop()
    ended(run)
    assert ledger.run(data, number)["state"] == "interrupted"


def test_the_start_notebook_runs_by_itself_and_concludes(root: Path, data: Path) -> None:
    output = notebooks.run(root / "notebooks" / f"{lab.START}.ipynb", {"language": "ru"}, data=data)
    cells = nbformat.read(output, as_version=4).cells
    assert "application/vnd.jupyter.widget-view+json" in cells[3].outputs[-1]["data"]
    said = cells[-1].outputs[-1]["data"]["text/markdown"]
    assert "**0** из **2**" in said and "**The sums**" in said


# ---------------------------------------------------------------- completion and docstrings


def test_jedi_completes_through_the_flat_imports() -> None:
    import jedi

    def names(source: str) -> set[str]:
        return {one.name for one in jedi.Script(source).complete()}

    assert "warehouse" in names("from crmlib import wareh")
    assert "snapshot" in names("from crmlib import warehouse\nwarehouse.open('data/warehouse').sn")
    source = "from crmlib import warehouse\nwarehouse.open("
    assert "version: int | None=None" in jedi.Script(source).get_signatures()[0].to_string()
    hidden = {name for name in crmlib._MODULES if name not in names("import crmlib\ncrmlib.")}
    assert hidden == set(), "modules that `if TYPE_CHECKING` of crmlib/__init__.py does not name"


def test_ipython_completes_a_lazy_module_and_its_keywords() -> None:
    from IPython.core.completer import provisionalcompleter
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell()
    shell.run_cell("import crmlib\nfrom crmlib import warehouse")
    for code, wanted in (
        ("crmlib.prop", "propensity"),
        ("warehouse.op", "open"),
        ("warehouse.open(", "version="),
        ("warehouse.open('x').snapshot('2025-01-01').t", "table"),
    ):
        with provisionalcompleter():
            assert wanted in {one.text for one in shell.Completer.completions(code, len(code))}, code


def test_everything_public_in_the_flat_modules_has_types_and_a_docstring() -> None:
    lacking = []
    for name in crmlib._MODULES:
        for called, one in vars(getattr(crmlib, name)).items():
            own = not called.startswith("_") and str(getattr(one, "__module__", "")).startswith("crmlib")
            if not own or not (inspect.isfunction(one) or inspect.isclass(one)):
                continue
            if not one.__doc__:
                lacking.append(f"{name}.{called}: docstring")
            if inspect.isfunction(one) and len(one.__annotations__) <= len(inspect.signature(one).parameters) - 1:
                lacking.append(f"{name}.{called}: types")
    assert lacking == []


# ---------------------------------------------------------------- in JupyterLab


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[browser.Visit]:
    """A browser at the link that `crm lab` prints, in a project of its own."""
    if browser.program() is None:
        pytest.skip("chromium is not installed; `make system` installs it")
    made = project(tmp_path / "project")
    made_scores.make(made / "data", customers=600)
    (tmp_path / "home").mkdir()
    own = {**os.environ, "HOME": str(tmp_path / "home"), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "crmlib.cli", "lab", "--no-browser", "--data", str(made / "data")]
    process = subprocess.Popen(command, cwd=made, env=own, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        link = next(line.strip() for line in process.stdout if "http://" in line)
        with browser.chromium() as driver, browser.visit(driver) as found:
            found.page.goto(link)
            yield found
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


@pytest.mark.browser
def test_jupyterlab_opens_at_its_start_page_runs_a_notebook_and_draws_a_dashboard(opened: browser.Visit) -> None:
    page = opened.page
    page.locator(".crm-book").first.wait_for()  # nobody ran a cell: the start page runs when it is opened
    page.locator(".crm-form input[type=text]").nth(1).fill("many")
    page.keyboard.press("Tab")
    run = page.locator(".crm-form .mod-primary")
    run.click()
    assert "a whole number is wanted" in page.locator(".crm-error").inner_text()
    page.locator(".crm-form input[type=text]").nth(1).fill("5")
    page.keyboard.press("Tab")
    run.click()
    page.locator(".crm-result .crm-state-succeeded").wait_for()
    page.locator("[data-notebook='01_sums.ipynb'] .crm-state-succeeded").wait_for()
    with page.expect_popup() as report:
        page.locator(".crm-result a", has_text="report").click()
    assert report.value.locator("h1").inner_text() == "The sums"
    report.value.close()

    page.locator(".crm-book a", has_text=re.compile("^Campaign targeting$")).click()
    page.wait_for_function(browser.DRAWN, arg=3)
    page.locator(".lm-MenuBar-itemLabel", has_text="Settings").click()
    page.locator(".lm-Menu-itemLabel", has_text=re.compile("^Theme$")).hover()
    page.locator(".lm-Menu-itemLabel", has_text=re.compile("^JupyterLab Dark$")).click()
    page.wait_for_function("document.documentElement.dataset.theme === 'dark'")
    page.wait_for_function(browser.DRAWN, arg=3)
    ink = "getComputedStyle(document.querySelector('.crm-chart .xtick text')).fill.match(/\\d+/g).map(Number)"
    page.wait_for_function(f"Math.min(...{ink}) > 150")  # light letters

    page.keyboard.press("Control+Shift+L")
    page.locator(".jp-LauncherCard[title*='01_sums']").wait_for()
    cards: Any = page.locator(".jp-LauncherCard").all_inner_texts()
    assert {"Start", "The sums", "The slow", "Campaign targeting"} <= {card.strip() for card in cards}
    assert opened.outside == [] and opened.errors == []
