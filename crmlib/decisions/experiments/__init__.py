"""What campaigns really changed: how many customers it takes, effects while they run and at their end.

``sample_size`` before, ``interim`` at any time, ``final`` at the end; the table they measure is described in ``contract``
(``decisions.campaigns.members`` makes it). ``programme`` measures all campaigns together, ``verdict`` says it as codes.
"""

from __future__ import annotations

from crmlib.decisions.experiments.contract import ALL_ARMS, COLUMNS, check
from crmlib.decisions.experiments.design import PRICE_OF_LOOKING, SampleSize, sample_size, smallest_effect
from crmlib.decisions.experiments.effects import final, per_contacted
from crmlib.decisions.experiments.programme import programme
from crmlib.decisions.experiments.sequential import interim
from crmlib.decisions.experiments.verdicts import verdict, verdicts

__all__ = [
    "ALL_ARMS",
    "COLUMNS",
    "PRICE_OF_LOOKING",
    "SampleSize",
    "check",
    "final",
    "interim",
    "per_contacted",
    "programme",
    "sample_size",
    "smallest_effect",
    "verdict",
    "verdicts",
]
