"""The ways of packets, as the state of an arm predicts them.

Explained is the first packet of a new connection, or an echo, and its answer. Modelled are sockets and resolvers
of pods, their routes and neighbours; bridges with what netfilter sees of them; rules of iptables with marks,
draws, translation and connection tracking; policy rules, routes, VXLAN; Cilium's socket, pod and card programs
by their maps; the programs of a lab.

Not modelled, and `inconclusive` or a note where it matters: matches and targets of iptables that the rules module
does not know (ipset, string, owner, …), nftables and IPVS; filters of tc by others; routers between the nodes;
tunnels other than VXLAN outside of Cilium; Cilium's L7 proxy, its NodePort for packets from outside, its
ip-masq-agent and egress gateway; who was here before (affinity, connections that exist). Not asked at all: sizes
(MTU, fragments), reverse path filters, whether anything listens, policy rules of IPv6.
"""

from labkit.analysis.paths.differences import PATH_DIFFERENCES
from labkit.analysis.paths.explain import Model
from labkit.analysis.paths.hops import HOPS
from labkit.analysis.paths.state import State
from labkit.analysis.paths.ways import WAYS, choices, decisions, ways

__all__ = ["HOPS", "PATH_DIFFERENCES", "WAYS", "Model", "State", "choices", "decisions", "ways"]
