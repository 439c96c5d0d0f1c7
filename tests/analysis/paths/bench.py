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
from tests.analysis.paths.states import state
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


def measured(services: int, rounds: int) -> tuple[int, float, float, float]:
    """Rules, and seconds to parse, to index, and to explain one path (median of many)."""
    data = many.iptables_save(services)
    rules = iptables.rules(data)
    found = state("overlay-vxlan").changed(rules=rules.assign(node="vxlan-node-0", reply="r1"))
    model = Model(found)
    each = [
        best(lambda n=n: model.explain("app=frontend", many.address(n), port=80), 1)
        for n in range(0, services, services // EXPLAINED)
    ]
    parse, index = best(lambda: iptables.rules(data), rounds), best(lambda: Model(found), rounds)
    return len(rules), parse, index, statistics.median(each)


def main() -> None:
    """Measure and print."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    sys.stdout.write("\npaths: Services of kube-proxy, seconds of the process\n")
    for services in SERVICES:
        rules, parse, index, explain = measured(services, rounds)
        sys.stdout.write(
            f"  {services:>6} Services, {rules:>6} rules: parse {parse:5.2f} s, index {index:5.2f} s, "
            f"explain {1000 * explain:5.1f} ms\n"
        )


if __name__ == "__main__":
    main()
