"""The defaults of a pod's spec (Kubernetes API reference v1.36, PodSpec and Container)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["pod_spec"]


def pod_spec(spec: Mapping[str, Any], *, alone: bool = False) -> dict[str, Any]:
    """The spec with defaults: of a template, or of a pod `alone`, which has an account and a priority too.

    No token is mounted: nothing in a lab asks the API from a pod.
    """
    made: dict[str, Any] = {
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "securityContext": {},
        "schedulerName": "default-scheduler",
        **spec,
    }
    made["containers"] = [_container(container) for container in spec["containers"]]
    if alone:
        own = {
            "serviceAccountName": "default",
            "priority": 0,
            "enableServiceLinks": True,
            "preemptionPolicy": "PreemptLowerPriority",
        }
        made = {**own, **made}
    return made


def _container(container: Mapping[str, Any]) -> dict[str, Any]:
    name = container["image"].rpartition("/")[2]
    latest = "@" not in name and name.partition(":")[2] in ("", "latest")
    made = {
        "resources": {},
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "imagePullPolicy": "Always" if latest else "IfNotPresent",
        **container,
    }
    if container.get("ports"):
        made["ports"] = [{"protocol": "TCP", **port} for port in container["ports"]]
    return made
