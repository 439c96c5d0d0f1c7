"""The walk through rules: order, jumps, returns, marks, draws, and how many rules are compared."""

import pytest

from labkit.analysis.paths.netfilter import INDEXED_FROM, Rules
from labkit.analysis.paths.packet import Packet
from labkit.analysis.paths.rules import Devices, compiled
from labkit.parse import iptables

PACKET = Packet("10.0.0.1", "10.0.1.1", "tcp", 40000, 80)


def walked(lines, packet=PACKET, hook="FORWARD", devices=None, table="filter"):
    chains = dict.fromkeys([hook, *(line.split()[1] for line in lines)])
    text = f"*{table}\n" + "".join(f":{c} {'ACCEPT' if c == hook else '-'} [0:0]\n" for c in chains)
    data = (text + "\n".join(lines) + "\nCOMMIT\n").encode()
    rules = Rules(iptables.rules(data), iptables.chains(data))
    return list(rules.hook(hook, table, packet, devices or Devices()))


def only(*arguments, **more):
    (end,) = walked(*arguments, **more)
    return end


def test_the_first_rule_that_holds_decides():
    end = only(
        ["-A FORWARD -s 10.0.9.0/24 -j DROP", "-A FORWARD -d 10.0.1.1/32 -j ACCEPT", "-A FORWARD -j DROP"]
    )
    assert (end.verdict, end.walked, end.steps[-1].position) == ("accept", 2, 2)


def test_return_and_the_end_of_a_chain_lead_back_and_a_goto_does_not():
    back = [
        "-A FORWARD -j A",
        "-A FORWARD -j DROP",
        "-A A -s 10.0.9.9/32 -j ACCEPT",
        "-A A -j RETURN",
        "-A A -j ACCEPT",
    ]
    assert (only(back).verdict, only(back).walked) == ("drop", 1 + 2 + 1)
    gone = [
        "-A FORWARD -j A",
        "-A FORWARD -j DROP",
        "-A A -g B",
        "-A A -j DROP",
        "-A B -s 10.0.9.9/32 -j DROP",
    ]
    assert (
        only(gone).verdict == "drop"
    )  # behind the goto, the walk goes on behind the jump to A: at FORWARD 2
    assert [step.position for step in only(gone).steps] == [1, 1, 2]


def test_a_draw_forks_and_chances_multiply_to_one():
    lines = [
        "-A PREROUTING -m statistic --mode random --probability 0.25000000000 -j A",
        "-A PREROUTING -m statistic --mode random --probability 0.50000000000 -j B", "-A PREROUTING -j C",
        *(f"-A {name} -p tcp -j DNAT --to-destination 10.1.0.{n}:80" for n, name in enumerate("ABC")),
    ]  # fmt: skip
    ends = walked(lines, hook="PREROUTING", table="nat")
    found = {end.steps[-1].rule.given["--to-destination"][:-3]: end.chance for end in ends}
    assert found == {"10.1.0.0": 0.25, "10.1.0.1": 0.375, "10.1.0.2": 0.375}
    assert [end.walked for end in ends] == [2, 3, 4]


@pytest.mark.parametrize(
    ("words", "mark"), [("0x4000/0x4000", 0x4001), ("0x4000/0x0", 0x4001), ("0x5", 5), ("0x1/0x1", 1)]
)
def test_set_xmark_clears_the_mask_and_flips_the_value(words, mark):
    lines = [f"-A FORWARD -j MARK --set-xmark {words}"]
    assert only(lines, PACKET._replace(mark=1)).packet.mark == mark
    assert (
        only([*lines, f"-A FORWARD -m mark --mark {mark:#x} -j DROP"], PACKET._replace(mark=1)).verdict
        == "drop"
    )


