/* Services and NetworkPolicies of a node, by programs at the devices of its pods and at its own.
 *
 * from_pod  tc ingress of the host's end of a pod's veth: what the pod sends
 * to_pod    tc egress of the same: what the pod is to receive
 * from_node tc egress of the node's device: what the node itself sends to a Service
 * to_node   tc ingress of the same: the replies to that
 *
 * The client's node translates: the Service's address to a backend's on the way out, and back on the way in.
 * IPv6 passes untouched. It is no Cilium.
 */
#include "connections.h"
#include "policy.h"
#include "services.h"

/* A pod that is its own backend is asked from this address, which no pod or node has. */
#define HAIRPIN_IP bpf_htonl(0xa9fe2a01) /* 169.254.42.1 */
/* On a packet that from_pod sent back to its pod: there is nothing left to do. The kernel clears marks
 * between namespaces, so that no pod can set it. */
#define TURNED_BACK 0x1ab

static __always_inline int drop(struct __sk_buff *skb, __be32 ip, enum direction direction,
				enum outcome outcome)
{
	count(skb, ip, direction, outcome);
	return TC_ACT_SHOT;
}

static __always_inline int forward(struct __sk_buff *skb, __be32 ip, enum direction direction)
{
	count(skb, ip, direction, FORWARDED);
	return TC_ACT_OK;
}

/* Choose a backend whose replies can be told from those of other connections: the client's favourite, one at
 * random, then the next. */
static __always_inline enum balance balance(const struct packet *packet, struct choice *choice, enum scope scope)
{
	struct service *service = find_service(&packet->flow);
	__u32 random = bpf_get_prandom_u32() >> 1;
	struct flow flow;

	if (!service)
		return NOT_A_SERVICE;
	if (chosen_before(packet, service, choice))
		return CHOSEN;
	choice->fresh = true;
	for (__u32 i = 0; i < TRIES; i++) {
		struct connection *found;

		if ((i || !favourite(packet, service, choice)) && !take(service, random + i, choice))
			return WITHOUT_BACKEND;
		flow = translated(&packet->flow, choice, HAIRPIN_IP);
		found = find(&flow, scope);
		if (!found || may_take_over(found) || leads_to(found, packet->flow.dst, packet->flow.dport))
			return CHOSEN;
	}
	return COLLIDES;
}

static __always_inline int reject(struct __sk_buff *skb, struct packet *packet, __u64 flags)
{
	count(skb, packet->flow.src, EGRESS, NO_BACKEND);
	if (make_unreachable(skb, packet))
		return TC_ACT_SHOT;
	if (!flags)
		skb->mark = TURNED_BACK;
	return turn_back(skb, flags);
}

/* The pod asks itself through a Service. */
static __always_inline int hairpin(struct __sk_buff *skb, struct packet *packet, const struct choice *choice)
{
	__be32 pod = packet->flow.src;

	rewrite(skb, packet, DESTINATION, choice->ip, choice->port);
	rewrite(skb, packet, SOURCE, HAIRPIN_IP, packet->flow.sport);
	skb->mark = TURNED_BACK;
	count(skb, pod, EGRESS, FORWARDED);
	return turn_back(skb, 0);
}

/* The pod answers itself through a Service. */
static __always_inline int hairpin_back(struct __sk_buff *skb, struct packet *packet)
{
	struct connection *found = find_reply(packet, OUTBOUND);
	__be32 pod = packet->flow.src;

	if (!found || packet->error)
		return drop(skb, pod, EGRESS, UNREADABLE);
	note(found, packet);
	rewrite(skb, packet, SOURCE, get(found->other_ip), found->other_port);
	rewrite(skb, packet, DESTINATION, pod, packet->flow.dport);
	skb->mark = TURNED_BACK;
	count(skb, pod, EGRESS, FORWARDED);
	return turn_back(skb, 0);
}

static __always_inline bool may_send_from(struct __sk_buff *skb, __be32 ip)
{
	struct device key = { skb->ifindex };
	struct address *found = bpf_map_lookup_elem(&endpoints, &key);

	return found && get(found->ip) == ip;
}

SEC("tc")
int from_pod(struct __sk_buff *skb)
{
	struct connection *asked;
	struct choice choice = {};
	struct packet packet;
	struct flow flow;
	enum balance balanced;
	enum reading reading = read_packet(skb, &packet);
	__be32 vip = 0, pod = packet.flow.src;

	if (reading == OTHER_PROTOCOL)
		return TC_ACT_OK;
	if (reading == CANNOT_READ)
		return drop(skb, pod, EGRESS, UNREADABLE);
	if (!may_send_from(skb, pod))
		return drop(skb, pod, EGRESS, SPOOFED);
	if (packet.flow.dst == HAIRPIN_IP)
		return hairpin_back(skb, &packet);
	asked = find_reply(&packet, INBOUND);
	if (asked) {
		note(asked, &packet);
		if (get(asked->other_ip) && !packet.error)
			rewrite(skb, &packet, SOURCE, get(asked->other_ip), asked->other_port);
		return forward(skb, pod, EGRESS);
	}
	if (find_related(&packet, OUTBOUND))
		return forward(skb, pod, EGRESS);
	balanced = balance(&packet, &choice, OUTBOUND);
	if (balanced == WITHOUT_BACKEND)
		return reject(skb, &packet, 0);
	if (balanced == COLLIDES)
		return drop(skb, pod, EGRESS, COLLISION);
	flow = balanced == CHOSEN ? translated(&packet.flow, &choice, HAIRPIN_IP) : packet.flow;
	if (flow.src == pod && !may(pod, EGRESS, flow.dst, flow.protocol, flow.dport))
		return drop(skb, pod, EGRESS, DENIED);
	if (balanced == CHOSEN)
		vip = packet.flow.dst;
	if (!packet.error && track(&packet, &flow, OUTBOUND, vip, vip ? packet.flow.dport : 0))
		return drop(skb, pod, EGRESS, COLLISION);
	if (balanced == NOT_A_SERVICE)
		return forward(skb, pod, EGRESS);
	if (choice.fresh)
		remember(&packet, &choice);
	if (flow.src == HAIRPIN_IP)
		return hairpin(skb, &packet, &choice);
	rewrite(skb, &packet, DESTINATION, choice.ip, choice.port);
	return forward(skb, pod, EGRESS);
}

