"""Columns of names and addresses. Each distinct value is written once, however many packets have it."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    import numpy as np
    import pandas as pd

    from labkit.parse.packet_records import Ints

    Codes = np.ndarray[tuple[int], np.dtype[np.int32]]

__all__ = ["Texts", "ip4", "ip6", "mac"]


class Texts:
    """The distinct texts of a file, numbered in the order they come, with the bytes or numbers they stand for."""

    def __init__(self) -> None:
        self.texts: dict[str, int] = {}
        self._known: dict[Hashable, int] = {}
        self._dtype: pd.CategoricalDtype | None = None

    def codes(self, values: np.ndarray[Any, Any], write: Callable[[Any], str | None]) -> Codes:
        """The number of each value's text; `write` is asked once for each value, and None is -1."""
        import numpy as np  # noqa: PLC0415  (import labkit must stay fast)
        import pandas as pd  # noqa: PLC0415

        if not len(values):
            return np.empty(0, dtype=np.int32)
        codes, unique = pd.factorize(values)
        known = [self._number((write, value), value, write) for value in unique.tolist()]
        return np.array(known, dtype=np.int32)[codes]

    def pairs(self, high: Ints, low: Ints, write: Callable[[int, int], str | None]) -> Codes:
        """The same of values in two halves."""
        import numpy as np  # noqa: PLC0415
        import pandas as pd  # noqa: PLC0415

        if not len(high):
            return np.empty(0, dtype=np.int32)
        codes, unique = pd.factorize(high)
        low_codes, low_unique = pd.factorize(low)
        both, pairs = pd.factorize(codes * len(low_unique) + low_codes)
        upper, lower = np.divmod(pairs, len(low_unique))
        halves = zip(unique[upper].tolist(), low_unique[lower].tolist(), strict=True)
        known = [self._number((write, h, lo), (h, lo), lambda pair: write(*pair)) for h, lo in halves]
        return np.array(known, dtype=np.int32)[both]

    def number(self, text: str) -> int:
        """The number of a text, a new one where it is new."""
        return self.texts.setdefault(text, len(self.texts))

    def column(self, codes: np.ndarray[Any, Any]) -> pd.Categorical:
        """A column of texts from their numbers, -1 where there is none. Columns of one collection can be compared."""
        import pandas as pd  # noqa: PLC0415

        if self._dtype is None or len(self._dtype.categories) != len(self.texts):
            self._dtype = pd.CategoricalDtype(pd.Index(list(self.texts), dtype="str"))
        return pd.Categorical.from_codes(codes, dtype=self._dtype, validate=False)

    def _number(self, key: Hashable, value: Any, write: Callable[[Any], str | None]) -> int:  # noqa: ANN401
        if key not in self._known:
            text = write(value)
            self._known[key] = -1 if text is None else self.number(text)
        return self._known[key]


def ip4(number: int) -> str:
    """An IPv4 address as one writes it."""
    return socket.inet_ntop(socket.AF_INET, number.to_bytes(4, "big"))


def ip6(high: int, low: int) -> str:
    """An IPv6 address as one writes it (RFC 5952)."""
    return socket.inet_ntop(socket.AF_INET6, (high << 64 | low).to_bytes(16, "big"))


def mac(number: int) -> str:
    """A MAC address as one writes it."""
    return number.to_bytes(6, "big").hex(":")
