"""Clusters on their way, until they stand or have failed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from labkit.azure import bodies
from labkit.azure.problems import of_failure
from labkit.errors import AzureError, ProvisionError

if TYPE_CHECKING:
    from azure.core.polling import LROPoller

    from labkit.azure.clients import Clients, Found
    from labkit.provision.pace import Pace, Watch
    from labkit.provision.plan import Arm, Plan

__all__ = ["STOPPED", "Building", "await_all", "dataplane_of", "failure", "state_of"]

#: States in which a cluster stays until somebody asks for it again.
STOPPED = ("Failed", "Canceled")
ENDED = ("Succeeded", *STOPPED)


def state_of(found: Found) -> str:
    """`Creating`, `Succeeded`, `Failed`, …: how Azure words what has become of a resource."""
    return str(found.get("properties", {}).get("provisioningState", "Unknown"))


def dataplane_of(cluster: Found) -> str:
    """`azure` or `cilium`."""
    return str(cluster["properties"].get("networkProfile", {}).get("networkDataplane") or "azure")


@dataclass(slots=True)
class Building:
    """A cluster on its way. With a poller it was begun here; without, by an earlier `up`."""

    arm: Arm
    group: str
    clients: Clients
    begun: float
    found: Found = field(default_factory=dict)
    poller: LROPoller[Any] | None = None
    verb: str = "creating"

    @property
    def doing(self) -> str:
        """What is being done, for errors."""
        return f"{self.verb} the cluster {self.arm.cluster}"

    def begin(self, body: bodies.Body) -> None:
        """Ask Azure for it."""
        version = bodies.api_version(self.arm)
        self.poller = self.clients.put_cluster(self.group, self.arm.cluster, body, version, self.doing)

    def ended(self, watch: Watch) -> bool:
        """Look at it, and tell what was seen. Raises AzureError where it came to nothing."""
        done = self.poller.done() if self.poller else False  # before the look, or the look may be older
        stands = self._look()
        if self.poller is None:
            done = stands in ENDED
        watch.told(self.arm.name, "ready" if done and stands == "Succeeded" else stands, self._parts())
        if done:
            self._result(stands)
        return done

    def _look(self) -> str:
        try:
            found = self.clients.cluster(self.group, self.arm.cluster, bodies.api_version(self.arm))
        except AzureError:
            if self.poller is None:
                raise
            return "Unknown"  # a look that failed is no reason to give up what Azure is doing
        self.found = found or {}
        return state_of(self.found) if found else "Accepted"

    def _result(self, stands: str) -> None:
        if self.poller:
            with self.clients.asking(self.doing):
                self.found = self.poller.result().as_dict()
        elif stands != "Succeeded":
            reason = self.found.get("properties", {}).get("status", {}).get("provisioningError", {})
            raise of_failure(self.doing, self.clients.subscription, reason)

    def _parts(self) -> str:
        pools = self.found.get("properties", {}).get("agentPoolProfiles") or []
        said = (f"node pool {pool['name']}: {pool.get('provisioningState', 'Unknown')}" for pool in pools)
        return ", ".join(said)


def await_all(buildings: list[Building], watch: Watch, pace: Pace) -> dict[str, ProvisionError]:
    """Look at all of them until none is on its way. Gives the errors of those that failed, by arm."""
    failed: dict[str, ProvisionError] = {}
    waiting = list(buildings)
    while waiting:
        for building in list(waiting):
            try:
                if building.ended(watch):
                    waiting.remove(building)
                elif pace.clock() - building.begun > pace.limit_s:
                    raise _too_long(building, pace)
            except ProvisionError as error:
                waiting.remove(building)
                failed[building.arm.name] = error
                watch.told(building.arm.name, "failed", str(error).splitlines()[0])
        if waiting:
            pace.wait(pace.every_s)
    return failed


def _too_long(building: Building, pace: Pace) -> ProvisionError:
    stands = state_of(building.found)
    return ProvisionError(
        f"the cluster {building.arm.cluster} is still {stands} after {pace.limit_s / 60:.0f} min; "
        "`labkit up` goes on waiting"
    )


def failure(plan: Plan, clients: Clients, failed: dict[str, ProvisionError]) -> ProvisionError:
    """One error for all arms that failed: why, and what exists now and costs."""
    group = bodies.group_name(plan)
    exists = [f"resource group {group}"]
    for arm in plan.created:
        try:
            found = clients.cluster(group, arm.cluster)
        except AzureError:
            exists.append(f"cluster {arm.cluster} (Azure does not say)")
            continue
        if found is not None:
            exists.append(f"cluster {arm.cluster} ({state_of(found)})")
    lines = [f"{name}: {error}" for name, error in failed.items()]
    lines.append(f"exists now, and costs: {', '.join(exists)}")
    lines.append("`labkit up` goes on from here, `labkit down` removes it")
    return ProvisionError("\n".join(lines), exists)
