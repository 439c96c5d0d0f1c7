"""Whether the workload is there: its pods run, on the nodes they should, behind their Services; and why not."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from labkit.errors import NotReady, ParseError, RequestError
from labkit.experiments.waits import until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from labkit.experiments.manifests import Object
    from labkit.experiments.waits import View

__all__ = ["await_endpoints", "await_rollout", "pod_ready", "takes_pods"]

DEPLOYMENTS, DAEMONSETS, PODS = "/apis/apps/v1 deployments", "/apis/apps/v1 daemonsets", "/api/v1 pods"
SLICES, EVENTS, NODES = "/apis/discovery.k8s.io/v1 endpointslices", "/api/v1 events", "/api/v1/nodes"
#: What a container waits for that no waiting will bring.
HOPELESS = {"InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError"}
#: What registries say of an image that no waiting will bring, by way of the container runtime; a registry out of
#: reach may come back.
NO_SUCH_IMAGE = re.compile(
    r": not found|manifest unknown|repository does not exist|unauthorized|access denied|authorization failed"
    r"|403 Forbidden|no match for platform",
    re.IGNORECASE,
)
RESTARTS = 3
SPREAD = ("frontend", "backend", "perf-server")


def await_rollout(view: View, objects: Mapping[str, Object], limit_s: float) -> float:
    """Wait for all pods of these objects to run and be ready, and look where they are; seconds it took.

    Raises NotReady, saying which do not come up and why: image, scheduling, crash, with events and log.
    """
    waited = until(
        view,
        lambda: "; ".join(_lacking(view, objects)),
        limit_s,
        awaited="the workload's pods to run",
        why=lambda: _why(view),
        watched=PODS,
    )
    _placed(view)
    return waited


def await_endpoints(view: View, objects: Mapping[str, Object], limit_s: float) -> float:
    """Wait for every Service of these objects to have ready endpoints in its EndpointSlices; seconds it took."""
    wanted = {one["metadata"]["name"] for one in objects.values() if one["kind"] == "Service"}

    def lacking() -> str:
        missing = sorted(wanted - _with_endpoints(view))
        return f"{len(missing)} of {len(wanted)} have none, such as {missing[0]}" if missing else ""

    return until(view, lacking, limit_s, awaited="endpoints of the Services", watched=SLICES)


def pod_ready(pod: Mapping[str, Any]) -> bool:
    """Whether a pod runs, is ready, and is not on its way out."""
    status = pod.get("status", {})
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or ())
    return status.get("phase") == "Running" and ready and "deletionTimestamp" not in pod["metadata"]


def _with_endpoints(view: View) -> set[str]:
    return {
        one["metadata"]["labels"]["kubernetes.io/service-name"]
        for one in view.mine(SLICES)
        if any((e.get("conditions") or {}).get("ready") is not False for e in one.get("endpoints") or ())
        and "kubernetes.io/service-name" in one["metadata"].get("labels", {})
    }


def _lacking(view: View, objects: Mapping[str, Object]) -> Iterator[str]:
    """A phrase for each object that is not all there."""
    deployments = {one["metadata"]["name"]: one for one in view.mine(DEPLOYMENTS)}
    daemonsets = {one["metadata"]["name"]: one for one in view.mine(DAEMONSETS)}
    pods = view.mine(PODS)
    for hopeless in _hopeless(pods):
        raise NotReady(f"{hopeless}. {_why(view)}")
    for called, one in objects.items():
        name = one["metadata"]["name"]
        if one["kind"] == "Deployment":
            wanted, there = one["spec"]["replicas"], deployments.get(name)
            ready = len([pod for pod in _of(pods, one) if pod_ready(pod)])
            if ready != wanted or there is None or not _rolled_out(there, wanted):
                yield f"{called}: {ready} of {wanted} pods are ready"
        elif one["kind"] == "DaemonSet":
            status = daemonsets.get(name, {}).get("status", {})
            wanted = status.get("desiredNumberScheduled", 0)
            ready = len([pod for pod in _of(pods, one) if pod_ready(pod)])
            if not wanted or ready < wanted:
                yield f"{called}: {ready} of {wanted or 'all'} pods are ready"
        elif one["kind"] == "Pod" and not any(pod_ready(p) for p in pods if p["metadata"]["name"] == name):
            yield f"{called} is not ready"


def _of(pods: Sequence[dict[str, Any]], owner: Object) -> list[dict[str, Any]]:
    """The pods that an object selects."""
    wanted = owner["spec"]["selector"]["matchLabels"].items()
    return [pod for pod in pods if wanted <= (pod["metadata"].get("labels") or {}).items()]


def _rolled_out(deployment: Mapping[str, Any], wanted: int) -> bool:
    """Whether what was applied last is what runs."""
    status, generation = deployment.get("status", {}), deployment["metadata"].get("generation", 0)
    return bool(status.get("observedGeneration", 0) >= generation and status.get("updatedReplicas") == wanted)


def _hopeless(pods: Sequence[dict[str, Any]]) -> Iterator[str]:
    for pod, container in _containers(pods):
        waiting = container.get("state", {}).get("waiting", {})
        reason, crashes = waiting.get("reason", ""), container.get("restartCount", 0)
        pulls = reason in ("ErrImagePull", "ImagePullBackOff")
        if pulls and NO_SUCH_IMAGE.search(waiting.get("message", "")):
            yield f"container {container['name']} of pod {pod['metadata']['name']} will not come up: its image cannot be pulled"
        elif reason in HOPELESS or (reason == "CrashLoopBackOff" and crashes >= RESTARTS):
            yield f"container {container['name']} of pod {pod['metadata']['name']} will not come up: {reason}"


def _containers(pods: Sequence[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for pod in pods:
        for container in pod.get("status", {}).get("containerStatuses") or ():
            yield pod, container


def _why(view: View) -> str:
    """Why pods are not ready: scheduling, containers, the last lines of a log, and the namespace's warnings."""
    pods = [pod for pod in view.mine(PODS) if not pod_ready(pod)]
    said = [
        f"pod {pod['metadata']['name']}: {condition.get('reason')}: {condition.get('message')}"
        for pod in pods
        for condition in pod.get("status", {}).get("conditions") or ()
        if condition["type"] == "PodScheduled" and condition["status"] == "False"
    ]
    for pod, container in _containers(pods):
        said += _of_container(view, pod["metadata"]["name"], container)
    return "\n  ".join(["", *dict.fromkeys(said), *_warnings(view)])


