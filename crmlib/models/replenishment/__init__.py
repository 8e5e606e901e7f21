"""When each customer needs the next delivery: the hazard of the next order, pooled, and corrected for stock-outs."""

from crmlib.models.replenishment.backtest import RULES, Tested, backtest
from crmlib.models.replenishment.due import due
from crmlib.models.replenishment.hazard import Hazard, fit
from crmlib.models.replenishment.history import Market, by_day, lines, market

__all__ = ["NAME", "RULES", "Hazard", "Market", "Tested", "backtest", "by_day", "due", "fit", "lines", "market"]

NAME = "replenishment"
