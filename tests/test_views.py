"""Figures, the chart widget and the targeting panel, without a browser."""

from __future__ import annotations

import dataclasses
import datetime as dt
import html
import json
import re
from pathlib import Path
from typing import Any

import made_scores
import numpy as np
import openpyxl
import pandas as pd
import pytest
import sqlalchemy as sa

from crmlib import paths, warehouse
from crmlib.decisions import call_list
from crmlib.errors import DataError, EnvironmentFault, NotFoundError, UsageError
from crmlib.serving import serve
from crmlib.store import session, tables
from crmlib.views import campaign_targeting, chart, listing, plots, targeting, targeting_prepared
from crmlib.warehouse import build
from crmlib.warehouse.company_policy import ContactPolicy


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    made_scores.make(folder)
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    made_scores.make(tmp_path, customers=200)
    return tmp_path


def panel(data: Path, *, product: str = "", language: str = "en") -> Any:
    made = campaign_targeting.Panel(data, product, language)
    return made


def words(markup: str) -> str:
    return html.unescape(re.sub(r"<[^>]+>", " ", markup))


# ---------------------------------------------------------------- plots


def traces(figure: Any) -> dict[str, Any]:
    return {trace.name: trace for trace in figure.data if trace.name}


def test_gains_draws_each_model_and_marks_the_list() -> None:
    table = made_scores.gains_table()
    figure = plots.gains(table, product="deposit", mark=(0.2, 0.45))
    assert list(traces(figure)) == ["at random", "this model", "logistic regression"]
    rows = table[(table["product_id"] == "deposit") & (table["model"] == "propensity")]
    assert list(traces(figure)["this model"].y) == rows["gains"].tolist()
    assert (figure.data[-1].x, figure.data[-1].y, figure.data[-1].text) == ((0.2,), (0.45,), ("your list: 45%",))
    assert len(figure.data) == 5, "one interval, of the model in use"


def test_lift_starts_above_nothing() -> None:
    table = pd.DataFrame({"share": [0, 0.5, 1.0], "gains": [0, 0.8, 1.0], "lift": [np.nan, 1.6, 1.0]})
    assert list(traces(plots.lift(table))["this model"].y) == [1.6, 1.0]


def test_profit_marks_the_best_and_the_present_cutoff_in_whole_units() -> None:
    curve = pd.DataFrame({"contacts": [0, 1, 2], "profit_minor": [0.0, 25_000.0, 20_000.0]})
    figure = plots.profit(curve, currency="EUR", language="ru", cutoff=2, best=1)
    found = traces(figure)
    assert list(found["ожидаемая прибыль"].y) == [0, 250, 200]
    assert (found["лучший порог"].x, found["лучший порог"].y) == ((1,), (250,))
    ring = next(trace for trace in figure.data if trace.mode == "markers+text")
    assert (ring.x, ring.y) == ((2,), (200,))
    assert figure.layout.separators == ",\u00a0" and figure.layout.yaxis.title.text == "Ожидаемая прибыль, €"


def test_calibration_and_quality_and_reasons_show_what_they_are_given() -> None:
    table = pd.DataFrame({"predicted": [0.1, 0.2], "observed": [0.1, 0.25], "low": [0.05, 0.2], "high": [0.2, 0.3]})
    points = traces(plots.calibration(table))["groups of customers"]
    assert list(points.y) == [0.1, 0.25] and list(points.error_y.array) == pytest.approx([0.1, 0.05])
    fields = pd.DataFrame({"table": "customers", "column": ["email", "phone"], "completeness": [0.5, 0.95]})
    bars = plots.quality(fields.assign(age_days=[1, 400])).data[0]
    assert list(bars.y) == ["customers.phone", "customers.email"], "the least complete on top"
    assert list(bars.text) == ["95% · 400 days old", "50% · 1 day old"]
    figure = plots.reasons(pd.DataFrame({"reason": ["a <b>", "c"], "share": [0.5, 0.7]}))
    assert [note.text for note in figure.layout.annotations] == ["a &lt;b&gt;", "c"]


def test_a_table_without_its_columns_is_refused() -> None:
    with pytest.raises(DataError, match=r"the table to plot has no column gains; it has share"):
        plots.gains(pd.DataFrame({"share": [0.0]}))
    with pytest.raises(UsageError, match="language is 'de'; use en or ru"):
        plots.gains(made_scores.gains_table(), language="de")


