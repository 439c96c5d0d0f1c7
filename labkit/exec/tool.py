"""Programs of this machine that set clusters up: kind, helm, cilium, kubectl, kubelogin. Never a shell."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labkit.errors import ProvisionError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Tools"]


@dataclass(frozen=True, slots=True)
class Tools:
    """The programs that an environment's PATH finds."""

    environ: Mapping[str, str]

    def has(self, name: str) -> bool:
        """Whether there is such a program."""
        return self._path(name) is not None

    def run(self, argv: Sequence[str], *, limit_s: float = 900.0, **environ: str) -> str:
        """What a command prints on stdout. Raises ProvisionError if it is missing, fails or exceeds its limit."""
        path, words = self._path(argv[0]), shlex.join(argv)
        if path is None:
            raise ProvisionError(f"{argv[0]} is not on PATH, so this was not run: {words}")
        try:
            done = subprocess.run(  # noqa: S603  (an argv list, of a program the person installed)
                [path, *argv[1:]],
                env={**self.environ, **environ},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=limit_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ProvisionError(f"{words} did not end within {limit_s:.0f} s and was stopped") from None
        if done.returncode:
            tail = " | ".join(done.stderr.decode(errors="replace").strip().splitlines()[-3:])
            raise ProvisionError(f"{words} exited {done.returncode}: {tail or 'no message on stderr'}")
        return done.stdout.decode(errors="replace")

    def _path(self, name: str) -> str | None:
        return shutil.which(name, path=self.environ.get("PATH", ""))
