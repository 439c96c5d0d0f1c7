import random
import struct
from pathlib import Path

import pandas as pd
import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.vxlan import VXLAN

from labkit.errors import ParseError
from labkit.parse import dissect
from labkit.parse import pcap as read
from labkit.parse.capture_file import records
from labkit.parse.pcap import PACKETS, is_cut, plain
from tests.conftest import RECORDINGS, recorded
from tests.parse import bench
from tests.parse.capture import GENERATED, fragments, framed, pcap, pcapng

CASES = Path(__file__).parent.parent / "cases" / "pcap"
FLAGS = {
    "F": "FIN",
    "S": "SYN",
    "R": "RST",
    "P": "PSH",
    "A": "ACK",
    "U": "URG",
    "E": "ECE",
    "C": "CWR",
    "N": "AE",
}


def packets(data: bytes) -> pd.DataFrame:
    return plain(read.packets(data))


def one(frame: bytes, **options) -> pd.Series:
    return packets(pcap([frame], **options)).iloc[0]


def by_scapy(layer, prefix: str = "") -> dict[str, object]:
    """What scapy says of an IP packet, in our words."""
    six = isinstance(layer, IPv6)
    said: dict[str, object] = {
        "src_ip": layer.src,
        "dst_ip": layer.dst,
        "ttl": layer.hlim if six else layer.ttl,
    }
    if not six:
        said |= {"ip_id": layer.id, "ip_bytes": layer.len}
    inside = layer.payload
    if isinstance(inside, (TCP, UDP)):
        said |= {"src_port": inside.sport, "dst_port": inside.dport}
    if isinstance(inside, TCP):
        said |= {
            "seq": inside.seq,
            "ack": inside.ack,
            "tcp_flags": ",".join(FLAGS[f] for f in str(inside.flags)),
        }
    if isinstance(inside, ICMP):
        said |= {"icmp_type": inside.type, "icmp_id": inside.id, "icmp_seq": inside.seq}
    if isinstance(inside, UDP) and isinstance(inside.payload, VXLAN) and inside.payload.flags.Instance:
        said |= {"encap": "vxlan", "vni": inside.payload.vni}
        inner = inside.payload.getlayer(IP) or inside.payload.getlayer(IPv6)
        said |= by_scapy(inner, "inner_") if inner else {}
    return {prefix + name: value for name, value in said.items()}


def assert_scapy_agrees(data: bytes) -> None:
    frame = packets(data)
    for row in frame.to_dict("records"):
        whole = dissect.packet(data, row["n"])
        first = whole.getlayer(IP) or whole.getlayer(IPv6)
        said = by_scapy(first) if first else {}
        mine = {name: row[name] for name in said if not pd.isna(row[name])}
        missing = {name for name in said if name not in mine and said[name] is not None}
        assert not missing, (row["n"], missing)
        assert mine == {name: said[name] for name in mine}, row["n"]


def captured(name: str) -> list[bytes]:
    return [reply.stdout for reply in recorded(name, "timeout -s INT 8 tcpdump", step="capture")]


@pytest.mark.parametrize("name", RECORDINGS)
def test_scapy_says_the_same_of_every_recorded_packet(name):
    files = captured(name)
    assert len(files) == 4  # two nodes and two frontends
    for data in files:
        assert_scapy_agrees(data)


@pytest.mark.parametrize("name", RECORDINGS)
def test_recorded_captures_are_whole(name):
    for data in captured(name):
        frame = packets(data)
        assert not is_cut(data)
        assert frame["problem"].isna().all()
        assert frame["src_ip"].notna().all()
        assert (frame["captured_bytes"] <= 192).all()