# ---------------------------------------------------------------- the chart widget


def test_a_chart_sends_the_figure_as_json() -> None:
    made = chart.Chart(plots.empty("nothing"))
    assert json.loads(made.spec)["layout"]["annotations"][0]["text"] == "nothing"
    made.update(plots.gains(made_scores.gains_table(), product="deposit"))
    assert made.revision == 1 and len(json.loads(made.spec)["data"]) == 4
    assert len(made.spec) < 20_000, "a change of a slider sends some kilobytes, never plotly itself"


def test_a_chart_answers_with_plotly_and_keeps_what_failed(caplog: pytest.LogCaptureFixture) -> None:
    made, sent = chart.Chart(plots.empty("")), []
    made.send = lambda content, buffers=None: sent.append((content, buffers))  # type: ignore[method-assign]
    made._receive(made, {"kind": "plotly.js"}, [])
    assert sent[0][0] == {"kind": "plotly.js"} and sent[0][1][0] == chart.plotly_js().read_bytes()
    made._receive(made, {"kind": "failed", "message": "Error: no room"}, [])
    assert made.failure == "Error: no room" and "could not be drawn: Error: no room" in caplog.text


# ---------------------------------------------------------------- what the panel shows


def test_load_reads_the_newest_scores(kept: Path) -> None:
    loaded = targeting.load(kept)
    assert loaded.score_set.score_set_id == 1 and loaded.run_id == 1 and loaded.served_version == 1
    assert set(loaded.products["product_id"]) == set(made_scores.PRODUCTS)
    assert loaded.channels == ["email", "mail", "call"]
    assert loaded.company.contact_costs_minor["call"] == 500


def test_the_companys_own_file_counts(data: Path) -> None:
    (data / "company.toml").write_text("[contact_costs_minor]\nemail = 3\n[margins_minor]\ndeposit = 100\n")
    loaded = targeting.load(data)
    assert loaded.channels == ["email"]
    assert loaded.products.set_index("product_id")["margin_minor"]["deposit"] == 100


def test_choice_agrees_with_the_call_list(kept: Path) -> None:
    loaded = targeting.load(kept)
    choice = targeting.choose(loaded, "gold_card", None)
    scores = pd.read_parquet(loaded.scores_file)
    snapshot = warehouse.open(paths.warehouse(kept)).snapshot(made_scores.AS_OF)
    lists = call_list.call_lists(snapshot, scores, company=loaded.company)
    listed = lists[lists["product_id"] == "gold_card"]
    assert choice.ranked["customer_id"].head(choice.worth).tolist() == listed["customer_id"].tolist()
    assert choice.best == choice.worth == len(listed)
    assert choice.curve["profit_minor"][choice.best] == pytest.approx(listed["expected_profit_minor"].sum())
    assert choice.customers == 600 and choice.buyers == pytest.approx(
        scores.query("product_id == 'gold_card'")["score"].sum()
    )


def test_reasons_are_counted_for_every_cutoff(kept: Path) -> None:
    loaded = targeting.load(kept)
    choice = targeting.choose(loaded, "deposit", None)
    by_customer = {row.customer_id: targeting_prepared.reasons(row.reasons) for row in choice.ranked.itertuples()}
    for number in (0, 1, 7, len(choice.ranked)):
        first = [by_customer.get(one, []) for one in choice.ranked["customer_id"].head(number)]
        assert choice.explained[number] == sum(bool(one) for one in first)
        for column, example in enumerate(choice.kinds):
            wanted = targeting_prepared.kind(example)
            has = [
                any(targeting_prepared.kind(code) == wanted and targeting_prepared.speaks_for(code) for code in one)
                for one in first
            ]
            assert choice.counts(number)[column] == sum(has)


def test_the_contact_policy_is_asked_again_before_a_list_is_released(kept: Path) -> None:
    loaded = targeting.load(kept)
    listed = targeting.choose(loaded, "deposit", None).ranked[["customer_id", "channel"]]
    rules = ContactPolicy(holdout_share=0.5, holdout_key="k")
    strict = dataclasses.replace(loaded, company=dataclasses.replace(loaded.company, contact_policy=rules))
    every, few = (
        targeting.still_permitted(one, listed, today=made_scores.AS_OF)[0]["customer_id"] for one in (loaded, strict)
    )
    assert 0.3 * len(every) < len(few) < 0.7 * len(every)


