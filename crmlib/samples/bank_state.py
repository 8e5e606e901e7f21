"""What the simulation of the sample bank carries through time: the people of a block, their state, their holdings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crmlib.samples import bank_products as catalogue

Ints = NDArray[np.int32]


@dataclass(frozen=True)
class Quarter:
    """A quarter: day numbers count from 1970-01-01, ``last`` is included; ``recorded`` is False before the records begin."""

    first: int
    last: int
    season: int
    recorded: bool

    @property
    def days(self) -> int:
        """Length in days."""
        return self.last - self.first + 1

    @property
    def month_ends(self) -> list[int]:
        """The last day of each of the three months."""
        month = np.datetime64(self.first, "D").astype("datetime64[M]")
        return [int((month + k).astype("datetime64[D]").astype(int)) - 1 for k in (1, 2, 3)]


@dataclass(frozen=True)
class People:
    """The customers of a block: what never changes. Arrays run over customers; days are day numbers."""

    number: NDArray[np.int64]
    household: NDArray[np.int64]
    twin: Ints  # position of the other record of the same person, or -1
    female: NDArray[np.bool_]
    given_name: Ints
    family_name: Ints
    birth: Ints
    education: Ints
    occupation: Ints
    since: Ints
    habit: NDArray[np.float64]  # customers × categories: log of the usual rate against the average
    appetite: NDArray[np.float64]  # activity: factor on all rates
    saver: NDArray[np.float64]
    responder: Ints
    affinity: NDArray[np.float64]
    consents: NDArray[np.bool_]  # customers × kinds of contact, at the beginning
    withdrawn: Ints  # day on which all consents were withdrawn, or 0
    objects: NDArray[np.bool_]  # objects to profiling
    objected: Ints  # day of that objection
    missing: dict[str, NDArray[np.bool_]]  # fields the bank never learned
    forgetful: NDArray[np.bool_]  # changes are not reported

    @property
    def size(self) -> int:
        """Number of customers in the block."""
        return int(self.number.size)


@dataclass
class Holdings:
    """The contracts of a block, in the order of their numbers; 0 in a day means none."""

    customer: Ints
    product: Ints
    opened: Ints
    matures: Ints
    closed: Ints
    reason: Ints  # 0 none, 1 matured, 2 closed by the customer, 3 + number of the churn reason
    amount: NDArray[np.int64]
    channel: Ints

    def open_at(self, at: int) -> NDArray[np.bool_]:
        """Return which contracts are open at the end of the day before ``at``."""
        return (self.opened < at) & ((self.closed == 0) | (self.closed >= at))

    def held(self, size: int, at: int) -> Ints:
        """Return how many of each product (customers × products) are held at the end of the day before ``at``."""
        mask = self.open_at(at)
        width = len(catalogue.PRODUCTS)
        flat = self.customer[mask].astype(np.int64) * width + self.product[mask]
        return np.bincount(flat, minlength=size * width).reshape(size, width).astype(np.int32)

    def extend(self, new: Holdings) -> None:
        """Append contracts."""
        for name in self.__dataclass_fields__:
            setattr(self, name, np.concatenate([getattr(self, name), getattr(new, name)]))


@dataclass
class State:
    """What changes from quarter to quarter; frozen within one. Arrays run over customers."""

    income: NDArray[np.float64]  # minor units a month
    shown_income: NDArray[np.float64]  # the one the bank has on record, where it has one, else the true one
    employment: Ints
    marital: Ints
    kids: Ints
    region: Ints
    town: Ints
    drift: NDArray[np.float64]  # customers × categories: log of the present rate against the usual one
    dormant: NDArray[np.bool_]
    salary: NDArray[np.bool_]
    digital: NDArray[np.float64]
    wealth: NDArray[np.float64]  # log deviation of the balances
    liquid: NDArray[np.float64]  # last month-end balance on accounts, minor units
    satisfaction: NDArray[np.float64]
    counts: NDArray[np.float64]  # last 4 quarters × customers × categories
    visits: NDArray[np.float64]  # last quarter, customers × product groups
    abandoned: NDArray[np.bool_]  # last quarter, customers × products
    refused: NDArray[np.bool_]  # last quarter, any loan or card
    contacted: NDArray[np.float64]  # last quarter, by the bank
    member: NDArray[np.bool_]  # of the programme of points
    points: NDArray[np.int64]  # not spent yet, by quarter of origin (this one first, five in all) × customers
    complaints: Ints
    soothed: NDArray[np.bool_]  # the complaint was compensated
    newborn: Ints  # quarters for which a birth still matters
    moved: NDArray[np.bool_]
    matured: NDArray[np.bool_]
    left: Ints  # last day of the relationship, or 0
    left_reason: Ints
    holdings: Holdings

    def present(self, people: People, at: int) -> NDArray[np.bool_]:
        """Return who was a customer at the end of the day before ``at``."""
        return (people.since < at) & ((self.left == 0) | (self.left >= at))
