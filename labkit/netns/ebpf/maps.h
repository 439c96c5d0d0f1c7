/* The maps of a node: what the control plane writes, and what the programs remember.
 *
 * Addresses are arrays of octets and ports numbers, so that `bpftool map dump` can be read by a person.
 * layout.py packs the same structures, and says how many entries each map has room for (MAX_…).
 */
#pragma once

#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>

enum direction { EGRESS = 1, INGRESS = 2 };

/* Whose view of a connection it is: a pod's that opened it, a pod's that was asked, a pod's to a Service
 * (before translation), or the node's own to a Service. */
enum scope { OUTBOUND = 1, INBOUND = 2, SERVICE = 3, NODE = 4 };

enum outcome { FORWARDED = 1, DENIED = 2, NO_BACKEND = 3, COLLISION = 4, SPOOFED = 5, UNREADABLE = 6 };

struct frontend { __u8 vip[4]; __u16 port; __u8 protocol; __u8 unused; };
struct service { __u32 service; __u32 backends; __u32 affinity_s; };

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_SERVICES);
	__type(key, struct frontend);
	__type(value, struct service);
} services SEC(".maps");

struct slot { __u32 service; __u32 slot; };
struct backend { __u8 ip[4]; __u16 port; __u16 unused; __u64 chosen; };

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_BACKENDS);
	__type(key, struct slot);
	__type(value, struct backend);
} backends SEC(".maps");

struct client { __u8 ip[4]; __u32 service; };
struct favourite { __u8 ip[4]; __u16 port; __u16 unused; __u32 slot; __u32 more; __u64 used_ns; };

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_AFFINITY);
	__type(key, struct client);
	__type(value, struct favourite);
} affinity SEC(".maps");

/* A connection from the client's side, whichever way its packet goes. `other_ip` and `other_port` are where
 * it is translated to: the backend in scope SERVICE, the VIP in the others; zero where it is not. */
struct tuple {
	__u8 client_ip[4]; __u8 server_ip[4];
	__u16 client_port; __u16 server_port;
	__u8 protocol; __u8 scope; __u16 unused;
};
struct connection {
	__u8 other_ip[4]; __u16 other_port; __u16 closing;
	__u32 service; __u32 slot;
	__u64 seen_ns;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_CONNECTIONS);
	__type(key, struct tuple);
	__type(value, struct connection);
} connections SEC(".maps");

/* The ports of a datagram in fragments: only its first one carries them. */
struct fragment { __u8 src_ip[4]; __u8 dst_ip[4]; __u16 id; __u8 protocol; __u8 unused; };
struct ports { __u16 src; __u16 dst; };

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_FRAGMENTS);
	__type(key, struct fragment);
	__type(value, struct ports);
} fragments SEC(".maps");

/* The devices of pods and the address that each may send from. */
struct device { __u32 ifindex; };
struct address { __u8 ip[4]; };

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_ENDPOINTS);
	__type(key, struct device);
	__type(value, struct address);
} endpoints SEC(".maps");

/* Pods that some policy isolates in a direction; those that are not here may do anything. */
struct isolation { __u8 ip[4]; __u32 direction; };
struct policies { __u32 policies; };

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_ISOLATED);
	__type(key, struct isolation);
	__type(value, struct policies);
} isolated SEC(".maps");

/* Whom an isolated pod may speak with: the longest prefix of the peer's address leads to a set of ports.
 * prefixlen counts the pod's address and the direction too: 64 + the length of the peer's prefix. */
struct peer { __u32 prefixlen; __u8 ip[4]; __u32 direction; __u8 peer[4]; };
struct port_set { __u32 ports; };

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_POLICY_PEERS);
	__type(key, struct peer);
	__type(value, struct port_set);
} policy_peers SEC(".maps");

/* What is in a set of ports: prefixlen 32 is all traffic, 48 every port of the protocol, up to 64 one port;
 * a range is several prefixes. Whatever is found is allowed. */
struct opening { __u32 prefixlen; __u32 ports; __u8 protocol; __u8 unused; __u8 port[2]; };
struct allowed { __u32 allowed; };

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_POLICY_PORTS);
	__type(key, struct opening);
	__type(value, struct allowed);
} policy_ports SEC(".maps");

/* What became of packets, by pod and direction. */
struct fate { __u8 ip[4]; __u16 direction; __u16 outcome; };
struct count { __u64 packets; __u64 bytes; };

struct {
	__uint(type, BPF_MAP_TYPE_LRU_PERCPU_HASH);
	__uint(max_entries, MAX_COUNTERS);
	__type(key, struct fate);
	__type(value, struct count);
} counters SEC(".maps");
