"""Request/response and connection probes: every sample, not percentiles. Runs alone: `python3 probe.py …`.

    probe.py server PORT                                     answers until it is stopped (TCP and UDP)
    probe.py rr  HOST PORT COUNT [--size N] [--rate R]       COUNT requests over one connection
    probe.py crr HOST PORT COUNT [--size N] [--rate R]       COUNT connections, one request each
    probe.py udp HOST PORT COUNT [--size N] [--rate R]       COUNT datagrams, each answered
    probe.py http HOST PORT COUNT [--rate R]                 COUNT fetches of /, a connection each, of any web server
    probe.py http-keep HOST PORT COUNT [--rate R]            the same over one connection
    probe.py overhead COUNT [--size N]                       what the program itself takes

One line of JSON on stdout: what was asked, how long it took, `latency_ns` of each sample in order (-1: it
failed), `connect_ns` of each connection (crr, http), the first `errors`, and `overhead_ns`, the median of a round
trip between two sockets of this very process: Python, system calls, no network.

With --rate, requests are due at fixed times, and the latency counts from when a request was due: one that had
to wait for the one before it is late, not left out (Tene, "How NOT to measure latency"; coordinated omission).
`late` says how many were sent over a millisecond after they were due.

Client and server each stay on one processor, the last that they may use: else one run differs from the next by where
the scheduler has put them, which can be more than any network (netperf pins with -T for the same reason).

It is written for the Python of any toolbox image (3.7 and later) and imports nothing of labkit.
"""

from __future__ import annotations

import argparse
import json
import os
import selectors
import socket
import statistics
import sys
import time
from http.client import HTTPConnection, HTTPException
from typing import Any

LIMIT_S = 3.0  # of one answer
LATE_NS = 1000000
FEW = 5  # errors that are named
OK = 200


def receive(link: socket.socket, size: int) -> None:
    """Read exactly so many bytes."""
    left = size
    while left:
        part = link.recv(left)
        if not part:
            raise ConnectionError("the server closed the connection")
        left -= len(part)


def open_to(host: str, port: int) -> socket.socket:
    """A connection that sends each request at once."""
    link = socket.create_connection((host, port), LIMIT_S)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return link


def stay() -> None:
    """Run on one processor from now on. Where that can't be set, run on as before."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


class Probe:
    """Sends requests, at once or when they are due, and keeps every time."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.message = size_of(options.size) + b"x" * (options.size - 4)
        self.latency_ns: list[int] = []
        self.connect_ns: list[int] = []
        self.errors: list[str] = []
        self.late = 0
        self.link: socket.socket | None = None
        self.web: HTTPConnection | None = None

    def run(self) -> dict[str, Any]:
        """All requests; the answer as a dict."""
        began = time.perf_counter_ns()
        for n in range(self.options.count):
            due = self.due(began, n)
            try:
                self.once()
                self.latency_ns.append(time.perf_counter_ns() - due)
            except (OSError, HTTPException) as error:
                self.latency_ns.append(-1)
                self.errors.append(f"{type(error).__name__}: {error}")
                self.drop()
        took = time.perf_counter_ns() - began
        self.drop()
        told = dict(vars(self.options), took_ns=took, late=self.late, errors=self.errors[:FEW])
        return dict(told, failed=len(self.errors), latency_ns=self.latency_ns, connect_ns=self.connect_ns)

    def due(self, began: int, n: int) -> int:
        """When request n counts from: now, or the time that its rate gives, which is waited for."""
        now = time.perf_counter_ns()
        if not self.options.rate:
            return now
        due = began + int(n * 1e9 / self.options.rate)
        if due > now:
            time.sleep((due - now) / 1e9)
        elif now - due > LATE_NS:
            self.late += 1
        return due

    def once(self) -> None:
        """One request, as its pattern wants it."""
        getattr(self, self.options.pattern.replace("-", "_"))()

    def rr(self) -> None:
        """Over the one connection."""
        if self.link is None:
            self.link = open_to(self.options.host, self.options.port)
        self.link.sendall(self.message)
        receive(self.link, self.options.size)

    def crr(self) -> None:
        """Over a connection of its own."""
        before = time.perf_counter_ns()
        with open_to(self.options.host, self.options.port) as link:
            self.connect_ns.append(time.perf_counter_ns() - before)
            link.sendall(self.message)
            receive(link, self.options.size)

    def udp(self) -> None:
        """A datagram and its answer."""
        if self.link is None:
            self.link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.link.settimeout(LIMIT_S)
            self.link.connect((self.options.host, self.options.port))
        self.link.send(self.message)
        if len(self.link.recv(65536)) != self.options.size:
            raise ConnectionError("the answer has another size")

    def http(self) -> None:
        """A page over a connection of its own."""
        before = time.perf_counter_ns()
        self.web = self.open_web()
        self.connect_ns.append(time.perf_counter_ns() - before)
        self.fetch(self.web)
        self.drop()

    def http_keep(self) -> None:
        """A page over the one connection."""
        if self.web is None:
            self.web = self.open_web()
        self.fetch(self.web)

    def open_web(self) -> HTTPConnection:
        """A connection to the web server; http.client sets TCP_NODELAY itself."""
        web = HTTPConnection(self.options.host, self.options.port, timeout=LIMIT_S)
        web.connect()
        return web

    def fetch(self, web: HTTPConnection) -> None:
        """The whole page."""
        web.request("GET", "/")
        answer = web.getresponse()
        answer.read()
        if answer.status != OK:
            raise ConnectionError(f"HTTP status {answer.status}")

    def drop(self) -> None:
        """Close what is open; the next request opens it anew."""
        if self.web is not None:
            self.web.close()
            self.web = None
        if self.link is not None:
            self.link.close()
            self.link = None