/* A reply to what the pod asked a Service for: it must come from where the pod asked. */
static __always_inline void translate_back(struct __sk_buff *skb, struct packet *packet,
					   struct connection *found)
{
	__be32 vip = get(found->other_ip);
	__u16 port = found->other_port;

	if (!vip)
		return;
	if (packet->error) {
		rewrite_error(skb, packet, vip, port);
		return;
	}
	if (packet->closes) {
		struct flow asked = { packet->flow.dst, vip, packet->flow.dport, port, packet->flow.protocol };
		struct connection *service = find(&asked, SERVICE);

		if (service)
			service->closing = 1;
	}
	rewrite(skb, packet, SOURCE, vip, port);
}

SEC("tc")
int to_pod(struct __sk_buff *skb)
{
	struct connection *asked, *by_node;
	struct packet packet;
	enum reading reading;
	__be32 pod, vip = 0;
	__u16 port = 0;

	if (skb->mark == TURNED_BACK) {
		skb->mark = 0;
		return TC_ACT_OK;
	}
	reading = read_packet(skb, &packet);
	pod = packet.flow.dst;
	if (reading == OTHER_PROTOCOL)
		return TC_ACT_OK;
	if (reading == CANNOT_READ)
		return drop(skb, pod, INGRESS, UNREADABLE);
	asked = find_reply(&packet, OUTBOUND);
	if (asked) {
		note(asked, &packet);
		translate_back(skb, &packet, asked);
		return forward(skb, pod, INGRESS);
	}
	if (find_related(&packet, INBOUND))
		return forward(skb, pod, INGRESS);
	if (!may(pod, INGRESS, packet.flow.src, packet.flow.protocol, packet.flow.dport))
		return drop(skb, pod, INGRESS, DENIED);
	by_node = find(&packet.flow, NODE);
	if (by_node) {
		vip = get(by_node->other_ip);
		port = by_node->other_port;
	}
	if (!packet.error && track(&packet, &packet.flow, INBOUND, vip, port))
		return drop(skb, pod, INGRESS, COLLISION);
	return forward(skb, pod, INGRESS);
}

/* The node's own routing chose a device for the Service's address; the backend may be behind another. */
static __always_inline int send_on(struct __sk_buff *skb, __be32 src, __be32 dst)
{
	struct bpf_fib_lookup route = {
		.family = 2 /* AF_INET */, .ifindex = skb->ifindex, .ipv4_src = src, .ipv4_dst = dst,
	};
	int found = bpf_fib_lookup(skb, &route, sizeof(route), 0);

	if (found != BPF_FIB_LKUP_RET_SUCCESS && found != BPF_FIB_LKUP_RET_NO_NEIGH)
		return TC_ACT_SHOT;
	return bpf_redirect_neigh(route.ifindex, NULL, 0, 0);
}

SEC("tc")
int from_node(struct __sk_buff *skb)
{
	struct choice choice = {};
	struct packet packet;
	struct flow flow;
	enum balance balanced;

	if (read_packet(skb, &packet) != READ)
		return TC_ACT_OK;
	balanced = balance(&packet, &choice, NODE);
	if (balanced == NOT_A_SERVICE)
		return TC_ACT_OK;
	if (balanced == WITHOUT_BACKEND)
		return reject(skb, &packet, BPF_F_INGRESS);
	if (balanced == COLLIDES)
		return drop(skb, packet.flow.src, EGRESS, COLLISION);
	flow = translated(&packet.flow, &choice, packet.flow.src);
	if (track(&packet, &flow, NODE, packet.flow.dst, packet.flow.dport))
		return drop(skb, packet.flow.src, EGRESS, COLLISION);
	if (choice.fresh)
		remember(&packet, &choice);
	rewrite(skb, &packet, DESTINATION, choice.ip, choice.port);
	count(skb, packet.flow.src, EGRESS, FORWARDED);
	return send_on(skb, packet.flow.src, choice.ip);
}

SEC("tc")
int to_node(struct __sk_buff *skb)
{
	struct connection *asked;
	struct packet packet;

	if (read_packet(skb, &packet) != READ)
		return TC_ACT_OK;
	asked = find_reply(&packet, NODE);
	if (asked) {
		note(asked, &packet);
		translate_back(skb, &packet, asked);
	}
	return TC_ACT_OK;
}

char LICENSE[] SEC("license") = "GPL";