@pytest.mark.parametrize(("match", "holds"), [
    ("! -s 10.0.0.0/24", False), ("-i eth+", True), ("! -i eth0", False), ("-o cali+", False), ("-p udp", False),
    ("-p tcp -m multiport --dports 22,80:90", True), ("-p tcp -m tcp --dport 81:", False), ("-m mark ! --mark 0x1/0x1", True),
    ("-m conntrack --ctstate NEW,RELATED", True), ("-m conntrack ! --ctstate NEW", False),
    ("-m addrtype --dst-type LOCAL", True), ("-m addrtype ! --src-type LOCAL", False),
    ("-p icmp -m icmp --icmp-type 8", False), ("-m conntrack --ctstate DNAT", False),
    ("-m nfacct --nfacct-name  x", True), ('-m comment --comment "say \\"-j DROP\\""', True),
])  # fmt: skip
def test_matches(match, holds):
    devices = Devices("eth0", "eth1", lambda _: "LOCAL")
    assert only([f"-A FORWARD {match} -j DROP"], devices=devices).verdict == ("drop" if holds else "accept")


def test_what_cannot_be_told_is_undecided_only_where_all_else_holds():
    assert compiled("-A X -p udp -m u32 --u32 0 -j DROP").matches(PACKET, Devices()) is False
    assert compiled("-A X -p tcp -m u32 --u32 0 -j DROP").matches(PACKET, Devices()) is None
    assert only(["-A FORWARD -m u32 --u32 0 -j LOG", "-A FORWARD -j DROP"]).verdict == "drop"
    assert only(["-A FORWARD -j CONNMARK --restore-mark"]).verdict == "unknown"


def test_a_long_chain_is_looked_through_by_address_with_the_same_outcome():
    many = [
        f"-A FORWARD -d 10.0.1.{n}/32 -p tcp -m tcp --dport 80 -j SVC{n}" for n in range(INDEXED_FROM * 2)
    ]
    many[5:5] = [
        "-A FORWARD -d 10.0.1.0/24 -p udp -j DROP",
        "-A FORWARD ! -d 10.0.1.1/32 -j MARK --set-xmark 0x8/0x8",
    ]
    chains = [f"-A SVC{n} -j ACCEPT" for n in range(INDEXED_FROM * 2)]
    for n in (0, 1, 40):
        end = only([*many, *chains], PACKET._replace(dst=f"10.0.1.{n}"))
        straight = only(
            [*many[:20], *many[20:][::1], *chains][: len(many) + len(chains)],
            PACKET._replace(dst=f"10.0.1.{n}"),
        )
        assert end.steps[-2].rule.target == f"SVC{n}"
        assert end.walked == end.steps[-2].position + 1 == straight.walked
        assert end.packet.mark == (8 if n > 4 else 0)


@pytest.mark.parametrize(("state", "translations", "holds"), [
    ("! --ctstate RELATED,ESTABLISHED,DNAT", {"DNAT"}, False), ("! --ctstate RELATED,ESTABLISHED,DNAT", set(), True),
    ("--ctstate SNAT", {"SNAT"}, True), ("--ctstate SNAT", {"DNAT"}, False),
])  # fmt: skip
def test_a_connection_that_is_translated_is_known_by_that(state, translations, holds):
    devices = Devices(translations=frozenset(translations))
    assert only([f"-A FORWARD -m conntrack {state} -j DROP"], devices=devices).verdict == (
        "drop" if holds else "accept"
    )


@pytest.mark.parametrize(("protocol", "words", "opens", "holds"), [
    ("icmp", "8", True, True), ("icmp", "8", False, False), ("icmp", "0", False, True), ("icmp", "any", True, True),
    ("icmp", "3/4", True, False), ("icmpv6", "128", True, True), ("tcp", "8", True, False),
])  # fmt: skip
def test_echoes_are_told_by_their_type(protocol, words, opens, holds):
    packet = PACKET._replace(protocol=protocol, sport=None, dport=None, opens=opens)
    option = "--icmpv6-type" if protocol == "icmpv6" else "--icmp-type"
    assert only([f"-A FORWARD {option} {words} -j DROP"], packet).verdict == ("drop" if holds else "accept")
