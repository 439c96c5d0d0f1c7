"""What an arm on a cluster needs: the context, the server, rights, nodes, a place for the analyzer, images, Cilium.

Everything is read, or asked of the API server; nothing is created. What can only be known by trying (whether
an image can be pulled, what an admission webhook says) is told as not known.
"""

from __future__ import annotations

import json
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from labkit.chain import created
from labkit.collect.kubernetes import AGENT
from labkit.doctor.check import Check
from labkit.errors import LabError, RequestError, SourceError
from labkit.exec.live import Live
from labkit.exec.live_config import login_program, shown
from labkit.exec.request import Exec, Read
from labkit.experiments.manifests import images
from labkit.experiments.rollout import takes_pods
from labkit.parse.objects import MANAGED_BY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["cluster"]

#: The oldest minor version with all that is used: server-side apply, Pod Security, EndpointSlices.
OLDEST = 25
#: How many minor versions a kubelet may be behind the API server (Kubernetes' version skew policy).
SKEW = 3
POD_SECURITY = "pod-security.kubernetes.io/enforce"
UNKNOWN = "not known without trying:"
CHANGE = "change the lab"
#: Verb, group, resource, and whether in the lab's namespace only; by what cannot be done without.
RIGHTS: dict[str, tuple[tuple[str, str, str, bool], ...]] = {
    "read": (
        ("list", "", "nodes", False),
        ("list", "", "namespaces", False),
        ("list", "", "pods", False),
        ("list", "", "services", False),
        ("list", "", "configmaps", False),
        ("list", "", "events", True),
        ("list", "apps", "deployments", False),
        ("list", "apps", "daemonsets", False),
        ("list", "networking.k8s.io", "networkpolicies", False),
        ("list", "discovery.k8s.io", "endpointslices", False),
    ),
    # a websocket is a GET, for which newer API servers want the right to create
    "run commands": (
        ("get", "", "pods/exec", True),
        ("create", "", "pods/exec", True),
        ("get", "", "pods/log", True),
    ),
    CHANGE: tuple(
        (verb, group, resource, resource != "namespaces")
        for group, resource in (
            ("", "namespaces"), ("", "pods"), ("", "services"), ("apps", "deployments"),
            ("apps", "daemonsets"), ("networking.k8s.io", "networkpolicies"),
        )
        for verb in ("get", "create", "patch", "delete", "watch")
    ),
}  # fmt: skip


def cluster(
    arm: str,
    context: str,
    *,
    kubeconfig: str = "",
    namespace: str = "cni-lab",
    references: Mapping[str, str] | None = None,
) -> Iterator[Check]:
    """What is found on the cluster of a context, most basic first; it ends where nothing more can be known.

    `references` are the images that will be pulled (see `manifests.images`).
    """
    pulled = references if references is not None else images()
    name = shown(context)
    try:
        program = login_program(context, kubeconfig)
    except SourceError as error:
        yield Check(f"context {name}", "missing", str(error), "get credentials, or name another context", arm)
        return
    if program and shutil.which(program) is None:
        yield Check("login program", "missing", f"{program} is not on PATH", f"install {program}", arm)
        return
    try:
        live = Live(
            context, kubeconfig=kubeconfig, namespace=namespace, read_only=True, patience_s=3.0, limit_s=20.0
        )
    except SourceError as error:
        yield Check(f"context {name}", "missing", str(error), f"kubectl --context {context} version", arm)
        return
    try:
        yield from _leave(context, arm)
        for looks in (_server, _nodes, _rights, _space):
            yield from _looked(looks(live, arm, namespace), arm, looks.__name__.strip("_"))
        yield from _looked(_images(live, arm, pulled), arm, "images")
        yield from _looked(_cilium(live, arm), arm, "Cilium")
    finally:
        live.close()


def _looked(checks: Iterator[Check], arm: str, subject: str) -> Iterator[Check]:
    """The checks; where one could not be made, that."""
    try:
        yield from checks
    except LabError as error:
        yield Check(subject, "note", f"could not be looked at: {error}", "", arm)


