"""Delete, and look until nothing answers any more. A request to delete is not a deletion."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from labkit.azure import tags
from labkit.azure.building import state_of
from labkit.azure.problems import BUSY
from labkit.errors import AzureError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from azure.core.polling import LROPoller

    from labkit.azure.clients import Clients, Found
    from labkit.provision.pace import Pace, Watch

__all__ = ["Left", "Removal", "contents", "manager_group"]

#: Refusals that pass by themselves.
PASSING = (BUSY, "throttled", "network")


@dataclass(frozen=True, slots=True)
class Left:
    """What is still there, and why."""

    name: str
    state: str
    why: str


@dataclass(slots=True)
class Doomed:
    """A resource that is to go."""

    name: str
    look: Callable[[], Found | None]
    begin: Callable[[], LROPoller[None]]
    poller: LROPoller[None] | None = None
    state: str = "Unknown"
    refused: str = ""

    @property
    def stuck(self) -> bool:
        """Azure refused, and is not deleting it all the same: who may not poll may still have deleted."""
        return bool(self.refused) and self.state != "Deleting"


@dataclass(slots=True)
class Removal:
    """Deletes what carries all four tags, with this run and owner, and nothing else.

    Each resource is looked at again before it is deleted. Where a group also holds something that is not
    ours, only our clusters in it are deleted. A managed group goes with its cluster; one that its cluster
    left behind is deleted itself if it carries the tags.
    """

    run: str
    owner: str
    clients: Clients
    watch: Watch
    pace: Pace
    left: list[Left] = field(default_factory=list)

    def remove(self, groups: Iterable[str], managed: Iterable[str] = ()) -> list[Left]:
        """Delete these groups, and wait until they and the groups managed for them answer 404.

        `managed` are names of managed groups that may exist; those that Azure lists are found by themselves.
        Gives what is still there when the time is up or Azure refuses, with the reason.
        """
        names = list(groups)
        roots = [doomed for name in names for doomed in self._roots(name)]
        lower = {name.lower() for name in names}
        found = [group["name"] for group in self.clients.groups() if manager_group(group).lower() in lower]
        unique = {name.lower(): name for name in (*managed, *found)}
        self._wait(roots, [self._group(name, "managed group") for name in unique.values()])
        return self.left

    def _roots(self, group: str) -> list[Doomed]:
        """The group itself, or our clusters in it where it holds something else too."""
        inside = contents(self.clients, group)
        theirs = sorted(found["name"] for found in inside if not self._ours(found))
        if not theirs:
            return [self._group(group, "resource group")]
        why = f"also holds {', '.join(theirs)}, which labkit did not create"
        self.left.append(Left(f"resource group {group}", "kept", why))
        kind = "microsoft.containerservice/managedclusters"
        ours = (found for found in inside if self._ours(found) and found["type"].lower() == kind)
        return [self._cluster(group, found["name"]) for found in ours]

    def _wait(self, roots: list[Doomed], managed: list[Doomed]) -> None:
        begun = self.pace.clock()
        while roots or managed:
            roots = [doomed for doomed in roots if not self._gone(doomed, may_begin=True)]
            # until its cluster is gone, a managed group may still appear, and is the cluster's to delete
            managed = [d for d in managed if not self._gone(d, may_begin=not roots) or roots]
            waiting = [*roots, *managed]
            over = self.pace.clock() - begun > self.pace.limit_s
            if over or (roots and all(d.stuck for d in roots)) or all(d.stuck for d in waiting):
                break
            self.pace.wait(self.pace.every_s)
        for doomed in (*roots, *managed):
            if doomed.state != "absent":
                why = doomed.refused or f"still {doomed.state} after {self.pace.limit_s / 60:.0f} min"
                self.left.append(Left(doomed.name, doomed.state, why))

    def _gone(self, doomed: Doomed, *, may_begin: bool) -> bool:
        """Look; begin where nothing is under way; take note of what Azure refuses."""
        found = doomed.look()
        doomed.state = state_of(found) if found else "absent"
        if found is None:
            self.watch.told(doomed.name, "gone", "answers 404")
            return True
        try:
            if doomed.poller is not None and doomed.poller.done():
                ended, doomed.poller = doomed.poller, None
                with self.clients.asking(f"deleting {doomed.name}"):
                    ended.result()
            elif doomed.poller is None and may_begin and doomed.state != "Deleting" and not doomed.refused:
                self._begin(doomed, found)
        except AzureError as error:
            if error.about not in PASSING and error.status != 404:
                doomed.refused = str(error)
        self.watch.told(doomed.name, doomed.state, "refused" if doomed.stuck else "waiting for 404")
        return False

    def _begin(self, doomed: Doomed, found: Found) -> None:
        if self._ours(found):
            doomed.poller = doomed.begin()
            doomed.state = "Deleting"
        else:
            doomed.refused = f"it does not carry the tags of run {self.run} and owner {self.owner}"

    def _ours(self, found: Found) -> bool:
        return tags.is_ours(found.get("tags"), self.run, self.owner)

    def _group(self, name: str, what: str) -> Doomed:
        clients = self.clients
        return Doomed(f"{what} {name}", lambda: clients.group(name), lambda: clients.delete_group(name))

    def _cluster(self, group: str, name: str) -> Doomed:
        clients = self.clients
        return Doomed(
            f"cluster {name}",
            lambda: clients.cluster(group, name),
            lambda: clients.delete_cluster(group, name),
        )


def manager_group(group: Found) -> str:
    """The group of the cluster that manages this group; empty where none does."""
    parts = str(group.get("managedBy") or "").split("/")
    return parts[4] if len(parts) > 4 and parts[3].lower() == "resourcegroups" else ""


def contents(clients: Clients, group: str) -> list[Found]:
    """What is in a group; nothing where the group is gone."""
    try:
        return clients.resources(group)
    except AzureError as error:
        if error.status == 404:
            return []
        raise
