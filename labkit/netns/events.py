"""Events: what happened to an object, as `kubectl get events` shows it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from labkit.netns.store import now

if TYPE_CHECKING:
    from collections.abc import Mapping

    from labkit.netns.store import Item

__all__ = ["event"]


def event(
    about: Mapping[str, Any], reason: str, message: str, component: str, *, host: str = "", container: str = "",
    warning: bool = False,
) -> Item:  # fmt: skip
    """An Event about an object, of a component (on a host), about one of its containers."""
    meta, at = about["metadata"], now()
    involved = {
        "kind": about["kind"],
        "namespace": meta.get("namespace", ""),
        "name": meta["name"],
        "uid": meta["uid"],
        "apiVersion": about["apiVersion"],
        "resourceVersion": meta["resourceVersion"],
    }
    if container:
        involved["fieldPath"] = f"spec.containers{{{container}}}"
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{meta['name']}.{time.time_ns():x}",
            "namespace": meta.get("namespace", "default"),
        },
        "involvedObject": involved,
        "reason": reason,
        "message": message,
        "source": {"component": component, "host": host} if host else {"component": component},
        "firstTimestamp": at,
        "lastTimestamp": at,
        "count": 1,
        "type": "Warning" if warning else "Normal",
        "eventTime": None,
        "reportingComponent": component,
        "reportingInstance": host,
    }
