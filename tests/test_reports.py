"""Reports: one page, no request, nothing that runs but its own, figures drawn, code hidden."""

from __future__ import annotations

import datetime as dt
import re
import tomllib
from pathlib import Path
from typing import Any

import browser
import nbformat
import plotly.graph_objects as go
import pytest

from crmlib.errors import DataError, NotFoundError
from crmlib.runs import alert_settings, report_html, reports

MADE = dt.datetime(2026, 1, 31, 6)
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
HOSTILE = (
    '<table class="dataframe"><tr><td>North</td></tr></table><script>window.hacked = 1</script>'
    '<img src="https://evil.example/x.png"><img src=x onerror="window.hacked=2"><iframe src="https://evil.example"></iframe>'
    '<a href="javascript:window.hacked=3">click</a><form action="https://evil.example"><input></form>'
    '<style>body{background:url(https://evil.example/b)}</style><meta http-equiv="refresh" content="0;url=https://evil.example">'
)


def output(data: dict[str, Any]) -> Any:
    return nbformat.v4.new_output("display_data", data=data)


def code(*outputs: Any, source: str = "secret_recipe = 17", number: int = 1) -> Any:
    return nbformat.v4.new_code_cell(source, outputs=list(outputs), execution_count=number)


def figure(title: str) -> Any:
    drawn = go.Figure().add_bar(x=["</script><script>window.hacked=4</script>", "b"], y=[1, 2])
    drawn.update_layout(title=title, template="none")
    return output({"application/vnd.plotly.v1+json": drawn.to_plotly_json() | {"layout": {"title": {"text": title}}}})


