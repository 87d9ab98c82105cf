"""Audits data sets: can a benchmark on this data be believed? One file per kind of finding.

The expected value of a finding is what chance gives if the split tells nothing: for most findings, that the held-out
items of a user are any of the items of the user. A flag needs both a large deviation and one that chance cannot give.
"""

from medley.auditing.audit import Audit, audit, quick_flags
from medley.auditing.finding import Finding

__all__ = ["Audit", "Finding", "audit", "quick_flags"]
