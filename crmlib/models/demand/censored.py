"""Demand behind stock-outs: what would have been sold on comparable days, never less than what was.

Every product in every outlet is expected to sell level × drift × weekday × what the product did in that region in that
week and on that day × what its price and promotion do. Each factor is estimated from the days that tell demand and drawn
towards 1 as far as its pieces leave it uncertain. A day with an empty shelf says only that demand was at least the sale: it
enters with the mean of the negative binomial demand above that (EM for censored demand: Talluri & van Ryzin, The Theory
and Practice of Revenue Management, 2004, section 9.4), so that the factors neither learn from missing goods nor from
leaving out just those days on which demand was highest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from crmlib.errors import DataError

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
DRIFT_DAYS = 91
"""Length of the blocks within which the level of a product in an outlet may move apart from the region's."""
_LEAST_DISPERSION, _MOST_DISPERSION = 1e-4, 20.0
ROUNDS = 10


@dataclass(frozen=True, eq=False)
class Comparable:
    """What comparable days let expect, rows (a product in an outlet) × days.

    Attributes: ``expected`` mean demand in pieces while open; ``demand`` the sale, and on censored days the mean of what
    was at least the sale; ``dispersion`` by row: the variance is mean + dispersion · mean².
    """

    expected: Array
    demand: Array
    dispersion: Array


@dataclass(frozen=True, eq=False)
class Grouping:
    """Which rows and days share a factor.

    Attributes: ``product``, ``group`` (product and region) number each row, both rising; ``weekday`` of each day (0 Monday);
    ``week`` and ``block`` number each day, rising; ``offer`` numbers the offer (price step, promotion) of each row
    and day within its product.
    """

    product: NDArray[np.intp]
    group: NDArray[np.intp]
    weekday: NDArray[np.intp]
    week: NDArray[np.intp]
    block: NDArray[np.intp]
    offer: NDArray[np.intp]


def above(expected: Array, dispersion: Array, least: Array) -> Array:
    """Return the mean of a negative binomial demand that is known to be at least ``least``.

    With r = 1/dispersion and P the upper tail, E[D | D ≥ s] = μ · P(D' ≥ s − 1) / P(D ≥ s), where D' has r + 1.
    Never below ``least``.

    >>> above(np.array([2.0, 2.0]), np.array([0.5, 0.5]), np.array([0.0, 2.0])).round(3).tolist()
    [2.0, 3.5]
    """
    return _above(expected, dispersion, least)[0]


def _above(expected: Array, dispersion: Array, least: Array) -> tuple[Array, Array]:
    """Return mean and variance of a demand known to be at least ``least``; where the tail vanishes, ``least`` and 0."""
    mean = np.maximum(expected, 1e-9)
    shape = 1 / np.clip(dispersion, _LEAST_DISPERSION, _MOST_DISPERSION)
    q = mean / (shape + mean)
    tail = _tail(least, shape, q)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = mean * _tail(least - 1, shape + 1, q) / tail
        pairs = mean**2 * (1 + 1 / shape) * _tail(least - 2, shape + 2, q) / tail  # E[D (D - 1) | D >= s]
    sound = np.isfinite(found) & (tail > 1e-12)
    demand = np.maximum(np.where(sound, found, least), least)
    return demand, np.where(sound, np.maximum(pairs + found - found**2, 0.0), 0.0)


def _tail(least: Array, shape: Array, q: Array) -> Array:
    """Return P(D ≥ least) of a negative binomial."""
    return np.where(least > 0, special.betainc(np.maximum(least, 1e-9), shape, q), 1.0)


def estimate(sold: Array, *, told: Flags, censored: Flags, grouping: Grouping, rounds: int = ROUNDS) -> Comparable:
    """Return what comparable days let expect.

    ``sold`` pieces, rows × days; ``told`` the days that tell demand, ``censored`` those with an empty shelf (both
    boolean, never both); the other days are left out. Raises DataError where shapes differ, a day is both, or pieces are
    negative or missing on a day that counts.
    """
    _check(sold, told, censored)
    used = told | censored
    demand = np.where(used, sold, 0.0)
    ways = _ways(grouping)
    factors: list[Array] = [np.ones(1)] * len(ways)
    begin = _start(demand, used, grouping)
    inside = np.where(used, begin[:, None], 0.0)  # expected pieces of the days that count
    dispersion = np.full(len(sold), 0.3)
    at = np.nonzero(censored)
    spare = np.zeros_like(sold)  # what the censored days add to the squares
    for turn in range(rounds):
        for number, way in enumerate(ways):
            new = _factor(way, demand, inside, dispersion, old=factors[number])
            inside *= way.spread(new / factors[number])
            factors[number] = new
        dispersion = _dispersion((demand - inside) ** 2 + spare, inside, grouping.product)
        if len(at[0]):
            demand[at], spare[at] = _above(inside[at], dispersion[at[0]], sold[at])
        elif turn >= rounds // 2:
            break  # nothing to fill in: the factors have settled
    expected = np.repeat(begin[:, None], sold.shape[1], axis=1)
    for way, factor in zip(ways, factors, strict=True):
        expected *= way.spread(factor)
    return Comparable(expected, demand, dispersion)


