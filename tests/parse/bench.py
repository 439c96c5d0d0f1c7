"""`python -m tests.parse.bench [RUNS]`: how fast captures become frames, and in how much memory.

Files of 10,000 to 10,000,000 packets are made of a recorded capture, repeated with later times, and read each
in a process of its own; the one of a million by `tshark -T fields` too, for the same fields. These are
figures to read, not assertions: the machine decides them, and who else works on it. So CPU time stands
beside the time that passed. Memory is what the process needs at most, pages of the file included, beyond
what it has after its imports.
"""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from labkit.parse.capture_file import RECORD_BYTES, records
from tests.conftest import recorded

SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
#: The size at which tshark reads the file too.
COMPARED = 1_000_000
#: What the columns of frame PACKETS are called by tshark; fields of inner headers are in the same ones.
FIELDS = """
    frame.number frame.time_epoch frame.protocols frame.cap_len frame.len sll.pkttype sll.hatype sll.ifindex
    eth.src eth.dst eth.type vlan.id ip.src ip.dst ip.proto ip.ttl ip.id ip.len ip.flags.mf ip.frag_offset
    ipv6.src ipv6.dst ipv6.nxt ipv6.hlim ipv6.plen tcp.srcport tcp.dstport tcp.flags tcp.seq_raw tcp.ack_raw
    udp.srcport udp.dstport sctp.srcport sctp.dstport icmp.type icmp.ident icmp.seq icmpv6.type
    icmpv6.echo.identifier icmpv6.echo.sequence_number vxlan.vni geneve.vni dns.qry.name
"""
#: So that tshark does no more than it is asked for.
PLAIN = ("ip.defragment:FALSE", "tcp.desegment_tcp_streams:FALSE", "tcp.analyze_sequence_numbers:FALSE")
READ = """
import json, resource, sys, time
from pathlib import Path
import pandas
from labkit.parse.pcap import packets
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before, begun, used = peak(), time.perf_counter(), time.process_time()
found = packets(Path(sys.argv[1]))
print(json.dumps({"packets": len(found), "s": time.perf_counter() - begun,
                  "cpu_s": time.process_time() - used, "bytes": peak() - before}))
"""


def seed() -> bytes:
    """A recorded capture: of a node in VXLAN, on all its interfaces."""
    found = recorded("overlay-vxlan", "timeout -s INT 8 tcpdump", step="capture")
    return max((reply.stdout for reply in found), key=len)


def repeated(data: bytes, packets: int, path: Path) -> None:
    """A pcap file of so many packets: those of `data` over and over, each time a while later."""
    starts = records(data).start - RECORD_BYTES
    body = np.frombuffer(data, dtype=np.uint8)[starts[0] :].copy()
    seconds = np.ndarray((len(body) - 3,), "<u4", body, strides=(1,))
    heads = starts - starts[0]
    first = seconds[heads]
    span = int(first[-1] - first[0]) + 1
    with path.open("wb") as file:
        file.write(data[: starts[0]])
        for n in range(0, packets, len(heads)):
            seconds[heads] = first + n // len(heads) * span
            rest = packets - n
            file.write(body[: heads[rest]] if rest < len(heads) else body)


def read(path: Path) -> dict[str, float]:
    """One reading of a file, in a process of its own."""
    done = subprocess.run([sys.executable, "-c", READ, str(path)], check=True, capture_output=True)
    return json.loads(done.stdout)


def by_tshark(path: Path, out: Path) -> dict[str, float]:
    """The same reading, of the same fields, by `tshark -T fields`."""
    argv = ["tshark", "-n", "-r", str(path), "-T", "fields", "-d", "udp.port==8472,vxlan"]
    argv += [part for setting in PLAIN for part in ("-o", setting)]
    argv += [part for field in FIELDS.split() for part in ("-e", field)]
    begun, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    with out.open("wb") as file:
        subprocess.run(argv, stdout=file, stderr=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime - used.ru_utime + after.ru_stime - used.ru_stime
    return {"s": time.perf_counter() - begun, "cpu_s": cpu}


def line(what: str, packets: int, took: dict[str, float], more: str = "") -> None:
    """Print one figure."""
    rate, cpu = (packets / took[name] / 1e6 for name in ("s", "cpu_s"))
    sys.stdout.write(f"  {what:<28} {took['s']:7.2f} s {rate:6.3f} million/s ({cpu:.3f} of CPU time){more}\n")
    sys.stdout.flush()


def main() -> None:
    """Measure and print: of each size the fastest of some runs."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    sys.stdout.write("\ncaptures: packets read into a frame, each time in a process of its own\n")
    folder, data = Path(tempfile.mkdtemp(prefix="labkit-bench-")), seed()
    try:
        for size in SIZES:
            path = folder / f"{size}.pcap"
            repeated(data, size, path)
            found = [read(path) for _ in range(runs)]
            assert {run["packets"] for run in found} == {size}
            best, most = min(found, key=lambda run: run["s"]), max(run["bytes"] for run in found)
            file = path.stat().st_size
            line(f"{size:>10,} packets", size, best, f", memory {most / file:.2f} x {file / 1e6:,.0f} MB")
            if size == COMPARED and shutil.which("tshark"):
                other = by_tshark(path, folder / "fields")
                ratios = " and ".join(f"{other[name] / best[name]:.0f}" for name in ("s", "cpu_s"))
                line("  by tshark -T fields", size, other, f": {ratios} times as long")
            path.unlink()
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
