"""The decoder against two others, scapy and tshark, field by field, over thousands of packets."""

import os
import random
import shutil
import struct
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from labkit.errors import ParseError
from labkit.parse import capture_file
from labkit.parse.pcap import packets, plain
from tests.conftest import RECORDINGS, recorded
from tests.parse.capture import pcap, pcapng
from tests.parse.random_packets import LINKS, Maker, by_scapy

CASES = Path(__file__).parent.parent / "cases" / "pcap"


#: What scapy is asked for: where it says nothing of these, there must be nothing.
COMPARED = [
    prefix + name
    for prefix in ("", "inner_")
    for name in (
        "src_ip",
        "dst_ip",
        "src_port",
        "dst_port",
        "ttl",
        "ip_id",
        "fragment",
        "seq",
        "ack",
        "tcp_flags",
    )
] + ["encap", "vni", "icmp_id", "icmp_seq", "inner_icmp_id", "inner_icmp_seq", "vlan"]


def differences(frames: list[bytes], link: int, *, wire: int | None = None) -> tuple[list[str], int]:
    """Fields that scapy and the decoder give differently, and how many they agree on."""
    rows = plain(packets(pcap(frames, link=link, wire=wire))).to_dict("records")
    wrong, same = [], 0
    for raw, row in zip(frames, rows, strict=True):
        said = by_scapy(raw, link)
        if not isinstance(row["problem"], str):
            said = dict.fromkeys(COMPARED) | said
        for name, value in said.items():
            if pd.isna(row[name]):
                bad = value is not None and not isinstance(row["problem"], str)
            else:
                bad = row[name] != value
            if bad:
                wrong.append(
                    f"{row['n']} {name}: {row[name]!r}, scapy says {value!r} ({row['problem']}) {raw.hex()}"
                )
            same += value is not None
    return wrong, same


@pytest.mark.parametrize("link", LINKS)
def test_scapy_says_the_same_of_random_packets(link):
    maker = Maker(link)
    frames = [maker.frame(link) for _ in range(400)]
    wrong, same = differences(frames, link)
    assert not wrong, wrong[:3]
    assert same > 3500
    assert packets(pcap(frames, link=link))["problem"].isna().all()


@pytest.mark.parametrize("link", [1, 113, 276, 101])
def test_scapy_says_the_same_of_damaged_packets(link):
    """Bytes changed and ends cut off: a field is what scapy reads there, or NA with a problem."""
    maker = Maker(1000 + link)
    frames = [maker.mutated(maker.frame(link)) for _ in range(400)]
    wrong, same = differences(frames, link, wire=400)
    assert not wrong, wrong[:3]
    assert same > 2000


#: Our columns, and tshark's fields for them; of one that is there twice, the last is the innermost packet's.
TSHARK = {
    "captured_bytes": ("frame.cap_len",), "wire_bytes": ("frame.len",), "time": ("frame.time_epoch",),
    "ip": ("ip.src", "ipv6.src"), "src_ip": ("ip.src", "ipv6.src"), "dst_ip": ("ip.dst", "ipv6.dst"),
    "ttl": ("ip.ttl", "ipv6.hlim"), "src_port": ("tcp.srcport", "udp.srcport", "sctp.srcport"),
    "dst_port": ("tcp.dstport", "udp.dstport", "sctp.dstport"), "seq": ("tcp.seq_raw",), "ack": ("tcp.ack_raw",),
    "icmp_id": ("icmp.ident", "icmpv6.echo.identifier"), "icmp_seq": ("icmp.seq", "icmpv6.echo.sequence_number"),
    "vni": ("vxlan.vni", "geneve.vni"), "dns_name": ("dns.qry.name",), "vlan": ("ieee8021ad.id", "vlan.id"),
    "tcp_flags": ("tcp.flags",),
}  # fmt: skip
SETTINGS = (
    "ip.defragment:FALSE",
    "ipv6.defragment:FALSE",
    "tcp.desegment_tcp_streams:FALSE",
    "ip.tso_support:TRUE",
)
BITS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR", "AE")