def _read(live: Live, path: str) -> dict[str, Any]:
    return dict(json.loads(live.run(Read(step="", path=path)).stdout))


def _minor(version: str) -> int:
    found = re.match(r"v?\d+\.(\d+)", version)
    return int(found[1]) if found else 0


def _leave(context: str, arm: str) -> Iterator[Check]:
    if created(context):
        yield Check("leave to change it", "ok", "labkit made this cluster", "", arm)
    else:
        remedy = f"--allow-context {context}, if labkit may; or --read-only"
        yield Check("leave to change it", "note", "labkit did not make this cluster", remedy, arm)


def _server(live: Live, arm: str, _: str) -> Iterator[Check]:
    if not live.verified:
        remedy = "give the cluster's certificate-authority-data in place of insecure-skip-tls-verify"
        yield Check("TLS", "note", "the kubeconfig says not to verify who answers", remedy, arm)
    version = _read(live, "/version")["gitVersion"]
    if _minor(version) < OLDEST:
        yield Check("API server", "missing", version, f"upgrade to Kubernetes 1.{OLDEST} or newer", arm)
    else:
        yield Check("API server", "ok", f"{version} answers", "", arm)


def _nodes(live: Live, arm: str, _: str) -> Iterator[Check]:
    nodes = _read(live, "/api/v1/nodes")["items"]
    usable = [node for node in nodes if _ready(node) and _os(node) == "linux"]
    free = [node for node in usable if takes_pods(node)]
    told = f"{len(usable)} of {len(nodes)} are ready and run Linux"
    told += f", {len(free)} without taints" if len(free) < len(usable) else ""
    if len(free) < 2:
        remedy = "traffic between nodes needs two that take pods; add one, or see why the others do not"
        yield Check("nodes", "missing", told, remedy, arm)
    else:
        yield Check("nodes", "ok", told, "", arm)
    server = _minor(_read(live, "/version")["gitVersion"])
    versions = sorted({node["status"]["nodeInfo"]["kubeletVersion"] for node in usable})
    far = [version for version in versions if not server - SKEW <= _minor(version) <= server]
    told = ", ".join(versions) or "none"
    if far:
        yield Check("kubelets", "note", told, "upgrade the node pools: this skew is not supported", arm)
    else:
        yield Check("kubelets", "ok", told, "", arm)


def _ready(node: dict[str, Any]) -> bool:
    conditions = {one["type"]: one["status"] for one in node.get("status", {}).get("conditions") or []}
    return conditions.get("Ready") == "True" and not node.get("spec", {}).get("unschedulable")


def _os(node: dict[str, Any]) -> str:
    return str(node.get("status", {}).get("nodeInfo", {}).get("operatingSystem", ""))


def _rights(live: Live, arm: str, namespace: str) -> Iterator[Check]:
    for purpose, rights in RIGHTS.items():
        with ThreadPoolExecutor(16) as pool:
            held = list(pool.map(lambda r: live.allowed(r[0], r[2], r[1], namespace if r[3] else ""), rights))
        lacking = [
            ".".join(filter(None, (f"{verb} {resource}", group)))
            for (verb, group, resource, _), has in zip(rights, held, strict=True)
            if not has
        ]
        told = f"lacking: {', '.join(lacking)}" if lacking else f"all {len(rights)}"
        if not lacking:
            yield Check(f"rights to {purpose}", "ok", told, "", arm)
        elif purpose == CHANGE:
            remedy = "ask for a role that has them, or run with --read-only"
            yield Check(f"rights to {purpose}", "note", told, remedy, arm)
        else:
            yield Check(f"rights to {purpose}", "missing", told, "ask for a role that has them", arm)


