"""A step of an arm as a declared state: the objects that are there while questions are asked in it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labkit.errors import ParameterError
from labkit.experiments.manifests import (
    POLICIES,
    images,
    key,
    measure,
    policies,
    scale_endpoints,
    scale_policies,
    scale_services,
    sticky_service,
    workload,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from labkit.experiments.manifests import Object

__all__ = ["AFFINITY", "POLICY_STEPS", "WORKLOAD_STEPS", "Step", "policy_count", "service_count", "step"]

#: Steps in which nothing but the workload is there.
WORKLOAD_STEPS = (
    "setup", "baseline", "capture", "monitor", "load-balancing", "performance", "policy-none",
    "policy-removed", "cleanup",
)  # fmt: skip
DENY, ALLOW = POLICIES
#: The policies that hold in the other steps.
POLICY_STEPS = {"policy-deny-all": DENY, "policy-allow-frontend": (*DENY, *ALLOW)}
#: Measured in turns, between so many pairs of nodes.
MEASURE = re.compile(r"measure-([1-9])")
SERVICES = re.compile(r"services-([1-9]\d{0,4}|100000)")
SCALED_POLICIES = re.compile(r"policies-([1-9]\d{0,3}|10000)")
#: With a Service of so many pods.
ENDPOINTS = re.compile(r"endpoints-([1-9]\d{0,2})")
#: With a Service that remembers its clients.
AFFINITY = "affinity"
NAMESPACE = "cni-lab"
#: What steps with a number in their name add: of namespace, images and number.
NUMBERED: dict[re.Pattern[str], Callable[[str, Mapping[str, str], int], tuple[Object, ...]]] = {
    SERVICES: lambda namespace, _, count: scale_services(namespace, count),
    SCALED_POLICIES: lambda namespace, _, count: scale_policies(namespace, count),
    ENDPOINTS: scale_endpoints,
    MEASURE: measure,
}


@dataclass(frozen=True, slots=True)
class Step:
    """The objects of a step, by `Kind/name`, in the order in which they are applied."""

    name: str
    objects: Mapping[str, Object]


def step(name: str, *, namespace: str = NAMESPACE, references: Mapping[str, str] | None = None) -> Step:
    """The state that a step is. `references` says what is pulled for each image.

    Raises ParameterError for a step that there is not, naming those there are.
    """
    pulled = references if references is not None else images()
    added, base = _added(name, namespace, pulled), workload(namespace, pulled)
    return Step(name, {key(one): one for one in (*base, *added)})


def service_count(name: str) -> int:
    """How many extra Services a step has."""
    found = SERVICES.fullmatch(name)
    return int(found[1]) if found else 0


def policy_count(name: str) -> int:
    """How many policies on the backends a step has beside those of the run-book."""
    found = SCALED_POLICIES.fullmatch(name)
    return int(found[1]) if found else 0


def _added(name: str, namespace: str, pulled: Mapping[str, str]) -> tuple[Object, ...]:
    """What a step has beside the workload."""
    if name in WORKLOAD_STEPS:
        return ()
    if name in POLICY_STEPS:
        return policies(namespace, POLICY_STEPS[name])
    if name == AFFINITY:
        return sticky_service(namespace)
    for pattern, make in NUMBERED.items():
        if found := pattern.fullmatch(name):
            return make(namespace, pulled, int(found[1]))
    known = ", ".join((*WORKLOAD_STEPS, *POLICY_STEPS, AFFINITY))
    raise ParameterError(
        f"no step {name!r}; there are: {known}, measure-<pairs of nodes>, endpoints-<number> up to 999, policies-<number> up to 10000, and "
        "services-<number> up to 100000"
    )
