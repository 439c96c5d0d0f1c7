"""Claims about how a Service spreads connections, and what that does to measuring it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.analysis.load_balancing import ALL, DEVIATION_PCT, evenness, fit, shares
from labkit.collect import load_balancing, performance
from labkit.collect.plan import Plan
from labkit.errors import MissingFeature, ReplayMiss
from labkit.explain import balancing
from labkit.findings import claim, inconclusive, refuted, supported

if TYPE_CHECKING:
    import pandas as pd

    from labkit.cluster import Cluster
    from labkit.findings import Outcome

__all__ = ["CLAIMS"]

#: A share is even if its interval lies within a tenth of the equal share, and uneven at this p.
EVEN_PCT, UNEVEN_P = 10, 0.01
FEW = 10
#: A test that found nothing says something if it would have found the deviation this often.
POWER_PCT = 80


@claim(
    "even-load-balancing",
    "The Service spreads connections evenly over its backends.",
    topic="performance",
    said="Load Balancing Algorithm Comparison",
)
def even_load_balancing(cluster: Cluster) -> Outcome:
    """Answers to the fetches from each frontend, a connection each, against equal shares."""
    answers = load_balancing.answers(cluster).assign(arm=cluster.arm)
    backends = load_balancing.backends(cluster).assign(arm=cluster.arm)
    evidence = [*answers["reply"], *backends["reply"]]
    if answers.empty:
        return inconclusive("no fetch was answered", evidence)
    tests = evenness(answers, backends)
    test = tests[tests["pod"] == ALL].iloc[0]
    share = shares(answers, backends)
    share = share[share["pod"] == ALL]
    off = 100 * (share["share_pct"] / share["expected_pct"] - 1).abs().max()
    within = (share["low_pct"] >= share["expected_pct"] * (1 - EVEN_PCT / 100)).all() and (
        share["high_pct"] <= share["expected_pct"] * (1 + EVEN_PCT / 100)
    ).all()
    failed = answers["pod"].nunique() * Plan.from_about(cluster.about).answers - len(answers)
    counts = ", ".join(str(n) for n in share["answers"])
    reason = (
        f"{counts} answers of {len(answers)}, at most {off:.1f} % off an equal share; chi-square {test['chi2']:.2f}, "
        f"p = {test['p']:.2f}; {failed} fetches failed"
    )
    numbers = {
        "n": len(answers),
        "p": round(float(test["p"]), 4),
        "off_pct": round(float(off), 2),
        "failed": failed,
    }
    if test["p"] < UNEVEN_P:
        return refuted(reason, evidence, **numbers)
    if within:
        return supported(reason, evidence, **numbers)
    return inconclusive(f"{reason}: too few to tell {EVEN_PCT} % from an equal share", evidence, **numbers)


@claim(
    "spread-as-programmed",
    "New connections are spread over the backends as the dataplane's own rules or maps say.",
    topic="performance",
    said="Load Balancing Algorithm Comparison",
)
def spread_as_programmed(cluster: Cluster) -> Outcome:
    """Answers to the fetches from all frontends against the chances of the path that a new connection takes."""
    answers, backends, chances = (
        collect(cluster).assign(arm=cluster.arm)
        for collect in (load_balancing.answers, load_balancing.backends, balancing.chances)
    )
    evidence = [*answers["reply"], *chances["reply"]]
    if answers.empty:
        return inconclusive("no fetch was answered", evidence)
    tests = fit(answers, backends, chances)
    row = tests[tests["pod"] == ALL].iloc[0]
    said = ", ".join(f"{100 * p:.1f}" for p in sorted(set(chances["probability"].round(4)), reverse=True))
    reason = (
        f"{row['n']} connections against chances of {said} %: chi-square {row['chi2']:.2f}, p = {row['p']:.2f}; so many find "
        f"a backend with {DEVIATION_PCT:.0f} % more than its share {row['power_pct']:.0f} times of 100"
    )
    numbers = {
        "n": int(row["n"]),
        "p": round(float(row["p"]), 4),
        "power_pct": round(float(row["power_pct"]), 1),
    }
    if row["p"] < UNEVEN_P:
        return refuted(reason, evidence, **numbers)
    if row["power_pct"] >= POWER_PCT:
        return supported(reason, evidence, **numbers)
    return inconclusive(f"{reason}: it takes {row['needs']} to find it 80 times", evidence, **numbers)


@claim(
    "ten-fetches-show-balance",
    "Ten fetches show how connections are distributed.",
    topic="performance",
    said="Load Balancing Algorithm Comparison: for i in {1..10}",
)
def ten_fetches_show_balance(cluster: Cluster) -> Outcome:
    """The first ten answers of each frontend, as the run-book would have seen them."""
    answers = load_balancing.answers(cluster).assign(arm=cluster.arm)
    backends = load_balancing.backends(cluster).assign(arm=cluster.arm)
    share = shares(answers[answers["n"] < FEW], backends)
    share = share[share["pod"] != ALL]
    evidence = [*answers["reply"], *backends["reply"]]
    if share.empty:
        return inconclusive("no fetch was answered", evidence)
    width = float((share["high_pct"] - share["low_pct"]).min())
    seen = "; ".join(
        " and ".join(str(n) for n in group["answers"]) for _, group in share.groupby("pod", sort=False)
    )
    reason = f"ten answers were {seen}: any share has an interval at least {width:.0f} percentage points wide"
    even = float(share["expected_pct"].iloc[0])
    if width > 2 * even * EVEN_PCT / 100:
        return refuted(reason, evidence, interval_pct=round(width, 1))
    return supported(reason, evidence, interval_pct=round(width, 1))


@claim(
    "runbook-iperf3-works",
    "`iperf3 -c backend-service … -p 80` measures the Service.",
    topic="performance",
    said="Performance Test Comparison",
)
def runbook_iperf3_works(cluster: Cluster) -> Outcome:
    """Port 80 of the backends is a web server, which does not speak iperf3's protocol."""
    fetches = performance.fetches(cluster, repetitions=1, path="service", mode="new-connection")
    good = int((fetches["http_code"] == 200).sum())
    reason = (
        f"the command was not run; but what listens there is a web server ({good} of {len(fetches)} fetches were answered "
        "with HTTP 200), and iperf3 measures against an iperf3 server only"
    )
    return inconclusive(reason, fetches["reply"], http_answers=good)


