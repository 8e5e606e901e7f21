"""How counts of persons read where small ones are hidden, and what one page has shown of them."""

from __future__ import annotations

from crmlib.decisions import small_cells
from crmlib.views.texts import Language


def few(say: Language) -> str:
    """Return what stands for a small count: "fewer than 10"."""
    return say.text("fewer than {n}", n=small_cells.SMALLEST)


class Seen:
    """The counts of groups of persons that one page has shown exactly; the only state, gone when the page is closed.

    A count that differs by a few persons from one already seen would tell of those few: it is rounded to tens.
    """

    def __init__(self) -> None:
        self._counts: set[int] = set()

    def number(self, count: int) -> int | None:
        """Return a count as it may be shown: exact, rounded to tens, or None where it is small."""
        if 0 < count < small_cells.SMALLEST:
            return None
        if small_cells.near(count, self._counts):
            return small_cells.rounded(count)
        self._counts.add(count)
        return count

    def words(self, say: Language, count: int) -> str:
        """Return a count in words: "1,234", "about 1,230" or "fewer than 10"."""
        number = self.number(count)
        if number is None:
            return few(say)
        if number == count and count in self._counts:
            return say.number(count)
        return say.text("about {n}", n=say.number(number))
