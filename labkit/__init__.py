"""labkit: compare how AKS clusters move packets.

A notebook starts with `Lab`, which opens the arms it was given; everything else is imported by name
from `labkit.collect` (what an arm says), `labkit.analysis` (what follows from it), `labkit.figures`
(how it looks) and `labkit.claims` (what it proves).
"""

from labkit.errors import LabError
from labkit.lab import Lab
from labkit.source import connect

__all__ = ["Lab", "LabError", "connect"]
__version__ = "0.1.0"
