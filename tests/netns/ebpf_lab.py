"""Two nodes on a fabric, with pods, as processes in namespaces: the least that the eBPF dataplane needs.

Nothing of it touches the machine's own network: all devices are made inside namespaces, which end with the
processes that hold them.
"""

import json
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from labkit.netns.machines import Done
from labkit.netns.topology import TOPOLOGIES

NAMESPACE = "cni-lab"

#: Answers each TCP connection and each datagram with its own name and the client's address.
SERVER = """
import socketserver, sys, threading
name = sys.argv[1]
class Tcp(socketserver.BaseRequestHandler):
    def handle(self):
        while self.request.recv(100):
            self.request.sendall(f"{name} {self.client_address[0]}\\n".encode())
class Udp(socketserver.BaseRequestHandler):
    def handle(self):
        self.request[1].sendto(f"{name} {self.client_address[0]} {len(self.request[0])}".encode(), self.client_address)
socketserver.ThreadingTCPServer.allow_reuse_address = True
socketserver.ThreadingTCPServer.request_queue_size = 500
for port in map(int, sys.argv[2:]):
    for kind, handler in ((socketserver.ThreadingTCPServer, Tcp), (socketserver.UDPServer, Udp)):
        threading.Thread(target=kind(("0.0.0.0", port), handler).serve_forever).start()
print("ready", flush=True)
"""

#: Asks `count` times, a socket each; prints a JSON list of [answer or error, address that answered, seconds].
CLIENT = """
import json, socket, sys, time
protocol, ip, port, count, size, limit = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6]), float(sys.argv[6])
kind = socket.SOCK_STREAM if protocol == "TCP" else socket.SOCK_DGRAM
found = []
for _ in range(count):
    with socket.socket(socket.AF_INET, kind) as s:
        s.settimeout(limit)
        begun = time.perf_counter()
        try:
            s.connect((ip, port))
            connected = time.perf_counter() - begun
            s.send(b"?" * size)
            data, peer = s.recvfrom(200)
            found.append([data.decode().strip(), (peer or s.getpeername())[0], connected])
        except OSError as error:
            found.append([type(error).__name__, "", time.perf_counter() - begun])
print(json.dumps(found))
"""

#: One socket: for each line of its input it asks, and prints who answered.
TALKER = """
import socket, sys
kind = socket.SOCK_STREAM if sys.argv[1] == "TCP" else socket.SOCK_DGRAM
with socket.socket(socket.AF_INET, kind) as s:
    s.settimeout(1)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("0.0.0.0", int(sys.argv[4])))
    s.connect((sys.argv[2], int(sys.argv[3])))
    for _ in sys.stdin:
        s.send(b"?")
        try:
            print(s.recv(200).decode().split()[0], flush=True)
        except TimeoutError:
            print("silence", flush=True)
"""


@dataclass
class Answers:
    """What a client got: an answer or the name of an error, and who it came from, for each of its tries."""

    rows: list

    @property
    def names(self):
        return [answer.split()[0] for answer, _, _ in self.rows]

    @property
    def sources(self):
        return {peer for _, peer, _ in self.rows}

    @property
    def seconds(self):
        return [seconds for _, _, seconds in self.rows]


