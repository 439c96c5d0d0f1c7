/* Reading and rewriting IPv4 packets. */
#pragma once

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <stdbool.h>
#include <stddef.h>
#include <bpf/bpf_endian.h>
#include "maps.h"

/* linux/icmp.h needs the C library's headers, which this machine has not (the BPF one). */
#define ICMP_ECHOREPLY 0
#define ICMP_DEST_UNREACH 3
#define ICMP_ECHO 8
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETERPROB 12
#define ICMP_PORT_UNREACH 3
struct icmphdr { __u8 type; __u8 code; __sum16 checksum; __be16 id; __be16 sequence; };

#define L3 ETH_HLEN
#define FRAGMENT_OFFSET 0x1fff
#define MORE_FRAGMENTS 0x2000
#define TCP_FLAGS 13
#define FIN 0x01
#define SYN 0x02
#define RST 0x04
#define ACK 0x10

/* Who speaks with whom. Ports are in host order; of an ICMP echo the asker's port is the identifier and the
 * other's is 0, so that request and reply are the two directions of one connection. */
struct flow {
	__be32 src, dst;
	__u16 sport, dport;
	__u8 protocol;
};

struct packet {
	struct flow flow;
	struct flow inner;   /* of the packet that an ICMP error is about */
	__u32 l4, inner_l3, inner_l4;
	bool has_l4;         /* false in later fragments */
	bool opens;          /* the first packet of a connection, never a reply */
	bool closes;
	bool error;          /* an ICMP error, whose `inner` is set */
};

enum reading { READ, OTHER_PROTOCOL, CANNOT_READ };

static __always_inline bool has_ports(__u8 protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP;
}

/* Ports of what starts at `at`. Less than their four bytes is malformed. */
static __always_inline int read_ports(struct __sk_buff *skb, __u32 at, struct flow *flow)
{
	__be16 ports[2];
	struct icmphdr icmp;

	if (has_ports(flow->protocol)) {
		if (bpf_skb_load_bytes(skb, at, ports, sizeof(ports)))
			return -1;
		flow->sport = bpf_ntohs(ports[0]);
		flow->dport = bpf_ntohs(ports[1]);
	} else if (flow->protocol == IPPROTO_ICMP) {
		if (bpf_skb_load_bytes(skb, at, &icmp, sizeof(icmp)))
			return -1;
		if (icmp.type == ICMP_ECHO)
			flow->sport = bpf_ntohs(icmp.id);
		if (icmp.type == ICMP_ECHOREPLY)
			flow->dport = bpf_ntohs(icmp.id);
	}
	return 0;
}

static __always_inline bool is_error(__u8 type)
{
	return type == ICMP_DEST_UNREACH || type == ICMP_TIME_EXCEEDED || type == ICMP_PARAMETERPROB;
}

static __always_inline int read_inner(struct __sk_buff *skb, struct packet *packet)
{
	struct iphdr ip;

	packet->inner_l3 = packet->l4 + sizeof(struct icmphdr);
	if (bpf_skb_load_bytes(skb, packet->inner_l3, &ip, sizeof(ip)))
		return -1;
	packet->inner_l4 = packet->inner_l3 + ip.ihl * 4;
	packet->inner.src = ip.saddr;
	packet->inner.dst = ip.daddr;
	packet->inner.protocol = ip.protocol;
	packet->error = true;
	return read_ports(skb, packet->inner_l4, &packet->inner);
}

/* What the first bytes of the transport header say beyond the ports. */
static __always_inline int read_flags(struct __sk_buff *skb, struct packet *packet)
{
	__u8 byte;

	if (packet->flow.protocol == IPPROTO_TCP) {
		if (bpf_skb_load_bytes(skb, packet->l4 + TCP_FLAGS, &byte, 1))
			return -1;
		packet->opens = (byte & (SYN | ACK)) == SYN;
		packet->closes = byte & (FIN | RST);
	} else if (packet->flow.protocol == IPPROTO_ICMP) {
		if (bpf_skb_load_bytes(skb, packet->l4, &byte, 1))
			return -1;
		packet->opens = byte == ICMP_ECHO;
		if (is_error(byte))
			return read_inner(skb, packet);
	}
	return 0;
}

static __always_inline void set(__u8 *octets, __be32 ip)
{
	__builtin_memcpy(octets, &ip, 4);
}

static __always_inline __be32 get(const __u8 *octets)
{
	__be32 ip;

	__builtin_memcpy(&ip, octets, 4);
	return ip;
}

