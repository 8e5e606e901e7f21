"""The demand dashboard without a browser: what it reads, says, draws, tries, overrides and exports."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import figures
import made_forecasts
import numpy as np
import pandas as pd
import pytest

from crmlib.decisions import promotion_plan
from crmlib.errors import NotFoundError
from crmlib.models.demand import methods
from crmlib.store import audit, overrides, score_sets
from crmlib.views import demand, demand_data, demand_parts, demand_what_if, plots_demand, texts
from crmlib.views import demand_words as words

EN, RU = texts.speak("en"), texts.speak("ru")
MILK, NORTH = "product_id=milk", "region=North"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("forecasts")
    made_forecasts.make(folder)
    return folder


@pytest.fixture(scope="module")
def loaded(data: Path) -> demand_data.Loaded:
    return demand_data.load(data)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder of the test's own, where it may override forecasts."""
    made_forecasts.make(tmp_path)
    return tmp_path


def trouble(panel: demand.Panel) -> str:
    return str(panel.frame._trouble.value)


def chosen_of(panel: demand.Panel) -> tuple[str, str]:
    assert panel.chosen is not None
    return panel.chosen.level, panel.chosen.series_id


# ---------------------------------------------------------------- data


def test_levels_become_a_step_a_product_and_a_place(loaded: demand_data.Loaded) -> None:
    assert loaded.steps == ["week", "month", "day"]
    assert loaded.what("week") == ["", "product_id=cheese", "product_id=kefir", MILK]
    assert loaded.where("week", MILK) == ["", NORTH, "region=South"]
    assert loaded.where("week", "") == ["", NORTH, "region=South"]
    assert loaded.where("month", MILK) == [""]
    assert loaded.what("day")[0] != "" and loaded.where("day", MILK) == ["outlet_id=O1", "outlet_id=O2"]
    assert loaded.name("outlet_id=O1") == "Corner & Co, North"
    assert loaded.keys["outlet_product_day"] == ("product_id", "outlet_id")


@pytest.mark.parametrize(
    ("what", "where", "level", "series_id"),
    [
        ("", "", "total_week", "total"),
        (MILK, "", "product_week", "milk"),
        ("", NORTH, "region_week", "North"),
        (MILK, NORTH, "product_region_week", "milk/North"),
    ],
)
def test_each_choice_is_one_series_of_its_level(
    loaded: demand_data.Loaded, what: str, where: str, level: str, series_id: str
) -> None:
    chosen = loaded.choose("week", what, where)
    assert (chosen.level, chosen.series_id, chosen.step) == (level, series_id, "week")
    assert (
        len(chosen.history) == 104 and len(chosen.forecast) == 8 and chosen.forecast["period"].is_monotonic_increasing
    )
    assert chosen.history["period"].max() < chosen.forecast["period"].min()
    assert loaded.option_of(level, series_id) == ("week", what, where)


def test_a_series_that_was_not_forecast_is_refused(loaded: demand_data.Loaded) -> None:
    with pytest.raises(
        NotFoundError, match="demand: no forecast of product_id=milk at region=North by month; choose another"
    ):
        loaded.choose("month", MILK, NORTH)
    assert loaded.option_of("product_week", "nothing") is None


def test_errors_of_one_series_are_those_of_a_naive_reference(loaded: demand_data.Loaded) -> None:
    chosen = loaded.choose("week", MILK, NORTH)
    rows = loaded.own_errors(chosen)
    found = demand_data.measures(rows)
    total = off = lean = inside = 0.0
    for row in rows.itertuples():
        total += abs(row.actual)
        off += abs(row.forecast - row.actual)
        lean += row.forecast - row.actual
        inside += row.low_80 <= row.actual <= row.high_80
    assert found["wape"] == pytest.approx(off / total) and found["bias"] == pytest.approx(lean / total)
    assert found["wape_naive"] == pytest.approx(5 * off / total) and found["coverage_80"] == inside / len(rows)
    nothing = demand_data.measures(rows.assign(actual=0.0))
    assert nothing["n"] == len(rows) and np.isnan(nothing["wape"])
    assert demand_data.measures(rows.iloc[:0])["n"] == 0


