"""One captured packet as scapy sees it: each layer, its fields and what their values mean.

For the few packets that are shown; scapy reads under a thousand a second. `pcap` reads all of them, and the
two are compared with each other in the tests. https://scapy.readthedocs.io
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.errors import ParseError
from labkit.parse.capture_file import TOOL, batches
from labkit.parse.packet_links import LINKS
from labkit.schema import Column, Schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd
    from scapy.fields import AnyField
    from scapy.packet import Packet

    from labkit.parse.capture_file import Data

__all__ = ["FIELDS", "fields", "packet"]

SHOWN = 16  # bytes of a field that has no words of its own

FIELDS = Schema("packet_fields", "The fields of one packet.", key=("depth", "position"), columns=(
    Column("depth", "Int64", "number of the layer, from 0 at the outside"),
    Column("layer", "str", "the layer, by scapy's name"),
    Column("layer_bytes", "Int64", "bytes of the layer's own header; of the last one, all that was captured"),
    Column("position", "Int64", "number of the field in its layer"),
    Column("field", "str", "the field, by scapy's name"),
    Column("value", "str", "its value in words"),
))  # fmt: skip


def packet(data: Data, n: int) -> Packet:
    """Packet `n` of a capture file, dissected. Raises ParseError where the file has no such packet."""
    from scapy.contrib import geneve  # noqa: F401, PLC0415  (importing a layer is what makes scapy know it)
    from scapy.layers import dns, inet, inet6, l2, vxlan  # noqa: F401, PLC0415

    number, raw = _record(data, n)
    link = LINKS.get(number)
    if link == "raw":
        return (inet6.IPv6 if raw[:1] and raw[0] >> 4 == 6 else inet.IP)(raw)
    first = {
        "ethernet": l2.Ether, "sll": l2.CookedLinux, "sll2": l2.CookedLinuxV2, "null": l2.Loopback,
        "loop": l2.Loopback,
    }  # fmt: skip
    if link not in first:
        raise ParseError(TOOL, f"link type {number} is none of {', '.join(map(str, LINKS))}")
    return first[link](raw)


def _record(data: Data, n: int) -> tuple[int, bytes]:
    """Link type and bytes of packet `n`."""
    seen = 0
    for batch in batches(data):
        if 0 <= n - seen < len(batch):
            start = int(batch.start[n - seen])
            return int(batch.link[n - seen]), data[start : start + int(batch.captured[n - seen])]
        seen += len(batch)
    raise ParseError(TOOL, f"no packet {n} in a capture of {seen}")


def fields(data: Data, n: int) -> pd.DataFrame:
    """Every field of packet `n` of a capture file: frame FIELDS."""
    return FIELDS.frame(
        {
            "depth": depth,
            "layer": layer.name,
            "layer_bytes": len(layer) - len(layer.payload),
            "position": position,
            "field": field.name,
            "value": _words(layer, field),
        }
        for depth, layer in enumerate(_layers(packet(data, n)))
        for position, field in enumerate(layer.fields_desc)
        if field.name in layer.fields  # a field that this kind of packet does not have is not in it
    )


def _words(layer: Packet, field: AnyField) -> str:
    value = layer.getfieldval(field.name)
    if isinstance(value, bytes):
        return value[:SHOWN].hex(" ") + (f" … {len(value)} bytes" if len(value) > SHOWN else "")
    return str(field.i2repr(layer, value))


def _layers(whole: Packet) -> Iterator[Packet]:
    """The layers from the outside in, without the empty end that scapy puts behind them."""
    from scapy.packet import NoPayload  # noqa: PLC0415

    layer = whole
    while not isinstance(layer, NoPayload):
        yield layer
        layer = layer.payload
