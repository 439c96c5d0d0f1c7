/* Which backend a connection to a Service goes to. */
#pragma once

#include "connections.h"

/* How many backends are tried where the replies of the chosen one could not be told apart. */
#define TRIES 4

enum balance { NOT_A_SERVICE, CHOSEN, WITHOUT_BACKEND, COLLIDES };

/* `fresh`: chosen for this very packet, and not remembered yet. */
struct choice { __be32 ip; __u16 port; __u32 slot; bool fresh; };

static __always_inline struct service *find_service(const struct flow *flow)
{
	struct frontend key = { .port = flow->dport, .protocol = flow->protocol };

	if (flow->protocol != IPPROTO_TCP && flow->protocol != IPPROTO_UDP)
		return NULL;
	set(key.vip, flow->dst);
	return bpf_map_lookup_elem(&services, &key);
}

static __always_inline struct backend *find_backend(struct service *service, __u32 slot)
{
	struct slot key = { service->service, slot };

	return slot < service->backends ? bpf_map_lookup_elem(&backends, &key) : NULL;
}

static __always_inline bool still_there(struct service *service, __u32 slot, __be32 ip, __u16 port)
{
	struct backend *backend = find_backend(service, slot);

	return backend && get(backend->ip) == ip && backend->port == port;
}

/* The backend that the connection has already. A first packet and a datagram need it to be there still; an
 * established connection keeps it to its end. */
static __always_inline bool chosen_before(const struct packet *packet, struct service *service,
					  struct choice *choice)
{
	struct connection *found = find(&packet->flow, SERVICE);
	bool may_change = packet->opens || packet->flow.protocol == IPPROTO_UDP;

	if (!found || found->service != service->service || (packet->opens && may_take_over(found)))
		return false;
	choice->ip = get(found->other_ip);
	choice->port = found->other_port;
	choice->slot = found->slot;
	if (may_change && !still_there(service, choice->slot, choice->ip, choice->port))
		return false;
	note(found, packet);
	return true;
}

/* The backend that this client was led to last, within the time of its ClientIP affinity. */
static __always_inline bool favourite(const struct packet *packet, struct service *service,
				      struct choice *choice)
{
	struct client key = { .service = service->service };
	struct favourite *found;
	__u64 now = bpf_ktime_get_coarse_ns();

	if (!service->affinity_s)
		return false;
	set(key.ip, packet->flow.src);
	found = bpf_map_lookup_elem(&affinity, &key);
	if (!found || now - found->used_ns > service->affinity_s * SECOND)
		return false;
	choice->ip = get(found->ip);
	choice->port = found->port;
	choice->slot = found->slot;
	return still_there(service, choice->slot, choice->ip, choice->port);
}

static __always_inline bool take(struct service *service, __u32 number, struct choice *choice)
{
	struct backend *backend;

	if (!service->backends)
		return false;
	choice->slot = number % service->backends;
	backend = find_backend(service, choice->slot);
	if (!backend)
		return false;
	choice->ip = get(backend->ip);
	choice->port = backend->port;
	return true;
}

/* The choice holds for the rest of the connection, and for the client's next one where it has affinity. */
static __always_inline void remember(const struct packet *packet, const struct choice *choice)
{
	struct service *service = find_service(&packet->flow);
	struct tuple key = tuple_of(&packet->flow, SERVICE);
	struct connection fresh = {
		.other_port = choice->port, .slot = choice->slot, .seen_ns = bpf_ktime_get_coarse_ns(),
	};
	struct favourite used = { .port = choice->port, .slot = choice->slot, .used_ns = fresh.seen_ns };
	struct client client = {};
	struct backend *backend;

	if (!service)
		return;
	fresh.service = client.service = service->service;
	set(fresh.other_ip, choice->ip);
	bpf_map_update_elem(&connections, &key, &fresh, BPF_ANY);
	backend = find_backend(service, choice->slot);
	if (backend)
		__sync_fetch_and_add(&backend->chosen, 1);
	if (!service->affinity_s)
		return;
	set(client.ip, packet->flow.src);
	set(used.ip, choice->ip);
	bpf_map_update_elem(&affinity, &client, &used, BPF_ANY);
}

/* The flow to the backend, as it is after translation. A pod that is its own backend cannot be sent a packet
 * from its own address, so it is asked by the address `hairpin` instead. */
static __always_inline struct flow translated(const struct flow *flow, const struct choice *choice, __be32 hairpin)
{
	__be32 src = choice->ip == flow->src ? hairpin : flow->src;

	return (struct flow){ src, choice->ip, flow->sport, choice->port, flow->protocol };
}