def test_filled_in_periods_are_not_scored(loaded: demand_data.Loaded) -> None:
    errors = loaded.tables["errors"]
    errors.loc[errors["series_id"] == "kefir/South", "weight"] = 0.0
    assert loaded.own_errors(loaded.choose("week", "product_id=kefir", "region=South")).empty


def test_the_outlook_compares_with_the_same_periods_a_year_before(loaded: demand_data.Loaded) -> None:
    chosen = loaded.choose("week", "", "")
    found = demand_data.outlook(chosen, 8)
    before = chosen.history.set_index("period")["quantity"]
    wanted = sum(before[day - pd.Timedelta(weeks=52)] for day in chosen.forecast["period"])
    assert found["before"] == wanted and found["change"] == pytest.approx(found["expected"] / wanted - 1)
    months = loaded.choose("month", "", "")
    assert demand_data.outlook(months, 6)["before"] == pytest.approx(months.history["quantity"].iloc[12:18].sum())
    days = loaded.choose("day", MILK, "outlet_id=O1")
    assert np.isnan(demand_data.outlook(days, 14)["before"]), "there is no day a year before on record"


# ---------------------------------------------------------------- pictures


def test_the_chart_shows_demand_intervals_promotions_empty_shelves_and_plans(loaded: demand_data.Loaded) -> None:
    chosen = loaded.choose("week", MILK, NORTH)
    figure = plots_demand.path(
        chosen.history,
        chosen.forecast,
        future=chosen.future,
        plans=chosen.plans,
        overrides=pd.DataFrame({"period": [], "quantity": [], "reason": [], "made_by": []}),
        unit="Pieces",
        language="ru",
    )
    names = [trace.name for trace in figure.data if trace.name]
    assert {"спрос", "прогноз", "акция", "план: sales force", "пустая полка: спрос оценён"} <= set(names)
    band = next(trace for trace in figure.data if trace.fill == "toself")
    assert max(band.y) == chosen.forecast["high_95"].max() or max(band.y) == chosen.history["quantity"].iloc[-1]
    promoted = chosen.history["promotion"].gt(0).to_numpy()
    ahead = chosen.future["promotion"].gt(0).to_numpy()
    starts = np.flatnonzero(np.diff(np.r_[False, promoted, ahead].astype(int)) == 1)
    assert len(figure.layout.shapes) == len(starts), "a promotion of two weeks is one band"
    short = chosen.history[chosen.history["status"] == "stocked_out"]
    sold = next(trace for trace in figure.data if trace.name == "продано тогда")
    assert list(sold.y) == list(short["recorded"])


def test_names_from_the_data_cannot_become_markup(loaded: demand_data.Loaded) -> None:
    chosen = loaded.choose("week", MILK, NORTH)
    day = chosen.forecast["period"].iloc[0]
    own = {"period": [day], "quantity": [5.0], "reason": ["<script>x</script>"], "made_by": ["a<b"], "in_force": [True]}
    parts = demand_parts.parts(EN, loaded, chosen, years=1, overrides=pd.DataFrame(own))
    assert "Milk &lt;b&gt;1 l&lt;/b&gt; · North" in parts["path"].title
    figure = parts["path"].figure
    assert figure is not None
    star = next(trace for trace in figure.data if trace.name == "override")
    assert star.customdata[0] == "a&lt;b: &lt;script&gt;x&lt;/script&gt;"
    table = loaded.tables["judgement"].assign(source="<b>me</b>")
    labels = plots_demand.plans(table.dropna()).layout.yaxis.ticktext
    assert all("<b>" not in label for label in labels)