def test_a_packet_of_the_vxlan_arm_byte_by_byte():
    node = next(data for data in captured("overlay-vxlan") if packets(data)["link"].iloc[0] == "sll2")
    row = packets(node).iloc[11]
    assert row["headers"] == "sll2:20,ipv4:20,udp:8,vxlan:8,ethernet:14,ipv4:20,icmp:8"
    assert (row["ifindex"], row["direction"], row["device_type"]) == (2, "out", 1)
    assert (row["src_ip"], row["dst_ip"], row["dst_port"], row["vni"]) == (
        "10.240.0.4",
        "10.240.0.5",
        8472,
        1,
    )
    assert (row["inner_src_ip"], row["inner_dst_ip"], row["inner_ttl"]) == ("10.244.0.4", "10.244.1.3", 63)
    assert (row["ip_bytes"], row["inner_ip_bytes"], row["wire_bytes"]) == (134, 84, 154)
    assert str(row["time"]) == "2026-11-23 01:15:55.690199+00:00"


@pytest.mark.parametrize("kind", GENERATED)
def test_generated_packets(kind):
    row = one(framed(kind))
    for name, value in {"problem": None, **GENERATED[kind][1]}.items():
        if value is None:
            assert pd.isna(row[name]), (name, row[name])
        else:
            assert row[name] == value, name


def test_scapy_says_the_same_of_generated_packets():
    strange = {"version 7", "header of 12 bytes", "tcp header of 4 bytes", "offloaded", "sctp", "all flags"}
    strange.add("ipv6 authentication")  # here scapy is told only what is inside
    strange.add("no vxlan by its source port")  # scapy takes any packet from that port for VXLAN
    assert_scapy_agrees(pcap([framed(kind) for kind in GENERATED if kind not in strange]))


def test_fragments_have_no_ports_but_the_first():
    frame = packets(pcap(fragments()))
    assert frame["fragment"].tolist() == [True, True, True]
    assert frame["icmp_id"].tolist() == [1, pd.NA, pd.NA]
    assert frame["ip_id"].tolist() == [4711] * 3
    assert frame["problem"].isna().all()


@pytest.mark.parametrize("options", [{}, {"order": ">"}, {"nano": True}, {"order": ">", "nano": True}])
def test_byte_orders_and_resolutions(options):
    frames = [framed(kind) for kind in GENERATED]
    pd.testing.assert_frame_equal(packets(pcap(frames, **options)), packets(pcap(frames)))


@pytest.mark.parametrize("order", "<>")
def test_pcapng_holds_the_same(order):
    frames = [framed(kind) for kind in GENERATED]
    pd.testing.assert_frame_equal(packets(pcapng(frames, order=order)), packets(pcap(frames)))


@pytest.mark.parametrize("form", [pcap, pcapng])
def test_a_file_by_its_path_gives_the_same_as_its_bytes(tmp_path, form):
    data = form([framed(kind) for kind in GENERATED] * 40)
    (tmp_path / "file").write_bytes(data)
    pd.testing.assert_frame_equal(read.packets(tmp_path / "file"), read.packets(data))
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ParseError, match="empty output"):
        read.packets(tmp_path / "file")
    with pytest.raises(FileNotFoundError):
        read.packets(tmp_path / "none")


def test_sections_have_their_own_byte_order_and_interfaces():
    """Two files one behind the other are one file, as the format wants it (mergecap, cat)."""
    frames = [framed("echo"), framed("vxlan 8472")]
    raw = [frame[14:] for frame in frames]
    whole = packets(pcapng(frames) + pcapng(raw, order=">", link=101) + pcapng(frames))
    assert whole["link"].tolist() == ["ethernet"] * 2 + ["raw"] * 2 + ["ethernet"] * 2
    for name in ("time", "src_ip", "icmp_seq", "vni", "inner_icmp_id"):
        assert whole[name].tolist()[:2] == whole[name].tolist()[2:4] == whole[name].tolist()[4:]


