"""What iptables-save printed, and what is generated of the same objects, in one shape."""

import re

from labkit.netns import kube_proxy_rules as rules
from labkit.netns import node_rules

#: Chains of the kubelet, which a lab has none of: it watches for someone flushing tables.
KUBELET = {"KUBE-KUBELET-CANARY", "KUBE-IPTABLES-HINT"}
#: kube-proxy counts what it drops by nfacct where the kernel can; the rule is the same without.
NFACCT = " -m nfacct --nfacct-name  ct_state_invalid_dropped_pkts"
BUILT_IN = {"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"}


def parsed(saved):
    """Chains of each table with their rules in order, without counters and what the kubelet made."""
    tables, table = {}, {}
    for line in saved.splitlines():
        if line.startswith("*"):
            table = tables.setdefault(line[1:], {})
        elif line.startswith(":") and line[1:].split()[0] not in KUBELET:
            table[line[1:].split()[0]] = []
        elif found := re.match(r"\[\d+:\d+\] -A (\S+) (.*)", line):
            table[found[1]].append(found[2].replace(NFACCT, ""))
    return tables


def generated(topology, node, services, slices, comments=lambda _: True):
    """All rules of a node: kube-proxy's and the plugin's."""
    mine = {}
    for piece in slices:
        owner = piece["metadata"]["namespace"], piece["metadata"]["labels"]["kubernetes.io/service-name"]
        mine.setdefault(owner, []).append(piece)
    ports = [
        port
        for service in services
        for port in rules.service_ports(
            service, mine.get((service["metadata"]["namespace"], service["metadata"]["name"]), ())
        )
    ]
    result = rules.tables(rules.of_port(p, node.name, topology.pod_cidr, comments=comments(p)) for p in ports)
    for more in (rules.JUMPS, node_rules.chains(topology, node), node_rules.jumps(topology)):
        for table, chains in more.items():
            for chain, lines in chains.items():
                result[table][chain] = (*result[table].get(chain, ()), *lines)
    return result


def assert_alike(made, saved):
    """The same chains, and in each the same rules in the same order, but for what has no order."""
    for table in ("mangle", "filter", "nat"):
        wanted = {chain: lines for chain, lines in saved[table].items() if chain not in BUILT_IN or lines}
        assert made[table].keys() == wanted.keys()
        for chain, lines in wanted.items():
            mine = list(made[table][chain])
            if chain == "KUBE-SERVICES":  # kube-proxy goes over Services in no order; only its end is fixed
                assert mine[-1:] == lines[-1:]
                assert sorted(mine) == sorted(lines)
            else:
                assert mine == lines, chain