def test_the_thinned_curve_keeps_its_ends_and_marks() -> None:
    curve = pd.DataFrame({"contacts": range(5000)})
    thin = targeting.thinned(curve, 1234, 7)["contacts"].tolist()
    assert thin[0] == 0 and thin[-1] == 4999 and {7, 1234} <= set(thin) and len(thin) <= targeting.POINTS + 2


def test_moving_the_cutoff_moves_budget_numbers_and_charts(kept: Path) -> None:
    made = panel(kept, product="deposit")
    assert made.frame._trouble.value == "" and made.cutoff.value == made.choice.best
    before = [one.spec for one in made.charts.values()]
    made.cutoff.value = 50
    assert [one.spec != old for one, old in zip(made.charts.values(), before, strict=True)] == [True] * 3
    cost = made.choice.curve["cost_minor"][50]
    assert made.budget.value == int(np.ceil(cost / 100))
    assert "Contacts 50" in re.sub(r"\s+", " ", words(made.tiles.value))


def test_the_budget_buys_as_many_as_it_pays_for(kept: Path) -> None:
    made = panel(kept, product="deposit")
    made.channels.value = "mail"
    made.budget.value = 25  # euros, at one euro a letter
    assert made.cutoff.value == 25 and "€25" in words(made.tiles.value)
    made.budget.value = 0
    assert made.cutoff.value == 0 and "Nobody is worth contacting" in words(made.listing.table.value)


def test_beyond_the_best_cutoff_the_list_ends(kept: Path) -> None:
    made = panel(kept, product="gold_card")
    made.cutoff.value = len(made.choice.ranked)
    assert made.choice.worth < len(made.choice.ranked)
    assert f"The list ends after {made.choice.worth} customers" in words(made.listing.title.value)
    assert len(listing.table(made.listing.shown[0], listed=made.choice.worth)) == made.choice.worth


def test_nothing_from_the_data_becomes_markup(kept: Path) -> None:
    made = panel(kept, product="deposit")
    assert "<i>engineer" not in made.listing.table.value and "&lt;i&gt;engineer" in made.listing.table.value


def test_the_panel_speaks_russian_from_the_start(kept: Path) -> None:
    made = panel(kept, language="ru")
    assert "Отбор клиентов" in made.frame._head.value and made.frame.page.language == "ru"
    made.frame.language.value = "en"
    assert "Campaign targeting" in made.frame._head.value and made.names["product"].value == "Choose a product"


def test_an_unknown_product_is_said_in_words(kept: Path) -> None:
    made = panel(kept, product="spaceship")
    assert "There is no product spaceship among those scored." in words(made.frame._trouble.value)
    assert made.products.value == "brokerage" and made.choice.best > 0, "the panel goes on with the first product"


# ---------------------------------------------------------------- taking the list along


def exported(data: Path) -> tables.Export:
    with session.session(data) as store:
        found = store.scalars(sa.select(tables.Export).order_by(tables.Export.export_id.desc())).first()
    assert found is not None
    return found


def test_the_export_has_the_list_contact_details_and_a_record(data: Path) -> None:
    made = panel(data, product="deposit")
    made.cutoff.value = 20
    made.listing.xlsx.click()
    record = exported(data)
    assert made.frame._trouble.value == "" and "20 rows saved" in words(made.listing.message.value)
    assert record.content["cutoff"] == 20 and record.content["product_id"] == "deposit"
    assert record.content["warehouse_version"] == 1 and record.purpose == "campaign targeting"
    rows = list(openpyxl.load_workbook(data / record.file)["list"].iter_rows(values_only=True))
    table = pd.DataFrame(rows[1:], columns=rows[0])
    assert table["customer_id"].tolist() == made.choice.ranked["customer_id"].head(20).tolist()
    by_mail = table["channel"] == "email"
    assert table["phone"][by_mail].isna().all() and table["email"][by_mail].notna().all(), "only what the channel needs"
    made.listing.details.value = False
    made.listing.csv.click()
    assert "phone" not in (data / exported(data).file).read_text(encoding="utf-8-sig")