@dataclass
class Ebpf:
    """A lab. It is the `Machines` of a dataplane as far as one needs them."""

    stack: ExitStack
    topology: object = TOPOLOGIES["ebpf"]
    pids: dict = field(default_factory=dict)
    pods: dict = field(default_factory=dict)
    addresses: dict = field(default_factory=dict)

    def hold(self, target):
        """A process in namespaces of its own, which ends with this one."""
        held = ["unshare", "--net", "--mount", "--uts", "sh", "-c", "echo ready; exec sleep 600"]
        process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *held], stdout=subprocess.PIPE)
        self.stack.callback(end, process)
        assert process.stdout.readline() == b"ready\n"
        self.pids[target] = process.pid
        return process.pid

    def enter(self, target):
        return ["nsenter", "-t", str(self.pids[target]), "-n", "-m"]

    def run(self, target, argv, *, stdin=b"", limit_s=120.0):
        done = subprocess.run(
            [*self.enter(target), *argv], input=stdin, capture_output=True, timeout=limit_s, check=False
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def write(self, target, path, content):
        assert not self.run(target, ["tee", path], stdin=content).exit_code

    def do(self, target, script):
        done = self.run(target, ["sh", "-ec", script])
        assert done.exit_code == 0, (target, script, done.stderr.decode())
        return done.stdout.decode()

    def wire(self):
        """The fabric and its two nodes."""
        self.hold("fabric")
        self.do(
            "fabric",
            "ip link set lo up; ip link add fabric0 type bridge; ip link set fabric0 up; "
            f"ip addr add {self.topology.fabric_gateway}/16 dev fabric0; sysctl -qw net.ipv4.ip_forward=1 "
            "net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.fabric0.send_redirects=0",
        )
        for node in self.topology.nodes:
            target = f"node/{node.name}"
            pid = self.hold(target)
            self.do(
                target,
                "mount --make-rprivate /; mount -t tmpfs none /run; mount -t sysfs none /sys; ip link set lo up; "
                "sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0",
            )
            self.do(
                "fabric",
                f"ip link add {node.name} type veth peer name eth0 netns {pid}; "
                f"ip link set {node.name} master fabric0 up; ip route add {node.pod_cidr} via {node.ip}",
            )
            self.do(
                target,
                f"ip addr add {node.ip}/16 dev eth0; ip link set eth0 up; "
                f"ip route add default via {self.topology.fabric_gateway}; "
                f"ping -qc1 -W3 {self.topology.fabric_gateway}",
            )

    def pod(self, name, node, labels=None, *ports):
        """A pod with servers on these ports, and its object."""
        place = next(n for n in self.topology.nodes if n.name == node)
        used = sum(1 for pod in self.pods.values() if pod["spec"]["nodeName"] == node)
        ip = place.pod_cidr.replace("0/24", str(10 + used))
        target, device = f"pod/{name}", f"azv{name}"
        pid = self.hold(target)
        self.do(
            f"node/{node}",
            f"ip link add {device} type veth peer name eth0 netns {pid}; "
            f"sysctl -qw net.ipv4.conf.{device}.proxy_arp=1 net.ipv4.neigh.{device}.proxy_delay=0; "
            f"ip link set {device} up; "
            f"ip route add {ip}/32 dev {device} scope link",
        )
        self.do(
            target,
            f"sysctl -qw net.ipv4.icmp_ratelimit=0; ip link set lo up; ip link set eth0 up; ip addr add {ip}/32 dev eth0; "
            "ip route add 169.254.1.1 dev eth0 scope link; ip route add default via 169.254.1.1",
        )
        if ports:
            program = [sys.executable, "-c", SERVER, name, *map(str, ports)]
            argv = [*self.enter(target), "setpriv", "--pdeathsig", "KILL", *program]
            server = subprocess.Popen(argv, stdout=subprocess.PIPE)
            self.stack.callback(end, server)
            assert server.stdout.readline() == b"ready\n"
        self.addresses[name] = ip
        self.pods[name] = {
            "metadata": {"namespace": NAMESPACE, "name": name, "uid": f"{name}-{pid}", "labels": labels or {}},
            "spec": {"nodeName": node, "containers": [
                {"name": "c", "ports": [{"name": f"port-{p}", "containerPort": p, "protocol": k} for p in ports for k in ("TCP", "UDP")]}]},
            "status": {"podIP": ip, "phase": "Running"},
        }  # fmt: skip
        return ip

    def ask(self, pod, ip, port, protocol="TCP", count=1, size=1, limit_s=1.0):
        """Answers from an address, as a pod (or `node/…`) gets them."""
        target = pod if pod.startswith("node/") else f"pod/{pod}"
        argv = [sys.executable, "-c", CLIENT, protocol, ip, str(port), str(count), str(size), str(limit_s)]
        done = self.run(target, argv)
        assert done.exit_code == 0, done.stderr.decode()
        return Answers(json.loads(done.stdout))

    @contextmanager
    def talk(self, pod, ip, port, protocol, own_port=0):
        """A function that asks once more by the same socket, and gives who answered."""
        argv = [
            *self.enter(f"pod/{pod}"),
            sys.executable,
            "-c",
            TALKER,
            protocol,
            ip,
            str(port),
            str(own_port),
        ]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:

            def ask():
                process.stdin.write(b"\n")
                return process.stdout.readline().decode().strip()

            yield ask
            process.kill()

    def dump(self, node, name):
        """A map as bpftool prints it, without the bytes."""
        pin = f"/sys/fs/bpf/labkit/{node}/maps/{name}"
        done = self.run(f"node/{node}", ["bpftool", "-j", "map", "dump", "pinned", pin])
        assert done.exit_code == 0, done.stdout
        return json.loads(done.stdout)


def end(process):
    process.kill()
    process.wait()
    process.stdout.close()


@contextmanager
def lab():
    with ExitStack() as stack:
        made = Ebpf(stack)
        made.wire()
        yield made


def service(name, ip, ports, **spec):
    return {
        "metadata": {"namespace": NAMESPACE, "name": name},
        "spec": {"clusterIP": ip, "ports": [{"name": f"p{p}{k}".lower(), "port": p, "targetPort": t, "protocol": k} for p, t, k in ports], **spec},
    }  # fmt: skip


def endpoint_slice(name, ips, ports, nodes=None):
    return {
        "metadata": {"namespace": NAMESPACE, "name": f"{name}-1", "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "ports": [{"name": f"p{p}{k}".lower(), "port": t, "protocol": k} for p, t, k in ports],
        "endpoints": [
            {"addresses": [ip], "conditions": {"ready": True}, "nodeName": (nodes or {}).get(ip)} for ip in ips
        ],
    }  # fmt: skip


def policy(name, spec):
    return {"metadata": {"namespace": NAMESPACE, "name": name}, "spec": {"podSelector": {}, **spec}}
