import time
from pathlib import Path

import pytest

from labkit.errors import ParseError
from labkit.parse import iptables
from tests.conftest import RECORDINGS, arm, recorded

CASES = Path(__file__).parents[1] / "cases" / "iptables"
NFT = (CASES / "1.8.9-nft.txt").read_bytes()


@pytest.mark.parametrize("name", RECORDINGS)
@pytest.mark.parametrize("words", ["iptables-save -c", "ip6tables-save -c"])
def test_every_recorded_reply_is_read(name, words):
    recording = arm(name).executor.recording
    replies = [recording.find(r) for r in recording.requests() if r.words == words]
    assert replies
    for reply in replies:
        rules, chains = iptables.rules(reply.stdout), iptables.chains(reply.stdout)
        assert len(rules) == sum(line.startswith(b"[") for line in reply.stdout.splitlines())
        assert len(chains) == sum(line.startswith(b":") for line in reply.stdout.splitlines())
        assert chains["rules"].sum() == len(rules)


def of_service(frame, chain):
    return frame[(frame["table"] == "nat") & (frame["chain"] == chain)].set_index("position")


def test_rules_of_a_service():
    (reply,) = recorded("overlay-vxlan", "iptables-save -c", subject="vxlan-node-0")
    frame = iptables.rules(reply.stdout)
    first = of_service(frame, "KUBE-SERVICES").loc[4]
    assert (first["dst"], first["protocol"], first["dport"]) == ("10.0.68.134/32", "tcp", "80")
    assert (first["comment"], first["target"]) == (
        "cni-lab/backend-service cluster IP",
        "KUBE-SVC-4K57BTWY6C4HU7BK",
    )
    chain = of_service(frame, "KUBE-SVC-4K57BTWY6C4HU7BK")
    assert chain["target"].tolist() == [
        "KUBE-MARK-MASQ", "KUBE-SEP-7LFAJJI5DVLPUKRP", "KUBE-SEP-XQZCTCZKFWAMAQGJ"
    ]  # fmt: skip
    assert chain.loc[1, "src"] == "! 10.244.0.0/16"
    assert chain["probability"].isna().tolist() == [True, False, True]
    assert chain.loc[2, "probability"] == 0.5
    assert of_service(frame, "KUBE-SEP-XQZCTCZKFWAMAQGJ").loc[2, "to_destination"] == "10.244.1.3:80"


def test_counters_start_anew_when_a_chain_is_written():
    (reply,) = recorded("overlay-vxlan", "iptables-save -c", subject="vxlan-node-0")
    frame = iptables.rules(reply.stdout)
    assert of_service(frame, "KUBE-SERVICES").loc[3, "packets"] == 0  # yet its chain has counted one
    assert of_service(frame, "KUBE-SVC-NPX46M4PTMTKRN6Y").loc[2, ["packets", "matched_bytes"]].tolist() == [
        1,
        60,
    ]


def test_a_remembered_client_is_told_from_a_new_one():
    (reply,) = recorded("overlay-vxlan", "iptables-save -c", subject="vxlan-node-0")
    chain = of_service(iptables.rules(reply.stdout), "KUBE-SVC-COS3F4PHZXSV4BLA")
    assert chain["remembers"].tolist() == [False, True, True, False, False]


def test_marks_states_and_devices_of_ciliums_rules():
    frame = iptables.rules(recorded("cilium", "iptables-save -c", subject="cilium-node-0")[0].stdout)
    many = frame[frame["chain"] == "CILIUM_OUTPUT"].iloc[2]
    assert many["mark"] == "! 0xd00/0xf00,! 0xe00/0xf00,! 0x400/0xf00,! 0xa00/0xe00,! 0x800/0xe00"
    raw = frame[frame["chain"] == "CILIUM_OUTPUT_raw"].iloc[0]
    assert (raw["table"], raw["out_interface"], raw["target"]) == ("raw", "lxc+", "CT")
    assert frame[frame["chain"] == "CILIUM_PRE_mangle"].iloc[0]["out_interface"] == "! lo"
    firewall = frame[frame["chain"] == "KUBE-FIREWALL"].iloc[0]
    assert (firewall["src"], firewall["ct_state"]) == ("! 127.0.0.0/8", "! RELATED,ESTABLISHED,DNAT")


