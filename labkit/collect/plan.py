"""The performance plan: who talks to whom, with which command, in which order.

One repetition is: for each server (on the client's node, on another node, behind the Service) four runs of
iperf3, each between two readings of `/proc/stat` on every node; then ping to a backend on the client's node
and on another; then fetches over a connection each, and over one connection, from both backends and from
the Service. When all repetitions are over, as many pings go between the nodes themselves: host network, no pod
and no veth on the way. So that baseline is of one moment, after the rest.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from labkit.collect import kubernetes
from labkit.errors import MissingFeature, ParameterError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pandas as pd

    from labkit.cluster import Cluster

__all__ = [
    "FULL",
    "HTTP_MODES",
    "IPERF_MODES",
    "PATHS",
    "QUICK",
    "Placement",
    "Plan",
    "Trial",
    "fetch",
    "placement",
    "plan",
    "service_address",
]

PATHS = ("same-node", "other-node", "service", "node-to-node")
#: How iperf3 is used. Each has its options, beside how long it runs.
IPERF_MODES = {
    "tcp": (),
    "tcp-4": ("-P", "4"),
    "tcp-reverse": ("-R",),
    "udp": ("-u", "-b", "500M", "-l", "1200"),
}
HTTP_MODES = ("new-connection", "keep-alive")
MOST_SERVICES, MOST_POLICIES, MOST_ENDPOINTS = 100_000, 10_000, 999


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is measured on an arm: chosen before, the same for everything that reads the arm.

    The defaults are what a recording did whose header names no plan.
    """

    #: How often the performance plan is run, and connections to the extra Services are timed.
    repetitions: int = 6
    #: Seconds that a run of iperf3 counts, and those of TCP before them that it leaves out.
    run_s: int = 3
    warm_up_s: int = 1
    #: Which of IPERF_MODES.
    modes: tuple[str, ...] = tuple(IPERF_MODES)
    #: Echo requests of a ping, and fetches of a curl.
    pings: int = 300
    fetches: int = 100
    #: Fetches of the Service from each frontend that print who answered, and those that are timed.
    answers: int = 500
    timings: int = 200
    #: Numbers of extra Services, each a step `services-<number>`, upwards.
    services: tuple[int, ...] = (100, 1000)
    #: Numbers of policies that select the backends, each a step `policies-<number>`, upwards.
    policies: tuple[int, ...] = ()
    #: Numbers of pods behind one Service, each a step `endpoints-<number>`, upwards.
    endpoints: tuple[int, ...] = ()
    #: How often one Service or policy more is applied and deleted in each of these steps, to time its effect.
    rounds: int = 0
    #: Seconds that captures and monitors listen, and packets after which a capture on `any` ends; 0 is no bound.
    listen_s: int = 8
    most_packets: int = 0
    #: Whether a step was asked anything only after every node was programmed for it.
    waits: bool = False
    #: What is measured in turns with other arms, as JSON (`measure.design.Design`); None: nothing.
    turns: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        """Raises ParameterError where nothing could be measured so."""
        numbers = (self.repetitions, self.run_s, self.pings, self.fetches, self.answers, self.timings)
        if min(numbers) < 1 or self.warm_up_s < 0 or self.listen_s < 4:
            raise ParameterError(f"a plan must measure something, and listen for 4 seconds or more: {self}")
        if unknown := set(self.modes) - set(IPERF_MODES):
            raise ParameterError(
                f"no mode {', '.join(sorted(unknown))} of iperf3; there are: {', '.join(IPERF_MODES)}"
            )
        for what, counts, most in (
            ("Services", self.services, MOST_SERVICES),
            ("policies", self.policies, MOST_POLICIES),
            ("endpoints", self.endpoints, MOST_ENDPOINTS),
        ):
            if list(counts) != sorted(set(counts)) or not all(0 < n <= most for n in counts):
                raise ParameterError(f"numbers of {what} must grow and be at most {most:,}, not {counts}")

    @classmethod
    def from_about(cls, about: Mapping[str, Any]) -> Plan:
        """The plan that an arm's header names. Raises ParameterError where it names what no plan has."""
        named = dict(about.get("plan") or {})
        if unknown := set(named) - {field.name for field in fields(cls)}:
            raise ParameterError(
                f"the plan of this arm has an unknown part {', '.join(sorted(unknown))}; update labkit"
            )
        parts: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in named.items()}
        return cls(**parts)

    def to_json(self) -> dict[str, Any]:
        """As the header of a recording holds it."""
        return {
            name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()
        }

    @property
    def steps(self) -> tuple[str, ...]:
        """The steps with extra Services."""
        return tuple(f"services-{count}" for count in self.services)

    @property
    def policy_steps(self) -> tuple[str, ...]:
        """The steps with policies on the backends."""
        return tuple(f"policies-{count}" for count in self.policies)

    def iperf3(self, address: str, mode: str) -> tuple[str, ...]:
        """A run of iperf3 towards an address. What is sent as UDP needs no warming up."""
        warm_up = ("-O", str(self.warm_up_s)) if self.warm_up_s and mode != "udp" else ()
        run = ("-t", str(self.run_s), *warm_up)
        options = (*IPERF_MODES[mode], *run) if mode == "udp" else (*run, *IPERF_MODES[mode])
        return ("iperf3", "-J", "-c", address, *options)


