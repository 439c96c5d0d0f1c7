/* What the programs remember of connections. */
#pragma once

#include "packet.h"

#define SECOND 1000000000ULL
/* How long a silent connection is remembered; when the map is full, it forgets the longest unused ones earlier. */
#define TCP_IDLE (6 * 3600 * SECOND)
#define OTHER_IDLE (120 * SECOND)
/* A first packet may take over the entry of a connection that ended, or that was silent so long. */
#define TAKEN_OVER_AFTER (60 * SECOND)

static __always_inline struct tuple tuple_of(const struct flow *flow, enum scope scope)
{
	struct tuple key = {
		.client_port = flow->sport, .server_port = flow->dport, .protocol = flow->protocol, .scope = scope,
	};

	set(key.client_ip, flow->src);
	set(key.server_ip, flow->dst);
	return key;
}

static __always_inline struct flow reversed(const struct flow *flow)
{
	return (struct flow){ flow->dst, flow->src, flow->dport, flow->sport, flow->protocol };
}

static __always_inline struct connection *find(const struct flow *flow, enum scope scope)
{
	struct tuple key = tuple_of(flow, scope);
	struct connection *found = bpf_map_lookup_elem(&connections, &key);
	__u64 idle = flow->protocol == IPPROTO_TCP ? TCP_IDLE : OTHER_IDLE;

	return found && bpf_ktime_get_coarse_ns() - found->seen_ns < idle ? found : NULL;
}

static __always_inline void note(struct connection *connection, const struct packet *packet)
{
	connection->seen_ns = bpf_ktime_get_coarse_ns();
	if (packet->closes)
		connection->closing = 1;
}

/* The connection that this packet is a reply of, or an ICMP error about. */
static __always_inline struct connection *find_reply(const struct packet *packet, enum scope scope)
{
	struct flow back = reversed(&packet->flow);

	if (packet->opens)
		return NULL;
	return find(packet->error ? &packet->inner : &back, scope);
}

/* The connection of which this ICMP error is about a reply. */
static __always_inline struct connection *find_related(const struct packet *packet, enum scope scope)
{
	struct flow back = reversed(&packet->inner);

	return packet->error ? find(&back, scope) : NULL;
}

static __always_inline bool may_take_over(const struct connection *connection)
{
	return connection->closing || bpf_ktime_get_coarse_ns() - connection->seen_ns > TAKEN_OVER_AFTER;
}

static __always_inline bool leads_to(const struct connection *connection, __be32 ip, __u16 port)
{
	return get(connection->other_ip) == ip && connection->other_port == port;
}

/* Remember a connection and what it is translated to. Fails where one with the same ends lives that is
 * translated to something else: their replies could not be told apart. */
static __always_inline int track(const struct packet *packet, const struct flow *flow, enum scope scope,
				 __be32 ip, __u16 port)
{
	struct connection *found = find(flow, scope);
	struct connection fresh = { .other_port = port, .seen_ns = bpf_ktime_get_coarse_ns() };
	struct tuple key = tuple_of(flow, scope);

	if (found && leads_to(found, ip, port) && !packet->opens) {
		note(found, packet);
		return 0;
	}
	if (found && !leads_to(found, ip, port) && !may_take_over(found))
		return -1;
	set(fresh.other_ip, ip);
	return bpf_map_update_elem(&connections, &key, &fresh, BPF_ANY);
}

static __always_inline void count(struct __sk_buff *skb, __be32 ip, enum direction direction,
				  enum outcome outcome)
{
	struct fate key = { .direction = direction, .outcome = outcome };
	struct count one = { 1, skb->len };
	struct count *found;

	set(key.ip, ip);
	found = bpf_map_lookup_elem(&counters, &key);
	if (!found) {
		bpf_map_update_elem(&counters, &key, &one, BPF_NOEXIST);
		return;
	}
	found->packets += 1;
	found->bytes += skb->len;
}
