"""How often somebody may try to log in: so many failures a quarter of an hour, by user and by address."""

from __future__ import annotations

from collections import OrderedDict, deque

WINDOW_SECONDS = 900.0
USER_FAILURES = 10
ADDRESS_FAILURES = 30
_MOST_KEPT = 10_000  # users and addresses remembered at once; the longest unheard of are forgotten first


class Limits:
    """The failures of the last quarter of an hour; every attempt counts as one until it is known to be none.

    >>> limits = Limits()
    >>> [limits.attempt("maria", "10.0.0.7", now=0.0) for _ in range(11)][-2:]
    [0.0, 900.0]
    """

    def __init__(self) -> None:
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()
        self._told: OrderedDict[str, float] = OrderedDict()

    def attempt(self, name: str, address: str, *, now: float) -> float:
        """Count an attempt and return 0, or, where there were too many, the seconds to wait before the next."""
        kept = {key: self._recent(key, now) for key in _keys(name, address)}
        waits = [
            times[0] + WINDOW_SECONDS - now
            for times, most in zip(kept.values(), (USER_FAILURES, ADDRESS_FAILURES), strict=True)
            if len(times) >= most
        ]
        if waits:
            return max(waits)
        for key, times in kept.items():
            times.append(now)
            self._failures[key] = times
            self._failures.move_to_end(key)
        while len(self._failures) > _MOST_KEPT:
            self._failures.popitem(last=False)
        return 0.0

    def succeeded(self, name: str, address: str) -> None:
        """Forget the failures of a user who got in; of the address only that attempt, since others may be behind it."""
        user, place = _keys(name, address)
        self._failures.pop(user, None)
        times = self._failures.get(place)
        if times:
            times.pop()

    def told(self, name: str, address: str, *, now: float) -> bool:
        """Return whether too many attempts of the user or the address were told within the window; they are from now on."""
        keys = _keys(name, address)
        known = any(now - self._told.get(key, -WINDOW_SECONDS) < WINDOW_SECONDS for key in keys)
        if not known:
            self._told.update(dict.fromkeys(keys, now))
        while len(self._told) > _MOST_KEPT:
            self._told.popitem(last=False)
        return known

    def _recent(self, key: str, now: float) -> deque[float]:
        times = self._failures.get(key, deque())
        while times and times[0] <= now - WINDOW_SECONDS:
            times.popleft()
        return times


def _keys(name: str, address: str) -> tuple[str, str]:
    return f"user {name}", f"address {address}"