def size_of(size: int) -> bytes:
    """The first four bytes of a message: how long it is."""
    return size.to_bytes(4, "big")


def overhead_ns(count: int, size: int) -> int:
    """Median of a round trip between two sockets of this process."""
    here, there = socket.socketpair()
    message = b"x" * size
    times: list[int] = []
    for _ in range(count):
        before = time.perf_counter_ns()
        here.sendall(message)
        receive(there, size)
        there.sendall(message)
        receive(here, size)
        times.append(time.perf_counter_ns() - before)
    here.close()
    there.close()
    return int(statistics.median(times))


class Answering:
    """A server of one process: sends back whatever it is sent, message by message."""

    def __init__(self, port: int) -> None:
        self.wait = selectors.DefaultSelector()
        self.pending: dict[socket.socket, bytes] = {}
        tcp = socket.socket()
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        tcp.bind(("", port))
        tcp.listen(1024)
        self.wait.register(tcp, selectors.EVENT_READ, self.accept)
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("", tcp.getsockname()[1]))
        self.wait.register(udp, selectors.EVENT_READ, self.datagram)
        self.port: int = tcp.getsockname()[1]

    def forever(self) -> None:
        """Answer."""
        while True:
            for key, _ in self.wait.select():
                try:
                    key.data(key.fileobj)
                except OSError:
                    self.forget(key.fileobj)  # type: ignore[arg-type]

    def accept(self, listener: socket.socket) -> None:
        """A new connection."""
        link, _ = listener.accept()
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.pending[link] = b""
        self.wait.register(link, selectors.EVENT_READ, self.message)

    def message(self, link: socket.socket) -> None:
        """Part of a message: the whole goes back when its last byte is here."""
        part = link.recv(65536)
        if not part:
            self.forget(link)
            return
        held = self.pending[link] + part
        while len(held) >= 4 and len(held) >= int.from_bytes(held[:4], "big") >= 4:
            size = int.from_bytes(held[:4], "big")
            link.sendall(held[:size])
            held = held[size:]
        self.pending[link] = held

    def datagram(self, udp: socket.socket) -> None:
        """A datagram goes back as it came."""
        content, sender = udp.recvfrom(65536)
        udp.sendto(content, sender)

    def forget(self, link: socket.socket) -> None:
        """A connection that has ended."""
        if link in self.pending:
            del self.pending[link]
            self.wait.unregister(link)
            link.close()


def arguments(argv: list[str]) -> argparse.Namespace:
    """What was asked for. Exits with 2 where it is wrong, as argparse does."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    patterns = parser.add_subparsers(dest="pattern")
    server = patterns.add_parser("server")
    server.add_argument("port", type=int)
    for name in ("rr", "crr", "udp", "http", "http-keep"):
        client = patterns.add_parser(name)
        client.add_argument("host")
        client.add_argument("port", type=int)
        client.add_argument("count", type=int)
        client.add_argument("--rate", type=float, default=0.0)
        client.add_argument("--size", type=int, default=64)
    own = patterns.add_parser("overhead")
    own.add_argument("count", type=int)
    own.add_argument("--size", type=int, default=64)
    options = parser.parse_args(argv)
    if options.pattern is None or getattr(options, "size", 4) < 4:
        parser.error("name a pattern; a message has 4 bytes or more")
    return options


def main(argv: list[str]) -> None:
    """Do what was asked for; exit code 0 also where requests failed: that is a result."""
    options = arguments(argv)
    stay()
    if options.pattern == "server":
        Answering(options.port).forever()
    own = overhead_ns(2000, options.size)
    told = {"overhead_ns": own} if options.pattern == "overhead" else Probe(options).run()
    sys.stdout.write(
        json.dumps(dict(told, overhead_ns=own, clock="perf_counter"), separators=(",", ":")) + "\n"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