@claim(
    "udp-by-service-measurable",
    "iperf3 measures UDP through a Service.",
    topic="performance",
    said="(about the run-book) Performance Test Comparison",
)
def udp_by_service_measurable(cluster: Cluster) -> Outcome:
    """iperf3 needs its TCP control connection and its datagrams at one server; the Service may part them."""
    runs = performance.runs(cluster, path="service", mode="udp")
    failed = runs[runs["error"].notna()]
    led, evidence = _led(cluster)
    evidence = [*runs["reply"], *evidence]
    numbers = {"runs": len(runs), "failed": len(failed)}
    if failed.empty:
        return supported(f"{len(runs)} of {len(runs)} runs have a result{led}", evidence, **numbers)
    errors = " / ".join(sorted(set(failed["error"])))
    return refuted(f"{len(failed)} of {len(runs)} runs ended with: {errors}{led}", evidence, **numbers)


def _led(cluster: Cluster) -> tuple[str, list[str]]:
    """Where the Service led TCP and UDP, as far as the arm counts it, and the replies that say so."""
    try:
        servers = load_balancing.servers(cluster)
    except (MissingFeature, ReplayMiss):
        return "; to which server the Service led is not known in this arm", []
    used = servers[servers["connections"] > 0]
    where = ", ".join(f"{row.connections} of {row.protocol} to {row.server}" for row in used.itertuples())
    parted = _parted(used)
    meaning = "so TCP and UDP were parted" if parted else "so both met at one server, which is chance"
    return f"; the client's node sent {where}: each port of the Service chooses for itself, {meaning}", [
        *servers["reply"]
    ]


def _parted(used: pd.DataFrame) -> bool:
    by_protocol = used.groupby("protocol")["server"].agg(set)
    return len(set.intersection(*by_protocol)) == 0 if len(by_protocol) else False


CLAIMS = (
    even_load_balancing,
    spread_as_programmed,
    ten_fetches_show_balance,
    runbook_iperf3_works,
    udp_by_service_measurable,
)