def test_value_added_and_levels_say_what_got_worse(loaded: demand_data.Loaded) -> None:
    chosen = loaded.choose("week", "", "")
    parts = demand_parts.parts(EN, loaded, chosen, years=1, overrides=_none())
    added = parts["added"].figure
    assert added is not None and list(added.data[0].marker.color) == [
        plots_demand.ORANGE,
        plots_demand.BLUE,
        plots_demand.GREY,
    ]
    assert "(+0.5 points)" in added.data[0].text[0] and "(−18.0 points)" in added.data[0].text[1]
    assert "It makes worse: All together." in parts["hierarchy"].note
    grid = demand_parts.compared(loaded.tables["coherence"])
    assert list(grid["level"]) == ["total_week", "region_week", "product_week", "product_region_week"]
    assert list(grid["after"].round(4)) == [0.1128, 0.094, 0.094, 0.094]
    plans = parts["plans"]
    assert "Too few to judge: new analyst." in plans.note and plans.figure is not None
    colors = plans.figure.data[-1].marker.color
    assert list(colors) == [plots_demand.GREY, plots_demand.ORANGE], "what may be chance is grey"


def test_a_simpler_method_comes_with_its_reason(loaded: demand_data.Loaded) -> None:
    quiet = loaded.choose("week", "product_id=cheese", "region=South")
    part = demand_parts.parts(EN, loaded, quiet, years=1, overrides=_none())["path"]
    assert "A simpler method was used here (zero), because nothing was sold so far." in part.note
    assert "open, nothing sold: 104" in part.note
    russian = demand_parts.parts(RU, loaded, quiet, years=1, overrides=_none())["path"].note
    assert "до сих пор ничего не продано" in russian
    usual = demand_parts.parts(EN, loaded, loaded.choose("week", "", ""), years=1, overrides=_none())["path"].note
    assert "Theta 50%, boosted trees over all series 50%" in usual and "simpler" not in usual


def test_the_bar_of_days_is_the_week_before_and_a_closed_day_is_called_closed(loaded: demand_data.Loaded) -> None:
    assert (words.naive(EN, "day"), words.naive(EN, "month")) == ("as a week ago", "as a year ago")
    assert (
        words.added(RU, "naive", "day") == "как неделю назад"
        and words.method(EN, "seasonal_naive", "day") == "as a week ago"
    )
    week = loaded.choose("week", MILK, NORTH)
    shut = week.forecast.assign(final=0.0, override=np.nan, reason="closed")
    assert demand_parts.tiles(EN, loaded, week, final=shut)[0][2] == "it is closed then"
    drawn = demand_parts.parts(EN, loaded, week, years=1, overrides=_none())["errors"].figure
    assert drawn is not None and [one.name for one in drawn.data] == ["as a year ago", "this forecast"]


def _with(loaded: demand_data.Loaded, **columns: object) -> demand_data.Loaded:
    """What was loaded, with other values in all rows of the forecast."""
    return dataclasses.replace(loaded, forecast=loaded.forecast.assign(**columns))


@pytest.mark.parametrize(
    ("code", "english", "russian"),
    [("no_plans", "No plans are known ahead", "Планы на эти периоды неизвестны"),
     ("first_promotion", "A promotion is planned that there never was", "Запланирована акция, каких здесь ещё не было")],
)  # fmt: skip
def test_what_a_forecast_could_not_know_is_said_and_is_no_simpler_method(
    loaded: demand_data.Loaded, code: str, english: str, russian: str
) -> None:
    changed = _with(loaded, reason=code)
    for say, expected in ((EN, english), (RU, russian)):
        note = demand_parts.parts(say, changed, changed.choose("week", "", ""), years=1, overrides=_none())["path"].note
        assert expected in note and "simpler" not in note and "простой" not in note
        assert "50" in note, "how it was made is said all the same"


def test_without_intervals_it_says_so_and_shows_no_number_that_is_none(loaded: demand_data.Loaded) -> None:
    ends = ("low_80", "high_80", "low_95", "high_95")
    errors = loaded.tables["errors"].assign(**dict.fromkeys(ends, np.nan))
    changed = _with(loaded, **dict.fromkeys(ends, np.nan))
    changed = dataclasses.replace(changed, tables={**loaded.tables, "errors": errors})
    chosen = changed.choose("week", MILK, NORTH)
    parts = demand_parts.parts(EN, changed, chosen, years=1, overrides=_none())
    assert "fewer than 40 past errors to go by" in parts["path"].note
    assert parts["errors"].note.count("This series: error ") == 1 and "nan" not in parts["errors"].note.lower()
    final = chosen.forecast.assign(final=chosen.forecast["mean"], override=np.nan)
    shown = demand_parts.tiles(EN, changed, chosen, final=final)
    assert shown[0][2] == "how sure is not known" and "nan" not in str(shown).lower()
    drawn = parts["path"].figure
    assert drawn is not None and "nan" not in str(drawn.data[-1].customdata).lower()
    assert not any("interval" in (one.name or "") for one in drawn.data)
    assert "nothing can be tried" in demand_what_if.refused(EN, changed, chosen)


