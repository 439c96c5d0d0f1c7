"""The live arms of a run: each held once in this process, served to the kernels, and put back at the end."""

from __future__ import annotations

import json
import shutil
import signal
import tempfile
import threading
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

from labkit.chain import prepare
from labkit.cluster import Cluster
from labkit.exec.remote import Server
from labkit.source import SERVED, is_live

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType

    from labkit.chain import Chain, Opener, Terms
    from labkit.notebooks.execute import Watch

__all__ = ["Holding"]

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Holding:
    """Opens the live arms among `sources`, recording into `folder/<arm>`; leaving the `with` puts all back.

    The kernels of a run reach them by what `environ` says: a notebook names the source as anywhere, and
    `connect` finds that a run holds it.
    """

    def __init__(
        self, sources: Mapping[str, str], folder: Path, terms: Terms, watch: Watch, opener: Opener
    ) -> None:
        self._sources = {arm: source for arm, source in sources.items() if is_live(source)}
        self._folder, self._terms, self._watch, self._opener = folder, terms, watch, opener
        self._closing = ExitStack()
        self._served: dict[str, dict[str, str]] = {}
        self.chains: dict[str, Chain] = {}

    @property
    def clusters(self) -> dict[str, Cluster]:
        """The live arms, by name."""
        return {arm: Cluster(arm, self._sources[arm], chain) for arm, chain in self.chains.items()}

    @property
    def environ(self) -> dict[str, str]:
        """What the environment of kernels must hold."""
        return {SERVED: json.dumps(self._served)} if self._served else {}

    def __enter__(self) -> Self:
        with ExitStack() as opening:
            sockets = Path(tempfile.mkdtemp(prefix="labkit-arms-"))  # made with mode 0700
            opening.callback(shutil.rmtree, sockets, ignore_errors=True)
            for arm, source in self._sources.items():
                told = partial(self._watch.told, arm)
                chain = self._opener(source, arm, self._folder / arm, self._terms, told)
                opening.callback(_put_back, chain, told)
                self.chains[arm] = chain
            for number, (arm, chain) in enumerate(self.chains.items()):
                prepare(chain)  # only now, when all can be had, is one changed
                server = Server(chain, sockets / str(number))
                opening.callback(server.close)
                self._served[arm] = {"source": self._sources[arm], "socket": str(server.path)}
            self._closing = opening.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.close()


def _put_back(chain: Chain, told: Callable[[str], None]) -> None:
    with _undisturbed(told):
        chain.close()
    told("")


@contextmanager
def _undisturbed(told: Callable[[str], None]) -> Iterator[None]:
    """Ctrl-C has ended the run already; once more would leave on the cluster what is being put back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {
        number: signal.signal(number, lambda *_: told("still putting back what was changed"))
        for number in ENDING
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
