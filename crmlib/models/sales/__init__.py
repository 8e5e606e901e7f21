"""Sales, own and competitors', sliced any way: shares, price position, and what moved revenue (price, volume, mix)."""

from __future__ import annotations
