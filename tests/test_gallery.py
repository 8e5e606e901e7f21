"""The front door: whom it shows what, what needs attention, the pictures, and its pages in words."""

from __future__ import annotations

import datetime as dt
import html
import json
import re
from pathlib import Path

import made_scores
import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from crmlib.serving import attention, gallery, pages
from crmlib.store import session, tables
from crmlib.views import campaign_targeting, cards, panels, plots, texts, thumbnail
from crmlib.views.visitor import NOBODY, Visitor, roles

NOW = dt.datetime(2026, 1, 5, 9, 30)
NAMES = [*panels.DASHBOARDS, "runs", "our_own"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    made_scores.make(folder)
    return folder


def door(data: Path, role: str = "analyst", language: str = "en", names: list[str] | None = None) -> str:
    who = Visitor("olga", roles(data)[role])
    base = "/voila/render/"
    return gallery.page(names or NAMES, data=data, visitor=who, language=language, base=base, now=NOW, logout="/logout")


def titles(page: str) -> list[str]:
    return [html.unescape(one) for one in re.findall(r"<h3>(.*?)</h3>", page)]


def card_of(page: str, name: str) -> str:
    return next(one for one in page.split('<li class="crm-door">') if f"{name}.ipynb" in one)


# ---------------------------------------------------------------- whom it shows what


def test_every_dashboard_has_an_entry() -> None:
    assert set(panels.DASHBOARDS) <= set(gallery.CARDS)
    assert {entry.group for entry in gallery.CARDS.values()} <= set(gallery.GROUPS)
    assert set(attention.NEEDS) <= set(gallery.CARDS)


@pytest.mark.parametrize("role", ["analyst", "marketer", "operator", "viewer"])
def test_a_role_sees_the_dashboards_that_open_to_it_and_no_other(data: Path, role: str) -> None:
    shown = re.findall(r"/voila/render/(\w+)\.ipynb", door(data, role))
    assert set(shown) == {name for name in NAMES if roles(data)[role].opens(name)} and shown


def test_nobody_in_particular_is_shown_no_dashboard(data: Path) -> None:
    page = gallery.page(NAMES, data=data, visitor=NOBODY, language="en", base="/", now=NOW)
    assert titles(page) == [] and "Your role opens no dashboard; ask for one." in page


def test_cards_stand_in_groups_in_a_fixed_order_and_ones_own_comes_last(data: Path) -> None:
    page = door(data)
    assert titles(page)[:2] == ["Campaign targeting", "Audience builder"] and titles(page)[-1] == "Our own"
    groups = re.findall(r'<section class="crm-group[^>]*><h2>(.*?)</h2>', page)
    assert groups == list(gallery.GROUPS.values())


def test_who_is_logged_in_can_log_out_and_change_the_language(data: Path) -> None:
    page = door(data, "marketer", "ru")
    assert "olga · маркетолог" in page and '<a href="/logout">Выйти</a>' in page and '<html lang="ru">' in page
    assert re.search(r'href="\?language=en" lang="en"', page) and "campaigns.ipynb?language=ru" in page


def test_names_of_files_and_people_never_become_markup(data: Path) -> None:
    who = Visitor("<b>olga</b>", roles(data)["analyst"])
    page = gallery.page(["<img src=x>"], data=data, visitor=who, language="en", base="/", now=NOW)
    assert "<b>olga" not in page and "<img" not in page


# ---------------------------------------------------------------- what needs attention


def test_without_data_it_says_what_to_do_and_makes_no_store(tmp_path: Path) -> None:
    page = door_without_data(tmp_path)
    assert "No data are loaded yet" in page and "crm demo" in page and "crm load" in page
    assert list(tmp_path.iterdir()) == [], "looking leaves nothing behind"


def door_without_data(folder: Path) -> str:
    who = Visitor("olga", roles(folder)["analyst"])
    return gallery.page(["demand"], data=folder, visitor=who, language="en", base="/", now=NOW)


def test_missing_scores_come_with_the_command_that_makes_them(data: Path) -> None:
    page = door(data)
    assert "<code>crm demand</code>" in card_of(page, "demand") and "<code>crm churn</code>" not in page
    assert "crm-flag" not in card_of(page, "campaign_targeting"), "its scores are there and of the newest data"


def test_scores_of_older_data_are_said_to_be_so(tmp_path: Path) -> None:
    made_scores.make(tmp_path, customers=100)
    with session.session(tmp_path) as store:
        store.execute(sa.update(tables.ScoreSet).values(warehouse_version=0))
        store.commit()
    words = card_of(door(tmp_path, language="ru"), "campaign_targeting")
    assert "Загружены более новые данные" in words and "<code>crm score</code>" in words


def test_alerts_are_for_whoever_may_open_the_runs(tmp_path: Path) -> None:
    made_scores.make(tmp_path, customers=100)
    with session.session(tmp_path) as store:
        content = {"job": "nightly <load>", "logical_date": "2026-01-05T02:00:00"}
        about = {"code": "failed", "content": content, "raised_at": NOW, "sent": {}}
        store.add(tables.Alert(topic="failed/nightly", **about))
        store.add(tables.Alert(topic="failed/before", **{**about, "content": {"job": "mended"}}, cleared_at=NOW))
        store.commit()
    page = door(tmp_path)
    assert "nightly &lt;load&gt; failed" in page and "runs.ipynb" in page and "mended" not in page
    assert "nightly" not in door(tmp_path, "marketer") and "nightly" not in door(tmp_path, names=["demand"])


def test_the_day_of_the_data_is_that_of_the_newest_scores_or_the_page(data: Path) -> None:
    assert f"Data up to {texts.speak('en').date(made_scores.AS_OF)}" in card_of(door(data), "campaign_targeting")


# ---------------------------------------------------------------- cards


def test_a_dashboard_publishes_its_card_when_it_has_read_its_data(data: Path) -> None:
    campaign_targeting.Panel(data, "", "en")
    card = cards.read(data, "campaign_targeting")
    assert card is not None and card.as_of == made_scores.AS_OF.isoformat() and card.language == "en"
    assert "warehouse version 1" in card.origin and thumbnail.safe(card.picture)
    assert card.picture in door(data)
    text = (data / "gallery" / "campaign_targeting.json").read_text(encoding="utf-8")
    names = pd.read_parquet(next((data / "scores").rglob("*.parquet")))["customer_id"].head(50)
    assert not any(one in text for one in names), "aggregates only"
    assert [file.name for file in (data / "gallery").iterdir()] == ["campaign_targeting.json"], "no half-written file"


def test_what_a_person_chose_is_not_for_the_front_door(data: Path) -> None:
    panel = campaign_targeting.Panel(data, "", "en")
    panel.frame._opened("")
    before = cards.read(data, "campaign_targeting")
    panel.frame.language.value = "ru"
    panel.cutoff.value = 1
    panel.frame.reload()
    assert cards.read(data, "campaign_targeting") == before


def publish(folder: Path, name: str, figure: go.Figure, note: str = "") -> Path | None:
    settings = {"as_of": dt.date(2025, 12, 31), "origin": ["run 1"], "note": note, "language": "en", "now": NOW}
    return cards.publish(folder, name, figures=[plots.empty("nothing"), figure], **settings)


def test_no_picture_of_one_customer_is_published(tmp_path: Path) -> None:
    for name in cards.ONE_CUSTOMER:
        publish(tmp_path, name, go.Figure(go.Bar(y=[1, 2])))
        found = cards.read(tmp_path, name)
        assert found is not None and found.picture == ""


def test_a_note_is_shown_in_the_language_it_was_written_in(data: Path) -> None:
    publish(data, "campaigns", go.Figure(go.Bar(y=[1, 2])), note="Newer <data>.")
    assert "Newer &lt;data&gt;." in card_of(door(data), "campaigns")
    russian = card_of(door(data, language="ru"), "campaigns")
    assert "Newer" not in russian and "На нём есть замечание; откройте его." in russian


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"made_at": 1}', "null"],
)
def test_a_damaged_card_is_no_card(tmp_path: Path, content: str) -> None:
    (tmp_path / "gallery").mkdir()
    (tmp_path / "gallery" / "demand.json").write_text(content)
    assert cards.read(tmp_path, "demand") is None


