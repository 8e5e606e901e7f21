"""How often will customers buy, are they still there, and what is it worth: buy-till-you-die models by maximum likelihood."""

from __future__ import annotations

from crmlib.models.lifetime import alive, bgbb, bgnbd, discount, gammagamma, intervals, paretonbd, transactions

__all__ = ["alive", "bgbb", "bgnbd", "discount", "gammagamma", "intervals", "paretonbd", "transactions"]
