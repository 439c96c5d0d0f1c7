"""The command line: `labkit run`, `report`, `refresh`, `recordings`. It only asks, shows and counts."""

from labkit.cli.app import main

__all__ = ["main"]
