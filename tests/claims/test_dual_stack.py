"""A cluster of both families, with slices that are of no Service: every verdict stays as it was."""

import json
from dataclasses import replace

import pytest

from labkit.claims import CLAIMS
from labkit.cluster import Cluster
from labkit.collect import kubernetes
from labkit.findings import judge
from tests.conftest import arm


class DualStack:
    """A recording, as its API server would have answered with second addresses of IPv6.

    The lab's own Services are of one family, as those are that do not ask for two.
    """

    def __init__(self, inner):
        self.inner, self.about = inner, inner.about

    def run(self, request):
        reply = self.inner.run(request)
        change = CHANGES.get(request.path.rpartition("/")[2]) if request.kind == "read" else None
        if change is None:
            return reply
        listed = json.loads(reply.stdout)
        more = [one for item in listed["items"] for one in change(item) or ()]
        return replace(reply, output=json.dumps({**listed, "items": [*listed["items"], *more]}).encode())


def six(address):
    return "fd00::" + address.replace(".", ":")


def node(item):
    addresses = item["status"]["addresses"]
    addresses.append({"type": "InternalIP", "address": six(addresses[0]["address"])})


def pod(item):
    if ip := item["status"].get("podIP"):
        item["status"]["podIPs"] = [{"ip": ip}, {"ip": six(ip)}]


def service(item):
    ip = item["spec"].get("clusterIP", "None")
    if ip != "None" and item["metadata"]["namespace"] != "cni-lab":
        item["spec"] |= {"clusterIPs": [ip, six(ip)], "ipFamilies": ["IPv4", "IPv6"]}


def slices(item):
    other = json.loads(json.dumps(item)) | {"addressType": "IPv6"}
    other["metadata"]["name"] += "-6"
    for endpoint in other.get("endpoints") or []:
        endpoint["addresses"] = [six(address) for address in endpoint["addresses"]]
    own = json.loads(json.dumps(item))
    own["metadata"] |= {"name": item["metadata"]["name"] + "-own", "labels": {}}
    return [own] if item["metadata"]["namespace"] == "cni-lab" else [own, other]


CHANGES = {"nodes": node, "pods": pod, "services": service, "endpointslices": slices}


@pytest.mark.parametrize("name", ["overlay-vxlan", "cilium"])
def test_verdicts_stay(name):
    cluster = Cluster(name, arm(name).source, DualStack(arm(name).executor))
    assert len(kubernetes.endpoints(cluster)) > len(kubernetes.endpoints(arm(name)))
    assert kubernetes.nodes(cluster)["node_ip"].equals(kubernetes.nodes(arm(name))["node_ip"])
    before = {finding.claim: finding.verdict for finding in judge([arm(name)], CLAIMS).findings}
    assert {finding.claim: finding.verdict for finding in judge([cluster], CLAIMS).findings} == before
