"""The status of a pod, as a kubelet writes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from labkit.netns.store import now

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from labkit.netns.store import Item

__all__ = ["Seen", "scheduled", "status", "waits"]


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of a container: running since then, ready or not, or ended with a code."""

    started_at: str
    ready: bool
    exit_code: int | None = None
    ended_at: str = ""


def scheduled(pod: Item, trouble: str = "") -> dict[str, Any]:
    """Pending: a node was found, or there is none."""
    before = _conditions(pod)
    found = (
        {"status": "False", "reason": "Unschedulable", "message": trouble} if trouble else {"status": "True"}
    )
    return {
        **pod.get("status", {}),
        "phase": "Pending",
        "conditions": [_condition(pod, before, "PodScheduled", **found)],
    }


def waits(pod: Item, reason: str, message: str) -> dict[str, Any]:
    """Pending: the containers cannot be started."""
    return {
        **pod["status"],
        "phase": "Pending",
        "containerStatuses": [
            {
                "name": container["name"],
                "state": {"waiting": {"reason": reason, "message": message}},
                "lastState": {},
                "ready": False,
                "restartCount": 0,
                "image": container["image"],
                "imageID": "",
                "started": False,
            }
            for container in pod["spec"]["containers"]
        ],
    }


def status(pod: Item, ip: str, host_ip: str, seen: Mapping[str, Seen]) -> dict[str, Any]:
    """Of a pod that was started with this address. A pod that is not restarted ends with its containers."""
    before = _conditions(pod)
    ready = all(each.ready for each in seen.values())
    unready = [name for name, each in seen.items() if not each.ready]
    why = {} if ready else {
        "reason": "ContainersNotReady",
        "message": f"containers with unready status: [{' '.join(unready)}]",
    }  # fmt: skip
    word = {"status": str(ready), **why}
    known = {"status": "True"}
    return {
        "observedGeneration": pod["metadata"]["generation"],
        "phase": _phase(pod, seen),
        "conditions": [
            _condition(pod, before, "PodReadyToStartContainers", **known),
            _condition(pod, before, "Initialized", **known),
            _condition(pod, before, "Ready", **word),
            _condition(pod, before, "ContainersReady", **word),
            _condition(pod, before, "PodScheduled", **known),
        ],
        "hostIP": host_ip,
        "hostIPs": [{"ip": host_ip}],
        "podIP": ip,
        "podIPs": [{"ip": ip}],
        "startTime": pod["status"].get("startTime") or now(),
        "containerStatuses": list(_containers(pod, seen)),
        "qosClass": pod["status"].get("qosClass", "BestEffort"),
    }


def _phase(pod: Item, seen: Mapping[str, Seen]) -> str:
    codes = [each.exit_code for each in seen.values()]
    if pod["spec"]["restartPolicy"] == "Always" or None in codes:
        return "Running"
    return "Failed" if any(codes) else "Succeeded"


def _containers(pod: Item, seen: Mapping[str, Seen]) -> Iterator[dict[str, Any]]:
    for container in pod["spec"]["containers"]:
        each = seen[container["name"]]
        state: dict[str, Any] = {"running": {"startedAt": each.started_at}}
        if each.exit_code is not None:
            state = {
                "terminated": {
                    "exitCode": each.exit_code,
                    "reason": "Error" if each.exit_code else "Completed",
                    "startedAt": each.started_at,
                    "finishedAt": each.ended_at,
                }
            }
        yield {
            "name": container["name"],
            "state": state,
            "lastState": {},
            "ready": each.ready,
            "restartCount": 0,
            "image": container["image"],
            "imageID": "",
            "started": each.exit_code is None,
            "resources": container["resources"],
        }


def _conditions(pod: Item) -> dict[str, Mapping[str, Any]]:
    return {c["type"]: c for c in pod.get("status", {}).get("conditions", ())}


def _condition(pod: Item, before: Mapping[str, Mapping[str, Any]], kind: str, **said: str) -> dict[str, Any]:
    """A condition; the time of its last transition stays until its status is another."""
    old = before.get(kind, {})
    since = old["lastTransitionTime"] if old.get("status") == said["status"] else now()
    generation = pod["metadata"]["generation"]
    return {"type": kind, "observedGeneration": generation, **said, "lastProbeTime": None,
            "lastTransitionTime": since}  # fmt: skip
