"""Small counts are hidden so that nobody who sees the rest, totals too, can tell one of them."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from crmlib.decisions import small_cells
from crmlib.errors import DataError

KINDS = ("shown", "known", "none")
WIDTH = 8  # of 1 to 9

counts_of_persons = st.one_of(st.integers(0, 12), st.integers(0, 12), st.integers(0, 400))
shapes = st.tuples(st.integers(1, 5), st.integers(1, 4))


@st.composite
def tables(draw: st.DrawFn) -> pd.DataFrame:
    rows, columns = draw(shapes)
    values = draw(st.lists(counts_of_persons, min_size=rows * columns, max_size=rows * columns))
    return pd.DataFrame(np.array(values).reshape(rows, columns))


class Attacker:
    """Who sees all that is shown, adds up the table's equations and solves them as a linear programme."""

    def __init__(self, counts: pd.DataFrame, hidden: small_cells.Hidden, totals: tuple[str, str, str]) -> None:
        rows, columns = counts.shape
        values = counts.to_numpy()
        self.truth = [*values.ravel(), *values.sum(axis=1), *values.sum(axis=0), values.sum()]
        kinds = ["shown"] * values.size + [totals[0]] * rows + [totals[1]] * columns + [totals[2]]
        masked = [*hidden.cells.to_numpy().ravel(), *hidden.rows, *hidden.columns, hidden.total]
        self.kinds, self.masked = kinds, [bool(one) for one in masked]
        self.unknown = [one or kind == "none" for one, kind in zip(masked, kinds, strict=True)]
        self.everything = all(one or kind != "shown" for one, kind in zip(self.masked, kinds, strict=True))
        side, foot, size = values.size, values.size + rows, len(self.truth)
        sums = np.zeros((rows + columns + 2, size))
        for row, column in itertools.product(range(rows), range(columns)):
            sums[row, row * columns + column] = sums[rows + column, row * columns + column] = 1
        for row in range(rows):
            sums[row, side + row], sums[-2, side + row] = -1, 1
        for column in range(columns):
            sums[rows + column, foot + column], sums[-1, foot + column] = -1, 1
        sums[-2, -1] = sums[-1, -1] = -1
        self.sums = sums

    def range(self, place: int) -> tuple[int, int]:
        """The least and the largest value that a hidden count may have, as far as the attacker knows."""
        bounds = [
            (1 if masked and not self.everything else 0, None) if unknown else (truth, truth)
            for truth, unknown, masked in zip(self.truth, self.unknown, self.masked, strict=True)
        ]
        aim = np.zeros(len(self.truth))
        ends = []
        for sign in (1, -1):
            aim[place] = sign
            found = linprog(aim, A_eq=self.sums, b_eq=np.zeros(len(self.sums)), bounds=bounds)
            ends.append(10**9 if found.status == 3 else round(float(found.x[place])))
        return ends[0], ends[1]


@settings(max_examples=120, deadline=None)
@given(tables(), st.sampled_from(KINDS), st.sampled_from(KINDS), st.sampled_from(KINDS))
def test_who_sees_all_other_counts_and_totals_cannot_tell_a_hidden_one(
    counts: pd.DataFrame, rows: str, columns: str, total: str
) -> None:
    hidden = small_cells.hide(counts, row_totals=rows, column_totals=columns, total=total)  # type: ignore[arg-type]
    attacker = Attacker(counts, hidden, (rows, columns, total))
    for place, (masked, truth) in enumerate(zip(attacker.masked, attacker.truth, strict=True)):
        if not masked:
            assert not 0 < truth < 10 or attacker.kinds[place] != "shown", "a small count is shown"
            continue
        low, high = attacker.range(place)
        assert low <= truth <= high
        if attacker.everything and "known" in attacker.kinds:
            continue  # all that can be is hidden; what is known from elsewhere is not for this table to hide
        assert high - low >= (WIDTH if 0 < truth < 10 else 1), (truth, low, high)


@settings(max_examples=60, deadline=None)
@given(tables())
def test_a_table_without_small_counts_hides_nothing(counts: pd.DataFrame) -> None:
    large = counts.where((counts == 0) | (counts >= 10), counts + 10)
    hidden = small_cells.hide(large)
    assert not hidden.cells.to_numpy().any() and not hidden.rows.any() and not hidden.columns.any() and not hidden.total


@settings(max_examples=60, deadline=None)
@given(tables())
def test_without_totals_only_small_counts_are_hidden(counts: pd.DataFrame) -> None:
    hidden = small_cells.hide(counts, row_totals="none", column_totals="none", total="none")
    assert hidden.cells.equals((counts > 0) & (counts < 10))


def test_the_cheapest_other_count_is_hidden_with_a_small_one() -> None:
    assert small_cells.hide_list(pd.Series([4, 300, 25, 80])).tolist() == [True, False, True, False]
    assert small_cells.hide_list(pd.Series([4, 300, 9, 80])).tolist() == [True, False, True, False]
    assert small_cells.hide_list(pd.Series([2, 300, 3, 80, 0])).tolist() == [True, False, True, True, False]
    assert small_cells.hide_list(pd.Series([4, 300, 25, 80]), total="none").tolist() == [True, False, False, False]


def test_nothing_is_hidden_in_vain_in_a_table_of_two_dimensions() -> None:
    counts = pd.DataFrame([[3, 50, 60], [40, 30, 90], [70, 80, 20]])
    hidden = small_cells.hide(counts)
    # The cheapest ring of counts through the small one: 3 + 50 + 40 + 30 against 3 + 60 + 70 + 20.
    assert hidden.cells.to_numpy().tolist() == [[True, True, False], [True, True, False], [False, False, False]]
    assert not hidden.rows.any() and not hidden.columns.any() and not hidden.total


def test_totals_are_hidden_where_the_counts_alone_cannot_be() -> None:
    hidden = small_cells.hide(pd.DataFrame({"a": [5, 0], "b": [0, 60]}))
    assert hidden.cells["a"].tolist() == [True, False] and hidden.rows.tolist()[0] and hidden.columns["a"]


def test_where_known_totals_tell_it_everything_is_hidden() -> None:
    counts = pd.DataFrame({"a": [5, 0], "b": [0, 60]})
    hidden = small_cells.hide(counts, row_totals="known", column_totals="known", total="known")
    assert hidden.cells.to_numpy().all()


def test_figures_made_of_a_hidden_count_are_hidden_with_it() -> None:
    table = pd.DataFrame({"group": ["x", "y"], "buyers": [3, 30], "share": [0.03, 0.3]})
    out = small_cells.blank(table, ["buyers", "share", "low"], np.array([True, False]))
    assert out["group"].tolist() == ["x", "y"] and out.loc[0, ["buyers", "share"]].isna().all()
    assert out.loc[1, ["buyers", "share"]].tolist() == [30, 0.3]


@pytest.mark.parametrize("value", [-1.0, 2.5, np.nan, np.inf])
def test_what_is_no_count_is_refused(value: float) -> None:
    with pytest.raises(DataError, match="give whole numbers of persons"):
        small_cells.hide(pd.DataFrame({"a": [12.0, value]}))


def test_a_count_near_one_already_seen_is_not_shown_exactly() -> None:
    assert small_cells.near(1234, {1231}) and small_cells.near(1231, {1234, 50}) and small_cells.near(7, set())
    assert not small_cells.near(1234, {1234, 1224}) and not small_cells.near(0, {500})
    assert small_cells.near(0, {3})