def test_policies_and_their_counters():
    chains = iptables.chains(NFT).set_index(["table", "chain"])
    assert chains.loc[("filter", "INPUT"), ["policy", "packets", "matched_bytes"]].tolist() == [
        "DROP",
        7,
        420,
    ]
    assert chains.loc[("nat", "KUBE-SERVICES")].isna()["policy"]
    assert chains.loc[("nat", "KUBE-SVC-2CMXP7HKUVJN7L6M"), "rules"] == 4


def test_both_back_ends_print_the_same():
    legacy = (CASES / "1.8.9-legacy.txt").read_bytes()
    assert iptables.rules(NFT).equals(iptables.rules(legacy))
    assert iptables.chains(NFT).equals(iptables.chains(legacy))


def test_lists_of_ports_quoted_comments_and_goto():
    frame = iptables.rules(NFT)
    odd = frame[(frame["chain"] == "PREROUTING") & (frame["position"] == 2)].iloc[0]
    assert (odd["in_interface"], odd["dport"], odd["comment"]) == ("! docker0", "80,443", 'say "hi"')
    assert frame[frame["chain"] == "FORWARD"]["target"].tolist() == ["REJECT", "ELSE"]


def test_without_counters_they_are_unknown():
    frame = iptables.rules((CASES / "1.8.9-without-counters.txt").read_bytes())
    assert len(frame) == len(iptables.rules(NFT))
    assert frame[["packets", "matched_bytes"]].isna().all(axis=None)


def test_a_thousand_services_are_read_in_a_second():
    (reply,) = recorded("overlay-vxlan", "iptables-save -c", step="services-1000", subject="vxlan-node-0")
    start = time.perf_counter()
    frame = iptables.rules(reply.stdout)
    assert time.perf_counter() - start < 1
    assert len(frame) > 8000


def test_no_tables_are_no_rules():
    assert iptables.rules(b"").empty
    assert list(iptables.chains(b"# Generated by iptables-save\n").columns) == iptables.CHAINS.names


@pytest.mark.parametrize(
    "data",
    [
        b"iptables-save: command not found\n",
        b"*nat\n:PREROUTING ACCEPT [0:0]\n",
        b"*nat\n*filter\nCOMMIT\n",
        b"COMMIT\n",
        b"[0:0] -A INPUT -j ACCEPT\n",
        b"*nat\nsomething else\nCOMMIT\n",
        b"*nat\n[0:0] -A INPUT -j\nCOMMIT\n",
        b"\xff\xfe",
        NFT[:-120],
        NFT[:1000],
    ],
)
def test_what_is_cut_off_or_no_rules_is_refused(data):
    with pytest.raises(ParseError, match="iptables-save"):
        iptables.rules(data)


def test_a_rule_of_a_chain_that_was_not_declared_is_refused():
    with pytest.raises(ParseError, match="nor a rule of one"):
        iptables.chains(b"*nat\n:INPUT ACCEPT [0:0]\n-A OUTPUT -j ACCEPT\nCOMMIT\n")


@pytest.mark.parametrize("name", RECORDINGS)
def test_version_names_the_back_end(name):
    for reply in recorded(name, "iptables --version"):
        assert iptables.backend(reply.stdout).values.tolist() == [["1.8.9", "nf_tables"]]


def test_old_versions_do_not_name_it():
    assert iptables.backend(b"iptables v1.6.1\n").isna()["backend"].all()
    with pytest.raises(ParseError, match="iptables"):
        iptables.backend(b"")