def _space(live: Live, arm: str, namespace: str) -> Iterator[Check]:
    """Whether the lab's namespace is labkit's, and lets the analyzer in (host network, processes and disk)."""
    what = f"namespace {namespace}"
    spaces = {one["metadata"]["name"]: one["metadata"] for one in _read(live, "/api/v1/namespaces")["items"]}
    if namespace not in spaces:
        yield Check(what, "ok", "not there yet; labkit makes it, and labels it for Pod Security", "", arm)
        yield Check(
            "analyzer", "note", f"Pod Security will admit it; {UNKNOWN} an admission webhook", "", arm
        )
        return
    labels = spaces[namespace].get("labels") or {}
    if labels.get(MANAGED_BY) != "labkit":
        remedy = (
            f"delete it, or if labkit may use it: kubectl label namespace {namespace} {MANAGED_BY}=labkit"
        )
        yield Check(what, "missing", "there, and not labkit's", remedy, arm)
        return
    yield Check(what, "ok", "there, and labkit's", "", arm)
    level = labels.get(POD_SECURITY)
    if level in (None, "privileged"):
        yield Check(
            "analyzer", "ok", f"Pod Security admits it ({level or 'the default of the cluster'})", "", arm
        )
    else:
        remedy = f"kubectl label --overwrite namespace {namespace} {POD_SECURITY}=privileged"
        yield Check("analyzer", "missing", f"Pod Security refuses it at level {level}", remedy, arm)


def _images(live: Live, arm: str, pulled: Mapping[str, str]) -> Iterator[Check]:
    """What the nodes say that they have; they tell of 50 images at most, and no more."""
    nodes = [node for node in _read(live, "/api/v1/nodes")["items"] if _os(node) == "linux"]
    for name, reference in pulled.items():
        there = sum(_has(node, reference) for node in nodes)
        told = f"on {there} of {len(nodes)} nodes"
        if there < len(nodes):
            remedy = "a registry that the nodes reach can be named instead: --images FILE"
            told += f"; {UNKNOWN} a pull of {reference.partition('@')[0]}"
            yield Check(f"image {name}", "note", told, remedy, arm)
        else:
            yield Check(f"image {name}", "ok", told, "", arm)


def _has(node: dict[str, Any], reference: str) -> bool:
    """Whether a node lists an image by tag or by digest."""
    tag, _, digest = reference.partition("@")
    repository = re.sub(r":[^:/]*$", "", tag)
    wanted = {f"{repository}@{digest}"} if digest else {tag}
    return any(wanted & set(one.get("names") or []) for one in node.get("status", {}).get("images") or [])


def _cilium(live: Live, arm: str) -> Iterator[Check]:
    """Its agents, and what they say of themselves and of Hubble: questions, in a container that is there."""
    pods = _read(live, "/api/v1/pods")["items"]
    agents = [pod for pod in pods if any(one["name"] == AGENT for one in pod["spec"]["containers"])]
    if not agents:
        yield Check("Cilium", "note", "no agent; what is asked of it stays inconclusive", "", arm)
        return
    for subject, argv in (
        ("Cilium agents", ("cilium-dbg", "status", "--brief")),
        ("Hubble", ("hubble", "status")),
    ):
        said = {}
        for pod in agents:
            target = f"pod/{pod['metadata']['namespace']}/{pod['metadata']['name']}/{AGENT}"
            said[pod["spec"].get("nodeName", "?")] = _said(live, target, argv)
        silent = {node: why for node, why in said.items() if why}
        if silent:
            node, why = min(silent.items())
            told = f"{len(said) - len(silent)} of {len(said)} answer; on {node}: {why}"
            yield Check(subject, "note", told, f"see what `{' '.join(argv)}` says there", arm)
        else:
            yield Check(subject, "ok", f"{len(said)} of {len(said)} answer", "", arm)


def _said(live: Live, target: str, argv: tuple[str, ...]) -> str:
    """Why a command got no answer; empty where it did."""
    try:
        reply = live.run(Exec(step="", target=target, argv=argv))
    except RequestError as error:
        return str(error)
    if reply.exit_code == 0:
        return ""
    last = (reply.stderr or reply.stdout).decode(errors="replace").strip().splitlines()[-1:]
    return f"exit code {reply.exit_code}: {''.join(last) or 'nothing printed'}"
