"""Made-up companies with planted truth; they write files that go through the same loader as a user's."""

from __future__ import annotations

from crmlib.samples.bank import Sample, bank, open_sample, truth

__all__ = ["Sample", "bank", "open_sample", "truth"]
