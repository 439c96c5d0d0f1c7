"""What labkit made on an arm, and what clean-up would remove."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from labkit.collect.gather import collects, read_one
from labkit.parse.objects import OBJECTS, objects
from labkit.schema import concat

if TYPE_CHECKING:
    import pandas as pd

    from labkit.cluster import Cluster

__all__ = ["KINDS", "everything", "made_here"]

#: Kinds that labkit makes or that follow from what it makes, and where the API server lists them.
KINDS = {
    "Namespace": "/api/v1/namespaces",
    "Deployment": "/apis/apps/v1/deployments",
    "DaemonSet": "/apis/apps/v1/daemonsets",
    "Pod": "/api/v1/pods",
    "Service": "/api/v1/services",
    "EndpointSlice": "/apis/discovery.k8s.io/v1/endpointslices",
    "NetworkPolicy": "/apis/networking.k8s.io/v1/networkpolicies",
}


@collects(OBJECTS)
def everything(cluster: Cluster) -> pd.DataFrame:
    """All objects of the kinds in KINDS: frame OBJECTS and `reply`."""
    return concat(read_one(cluster.read(path), partial(objects, kind=kind)) for kind, path in KINDS.items())


@collects(OBJECTS)
def made_here(cluster: Cluster) -> pd.DataFrame:
    """Only what carries labkit's label: the only objects that clean-up may delete."""
    found = everything(cluster)
    return found[found["managed_by"] == "labkit"].reset_index(drop=True)
