"""Which counts of a table to hide so that nobody learns of a few persons: small ones, and those that would tell them.

A table of counts with its totals is a set of equations, and whoever sees the other counts can bound a hidden one by
them. The table is a network in which each count flows from its row to its column and back over the totals; how far a
hidden count could be higher or lower, everything seen staying as it is, is a largest flow, and exact (tables of two
dimensions have whole-number corners). Further counts are hidden along the cheapest such ways until each small count
could lie anywhere in a range as wide as "1 to 9" itself.
L. Willenborg, T. de Waal: Elements of Statistical Disclosure Control (Springer 2001), chapter 4.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from crmlib.errors import DataError

SMALLEST = 10
"""Counts of fewer persons, but not of none, are hidden."""

Totals = Literal["shown", "known", "none"]
"""``shown`` beside the table and hidden where need be, ``known`` from elsewhere and beyond hiding, ``none`` to be seen."""

_MOST_TRIED = 40  # hidden counts that are tried for showing again


@dataclass(frozen=True, eq=False)
class Hidden:
    """What to hide: ``cells`` (bool, like the counts), ``rows`` and ``columns`` (bool, of the totals), the ``total``."""

    cells: pd.DataFrame
    rows: pd.Series
    columns: pd.Series
    total: bool


def hide(
    counts: pd.DataFrame,
    *,
    smallest: int = SMALLEST,
    row_totals: Totals = "shown",
    column_totals: Totals = "shown",
    total: Totals = "shown",
) -> Hidden:
    """Return which counts of a table not to show: those from 1 to ``smallest`` − 1, and what would give them away.

    In: ``counts`` whole numbers ≥ 0, each person in one cell; which totals are shown beside it. Hidden counts must all
    read the same, whether they are small or hide others. Somebody who sees the rest, and knows that no hidden count is
    0, finds for each small count a range at least as wide as 1 to ``smallest`` − 1, and for no hidden count one value.
    Where totals that are ``known`` leave no such way everything is hidden that can be, zeros as well.

    Raises DataError for counts that are negative, missing or no whole numbers.

    >>> counts = pd.DataFrame({"buyers": [3, 40, 25], "others": [60, 70, 80]}, index=["north", "south", "west"])
    >>> hide(counts).cells["buyers"].tolist()  # 25 is hidden lest the total tell the 3
    [True, False, True]
    """
    values = _checked(counts)
    network = _network(values, (row_totals, column_totals, total))
    if not _protected(network, smallest):
        network = _network(values, (row_totals, column_totals, total))
        network.hidden |= network.hideable
    return _told(counts, network)


def hide_list(counts: pd.Series, *, smallest: int = SMALLEST, total: Totals = "shown") -> pd.Series:
    """Return which counts of a list of groups not to show (bool), where their total is shown, known or not to be seen.

    >>> hide_list(pd.Series([4, 30, 12])).tolist()
    [True, False, True]
    """
    return hide(counts.to_frame(), smallest=smallest, row_totals="none", column_totals="none", total=total).cells.iloc[
        :, 0
    ]


def blank(table: pd.DataFrame, columns: Sequence[str], where: np.ndarray | pd.Series) -> pd.DataFrame:
    """Return a table without the numbers of ``columns`` in the rows ``where``: a hidden count, and what is made of it."""
    keep = ~np.asarray(where, dtype=bool)
    return table.assign(**{name: table[name].where(keep) for name in columns if name in table})


def near(count: int, shown: set[int], *, smallest: int = SMALLEST) -> bool:
    """Return whether a count must not be shown exactly: small itself, or so near another one shown that both tell.

    ``shown`` are the counts of other groups that the same person has seen; one that adds or takes away a few persons
    would tell how those few are.

    >>> near(1234, {1231}), near(1234, {1234, 1000}), near(3, set()), near(0, {40})
    (True, False, True, False)
    """
    return 0 < count < smallest or any(0 < abs(count - other) < smallest for other in shown)


def rounded(count: int, *, smallest: int = SMALLEST) -> int:
    """Return a count that is ``near`` another one as it may be shown: to the nearest ``smallest``, never less.

    >>> rounded(1231), rounded(12)
    (1230, 10)
    """
    return max(smallest * round(count / smallest), smallest)


# ---------------------------------------------------------------- the network


@dataclass(eq=False)
class _Network:
    """Counts and totals as flows ``start`` → ``end``; made anew for each table and changed only within ``hide``."""

    shape: tuple[int, int]
    start: np.ndarray
    end: np.ndarray
    value: np.ndarray
    hideable: np.ndarray  # shown, and may be hidden
    hidden: np.ndarray  # unknown to who looks
    cells: int  # the first ones are the counts, the others totals


def _network(values: np.ndarray, totals: tuple[Totals, Totals, Totals]) -> _Network:
    rows, columns = values.shape
    row, column = np.arange(rows), rows + np.arange(columns)
    foot, side = rows + columns, rows + columns + 1  # where the columns' and the rows' totals meet
    start = [*np.repeat(row, columns), *np.full(rows, side), *column, foot]
    end = [*np.tile(column, rows), *row, *np.full(columns, foot), side]
    flows = [*values.ravel(), *values.sum(axis=1), *values.sum(axis=0), values.sum()]
    kinds = ["shown"] * values.size + [totals[0]] * rows + [totals[1]] * columns + [totals[2]]
    return _Network(
        shape=(rows, columns),
        start=np.array(start, dtype=int),
        end=np.array(end, dtype=int),
        value=np.array(flows, dtype=np.int64),
        hideable=np.array([kind == "shown" for kind in kinds]),
        hidden=np.array([kind == "none" for kind in kinds]),
        cells=values.size,
    )


def _protected(network: _Network, smallest: int) -> bool:
    """Hide what must be hidden, the totals last; return whether that is enough."""
    small = np.flatnonzero(network.hideable & (network.value > 0) & (network.value < smallest)).tolist()
    network.hidden[small] = True
    width = smallest - 2  # of 1 to smallest − 1
    some = network.hideable & (network.value > 0)
    cells = some & (np.arange(len(some)) < network.cells)
    for candidates in (cells, some):
        if all(_widened(network, arc, width, candidates) for arc in small):
            _shown_again(network, small, width)
            return True
    return False


def _widened(network: _Network, arc: int, width: int, candidates: np.ndarray) -> bool:
    """Hide further candidates until the range of a hidden count is wide enough; return whether it could be done."""
    down = _flow(network, arc, width, network.hidden, up=False)[0]
    if down >= width:
        return True
    up, ways = _flow(network, arc, width - down, network.hidden | candidates, up=True)
    if up + down < width:
        return False
    network.hidden[ways] = True
    return True


def _shown_again(network: _Network, small: list[int], width: int) -> None:
    """Show again what was hidden in vain, the largest counts first."""
    added = np.flatnonzero(network.hidden & network.hideable)
    added = added[~np.isin(added, small)]
    for arc in added[np.argsort(-network.value[added], kind="stable")][:_MOST_TRIED]:
        network.hidden[arc] = False
        others = added[network.hidden[added]]
        if not all(_wide(network, one, width) for one in small) or not all(_wide(network, one, 1) for one in others):
            network.hidden[arc] = True


def _wide(network: _Network, arc: int, width: int) -> bool:
    down = _flow(network, arc, width, network.hidden, up=False)[0]
    return down >= width or down + _flow(network, arc, width - down, network.hidden, up=True)[0] >= width


def _flow(network: _Network, arc: int, wanted: int, usable: np.ndarray, *, up: bool) -> tuple[int, list[int]]:
    """Return by how much a count could be higher (or lower), up to ``wanted``, and the counts that would change with it.

    Ways over hidden counts are free, others cost what they hide, so the cheapest of them are taken first.
    """
    source, sink = (network.end[arc], network.start[arc]) if up else (network.start[arc], network.end[arc])
    most = wanted if up else min(wanted, int(network.value[arc]) - 1)
    price = np.where(network.hidden, 0, network.value + 1)
    ways: dict[int, list[tuple[int, int, int]]] = {}
    for one in np.flatnonzero(usable):
        if one != arc:
            ways.setdefault(int(network.start[one]), []).append((int(one), int(network.end[one]), 1))
            ways.setdefault(int(network.end[one]), []).append((int(one), int(network.start[one]), -1))
    room = network.value - 1  # by how much each may go down: who looks knows that it is not 0
    changed: set[int] = set()
    done = 0
    while done < most:
        path = _cheapest(ways, int(source), int(sink), price=price, room=room)
        if path is None:
            break
        step = min([most - done, *(int(room[place]) for place, direction in path if direction < 0)])
        for place, direction in path:
            room[place] += direction * step
            price[place] = 0
            changed.add(place)
        done += step
    return done, sorted(changed)


def _cheapest(
    ways: dict[int, list[tuple[int, int, int]]], source: int, sink: int, *, price: np.ndarray, room: np.ndarray
) -> list[tuple[int, int]] | None:
    """Return the cheapest way from one node to another as (count, direction); counts go down while they have room."""
    best, came = {source: 0}, dict[int, tuple[int, int, int]]()
    queue = [(0, source)]
    while queue:
        spent, node = heapq.heappop(queue)
        if node == sink:
            break
        if spent > best[node]:
            continue
        for arc, other, direction in ways.get(node, []):
            if direction < 0 and room[arc] < 1:
                continue
            cost = spent + int(price[arc])
            if cost < best.get(other, cost + 1):
                best[other], came[other] = cost, (node, arc, direction)
                heapq.heappush(queue, (cost, other))
    if sink not in came:
        return None
    path, node = [], sink
    while node != source:
        node, arc, direction = came[node]
        path.append((arc, direction))
    return path


def _checked(counts: pd.DataFrame) -> np.ndarray:
    values = counts.to_numpy(dtype=float, na_value=np.nan)
    if not (np.isfinite(values).all() and (values >= 0).all() and (values == np.round(values)).all()):
        raise DataError("counts holds negative, missing or broken numbers; give whole numbers of persons")
    return values.astype(np.int64)


def _told(counts: pd.DataFrame, network: _Network) -> Hidden:
    rows, columns = network.shape
    parts = np.split(network.hidden & network.hideable, np.cumsum([network.cells, rows, columns]))
    cells = pd.DataFrame(parts[0].reshape(rows, columns), index=counts.index, columns=counts.columns)
    return Hidden(
        cells, pd.Series(parts[1], index=counts.index), pd.Series(parts[2], index=counts.columns), bool(parts[3][0])
    )