def _check(sold: Array, told: Flags, censored: Flags) -> None:
    if not sold.shape == told.shape == censored.shape:
        raise DataError(
            f"sold, told and censored have the shapes {sold.shape}, {told.shape} and {censored.shape}; give the same rows and days"
        )
    both = told & censored
    if both.any():
        raise DataError(
            f"{int(both.sum())} days both tell demand and are censored; a day with an empty shelf is only censored"
        )
    bad = (told | censored) & ~(sold >= 0)
    if bad.any():
        row, day = (int(part[0]) for part in np.nonzero(bad))
        raise DataError(
            f"sold: row {row}, day {day} is {sold[row, day]} ({int(bad.sum())} such days); returns and gaps tell no demand, "
            "take them out of told and censored"
        )


# ---------------------------------------------------------------- factors


@dataclass(frozen=True, eq=False)
class _Way:
    """A factor: ``gather`` sums rows × days over what shares a value, ``spread`` brings the values back, ``product`` numbers
    the product of each first index of what was gathered."""

    gather: Callable[[Array], Array]
    spread: Callable[[Array], Array]
    product: NDArray[np.intp]


def _ways(grouping: Grouping) -> list[_Way]:
    product, group = grouping.product, grouping.group
    rows = np.arange(len(product))
    return [
        _over(rows, np.zeros_like(grouping.week), product),  # the level of the product in the outlet
        _over(product, grouping.weekday, product),
        _over(product, grouping.week, product),
        _offers(grouping),
        _over(rows, grouping.weekday, product),
        _over(rows, grouping.block, product),
        _over(group, grouping.week, product),
        _over(product, np.arange(len(grouping.week)), product),
        _over(group, np.arange(len(grouping.week)), product),
    ]


def _over(rows: NDArray[np.intp], days: NDArray[np.intp], product: NDArray[np.intp]) -> _Way:
    """Sum by number of row and number of day; the numbers of rows rise, so that sums run over slices."""
    first = np.flatnonzero(np.r_[True, rows[1:] != rows[:-1]])
    order = np.argsort(days, kind="stable")
    sorted_days = days[order]
    start = np.flatnonzero(np.r_[True, sorted_days[1:] != sorted_days[:-1]])
    place = np.cumsum(np.r_[0, sorted_days[1:] != sorted_days[:-1]])
    back = np.empty_like(place)
    back[order] = place
    of_row = np.cumsum(np.r_[0, rows[1:] != rows[:-1]])
    one_each, every_day = len(first) == len(rows), len(start) == len(days)
    in_order = bool((order == np.arange(len(order))).all())

    def gather(cells: Array) -> Array:
        by_row = cells if one_each else np.add.reduceat(cells, first, axis=0)
        if every_day:
            return by_row
        return np.add.reduceat(by_row if in_order else by_row[:, order], start, axis=1)

    def spread(values: Array) -> Array:
        wide = values if every_day else values[:, back]
        return wide if one_each else wide[of_row]

    return _Way(gather, spread, product[first])


def _offers(grouping: Grouping) -> _Way:
    width = int(grouping.offer.max(initial=0)) + 1
    code = grouping.product[:, None] * width + grouping.offer
    size = int(code.max(initial=0)) + 1

    def gather(cells: Array) -> Array:
        return np.bincount(code.ravel(), weights=cells.ravel(), minlength=size).astype(np.float64)

    return _Way(gather, lambda values: values[code], np.arange(size) // width)


def _factor(way: _Way, demand: Array, inside: Array, dispersion: Array, *, old: Array) -> Array:
    """Return a factor anew: pieces over pieces expected without it, drawn to 1 by how much the factor varies at all.

    How much it varies is what the product's observed values have beyond chance (empirical Bayes, moments).
    """
    pieces, base = way.gather(demand), way.gather(inside) / old
    chance = base + way.gather(dispersion[:, None] * inside**2) / old**2  # variance of the pieces where the factor is 1
    beyond = np.where(base > 0, (pieces - base) ** 2 - chance, 0.0).reshape(len(base), -1).sum(axis=1)
    squares = (base**2).reshape(len(base), -1).sum(axis=1)
    varies = np.maximum(np.bincount(way.product, beyond), 0) / np.maximum(np.bincount(way.product, squares), 1e-12)
    own = varies[way.product].reshape(-1, *[1] * (base.ndim - 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        trust = own / (own + chance / base**2)
        return np.where(base > 0, np.maximum(1 + trust * (pieces / base - 1), 1e-3), 1.0)


def _start(demand: Array, used: Flags, grouping: Grouping) -> Array:
    """Return the mean of each row, drawn a little to its product's, so that rows without a day have one too."""
    pieces, days = demand.sum(axis=1), used.sum(axis=1)
    size = int(grouping.product.max(initial=0)) + 1
    mean = np.bincount(grouping.product, weights=pieces, minlength=size) / np.maximum(
        np.bincount(grouping.product, weights=days, minlength=size), 1
    )
    return np.maximum((pieces + mean[grouping.product]) / (days + 1), 1e-6)


def _dispersion(squares: Array, inside: Array, product: NDArray[np.intp]) -> Array:
    """Return the dispersion of each row's product: what squared deviations have beyond the mean, over squared means."""
    size = int(product.max(initial=0)) + 1
    beyond = np.where(inside > 0, squares - inside, 0.0).sum(axis=1)
    found = np.bincount(product, weights=beyond, minlength=size) / np.maximum(
        np.bincount(product, weights=(inside**2).sum(axis=1), minlength=size), 1e-9
    )
    return np.clip(found, _LEAST_DISPERSION, _MOST_DISPERSION)[product]
