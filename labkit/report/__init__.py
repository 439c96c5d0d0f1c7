"""The report of a run: HTML that opens from the disk, with nothing from a network.

ledger    findings by topic and claim; what an arm is
evidence  the replies a finding rests on, from the recording of its arm
pages     executed notebooks as HTML
words     numbers with their units, sizes, times
build     all of it as files
"""

from labkit.report.build import build

__all__ = ["build"]
