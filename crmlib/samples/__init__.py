"""Made-up companies with planted truth and loaders of public data; both go through the same loader as a user's files."""

from __future__ import annotations

from crmlib.samples import public
from crmlib.samples.bank import Sample, bank, open_sample, truth

__all__ = ["Sample", "bank", "open_sample", "public", "truth"]