def executed(path: Path, *more: Any) -> Path:
    widget = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "text/plain": "IntSlider(value=3)"}
    cells = [
        nbformat.v4.new_markdown_cell(
            "# Sales of the week\n\n**Question:** how much?\n\n![map](https://evil.example/m.png)"
        ),
        code(source="seed = 7"),
        nbformat.v4.new_markdown_cell("## First"),
        code(figure("One"), figure("Two")),
        nbformat.v4.new_markdown_cell("## Second <script>window.hacked=5</script>"),
        code(
            output({"text/html": HOSTILE}),
            output(widget),
            output({"image/png": PNG}),
            output({"application/x-odd": "1"}),
        ),
        code(nbformat.v4.new_output("stream", name="stdout", text="\x1b[31mprinted <b>\x1b[0m")),
        code(nbformat.v4.new_output("stream", name="stderr", text="a warning")),
        nbformat.v4.new_markdown_cell("## Conclusions"),
        code(output({"text/markdown": "- **12** more", "text/plain": "x"}), output({"text/plain": "1 < 2"})),
        *more,
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


def make(folder: Path, *more: Any, language: str = "en", **values: Any) -> Path:
    notebook = executed(folder / "a.ipynb", *more)
    given: dict[str, Any] = {"title": "Sales of the week", "parameters": {"seed": 7, "data": "/srv/x"}, "made_at": MADE}
    given |= {"versions": {"warehouse": 3, "models": {"churn": 2}, "crmlib": "0.1.0"}, "language": language}
    return reports.make(notebook, folder / "out" / "a.html", **{**given, **values})


def test_a_report_has_everything_but_the_code(tmp_path: Path) -> None:
    page = make(tmp_path).read_text(encoding="utf-8")
    body = page[page.index("<body>") : page.index('<script type="application/json"')]
    for part in ("Sales of the week", "Made on 31 January 2026, 06:00 UTC", "Version of the data</dt><dd>3", "churn 2"):
        assert part in body
    for part in (
        "seed</dt><dd>7",
        "<td>North</td>",
        f"base64,{PNG}",
        "<strong>12</strong> more",
        "1 &lt; 2",
        "printed &lt;b&gt;",
    ):
        assert part in body
    assert "control that works in the notebook only" in body and "only the notebook can show" in body
    assert "secret_recipe" not in page and "/srv/x" not in page and "IntSlider" not in page
    assert body.count("<h1>") == 1, "the notebook's own title is not repeated"
    assert page.count("plotly.js v") == 1 and [path.name for path in (tmp_path / "out").iterdir()] == ["a.html"]


def test_a_page_without_figures_is_small_and_runs_nothing(tmp_path: Path) -> None:
    nbformat.write(nbformat.v4.new_notebook(cells=[code(output({"text/plain": "1"}))]), tmp_path / "a.ipynb")
    given: dict[str, Any] = {"title": "<T>", "parameters": {}, "versions": {}, "made_at": MADE}
    page = reports.make(tmp_path / "a.ipynb", tmp_path / "a.html", **given).read_text(encoding="utf-8")
    assert (
        "<script" not in page
        and "script-src 'none'" in page
        and len(page) < 10_000
        and "<title>&lt;T&gt;</title>" in page
    )


def test_a_failed_run_says_which_cell_and_why_and_shows_no_code(tmp_path: Path) -> None:
    trace = nbformat.v4.new_output(
        "error", ename="ValueError", evalue="no rows\nmore", traceback=["secret_recipe = 17"]
    )
    banner = nbformat.v4.new_markdown_cell("<span>An Exception was encountered</span>")
    banner.metadata["tags"] = ["papermill-error-cell-tag"]
    page = make(tmp_path, banner, code(trace, number=6)).read_text(encoding="utf-8")
    assert "The run failed in cell 6: ValueError: no rows. What came before it is below." in page
    assert "The run ended here." in page and "secret_recipe" not in page and "An Exception" not in page
    russian = make(tmp_path, code(trace, number=6), language="ru").read_text(encoding="utf-8")
    assert "Ошибка в ячейке 6: ValueError: no rows." in russian and '<html lang="ru">' in russian


def test_what_is_no_notebook_is_refused_and_leaves_no_page(tmp_path: Path) -> None:
    given: dict[str, Any] = {"title": "T", "parameters": {}, "versions": {}, "made_at": MADE}
    with pytest.raises(NotFoundError, match="no such notebook"):
        reports.make(tmp_path / "none.ipynb", tmp_path / "a.html", **given)
    (tmp_path / "bad.ipynb").write_text("{")
    with pytest.raises(DataError, match="not a readable notebook"):
        reports.make(tmp_path / "bad.ipynb", tmp_path / "a.html", **given)
    assert not list(tmp_path.glob("*.html"))


@pytest.mark.parametrize(
    "text",
    [
        "<svg onload=alert(1)>",
        "<SCRIPT>alert(1)",
        "<img src=data:text/html,x onerror=alert(1)>",
        "<b style='x:y'>",
        "<a href=' javascript:alert(1)'>x</a>",
        "<math><mi//xlink:href='data:x'>",
        "<object data=x>",
        "<base href=//x>",
        "<img src='data:image/svg+xml;base64,AA\" onerror=alert(1)'>",
        "<!--<script>-->",
        "<link rel=stylesheet href=//x>",
    ],
)
def test_nothing_that_runs_or_fetches_is_left_of_hostile_html(text: str) -> None:
    cleaned = report_html.clean(f"{text}<b>kept</b>").lower()
    for part in ("<script", "onerror=", "onload=", 'href="javascript', "<object", "<base", "<link", "<svg", "style="):
        assert part not in cleaned


@pytest.fixture(scope="module")
def chromium() -> Any:
    if browser.program() is None:
        pytest.skip("no chromium (make system)")
    with browser.chromium() as found:
        yield found


@pytest.mark.browser
@pytest.mark.parametrize(("scheme", "ink"), [("light", "rgb(35, 39, 47)"), ("dark", "rgb(232, 234, 237)")])
def test_the_page_asks_nobody_draws_its_figures_and_runs_nothing_else(
    chromium: Any, tmp_path: Path, scheme: str, ink: str
) -> None:
    page_file = make(tmp_path)
    context = chromium.new_context(color_scheme=scheme)
    page, asked, errors = context.new_page(), [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    context.route("**/*", lambda route: route.continue_() if route.request.url == page_file.as_uri() else route.abort())
    page.goto(page_file.as_uri())
    page.wait_for_function("[...document.querySelectorAll('.figure')].every(one => one.dataset.state)")
    states = page.eval_on_selector_all(".figure", "all => all.map(one => one.dataset.state)")
    assert states == ["drawn", "drawn"] and page.locator(".figure .bars path").count() == 4
    assert [one for one in asked if not one.startswith("data:")] == [page_file.as_uri()] and errors == []
    assert page.evaluate("window.hacked") is None and page.title() == "Sales of the week"
    assert page.evaluate("getComputedStyle(document.body).color") == ink
    assert page.get_by_role("img", name="Chart: One").count() == 1
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(35, 39, 47)", "on paper it is light"
    context.close()


@pytest.mark.browser
def test_even_html_that_got_past_the_cleaning_could_not_run_or_ask(chromium: Any, tmp_path: Path) -> None:
    """The page's content policy alone."""
    page_file = make(tmp_path)
    text = page_file.read_text(encoding="utf-8").replace("</main>", f"{HOSTILE.partition('<meta')[0]}</main>")
    page_file.write_text(text, encoding="utf-8")
    context = chromium.new_context()
    page, sent = context.new_page(), []

    def leave(route: Any) -> None:  # only what the policy lets out of the page comes here
        sent.append(route.request.url)
        route.continue_() if route.request.url == page_file.as_uri() else route.abort()

    context.route("**/*", leave)
    page.goto(page_file.as_uri())
    page.wait_for_function("[...document.querySelectorAll('.figure')].every(one => one.dataset.state)")
    assert page.evaluate("window.hacked") is None
    assert sent == [page_file.as_uri()]
    context.close()


def test_the_examples_of_the_documents_run() -> None:
    for name in ("reports", "backup"):
        text = (Path(__file__).parents[1] / "docs" / f"{name}.md").read_text(encoding="utf-8")
        [example] = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
        exec(example, {})


def test_the_settings_of_alerts_in_the_document_are_read() -> None:
    text = (Path(__file__).parents[1] / "docs" / "reports.md").read_text(encoding="utf-8")
    [example] = re.findall(r"```toml\n(.*?)```", text, flags=re.DOTALL)
    assert alert_settings.parse(tomllib.loads(example), where="docs").channels() == ["command", "email", "webhook"]
