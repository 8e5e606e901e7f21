"""Segments in words and pictures, English and Russian."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crmlib.errors import DataError
from crmlib.models.segments import rfm
from crmlib.models.segments.behaviour import BLOCKS, DESCRIBING
from crmlib.views import plots_segments, segment_words, texts

EN, RU = texts.speak("en"), texts.speak("ru")
NAMES = {"a": "Salary paid in here", "b": "Hardly any transactions"}


def trait(code: str, level: str = "", difference: float = 1.0, **other: object) -> dict[str, object]:
    return {"code": code, "level": level, "difference": difference, "value": 1.0, "others": 0.5, **other}


@pytest.mark.parametrize(
    ("traits", "english", "russian"),
    [
        (
            [trait("age", difference=-0.9), trait("category", "groceries"), trait("salary_elsewhere")],
            "young, spends on groceries, salary elsewhere",
            "молодые, много трат: продукты питания, зарплата в другом банке",
        ),
        (
            [trait("channel", "card"), trait("held", "cards", -0.5), trait("activity", difference=-2)],
            "pays by card, seldom has cards, hardly any transactions",
            "платят картой, договоры редко: карты, почти нет операций",
        ),
        ([trait("balance", "loans", -1.0, value=-900.0, others=0.0)], "large debt (loans)", "большой долг (кредиты)"),
        ([trait("balance", "deposits")], "large balance (deposits)", "большой остаток (вклады)"),
    ],
)
def test_traits_in_words(traits: list[dict[str, object]], english: str, russian: str) -> None:
    assert segment_words.sentence(EN, traits) == english
    assert segment_words.sentence(RU, traits) == russian


def description(*traits: list[dict[str, object]], kind: str = "behaviour") -> dict[str, object]:
    return {"kind": kind, "segments": {f"s{number}": {"traits": one} for number, one in enumerate(traits)}}


def test_names_take_as_many_traits_as_keep_them_apart() -> None:
    both = [trait("activity"), trait("held", "cards")], [trait("activity"), trait("held", "loans")]
    assert segment_words.names(EN, description(*both)) == {
        "s0": "Many transactions, has cards",
        "s1": "Many transactions, has loans",
    }
    alone = segment_words.names(EN, description([trait("activity")], [trait("age")]))
    assert alone == {"s0": "Many transactions", "s1": "Older"}


@given(
    st.lists(
        st.lists(st.sampled_from([trait("activity"), trait("age"), trait("held", "x")]), max_size=3),
        min_size=1,
        max_size=6,
    )
)
def test_names_are_never_alike(traits: list[list[dict[str, object]]]) -> None:
    for say in (EN, RU):
        found = segment_words.names(say, description(*traits))
        assert len(set(found.values())) == len(traits) and all(found.values())


def test_every_cell_of_rfm_has_a_name_of_its_own_in_both_languages() -> None:
    assert set(segment_words.CELLS) == set(rfm.CELLS)
    saved = {"kind": "rfm", "segments": {name: {"traits": []} for name in rfm.CELLS}}
    english, russian = (segment_words.names(say, saved) for say in (EN, RU))
    assert len(set(english.values())) == len(set(russian.values())) == len(rfm.CELLS)
    assert english["at_risk"] == "At risk of leaving" and russian["at_risk"] == "Под угрозой ухода"


def test_every_measure_has_words() -> None:
    for code in [*BLOCKS, *(one.name for one in DESCRIBING), *rfm.AXES]:
        for difference in (1.0, -1.0):
            words = segment_words.trait(EN, trait(code, "cards", difference))
            assert words and "+" not in words and "{" not in words
            assert segment_words.trait(RU, trait(code, "cards", difference)) != words


def test_figures_of_a_trait_and_a_reason() -> None:
    one = trait("category", "salary", kind="share", value=0.74, low=0.73, high=0.75, others=0.05)
    assert segment_words.compared(EN, one) == "Share of transactions: salary: 74% (73% to 75%), others 5.0%"
    money = {"code": "balance", "level": "deposits", "kind": "minor units", "before": np.nan, "after": 123_400}
    assert segment_words.reason(EN, money, currency="EUR") == "Balance: deposits: none → €1,234"
    assert segment_words.reason(RU, money, currency="EUR") == "Остаток: вклады: нет → 1\u00a0234\u00a0€"
    assert segment_words.direction(EN, {**money, "direction": "down"}) == "Balance: deposits down"
    assert segment_words.shown(EN, {"kind": "years"}, 34.9) == "34 years"
    assert segment_words.shown(EN, {"kind": "days"}, 1) == "1 day"


def profile() -> pd.DataFrame:
    rows = [
        (segment, measure, block, level, kind, value, difference)
        for segment, sign in (("a", 1), ("b", -1))
        for measure, block, level, kind, value, difference in [
            ("activity", "activity", "", "count", 20 + 10 * sign, 1.5 * sign),
            ("category_salary", "category", "salary", "share", 0.5 + 0.3 * sign, 3.0 * sign),
            ("age", "", "", "years", 40.0, 0.01 * sign),
        ]
    ]
    return pd.DataFrame(rows, columns=["segment", "measure", "block", "level", "kind", "value", "difference"])


@pytest.mark.parametrize("language", ["en", "ru"])
def test_pictures_show_what_the_tables_say(language: str) -> None:
    heat = plots_segments.profiles(profile(), NAMES, language=language, most=2).data[0]
    assert len(heat.y) == 2 and len(heat.x) == 2, "the two measures with the largest differences"
    assert heat.z[-1][0] == 2 and heat.text[0][0] == "30", "clipped colours, true values; the largest on top"
    pairs = [("a", "a", 9, 0.9), ("a", "b", 1, 0.1), ("b", "a", 0, np.nan), ("b", "b", 0, np.nan)]
    table = pd.DataFrame(pairs, columns=["from", "to", "customers", "share"])
    matrix = plots_segments.transitions(
        table.assign(low=table["share"] / 2, high=table["share"]), NAMES, language=language
    ).data[0]
    assert matrix.z[1][0] == pytest.approx(np.sqrt(0.9)) and matrix.text[0][0] == "" and "9" in matrix.text[1][0]
    curve = {"curve": [{"clusters": k, "strength": 1 - k / 10, "error": 0.01} for k in (2, 3, 4)], "clusters": 2}
    chosen = plots_segments.choice(curve, threshold=0.8, language=language)
    assert list(chosen.data[1].x) == [2] and list(chosen.data[0].y) == [0.8, 0.7, 0.6]
    days = pd.to_datetime(["2025-03-31", "2025-06-30"])
    stayed = pd.DataFrame({"after": days, "segment": "(all)", "stayed": [0.9, 0.91], "low": 0.89, "high": 0.92})
    assert list(plots_segments.habit(stayed, NAMES, language=language).data[0].y) == [0.9, 0.91]
    sizes = pd.DataFrame({"as_of": days, "segment": "b", "customers": [5, 6]})
    assert [line.name for line in plots_segments.sizes(sizes, NAMES, language=language).data] == [NAMES["b"]]
    moved = pd.DataFrame({"code": ["activity", "age"], "level": "", "direction": ["down", "up"], "share": [0.2, 0.6]})
    bars = plots_segments.why(moved, language=language).data[0]
    assert list(bars.x) == [0.2, 0.6] and bars.marker.color[0] != bars.marker.color[1]


def test_a_table_without_a_column_cannot_be_drawn() -> None:
    with pytest.raises(DataError, match="the table to plot has no column customers"):
        plots_segments.sizes(pd.DataFrame({"as_of": [], "segment": []}), NAMES)
