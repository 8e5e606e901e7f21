"""Who waits for a place, in the order they came."""

from __future__ import annotations


class Line:
    """A line of people who ask again every few seconds; whoever stopped asking for ``patience`` seconds has left.

    >>> line = Line(patience=15)
    >>> line.ahead("Ann", now=0), line.ahead("Bob", now=1), line.ahead("Ann", now=5)
    (0, 1, 0)
    >>> line.ahead("Bob", now=16), line.ahead("Bob", now=21), len(line)
    (1, 0, 1)
    """

    def __init__(self, *, patience: float) -> None:
        self.patience = patience
        self._seen: dict[str, float] = {}  # in the order in which they came

    def __len__(self) -> int:
        return len(self._seen)

    def ahead(self, ticket: str, *, now: float) -> int:
        """Return how many wait before the holder of a ticket, who stands at the end if the ticket is new."""
        self._seen[ticket] = now
        self._seen = {one: seen for one, seen in self._seen.items() if now - seen <= self.patience}
        return list(self._seen).index(ticket)

    def leave(self, ticket: str) -> None:
        """Take somebody out who got a place."""
        self._seen.pop(ticket, None)