def test_interfaces_have_their_own_link_type_and_clock():
    """One of Ethernet in microseconds, one of raw IP in 2^-20 seconds that begins an hour late."""

    def block(kind: int, body: bytes) -> bytes:
        body += bytes(-len(body) % 4)
        return struct.pack("<II", kind, len(body) + 12) + body + struct.pack("<I", len(body) + 12)

    def seen(number: int, ticks: int, frame: bytes) -> bytes:
        return block(
            6, struct.pack("<IIIII", number, ticks >> 32, ticks & 0xFFFFFFFF, len(frame), len(frame)) + frame
        )

    second = struct.pack("<HHI", 101, 0, 0) + struct.pack("<HHB3x", 9, 1, 0x80 | 20)
    second += struct.pack("<HHq", 14, 8, 3600) + bytes(4)
    data = block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))
    data += block(1, struct.pack("<HHI", 1, 0, 0)) + block(1, second)
    data += seen(0, 5_000_001, framed("echo")) + seen(1, 3 << 19, framed("echo")[14:])
    frame = packets(data)
    assert frame["link"].tolist() == ["ethernet", "raw"]
    assert (frame["time"] - pd.Timestamp(0, tz="UTC")).dt.total_seconds().tolist() == [5.000001, 3601.5]
    assert frame["icmp_seq"].tolist() == [3, 3]


def test_a_file_made_by_repetition_holds_the_same_over_and_over(tmp_path):
    """What the bench measures with is a capture file like any."""
    data = bench.seed()
    once, size = packets(data), 2_000
    bench.repeated(data, size, tmp_path / "file")
    whole = plain(read.packets(tmp_path / "file"))
    assert len(whole) == size
    assert whole["time"].is_monotonic_increasing
    assert whole["problem"].isna().all()
    told = [name for name in once if name not in ("n", "time")]
    for begin in range(0, size, len(once)):
        part = whole.iloc[begin : begin + len(once)].reset_index(drop=True)
        pd.testing.assert_frame_equal(part[told], once.head(len(part))[told])


def test_link_types_give_the_same_packets():
    """One run of tcpdump 4.99.3 in three link types, with IPv6, loopback and a VXLAN header without a packet."""
    files = {
        name: packets((CASES / f"{name}.pcap").read_bytes()) for name in ("any-sll", "any-sll2", "lo-nano")
    }
    assert {name: frame["link"].iloc[0] for name, frame in files.items()} == {
        "any-sll": "sll", "any-sll2": "sll2", "lo-nano": "ethernet",
    }  # fmt: skip
    inside = [
        "src_ip",
        "dst_ip",
        "protocol",
        "src_port",
        "dst_port",
        "ttl",
        "ip_id",
        "ip_bytes",
        "seq",
        "vni",
    ]
    either = ["direction", "device_type", "src_mac"]
    pd.testing.assert_frame_equal(files["any-sll"][inside + either], files["any-sll2"][inside + either])
    loopback = files["any-sll2"][files["any-sll2"]["device_type"] == 772].reset_index(drop=True)
    pd.testing.assert_frame_equal(loopback[inside], files["lo-nano"][inside])
    assert loopback["ip_bytes"].max() == 30052  # segmentation offload: one packet for the capture
    assert (
        files["any-sll2"]["headers"].iloc[2] == "sll2:20,ipv6:48,icmpv6:8"
    )  # a router alert in front of MLD


@pytest.mark.parametrize("name", ["any-sll", "any-sll2", "lo-nano"])
def test_scapy_says_the_same_of_real_files(name):
    data = (CASES / f"{name}.pcap").read_bytes()
    whole = packets(data)
    for n in range(len(whole)):
        packet = dissect.packet(data, n)
        ip = packet.getlayer(IP) or packet.getlayer(IPv6)
        assert (ip.src, ip.dst) == tuple(whole.loc[n, ["src_ip", "dst_ip"]])


def test_raw_packets_and_packets_without_a_known_protocol():
    frame = packets(pcap([framed("echo")[14:], framed("ipv6")[14:], b"\xf0", b""], link=101))
    assert frame["headers"].tolist()[:2] == ["ipv4:20,icmp:8", "ipv6:40,tcp:28"]
    assert frame["problem"].fillna("").tolist() == ["", "", "malformed IP header", "cut in the IP header"]


