"""Made-up companies with planted truth and loaders of public data; both go through the same loader as a user's files."""

from __future__ import annotations

from crmlib.samples import public
from crmlib.samples.bank import bank
from crmlib.samples.bank_past import past
from crmlib.samples.dairy import dairy, dairy_future
from crmlib.samples.responses import respond
from crmlib.samples.sample import Sample, open_sample, truth

__all__ = ["Sample", "bank", "dairy", "dairy_future", "open_sample", "past", "public", "respond", "truth"]