def test_every_code_of_effects_and_reasons_has_words_in_both_languages() -> None:
    mind = {
        "moves_before_it_begins", "includes_price", "never_promoted", "promoted_too_seldom", "price_never_moved", "no_price",
        "not_separable", "short_series", "season_not_known", "too_many_zeros", "not_enough_data", "known_from_group",
        "beyond_prices_seen", "no_cost",
    }  # fmt: skip
    reasons = {"short_series", "all_zero", "one_observation", "nothing_told", "constant", "closed"}
    for codes, told in (
        (mind, words.mind),
        (reasons, words.reason),
        (("no_plans", "first_promotion"), words.caution),
        (promotion_plan.ASSUMED, words.assumed),
        ((*methods.NAMES, "combination"), words.method),
    ):
        for code in codes:
            english, russian = told(EN, code), told(RU, code)
            assert english not in ("", code.replace("_", " ")) or code in ("theta", "croston", "sba", "tsb")
            assert any("а" <= letter <= "я" for letter in russian.lower()), code


def test_a_product_without_cost_is_not_silent_about_profit(loaded: demand_data.Loaded) -> None:
    poor = dataclasses.replace(loaded, economics=loaded.economics.assign(cost_minor=np.nan))
    chosen = poor.choose("week", MILK, NORTH)
    found = demand_what_if.outcome(poor, chosen, price=0.9, promoted=False, span=(0, 1))
    said = demand_what_if.told(EN, poor, chosen, found)
    assert "Its price or cost is not on record" in said and "Profit" not in said
    assert "Taken for granted: otherwise the usual price and no promotion, competitors keep their prices" in said


def test_unknown_codes_are_shown_as_they_are() -> None:
    assert words.reason(EN, "moon_phase") == "moon phase" and words.level(RU, "house_week") == "house"
    assert words.periods(RU, "week", 21) == "21 неделя" and words.periods(EN, "quarter", 2) == "2 periods"


def _none() -> pd.DataFrame:
    return pd.DataFrame({"period": pd.Series(dtype="datetime64[us]"), "in_force": pd.Series(dtype=bool)})


# ---------------------------------------------------------------- what if


def test_what_if_is_what_the_effects_say(loaded: demand_data.Loaded) -> None:
    chosen = loaded.choose("week", MILK, NORTH)
    found = demand_what_if.outcome(loaded, chosen, price=0.9, promoted=False, span=(2, 3))
    inside = found.table.iloc[2:4]
    assert inside["ratio"].to_numpy() == pytest.approx(0.9**-1.8, rel=0.01)
    assert inside["ratio_low"].iloc[0] == pytest.approx(0.9**-1.5, rel=0.01)
    before = found.table.iloc[:2]
    assert (before["mean"] == before["usual"]).all(), "nothing changes before"
    assert found.profit is not None and found.profit["profit_minor_low"] < found.profit["profit_minor"]
    assert found.profit["cannibalised_pieces"] > 0, "kefir loses to milk"
    same = demand_what_if.outcome(loaded, chosen, price=1.0, promoted=False, span=(0, 1))
    assert same.profit is None and (same.table["mean"] == same.table["usual"]).all()
    told = demand_what_if.told(EN, loaded, chosen, found)
    assert "95% interval" in told and "it pays with probability" in told and "planned there already" not in told
    promoted = demand_what_if.outcome(loaded, chosen, price=1.0, promoted=True, span=(0, 1))
    assert "A promotion is planned there already" in demand_what_if.told(EN, loaded, chosen, promoted)
    direct = promotion_plan.what_if(
        chosen.forecast, loaded.effects, promoted=1.0, periods=list(chosen.forecast["period"][:2])
    )
    assert direct["mean"].tolist() == promoted.table["mean"].tolist()