def by_tshark(path: Path) -> list[dict[str, list[str]]]:
    """Every occurrence of each field, from the outside in, of each packet."""
    tool = shutil.which("tshark")
    if tool is None:
        if os.environ.get("CI"):
            pytest.fail("there is no tshark to compare with")
        pytest.skip("there is no tshark to compare with")
    names = list(dict.fromkeys(name for names in TSHARK.values() for name in names))
    argv = [
        tool,
        "-n",
        "-r",
        str(path),
        "-T",
        "fields",
        "-E",
        "separator=/t",
        "-E",
        "occurrence=a",
        "-E",
        "aggregator=;",
    ]
    argv += [part for setting in SETTINGS for part in ("-o", setting)]
    argv += [part for decode in ("udp.port==8472,vxlan",) for part in ("-d", decode)]
    argv += [part for name in names for part in ("-e", name)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    lines = (line.split("\t") for line in done.stdout.splitlines())
    return [{n: v.split(";") if v else [] for n, v in zip(names, line, strict=True)} for line in lines]


def whole_number(text: str) -> int:
    return int(text, 0)


def unlike_tshark(row: dict, told: dict[str, list[str]]) -> list[str]:
    """The columns of a packet that tshark gives differently. Both IP versions are looked at level by level."""
    wrong = []
    inside = isinstance(row["inner_src_ip"], str)
    prefix = "inner_" if inside else ""
    for name, fields in TSHARK.items():
        if name == "ip":
            continue
        said = [value for field in fields for value in told[field]]
        if not said:
            continue
        if name == "time":
            bad = abs(row["time"].timestamp() - float(said[0])) > 1e-5
        elif name in ("captured_bytes", "wire_bytes", "vlan", "vni"):
            bad = row[name] != whole_number(said[0])
        elif name == "dns_name":
            bad = row[name] != said[0] + "."
        elif name == "tcp_flags":
            bits = whole_number(said[-1])
            bad = row[prefix + name] != ",".join(flag for i, flag in enumerate(BITS) if bits >> i & 1)
        elif name in ("src_ip", "dst_ip"):
            bad = {row[name], row[prefix + name]} != set(said)
        elif name in ("ttl", "src_port", "dst_port"):
            mine = {int(row[p + name]) for p in dict.fromkeys(("", prefix)) if not pd.isna(row[p + name])}
            bad = mine != set(map(whole_number, said))
        else:
            bad = row[prefix + name] != whole_number(said[-1])
        if bad:
            wrong.append(
                f"{row['n']} {name}: {row[name]!r}, {row.get(prefix + name, '')!r}, tshark says {said}"
            )
    return wrong


def assert_tshark_agrees(data: bytes, folder: Path) -> int:
    path = folder / "capture.pcap"
    path.write_bytes(data)
    told, rows = by_tshark(path), plain(packets(data)).to_dict("records")
    assert len(told) == len(rows)
    wrong = [problem for row, line in zip(rows, told, strict=True) for problem in unlike_tshark(row, line)]
    assert not wrong, wrong[:3]
    return len(rows)


@pytest.mark.parametrize("link", [1, 113, 276, 101])
def test_tshark_says_the_same_of_random_packets(link, tmp_path):
    maker = Maker(2000 + link)
    assert_tshark_agrees(pcap([maker.frame(link) for _ in range(800)], link=link), tmp_path)


@pytest.mark.parametrize("name", RECORDINGS)
def test_tshark_says_the_same_of_every_recorded_packet(name, tmp_path):
    files = [reply.stdout for reply in recorded(name, "timeout", step="capture")]
    assert sum(assert_tshark_agrees(data, tmp_path) for data in files) > 600


def walked(data: bytes) -> list[tuple[int, int, int]]:
    """Start, captured and wire length of each packet of a pcap file, one by one, as the format is written."""
    order = "<" if data[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1") else ">"
    found, at = [], 24
    while at + 16 <= len(data):
        _, _, captured, wire = struct.unpack_from(order + "IIII", data, at)
        if at + 16 + captured > len(data):
            break
        found.append((at + 16, captured, wire))
        at += 16 + captured
    return found


def trap(noise: random.Random, order: str, seconds: int) -> bytes:
    """A packet whose payload looks like records of the same time, whole and broken ones."""
    body = b""
    for _ in range(noise.randrange(6)):
        size = noise.randrange(40)
        claimed = noise.choice((size, size, size + 7, 70000, 0))
        body += struct.pack(order + "IIII", seconds, noise.randrange(2**31), claimed, 90) + noise.randbytes(
            size
        )
    return body + noise.randbytes(noise.randrange(30))


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("steady", [True, False])
def test_records_are_found_where_walking_finds_them(order, steady):
    """Also where packets hold what looks like records, and where the times jump about."""
    noise = random.Random(f"{order}{steady}")  # noqa: S311
    head = struct.pack(order + "IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1)
    parts = [head]
    for n in range(6000):
        seconds = 1_795_000_000 + n if steady or n % 700 < 500 else noise.getrandbits(32)
        body = trap(noise, order, seconds)
        wire = len(body) if noise.random() < 0.99 else noise.randrange(len(body) + 1)
        parts.append(struct.pack(order + "IIII", seconds, n, len(body), wire) + body)
    data = b"".join(parts)
    for end in (len(data), len(data) - 3, len(data) // 2):
        part = data[:end]
        found = capture_file.records(part)
        mine = list(
            zip(*(column.tolist() for column in (found.start, found.captured, found.wire)), strict=True)
        )
        assert mine == walked(part)
        assert found.cut == (walked(part)[-1][0] + walked(part)[-1][1] != end)


@pytest.mark.parametrize("seed", range(6))
def test_changed_bytes_of_files_raise_nothing_but_parse_errors(seed):
    """Every kind of file, changed anywhere: it is read, or refused with a ParseError."""
    noise, maker = random.Random(seed), Maker(seed)  # noqa: S311
    link = noise.choice(sorted(LINKS))
    frames = [maker.mutated(maker.frame(link)) for _ in range(60)]
    files = [pcap(frames, link=link, order=order) for order in "<>"] + [
        pcapng(frames, link=link, order=order) for order in "<>"
    ]
    read = 0
    for _ in range(25):
        changed = bytearray(noise.choice(files))
        for _ in range(noise.randrange(1, 8)):
            changed[noise.randrange(len(changed))] = noise.choice((0, 255, noise.randrange(256)))
        if noise.random() < 0.3:
            del changed[noise.randrange(len(changed)) :]
        try:
            frame = plain(packets(bytes(changed)))
        except ParseError:
            continue
        assert len(frame) == len(capture_file.records(bytes(changed)))
        read += 1
    assert read > 5
