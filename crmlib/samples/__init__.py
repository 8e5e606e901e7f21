"""Made-up companies with planted truth and loaders of public data; both go through the same loader as a user's files."""

from __future__ import annotations

from crmlib.samples import public
from crmlib.samples.bank import Sample, bank, open_sample, truth
from crmlib.samples.bank_past import past
from crmlib.samples.responses import respond

__all__ = ["Sample", "bank", "open_sample", "past", "public", "respond", "truth"]