@pytest.mark.parametrize(
    ("what", "where", "why"),
    [("", "", "Choose one product"), ("product_id=cheese", NORTH, "Nothing is known of the effects on this product")],
)
def test_what_cannot_be_tried_is_said(loaded: demand_data.Loaded, what: str, where: str, why: str) -> None:
    assert why in demand_what_if.refused(EN, loaded, loaded.choose("week", what, where))
    assert demand_what_if.refused(EN, loaded, loaded.choose("week", MILK, NORTH)) == ""


# ---------------------------------------------------------------- the panel


def test_choosing_searching_and_the_address(data: Path) -> None:
    panel = demand.Panel(data, "en")
    assert trouble(panel) == "" and chosen_of(panel) == ("total_week", "total")
    assert "Next 8 weeks together" in panel.tiles.value and "on a year before" in panel.tiles.value
    panel.find.value = "KEF"
    assert chosen_of(panel) == ("product_week", "kefir"), "a search chooses what it finds"
    assert [code for _, code in panel.what.options] == ["product_id=kefir"]
    panel.find.value = "south"
    assert chosen_of(panel) == ("region_week", "South") or chosen_of(panel) == ("product_region_week", "kefir/South")
    panel.find.value = "<nothing>"
    assert "Nothing here is called like &lt;nothing&gt;." in trouble(panel)
    panel.find.value = ""
    panel._asked({"level": "product_region_week", "series": "milk/North"})
    assert chosen_of(panel) == ("product_region_week", "milk/North")
    panel._asked({"step": "day", "product": "kefir", "outlet": "O2"})
    assert chosen_of(panel) == ("outlet_product_day", "O2/kefir") or chosen_of(panel)[0] == "outlet_product_day"
    panel._asked({"step": "moon", "product": "nothing", "level": "x", "series": "y"})
    assert trouble(panel) == "" and chosen_of(panel)[0] == "outlet_product_day"
    panel.step.value = "month"
    assert chosen_of(panel) == ("product_month", "kefir") and panel.where.disabled


def test_an_override_needs_a_reason_is_shown_and_can_be_withdrawn(own: Path) -> None:
    panel = demand.Panel(own, "en")
    panel._asked({"level": "product_region_week", "series": "milk/North"})
    card = panel.overriding
    before = card.quantity.value
    assert before == pytest.approx(panel.chosen.forecast["mean"].iloc[0], abs=0.5)
    card.period.value, card.quantity.value = 1, 500
    card.put.click()
    assert "Say why you override the forecast" in trouble(panel)
    assert overrides.table(own).empty
    card.reason.value = "=new <b>customer</b>"
    card.put.click()
    assert "is 500 now, instead of" in trouble(panel) and card.reason.value == ""
    kept = overrides.in_force(own)
    assert kept[["level", "series_id", "quantity"]].values.tolist() == [["product_region_week", "milk/North", 500.0]]
    assert kept["previous"].iloc[0] == pytest.approx(panel.chosen.forecast["mean"].iloc[1])
    assert kept["made_by"].iloc[0] == panel.frame.actor
    assert "=new &lt;b&gt;customer&lt;/b&gt;" in card.list.value and "in force" in card.list.value
    path = panel.charts["path"].spec
    assert '"override"' in path and "new &lt;b&gt;" in path.encode().decode("unicode_escape")
    card.period.value = 0
    card.period.value = 1
    assert card.quantity.value == 500, "one begins with the override in force"
    panel.downloads["series"].click()
    assert "8 rows saved as demand-product-region-week" in trouble(panel)
    file = next((own / "exports").glob("*.csv"))
    rows = list(csv.DictReader(file.read_text("utf-8-sig").splitlines()))
    assert float(rows[1]["final"]) == 500 and rows[1]["override"] == "500.0"
    assert rows[0]["override"] == "" and float(rows[0]["final"]) == float(rows[0]["mean"])
    card.withdraw.click()
    assert "The override was withdrawn" in trouble(panel) and overrides.in_force(own).empty
    assert "withdrawn by" in card.list.value and card.withdraw.layout.display == "none"
    panel._asked({"level": "product_week", "series": "milk"})
    assert "Nobody has overridden this forecast." in card.list.value


