"""`python -m tests.analysis.paths.bench`: how long very many Services take to read, index and explain.

Seconds of this process, the best of some rounds; the rules are recorded ones, repeated (tests.parse.many_services).
"""

from __future__ import annotations

import statistics
import sys
import time
from typing import TYPE_CHECKING

from labkit.analysis.paths import Model
from labkit.parse import iptables
from tests.analysis.paths.states import many_services, many_slots
from tests.parse import many_services as many

if TYPE_CHECKING:
    from collections.abc import Callable

SERVICES = (1_000, 5_000, 10_000, 20_000)
EXPLAINED = 50


def best(work: Callable[[], object], rounds: int) -> float:
    """Seconds of the fastest of some rounds."""
    found = []
    for _ in range(rounds):
        begun = time.process_time()
        work()
        found.append(time.process_time() - begun)
    return min(found)


def explained(model: Model, services: int) -> float:
    """Seconds to explain one path, the median of many: by name, which asks the resolver too."""
    each = [
        best(lambda n=n: model.explain("app=frontend", many.name(n)), 1)
        for n in range(0, services, services // EXPLAINED)
    ]
    return statistics.median(each)


def of_rules(services: int, rounds: int) -> tuple[int, float, float, float]:
    """Rules of iptables, and seconds to parse (with their chains), to index, and to explain."""
    data = many.iptables_save(services)
    rules, chains = iptables.rules(data), iptables.chains(data)
    found = many_services(services, rules, chains)
    parse = best(lambda: (iptables.rules(data), iptables.chains(data)), rounds)
    return len(rules), parse, best(lambda: Model(found), rounds), explained(Model(found), services)


def of_slots(services: int, rounds: int) -> tuple[int, float, float]:
    """Slots of Cilium's service maps, and seconds to index them and explain first, and to explain again."""
    found = many_slots(services)
    first = best(lambda: Model(found).explain("app=frontend", many.name(1)), rounds)
    model = Model(found)
    model.explain("app=frontend", many.name(1))
    return len(found.frames["lb_map"]), first, explained(model, services)


def main() -> None:
    """Measure and print."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    sys.stdout.write("\npaths: Services of kube-proxy on one node, seconds of the process\n")
    for services in SERVICES:
        rules, parse, index, explain = of_rules(services, rounds)
        sys.stdout.write(
            f"  {services:>6} Services, {rules:>6} rules: parse {parse:5.2f} s, index {index:5.2f} s, "
            f"explain {1000 * explain:5.1f} ms\n"
        )
    sys.stdout.write("paths: Services in Cilium's service maps of two nodes\n")
    for services in SERVICES:
        slots, first, explain = of_slots(services, rounds)
        sys.stdout.write(
            f"  {services:>6} Services, {slots:>6} slots: index {first:5.2f} s, explain {1000 * explain:5.1f} ms\n"
        )


if __name__ == "__main__":
    main()