def test_a_capture_of_nothing_keeps_every_column():
    frame = read.packets((CASES / "nothing.pcap").read_bytes())
    assert frame.empty
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == {
        c.name: c.dtype for c in PACKETS.columns
    }


def test_columns_are_as_declared():
    frame = read.packets(pcap([framed(kind) for kind in GENERATED]))
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == {
        c.name: c.dtype for c in PACKETS.columns
    }


def test_a_packet_cut_anywhere_never_says_something_else():
    """Each generated packet with each snap length: a field is what it is in the whole packet, or NA."""
    for kind in GENERATED:
        whole = framed(kind)[:160]
        frame = packets(pcap([whole[:size] for size in range(len(whole) + 1)], wire=len(framed(kind))))
        told = frame.drop(columns=["n", "time", "captured_bytes", "headers", "problem", "ethertype", "encap"])
        last = told.iloc[-1]
        for name in told:
            assert told[name].dropna().isin([last[name]]).all(), (kind, name)
        assert frame["problem"].iloc[0] == "cut in the link header"


def test_noise_is_read_as_noise():
    noise = random.Random(4789)  # noqa: S311
    whole = framed("vxlan 4789")
    frames = [whole[: noise.randrange(1, 60)] + noise.randbytes(60) for _ in range(2000)]
    assert len(packets(pcap(frames))) == 2000
    assert len(packets(pcap(frames, link=276))) == 2000


def test_a_file_that_was_cut_keeps_the_packets_before():
    data = pcap([framed("echo"), framed("syn")])
    for size in (*range(24, 150, 7), 24 + 16 + 98, len(data) - 1, len(data)):
        part = data[:size]
        assert len(packets(part)) == (size >= 24 + 16 + 98) + (size == len(data))
        assert is_cut(part) == (size not in (24, 24 + 16 + 98, len(data)))


@pytest.mark.parametrize("data", [
    b"", b"\xd4\xc3", b"\xd4\xc3\xb2\xa1\x02\x00", b"tcpdump: eth0: No such device", b"{}" * 40,
    pcap([], link=147), pcap([b"x"], link=195),
    pcap([b"x"])[:32] + struct.pack("<II", 2**31, 9),
    pcapng([])[:8] + b"\0\0\0\0" + pcapng([])[12:],
    pcapng([b"x"]).replace(struct.pack("<II", 1, 32), struct.pack("<II", 9, 32)),
    struct.pack("<III", 0x0A0D0D0A, 28, 0x1A2B3C4D) + bytes(16) + struct.pack("<II", 2, 32) + bytes(24),
])  # fmt: skip
def test_what_is_no_capture_is_refused(data):
    if data[20:24] == struct.pack("<I", 147):
        assert packets(data).empty  # an unknown link type without a packet is no packet misread
        return
    with pytest.raises(ParseError, match="tcpdump"):
        packets(data)


def test_changed_bytes_raise_nothing_but_parse_errors():
    noise, data = random.Random(8472), (CASES / "any-sll2.pcap").read_bytes()  # noqa: S311
    for _ in range(30):
        changed = bytearray(data)
        for _ in range(5):
            changed[noise.randrange(len(data))] = noise.randrange(256)
        try:
            assert len(packets(bytes(changed))) == len(records(bytes(changed)))
        except ParseError:
            continue


def test_simple_packet_blocks_have_no_time():
    head = pcapng([])
    body = struct.pack("<I", 98) + framed("echo") + bytes(-98 % 4)
    data = head + struct.pack("<II", 3, len(body) + 12) + body + struct.pack("<I", len(body) + 12)
    row = packets(data).iloc[0]
    assert pd.isna(row["time"])
    assert row["icmp_seq"] == 3