def _of_container(view: View, pod: str, container: Mapping[str, Any]) -> list[str]:
    name, state = container["name"], container.get("state", {})
    said = []
    if waiting := state.get("waiting"):
        said.append(f"container {name} of pod {pod}: {waiting.get('reason')}: {waiting.get('message', '')}")
    ended = state.get("terminated") or container.get("lastState", {}).get("terminated")
    if ended:
        said.append(f"container {name} of pod {pod} exited {ended.get('exitCode')} ({ended.get('reason')})")
        with suppress(RequestError):
            tail = view.logs(f"pod/{view.namespace}/{pod}/{name}", 5).text.strip()
            said += [f"  its log: {line}" for line in tail.splitlines()]
    return said


def _warnings(view: View) -> list[str]:
    """The last five different warnings of the namespace."""
    try:
        events = view.mine(EVENTS)
    except (RequestError, ParseError):  # they explain; without them the rest is still true
        return []
    warned = [e for e in events if e.get("type") == "Warning"]
    warned.sort(key=lambda e: str(e.get("lastTimestamp") or e.get("eventTime") or ""))
    said = [
        f"{e.get('involvedObject', {}).get('name')}: {e.get('reason')}: {e.get('message')}" for e in warned
    ]
    return list(dict.fromkeys(said))[-5:]


def _placed(view: View) -> None:
    """Raise NotReady where pods are not on the nodes that the measurements need, though there are enough."""
    if len([node for node in view.items(NODES) if takes_pods(node)]) < 2:
        return  # there is no other node to be on: what needs one says so
    on: dict[str, set[str]] = {}
    for pod in view.mine(PODS):
        app = (pod["metadata"].get("labels") or {}).get("app", "")
        on.setdefault(app, set()).add(pod["spec"].get("nodeName", ""))
    for app in SPREAD:
        if len(on.get(app, set())) < 2:
            raise NotReady(
                f"the pods of {app} are all on {', '.join(on.get(app, set()))}; one pod a node is needed on two nodes. "
                "Make room on another node: its taints, or its free CPU and memory, kept them away"
            )
    client = on.get("perf-client", set())
    if not client & on["perf-server"] & on["backend"]:
        raise NotReady(f"perf-test-client on {', '.join(client)} has no server or no backend on its own node")


def takes_pods(node: Mapping[str, Any]) -> bool:
    """Whether a pod without tolerations may come to this node."""
    taints = node["spec"].get("taints") or ()
    return not node["spec"].get("unschedulable") and all(t["effect"] == "PreferNoSchedule" for t in taints)