def test_two_people_who_override_at_once_learn_of_each_other(own: Path) -> None:
    first, second = demand.Panel(own, "en"), demand.Panel(own, "en")
    for panel in (first, second):
        panel.overriding.quantity.value, panel.overriding.reason.value = 700, "fair"
        panel.overriding.put.click()
    assert "is not the one you saw" in trouble(second) and len(overrides.table(own)) == 1
    second.frame.reload()
    assert "fair" in second.overriding.list.value


def test_a_total_counts_the_override_in(own: Path) -> None:
    panel = demand.Panel(own, "en")
    whole = panel.chosen.forecast["mean"]
    panel.overriding.quantity.value, panel.overriding.reason.value = 2000, "festival"
    panel.overriding.put.click()
    expected = EN.number(2000 + whole.iloc[1:].sum())
    assert f"<b>{expected}</b>" in panel.tiles.value and "override; the forecast is" in panel.tiles.value


def test_named_views_put_back_what_was_tried(data: Path) -> None:
    panel = demand.Panel(data, "ru")
    panel._asked({"level": "product_region_week", "series": "milk/North"})
    panel.trying.price.value, panel.trying.promoted.value, panel.years.value = -20, True, 0
    kept = panel._settings()
    panel._asked({"level": "total_week", "series": "total"})
    panel.trying.price.value, panel.years.value = 0, 1
    panel._apply(kept)
    assert panel._settings() == kept and trouble(panel) == ""
    assert "95%-й интервал" in panel.trying.told.value


def test_what_is_missing_is_said_in_words(tmp_path: Path) -> None:
    made_forecasts.make(tmp_path, effects=False, plans=False)
    panel = demand.Panel(tmp_path, "en")
    panel._asked({"level": "product_region_week", "series": "milk/North"})
    assert trouble(panel) == ""
    assert "run `crm effects`" in panel.trying.told.value and panel.trying.chart.layout.display == "none"
    assert "Found 0, needed 1." in panel.notes["plans"].value and panel.charts["plans"].layout.display == "none"
    panel.step.value = "month"
    assert (
        "one level only" in panel.notes["hierarchy"].value and "Nothing has been compared" in panel.notes["added"].value
    )


def test_every_figure_says_how_sure_it_is_and_where_it_comes_from(data: Path) -> None:
    panel = demand.Panel(data, "en")
    panel._asked({"level": "product_region_week", "series": "milk/North"})
    shown = {"path", "errors", "added", "plans", "hierarchy", "what_if"}
    assert figures.check(panel.frame, origin="warehouse version 1") == shown
    assert "model demand 1" in panel.frame._head.value and "model price_effects 1" in panel.frame._head.value
    steps = pd.DataFrame({"step": ["naive", "statistical"], "low": [np.nan, -0.031], "high": [np.nan, 0.002]})
    told = demand_parts._sure_steps(EN, steps, {"naive": "as a year ago", "statistical": "forecast"})
    assert told == "<p>95% intervals of the change: forecast: −3.1 to +0.2 points.</p>"
    panel.frame.language.value = "ru"
    assert figures.check(panel.frame, origin="версия хранилища 1") == shown