def test_a_picture_that_was_not_made_here_is_not_shown(tmp_path: Path) -> None:
    file = publish(tmp_path, "demand", go.Figure(go.Bar(y=[1, 2])))
    assert file is not None
    card = json.loads(file.read_text())
    for evil in ("<script>alert(1)</script>", '<rect onload="alert(1)"/>', '<image href="http://x"/>', "</svg><b>"):
        file.write_text(json.dumps({**card, "picture": card["picture"].replace("</svg>", f"{evil}</svg>")}))
        assert cards.read(tmp_path, "demand") is None, evil


def test_a_folder_that_cannot_be_written_to_leaves_the_door_without_a_picture(tmp_path: Path) -> None:
    (tmp_path / "gallery").write_text("in the way")
    assert publish(tmp_path, "demand", go.Figure(go.Bar(y=[1]))) is None


def test_a_name_with_a_path_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store.json").write_text("{}")
    assert cards.read(tmp_path / "data", "../../store") is None
    with pytest.raises(ValueError, match="is not the name of a dashboard"):
        publish(tmp_path, "../store", go.Figure())


# ---------------------------------------------------------------- small pictures


def numbers(picture: str, name: str) -> list[float]:
    return [float(one) for one in re.findall(rf' {name}="([-\d.]+)"', picture)]


def test_bars_are_as_tall_as_their_values() -> None:
    tall = numbers(thumbnail.draw(go.Figure(go.Bar(x=["a", "b", "c"], y=[1, 2, 4]))), "height")
    assert tall[1] / tall[0] == pytest.approx(2, abs=0.02) and tall[2] / tall[0] == pytest.approx(4, abs=0.02)