#: What a comparison is made with: the plan of the recordings, and every step waited for.
FULL = Plan(
    services=(1, 100, 1000),
    policies=(1, 10, 100),
    endpoints=(2, 20, 80),
    rounds=6,
    most_packets=20_000,
    waits=True,
)
#: What shows in two minutes that everything works. It costs precision: an interval of 3 repetitions goes from
#: the smallest to the largest and holds the true median 3 times of 4, a run of one second has TCP's slow start
#: in it, and 100 Services are too few to slow anything. So most contrasts come out as `unknown`.
QUICK = Plan(
    repetitions=3,
    run_s=1,
    warm_up_s=0,
    modes=("tcp", "udp"),
    pings=60,
    fetches=30,
    answers=60,
    timings=50,
    services=(10, 100),
    policies=(1, 20),
    endpoints=(2, 20),
    rounds=3,
    listen_s=6,
    most_packets=20_000,
    waits=True,
)


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the client and what it talks to run. `servers` and `backends` hold an address for each path."""

    client: str
    client_node: str
    other_node: str
    other_node_ip: str
    nodes: tuple[str, ...]
    servers: dict[str, str]
    backends: dict[str, str]


@dataclass(frozen=True, slots=True)
class Trial:
    """One command of the plan. `when` is `before` or `after` for the readings around a run."""

    repetition: int
    tool: str
    path: str
    mode: str
    when: str
    target: str
    argv: tuple[str, ...]
    sample: int


def placement(cluster: Cluster) -> Placement:
    """Read from the API where everything runs.

    Paths follow from it: `same-node` is a pod on the client's node, `other-node` the first that is not.
    Raises MissingFeature where there is no client, or no pod to make a path with.
    """
    cluster = cluster.at("baseline")
    ((client, pod),) = kubernetes.pod_targets(cluster, "perf-client", "client").items()
    every, addresses = kubernetes.pods(cluster), kubernetes.nodes(cluster).set_index("node")["node_ip"]
    node = str(every.loc[every["pod"] == pod, "node"].item())
    others = [name for name in addresses.index if name != node]
    if not others:
        raise MissingFeature(cluster.arm, "one node only, so there is no path to another")
    mine = every[(every["namespace"] == cluster.namespace) & (every["phase"] == "Running")]
    return Placement(
        client=client,
        client_node=node,
        other_node=others[0],
        other_node_ip=str(addresses[others[0]]),
        nodes=tuple(addresses.index),
        servers=_addresses(cluster, mine, "perf-server", "perf-server", node),
        backends=_addresses(cluster, mine, "backend", "backend-service", node),
    )


def _addresses(cluster: Cluster, pods: pd.DataFrame, app: str, service: str, node: str) -> dict[str, str]:
    found = pods[pods["app"] == app].sort_values(["node", "pod"])
    same, other = found[found["node"] == node], found[found["node"] != node]
    if same.empty or other.empty:
        raise MissingFeature(
            cluster.arm, f"pods of {app} do not run both on the client's node and on another"
        )
    return {
        "same-node": str(same["pod_ip"].iloc[0]),
        "other-node": str(other["pod_ip"].iloc[0]),
        "service": service_address(cluster, service),
    }


def service_address(cluster: Cluster, service: str) -> str:
    """The virtual address of a Service of the lab. Raises MissingFeature where there is none."""
    found = kubernetes.services(cluster.at("baseline"))
    mine = found[(found["namespace"] == cluster.namespace) & (found["service"] == service)]
    if mine.empty:
        raise MissingFeature(cluster.arm, f"no Service {service} in namespace {cluster.namespace}")
    return str(mine["cluster_ip"].iloc[0])


def fetch(address: str, times: int, *, keep_alive: bool = False) -> tuple[str, ...]:
    """Fetch the page at an address so often with one curl, a JSON line for each; by default a connection each."""
    close = () if keep_alive else ("-H", "Connection: close")
    return (
        *("curl", "-sS", "--connect-timeout", "3", *close, "-w", r"%{json}\n"),
        *("-o", "/dev/null", f"http://{address}/") * times,
    )


def plan(cluster: Cluster) -> list[Trial]:
    """Every command of the arm's plan, in order."""
    where, chosen = placement(cluster), Plan.from_about(cluster.about)
    between, argv = f"node/{where.client_node}", _ping(where.other_node_ip, chosen.pings)
    repetitions = range(chosen.repetitions)
    return [
        *(trial for n in repetitions for trial in _repetition(where, chosen, n)),
        *(Trial(n, "ping", "node-to-node", "icmp", "", between, argv, n) for n in repetitions),
    ]


def _repetition(where: Placement, chosen: Plan, n: int) -> Iterator[Trial]:
    tests = [(path, mode) for path in where.servers for mode in chosen.modes]
    for k, (path, mode) in enumerate(tests):
        first = 2 * (n * len(tests) + k)
        yield from _readings(where, n, path, mode, "before", first)
        run = chosen.iperf3(where.servers[path], mode)
        yield Trial(n, "iperf3", path, mode, "", where.client, run, n)
        yield from _readings(where, n, path, mode, "after", first + 1)
    for path in ("same-node", "other-node"):
        argv = _ping(where.backends[path], chosen.pings)
        yield Trial(n, "ping", path, "icmp", "", where.client, argv, n)
    for path, address in where.backends.items():
        for mode in HTTP_MODES:
            argv = fetch(address, chosen.fetches, keep_alive=mode == "keep-alive")
            yield Trial(n, "curl", path, mode, "", where.client, argv, n)


def _readings(where: Placement, n: int, path: str, mode: str, when: str, sample: int) -> Iterator[Trial]:
    for node in where.nodes:
        yield Trial(n, "proc-stat", path, mode, when, f"node/{node}", ("cat", "/proc/stat"), sample)


def _ping(address: str, times: int) -> tuple[str, ...]:
    return ("ping", "-c", str(times), "-i", "0.005", "-W", "1", address)