def test_who_may_not_neither_overrides_nor_withdraws_nor_takes(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    panel = demand.Panel(own, "en")
    panel.overriding.reason.value = "a big order"
    panel.overriding.put.click()
    assert len(overrides.in_force(own)) == 1
    figures.visit_as(monkeypatch, own / "visits", "viewer")
    panel = demand.Panel(own, "en")
    panel.overriding.reason.value = "another"
    for handler in (panel.overriding._put, panel.overriding._withdraw):
        figures.refused(panel.frame, handler, "does not allow changes")
    assert len(overrides.in_force(own)) == 1
    for name in ("series", "level"):
        figures.refused(panel.frame, lambda name=name: panel._export(name), "does not allow taking files away")


def test_one_customers_demand_is_on_record_once_and_named_in_no_other_entry(own: Path) -> None:
    panel = demand.Panel(own, "en")
    assert panel.loaded is not None
    rows = panel.loaded.forecast[panel.loaded.forecast["level"] == "product_region_week"]
    rows = rows.assign(level="customer_product_week", customer_id="C7", region="", series_id="C7/" + rows["product_id"])
    more = pd.concat([panel.loaded.forecast, rows.drop_duplicates(["series_id", "period"])], ignore_index=True)
    panel.loaded = dataclasses.replace(panel.loaded, forecast=more)
    panel._asked({"level": "customer_product_week", "series": "C7/milk"})
    assert chosen_of(panel) == ("customer_product_week", "C7/milk") and trouble(panel) == ""
    panel.years.value = 2
    panel._export("series")
    found = audit.entries(own, newest=None)
    assert found["action"].tolist() == ["export", "look"]
    assert found["subject"].iloc[1] == audit.pseudonym(own, "C7")
    assert not any("C7" in json.dumps(one) for one in found["content"])


def test_what_the_job_could_not_make_and_noted_is_said_in_both_languages(data: Path) -> None:
    parts = ("plans", "errors:total_week", "value_added:x", "coherence:week", "intervals:week", "levels:week", "weeks")
    for part in (*parts, "month"):
        assert words.lacking(EN, part, "x: found 1,200 rows, need 2; y").endswith("Found 1,200, needed 2.")
        assert words.lacking(RU, part, "no numbers").isascii() is False
    assert words.lacking(EN, "month", "") == "No forecast could be made by month."
    noted = [{"code": "treatment", "chosen": "opening", "errors": {}}]
    noted += [{"code": "intervals_lent", "kind": "short", "series": 21}, {"code": "no_plans", "series": 3}]
    told = [words.note(EN, one) for one in noted]
    assert told[0].startswith("Open and closed days were taken out") and told[2] == ""
    assert told[1].startswith("21 of the series with a short history had too few errors of their own")
    assert words.note(RU, noted[1]).startswith("У 21 из рядов с короткой историей")
    loaded = demand_data.load(data)
    kept = pd.DataFrame({"step": "week", "code": "treatment", "parameters": [json.dumps(noted[0])]})
    loaded = dataclasses.replace(
        loaded, tables={**loaded.tables, "notes": kept}, missing={"intervals:week": "too few", "weeks": "no"}
    )
    chosen = loaded.choose("week", MILK, NORTH)
    shown = demand_parts.parts(EN, loaded, chosen, years=1, overrides=overrides.table(data))["path"].note
    assert "Open and closed days were taken out" in shown and "check the width of the intervals" in shown
    assert "weeks they follow" not in shown, "that is of days"


def test_contracts_of_a_bank_are_counted_as_contracts(tmp_path: Path) -> None:
    made_forecasts.make(tmp_path, effects=False, source="contracts")
    panel = demand.Panel(tmp_path, "en")
    assert "Contracts a week" in panel.charts["path"].spec
    assert "to contracts is not estimated" in panel.trying.told.value


def test_effects_of_a_later_day_do_not_count(tmp_path: Path) -> None:
    made_forecasts.make(tmp_path, effects=False)
    later = made_forecasts.AS_OF + pd.Timedelta(days=7)
    about = {"model_version": 1, "warehouse_version": 1, "now": made_forecasts.NOW, "data": tmp_path}
    score_sets.save(made_forecasts.price_effects(), model="price_effects", as_of=later, **about)
    assert demand_data.load(tmp_path).effects is None


def test_without_anything_saved_it_says_what_to_run(tmp_path: Path) -> None:
    assert "there is no such data folder; run `crm demo`" in trouble(demand.Panel(tmp_path / "no", "en"))
    made_forecasts.serve(tmp_path)
    panel = demand.Panel(tmp_path, "en")
    assert "no demand was forecast" in trouble(panel) and "run `crm demand`" in trouble(panel)
