"""Numbers, sizes and times as a reader wants them."""

from __future__ import annotations

import html
import re
from datetime import datetime

from labkit.schema import UNITS

__all__ = ["FILTERS", "amount", "coded", "day", "duration", "label", "plural", "size", "slug", "warned"]

SHORT = {"_us": "µs", "_s": "s", "_bps": "bit/s", "_bytes": "bytes", "_pps": "packets/s", "_pct": "%"}
assert SHORT.keys() == UNITS.keys()  # noqa: S101  (a new unit needs a short form)
#: Numbers that are names: no comma between their thousands.
NUMBERS_THAT_COUNT_NOTHING = ("port", "vni", "identity", "_id")
SCALED = {"_bps": ("", "k", "M", "G", "T"), "_pps": ("", "k", "M")}


def label(name: str) -> str:
    """The name of a number without its unit: `connect_p50_us` is `connect p50`."""
    return _split(name)[0].replace("_", " ")


def amount(value: float | str, name: str) -> str:
    """A number with the unit that its name ends in: (1234.5, `connect_us`) is `1,234 µs`."""
    if isinstance(value, (str, bool)):
        return str(value)
    suffix = _split(name)[1]
    prefixes = SCALED.get(suffix, ("",))
    power = 0
    while abs(value) >= 1000 and power < len(prefixes) - 1:
        value, power = value / 1000, power + 1
    unit = f"{prefixes[power]}{SHORT[suffix]}" if suffix else ""
    digits = str(value) if name.endswith(NUMBERS_THAT_COUNT_NOTHING) else _digits(value)
    return f"{digits} {unit}".rstrip()


def _digits(value: float) -> str:
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def _split(name: str) -> tuple[str, str]:
    suffix = max((s for s in UNITS if name.endswith(s)), key=len, default="")
    return name.removesuffix(suffix), suffix


def size(count: int) -> str:
    """Bytes, kB or MB."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000 or unit == "MB":
            break
        count = round(count / 1000)
    return f"{count:,} {unit}"


def duration(seconds: float) -> str:
    """Seconds, or milliseconds where they are few."""
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def day(moment: str | datetime) -> str:
    """A time in UTC, to the second."""
    when = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return f"{when:%Y-%m-%d %H:%M:%S} UTC"


def plural(count: int, word: str) -> str:
    """`1 claim`, `2 claims`."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def coded(text: str) -> str:
    """Plain text as HTML, with what stands in backticks as code. The result is safe to show as it is."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text, quote=False))


def warned(text: str) -> str:
    """A note as HTML, with what it says an arm is not (`Not AKS.`) made strong. Safe to show as it is."""
    return re.sub(r"\bNot [^.;]+[.;]?", r"<strong>\g<0></strong>", coded(text))


def slug(text: str) -> str:
    """A word that can be a file name and an anchor."""
    return re.sub(r"[^A-Za-z0-9.-]+", "-", text).strip("-.") or "x"


FILTERS = {f.__name__: f for f in (amount, day, duration, label, plural, size, slug)}