/* The ports of a fragment: kept from the first one, for those that follow. */
static __always_inline int read_fragment(struct packet *packet, struct iphdr *ip, bool first)
{
	struct fragment key = { .id = bpf_ntohs(ip->id), .protocol = ip->protocol };
	struct ports ports = { packet->flow.sport, packet->flow.dport };
	struct ports *kept;

	set(key.src_ip, ip->saddr);
	set(key.dst_ip, ip->daddr);
	if (first)
		return bpf_map_update_elem(&fragments, &key, &ports, BPF_ANY);
	kept = bpf_map_lookup_elem(&fragments, &key);
	if (!kept)
		return -1;
	packet->flow.sport = kept->src;
	packet->flow.dport = kept->dst;
	return 0;
}

static __always_inline enum reading read_packet(struct __sk_buff *skb, struct packet *packet)
{
	__u16 offset;
	struct iphdr ip;

	__builtin_memset(packet, 0, sizeof(*packet));
	if (skb->protocol != bpf_htons(ETH_P_IP))
		return OTHER_PROTOCOL;
	if (bpf_skb_load_bytes(skb, L3, &ip, sizeof(ip)) || ip.ihl < 5)
		return CANNOT_READ;
	packet->l4 = L3 + ip.ihl * 4;
	packet->flow.src = ip.saddr;
	packet->flow.dst = ip.daddr;
	packet->flow.protocol = ip.protocol;
	offset = bpf_ntohs(ip.frag_off);
	if (offset & FRAGMENT_OFFSET)
		return read_fragment(packet, &ip, false) ? CANNOT_READ : READ;
	packet->has_l4 = true;
	if (read_ports(skb, packet->l4, &packet->flow) || read_flags(skb, packet))
		return CANNOT_READ;
	if (offset & MORE_FRAGMENTS && read_fragment(packet, &ip, true))
		return CANNOT_READ;
	return READ;
}

enum end { SOURCE, DESTINATION };

static __always_inline __u32 checksum_at(__u8 protocol)
{
	return protocol == IPPROTO_TCP ? offsetof(struct tcphdr, check) : offsetof(struct udphdr, check);
}

/* Rewrite one end of a TCP or UDP packet. Checksums are adjusted by the difference, as the packet may have
 * only the sum of its pseudo header yet (CHECKSUM_PARTIAL), which the helpers know. */
static __always_inline void rewrite(struct __sk_buff *skb, struct packet *packet, enum end end, __be32 ip,
				    __u16 port)
{
	__u32 zero = packet->flow.protocol == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0;
	__u32 ip_at = L3 + offsetof(struct iphdr, saddr), port_at = packet->l4;
	__u32 sum = packet->l4 + checksum_at(packet->flow.protocol);
	__be16 old_port, new_port = bpf_htons(port);
	__be32 old;

	if (end == SOURCE) {
		old = packet->flow.src;
		old_port = bpf_htons(packet->flow.sport);
	} else {
		old = packet->flow.dst;
		old_port = bpf_htons(packet->flow.dport);
		ip_at += sizeof(old);
		port_at += sizeof(old_port);
	}
	if (packet->has_l4) {
		bpf_l4_csum_replace(skb, sum, old, ip, zero | BPF_F_PSEUDO_HDR | sizeof(ip));
		bpf_l4_csum_replace(skb, sum, old_port, new_port, zero | sizeof(new_port));
		bpf_skb_store_bytes(skb, port_at, &new_port, sizeof(new_port), 0);
	}
	bpf_l3_csum_replace(skb, L3 + offsetof(struct iphdr, check), old, ip, sizeof(ip));
	bpf_skb_store_bytes(skb, ip_at, &ip, sizeof(ip), 0);
}

/* Rewrite the destination of the packet that an ICMP error is about, and the error's source where it is the
 * same host's. The inner IP header keeps its sum, so that only the port changes the sum of the ICMP. */
static __always_inline void rewrite_error(struct __sk_buff *skb, struct packet *packet, __be32 ip, __u16 port)
{
	__be16 old_port = bpf_htons(packet->inner.dport), new_port = bpf_htons(port);
	__be32 old = packet->inner.dst;

	bpf_l3_csum_replace(skb, packet->inner_l3 + offsetof(struct iphdr, check), old, ip, 4);
	bpf_skb_store_bytes(skb, packet->inner_l3 + offsetof(struct iphdr, daddr), &ip, 4, 0);
	bpf_l4_csum_replace(skb, packet->l4 + offsetof(struct icmphdr, checksum), old_port, new_port, 2);
	bpf_skb_store_bytes(skb, packet->inner_l4 + 2, &new_port, 2, 0);
	if (packet->flow.src == old) {
		bpf_l3_csum_replace(skb, L3 + offsetof(struct iphdr, check), old, ip, 4);
		bpf_skb_store_bytes(skb, L3 + offsetof(struct iphdr, saddr), &ip, 4, 0);
	}
}