def test_stacked_bars_stand_on_each_other() -> None:
    figure = go.Figure([go.Bar(x=["a"], y=[1]), go.Bar(x=["a"], y=[3])], layout={"barmode": "stack"})
    picture = thumbnail.draw(figure)
    (low, high), tall = numbers(picture, "y"), numbers(picture, "height")
    assert high + tall[1] == pytest.approx(low, abs=0.11) and tall[1] / tall[0] == pytest.approx(3, abs=0.02)


def test_the_house_colours_follow_the_theme() -> None:
    figure = go.Figure(go.Scatter(y=[1, 2], line={"color": plots.ORANGE}))
    figure.add_scatter(y=[1, 3, 2], fill="toself", fillcolor="rgba(0, 114, 178, 0.15)")
    picture = thumbnail.draw(figure)
    assert 'stroke="var(--crm-orange)"' in picture and 'fill="var(--crm-blue)"' in picture
    assert picture.index("blue") < picture.index("orange"), "areas lie under lines"


def test_cells_of_a_heat_map_are_as_strong_as_their_values() -> None:
    assert numbers(thumbnail.draw(go.Figure(go.Heatmap(z=[[0, 1], [None, 2]]))), "opacity") == pytest.approx(
        [0.95, 0.12, 0.535], abs=0.006
    )


@pytest.mark.parametrize("axis", ["linear", "log"])
def test_points_lie_where_their_axes_put_them(axis: str) -> None:
    figure = go.Figure(go.Scatter(x=[1, 10, 100], y=[1, 2, 3], mode="markers"), layout={"xaxis": {"type": axis}})
    first, middle, last = numbers(thumbnail.draw(figure), "cx")
    share = (middle - first) / (last - first)
    assert share == pytest.approx(0.5 if axis == "log" else 9 / 99, abs=0.01)


def test_days_and_categories_have_places() -> None:
    days = pd.date_range("2025-01-01", periods=3, freq="D")
    figure = go.Figure([go.Scatter(x=days, y=[1, 2, 3]), go.Scatter(x=days[1:], y=[2, 2])])
    paths = re.findall(r'd="M([\d.]+)', thumbnail.draw(figure))
    assert float(paths[1]) == pytest.approx((thumbnail.WIDTH) / 2, abs=0.1), "the second line begins in the middle"


@pytest.mark.parametrize("figure", [plots.empty("nothing"), go.Figure(), go.Figure(go.Pie(values=[1, 2]))])
def test_what_cannot_be_drawn_small_is_no_picture(figure: go.Figure) -> None:
    assert thumbnail.draw(figure) == ""


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6), st.just(float("nan"))), max_size=30),
    st.sampled_from(["bar", "line", "points", "heat", "lying"]),
    st.lists(st.text(max_size=5), min_size=30, max_size=30),
)
def test_any_picture_is_one_that_pages_accept(values: list[float | None], kind: str, words: list[str]) -> None:
    names = words[: len(values)]
    made = {
        "bar": lambda: go.Bar(x=names, y=values, name="<b>", text=names),
        "lying": lambda: go.Bar(x=values, y=names, orientation="h"),
        "line": lambda: go.Scatter(x=np.arange(len(values)), y=values, name=names[0] if names else ""),
        "points": lambda: go.Scatter(x=names, y=values, mode="markers", customdata=names),
        "heat": lambda: go.Heatmap(z=[values, values] if values else [[None]], text=[names, names]),
    }
    picture = thumbnail.draw(go.Figure(made[kind]()))
    assert picture == "" or thumbnail.safe(picture)
    assert "nan" not in picture and len(picture) < 25_000


# ---------------------------------------------------------------- pages in words


@pytest.mark.parametrize("status", [400, 403, 404, 405, 429, 500, 502, 503])
@pytest.mark.parametrize("language", ["en", "ru"])
def test_every_error_says_what_to_do_in_the_readers_language(status: int, language: str) -> None:
    page = pages.error(status, texts.speak(language), home="/")
    words = re.sub(r"<(style|script).*?</\1>|<[^>]+>", " ", page, flags=re.DOTALL)
    assert len(words.split()) > 12 and "Traceback" not in page and str(status) not in words
    assert bool(re.search("[а-я]{3}", words.replace("Русский", ""))) == (language == "ru")


def test_a_page_that_waits_looks_again_by_itself() -> None:
    page = pages.message(texts.speak("en"), "All places are taken", "Wait.", home="/", again=5)
    assert "setTimeout(() => location.reload(), 5000)" in page and 'http-equiv="refresh"' not in page


def test_the_words_before_the_kernel_speaks_are_there_in_every_language() -> None:
    made = pages.for_template()
    assert all(set(words) == set(texts.LANGUAGES) for words in made["words"].values())
    assert made["words"]["starting"]["ru"] == "Дашборд открывается…"