def test_who_withdrew_consent_or_left_since_is_not_exported(data: Path) -> None:
    made = panel(data, product="deposit")
    made.cutoff.value = 3
    first, second, third = made.choice.ranked["customer_id"].head(3)
    frames = made_scores.warehouse_frames([f"C{number:06d}" for number in range(200)], np.random.default_rng(7))
    said = frames["consents"]
    withdrawn = pd.DataFrame({"customer_id": [first], "channel": "all", "purpose": "marketing", "granted": False})
    frames["consents"] = pd.concat([said, withdrawn.assign(changed_at=dt.datetime(2026, 1, 1))], ignore_index=True)
    left = frames["customers"]["customer_id"] == second
    frames["customers"] = frames["customers"].assign(closed_on=pd.Series(dt.date(2026, 1, 1), left.index).where(left))
    path = data / "warehouse" / "v000002.duckdb"
    build.from_frames(path, frames, company=made_scores.COMPANY, version=2)
    with session.session(data) as store:
        old = store.get_one(tables.Version, 1)
        columns = {"state": "published", "format_version": old.format_version, "created_at": made_scores.NOW}
        store.add(tables.Version(version=2, file=path.name, published_at=made_scores.NOW, **columns))
        store.flush()
        store.merge(tables.Pointer(name="served", version=2))
        store.commit()
    made.listing.csv.click()
    lines = (data / exported(data).file).read_text(encoding="utf-8-sig").splitlines()
    assert len(lines) == 2 and third in lines[1]
    assert "1 row saved" in words(made.listing.message.value) and "2 customers left out" in words(
        made.listing.message.value
    )
    made.frame._opened("")
    made.frame.reload()
    assert "Newer data are loaded (version 2)" in words(made.frame._head.value)


# ---------------------------------------------------------------- when something is missing or wrong


def test_without_scores_the_panel_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="there is no such data folder; run `crm demo`"):
        targeting.load(tmp_path / "nowhere")
    with pytest.raises(NotFoundError, match="holds no scores yet; run `crm demo`, or `crm train` and `crm score`"):
        targeting.load(tmp_path)
    made = panel(tmp_path)
    assert "holds no scores yet" in words(made.frame._trouble.value) and "Campaign targeting" in made.frame._head.value


def test_the_panel_follows_newer_scores_when_it_is_opened(tmp_path: Path) -> None:
    made = panel(tmp_path)
    made_scores.make(tmp_path, customers=100)
    made.frame._opened("")
    assert made.frame._trouble.value == "" and "scores 1" in made.frame._head.value
    made.products.value = "deposit"
    made_scores.make(tmp_path, customers=150, version=2, seed=8)
    made.frame._opened("")
    assert "scores 2" in made.frame._head.value and made.products.value == "deposit"
    assert made.choice.customers == 150, "the numbers are those of the newer scores"


def test_a_damaged_file_is_said_in_words(data: Path) -> None:
    file = targeting.load(data).scores_file
    file.write_bytes(b"no parquet")
    with pytest.raises(EnvironmentFault, match="is damaged and cannot be read; score again with `crm score`"):
        targeting.load(data)
    file.unlink()
    with pytest.raises(NotFoundError, match="is gone; score again with `crm score`"):
        targeting.load(data)


def test_missing_reasons_and_back_tests_are_no_trouble(data: Path) -> None:
    loaded = targeting.load(data)
    loaded.reasons_file.unlink()
    assert loaded.model is not None
    (data / loaded.model.folder / "gains.parquet").unlink()
    made = panel(data)
    assert made.frame._trouble.value == ""
    texts = [json.loads(made.charts[name].spec)["layout"]["annotations"][0]["text"] for name in ("gains", "reasons")]
    texts = [text.replace("<br>", " ") for text in texts]
    assert texts == ["No back test of this product was saved.", "No reasons were saved for these customers."]


def test_an_unexpected_failure_shows_no_traceback(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = panel(kept)
    monkeypatch.setattr(plots, "profit_sketch", lambda *_, **__: 1 / 0)
    made.cutoff.value = 3
    assert "Something unexpected went wrong (ZeroDivisionError)." in words(made.frame._trouble.value)


def test_where_the_dashboards_answer() -> None:
    command = serve.command(Path("/d"), port=8866, dashboards=Path("/b"))
    assert command[1:3] == ["-m", "crmlib.serving.server"] and "--port=8866" in command
    assert serve.environment("secret")[serve.TOKEN_VARIABLE] == "secret"
    assert serve.url(8866, "secret") == "http://127.0.0.1:8866/?token=secret"