/* Send a packet back the way it came: to the pod it is from, or up the stack of the node. */
static __always_inline int turn_back(struct __sk_buff *skb, __u64 flags)
{
	__u8 macs[2][ETH_ALEN], swapped[2][ETH_ALEN];

	if (bpf_skb_load_bytes(skb, 0, macs, sizeof(macs)))
		return TC_ACT_SHOT;
	__builtin_memcpy(swapped[0], macs[1], ETH_ALEN);
	__builtin_memcpy(swapped[1], macs[0], ETH_ALEN);
	bpf_skb_store_bytes(skb, 0, swapped, sizeof(swapped), 0);
	return bpf_redirect(skb->ifindex, flags);
}

static __always_inline __sum16 folded(__s64 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return ~((sum & 0xffff) + (sum >> 16));
}

struct quote {
	struct iphdr ip;
	union { struct tcphdr tcp; struct udphdr udp; };
};

/* Settle the checksum of a quoted header. A device that sends the answer may yet fill it in, as it would have
 * done for the packet, and the ICMP's own sum must be right before and after that. What it fills in is ~(S + f),
 * S being the sum of the rest and f what the field holds, so f is to be such that f = ~(S + f), that is
 * f = ~S / 2; and in ones' complement a half is a rotation by one bit. */
static __always_inline int settle(struct __sk_buff *skb, struct packet *packet, struct quote *quote)
{
	__u16 rest, half;

	if (packet->flow.protocol == IPPROTO_TCP)
		quote->tcp.check = 0;
	else
		quote->udp.check = 0;
	rest = folded(bpf_csum_diff(0, 0, (__be32 *)&quote->tcp, sizeof(quote->tcp), 0));
	half = rest >> 1 | rest << 15;
	if (packet->flow.protocol == IPPROTO_TCP)
		quote->tcp.check = half;
	else
		quote->udp.check = half;
	return bpf_skb_store_bytes(skb, packet->l4 + checksum_at(packet->flow.protocol), &half, sizeof(half), 0);
}

/* Make a packet the answer "port unreachable" to itself, as iptables' REJECT does. The whole TCP or UDP
 * header is quoted, since the kernel cuts no checksum off that is still to be filled in. */
static __always_inline int make_unreachable(struct __sk_buff *skb, struct packet *packet)
{
	bool tcp = packet->flow.protocol == IPPROTO_TCP;
	__u32 quoted = sizeof(struct iphdr) + (tcp ? sizeof(struct tcphdr) : sizeof(struct udphdr));
	struct quote quote = {};
	struct { struct iphdr ip; struct icmphdr icmp; } answer = {
		.ip = {
			.version = 4, .ihl = 5, .tot_len = bpf_htons(sizeof(answer) + quoted), .ttl = 64,
			.protocol = IPPROTO_ICMP, .saddr = packet->flow.dst, .daddr = packet->flow.src,
		},
		.icmp = { .type = ICMP_DEST_UNREACH, .code = ICMP_PORT_UNREACH },
	};
	__s64 sum;

	if (packet->l4 != L3 + sizeof(struct iphdr) || !packet->has_l4)
		return -1;
	if (bpf_skb_change_tail(skb, L3 + quoted, 0))
		return -1;
	if (bpf_skb_load_bytes(skb, L3, &quote, tcp ? 40 : 28))
		return -1;
	if (settle(skb, packet, &quote))
		return -1;
	if (bpf_skb_adjust_room(skb, sizeof(answer), BPF_ADJ_ROOM_MAC, 0))
		return -1;
	sum = bpf_csum_diff(0, 0, (__be32 *)&answer.icmp, sizeof(answer.icmp), 0);
	answer.icmp.checksum = folded(bpf_csum_diff(0, 0, (__be32 *)&quote, sizeof(quote), sum));
	answer.ip.check = folded(bpf_csum_diff(0, 0, (__be32 *)&answer.ip, sizeof(answer.ip), 0));
	return bpf_skb_store_bytes(skb, L3, &answer, sizeof(answer), 0);
}
