"""The claims of the run-book, one module a subject: each a sentence and the test that decides it."""

from labkit.claims import (
    balancing,
    cilium,
    cilium_commands,
    cleanup,
    kube_proxy,
    observability,
    packets,
    paths,
    performance,
    policies,
    policy_support,
    routing,
    scaling,
    service_maps,
    setup,
    troubleshooting,
    turns,
)

__all__ = ["CLAIMS"]

#: Every claim, in the order of the notebooks.
CLAIMS = (
    *setup.CLAIMS,
    *routing.CLAIMS,
    *packets.CLAIMS,
    *paths.CLAIMS,
    *kube_proxy.CLAIMS,
    *cilium.CLAIMS,
    *service_maps.CLAIMS,
    *cilium_commands.CLAIMS,
    *performance.CLAIMS,
    *turns.CLAIMS,
    *balancing.CLAIMS,
    *scaling.CLAIMS,
    *policies.CLAIMS,
    *policy_support.CLAIMS,
    *observability.CLAIMS,
    *troubleshooting.CLAIMS,
    *cleanup.CLAIMS,
)
