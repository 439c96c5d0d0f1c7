/* Whether a policy lets a pod speak with a peer. */
#pragma once

#include "packet.h"

/* Asked of every packet that is no reply, so that a new policy also ends what it forbids. */
static __always_inline bool may(__be32 ip, enum direction direction, __be32 peer_ip, __u8 protocol, __u16 port)
{
	struct isolation isolation = { .direction = direction };
	struct peer peer = { .prefixlen = 96, .direction = direction };
	struct opening opening = { .prefixlen = 64, .protocol = protocol };
	__be16 wire_port = bpf_htons(port);
	struct port_set *ports;

	set(isolation.ip, ip);
	if (!bpf_map_lookup_elem(&isolated, &isolation))
		return true;
	set(peer.ip, ip);
	set(peer.peer, peer_ip);
	ports = bpf_map_lookup_elem(&policy_peers, &peer);
	if (!ports)
		return false;
	opening.ports = ports->ports;
	__builtin_memcpy(opening.port, &wire_port, 2);
	return bpf_map_lookup_elem(&policy_ports, &opening);
}
