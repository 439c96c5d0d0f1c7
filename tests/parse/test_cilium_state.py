"""What agents say of themselves: facts read in the bytes, checked against the text forms beside them."""

import json
import re

import pytest

from labkit.collect import cilium
from labkit.errors import ParseError
from labkit.parse import (
    cilium_config,
    cilium_endpoint,
    cilium_identity,
    cilium_policy,
    cilium_service,
    cilium_status,
)
from tests.conftest import arm, recorded


def first(words, step="baseline"):
    return recorded("cilium", words, step=step, subject="m99dv")[0].stdout


def exactly(words, step="baseline"):
    return next(
        r for r in recorded("cilium", words, step=step, subject="m99dv") if r.request.words == words
    ).stdout


def test_status():
    state = cilium_status.status(first("cilium-dbg status --verbose -o json")).iloc[0]
    assert (state["version"], state["routing"], state["host_routing"], state["attach_mode"]) == (
        "1.20.0-dev", "Native", "BPF", "tcx",
    )  # fmt: skip
    assert (state["lb_algorithm"], state["lb_table_size"], state["lb_mode"]) == ("Maglev", 16381, "SNAT")
    assert (bool(state["socket_lb"]), state["socket_lb_coverage"]) == (True, "Full")
    assert (state["ipam_used"], state["ipam_size"], state["ipam_pool"]) == (5, 254, "10.245.0.0/24")
    assert (state["hubble_flows"], state["controllers"], state["controllers_failing"]) == (366, 29, 0)
    assert (state["masquerading"], state["encryption"], state["envoy"]) == ("BPF", "Disabled", "embedded")


def test_status_agrees_with_its_text_form():
    text = exactly("cilium-dbg status --verbose").decode()
    state = cilium_status.status(first("cilium-dbg status --verbose -o json")).iloc[0]
    assert f"Network: {state['routing']}   Host: {state['host_routing']}" in text
    assert f"Backend Selection:    {state['lb_algorithm']} (Table Size: {state['lb_table_size']})" in text
    assert f"Socket LB Coverage:   {state['socket_lb_coverage']}" in text
    sizes = cilium_status.map_sizes(first("cilium-dbg status --verbose -o json"))
    told = re.search(r"BPF Maps:.*?\n.*?\n(.*?)Encryption:", text, re.DOTALL)[1]
    lines = {m[1].strip(): int(m[2]) for m in re.finditer(r"^  (.*?)\s{2,}(\d+)$", told, re.MULTILINE)}
    assert dict(zip(sizes["map"], sizes["max_entries"], strict=True)) == lines


def test_status_of_an_agent_that_leaves_things_out():
    value = json.loads(first("cilium-dbg status --verbose -o json"))
    value["kube-proxy-replacement"] = {"mode": "False"}
    value["masquerading"] = {"mode": "BPF"}
    value["ipam"] = {"status": "delegated to plugin"}
    value["hubble"] = {"state": "Disabled"}
    state = cilium_status.status(json.dumps(value).encode()).iloc[0]
    assert (bool(state["socket_lb"]), state["masquerading"], state["hubble"]) == (
        False,
        "Disabled",
        "Disabled",
    )
    assert (
        state[["socket_lb_coverage", "lb_table_size", "ipam_pool", "ipam_used", "hubble_flows"]].isna().all()
    )


def test_hostns_only_is_another_coverage():
    value = json.loads(first("cilium-dbg status --verbose -o json"))
    value["kube-proxy-replacement"]["features"]["bpfSocketLBHostnsOnly"] = True
    assert cilium_status.status(json.dumps(value).encode())["socket_lb_coverage"].iloc[0] == "Hostns-only"


def test_status_without_a_part_names_it():
    value = json.loads(first("cilium-dbg status --verbose -o json"))
    del value["routing"]
    with pytest.raises(ParseError, match="no object routing"):
        cilium_status.status(json.dumps(value).encode())


def test_allocated_addresses_have_owners():
    held = cilium_status.addresses(first("cilium-dbg status --verbose -o json")).set_index("ip")["owner"]
    assert held["10.245.0.17"] == "router"
    assert held["10.245.0.165"] == "cni-lab/app-backend-7b798cd7cb-cx6gc"


def test_endpoints_of_one_node():
    ends = cilium_endpoint.endpoints(first("cilium-dbg endpoint list -o json")).set_index("endpoint")
    assert sorted(ends.index) == [203, 886, 958, 3372, 3998]
    backend, host = ends.loc[958], ends.loc[886]
    assert (backend["identity"], backend["ip"], backend["pod"]) == (
        18648,
        "10.245.0.165",
        "app-backend-7b798cd7cb-cx6gc",
    )
    assert (host["identity"], host["interface"]) == (1, "cilium_host")
    assert host[["ip", "pod", "namespace"]].isna().all()
    assert not ends["ingress_enforced"].any()


def test_policies_show_in_the_endpoints():
    ends = cilium_endpoint.endpoints(first("cilium-dbg endpoint list -o json", "policy-deny-all"))
    enforced = ends[ends["namespace"] == "cni-lab"]
    assert enforced["ingress_enforced"].all()
    assert enforced["egress_enforced"].all()
    assert not ends.loc[ends["pod"].isna(), "ingress_enforced"].any()


def test_the_endpoint_map_names_the_same_endpoints():
    ends = (
        cilium_endpoint.endpoints(first("cilium-dbg endpoint list -o json"))
        .dropna(subset="ip")
        .set_index("ip")
    )
    held = cilium_endpoint.endpoint_map(first("cilium-dbg bpf endpoint list -o json")).set_index("ip")
    local = held.dropna(subset="endpoint")
    assert set(held.index) - set(local.index) == {"10.241.0.4", "10.245.0.17"}
    for column in ("endpoint", "identity", "mac"):
        assert local[column].to_dict() == ends[column].to_dict()


def test_identities_have_scopes_and_labels():
    found = cilium_identity.identities(first("cilium-dbg identity list -o json")).set_index("identity")
    assert found["scope"].value_counts().to_dict() == {"reserved": 10, "cluster": 7, "local": 1}
    assert (found.loc[18648, "namespace"], found.loc[18648, "app"]) == ("cni-lab", "backend")
    assert found.loc[16777217, "labels"] == "reserved:kube-apiserver,reserved:world"
    text = exactly("cilium-dbg identity list").decode()
    assert set(re.findall(r"^(\d+)", text, re.MULTILINE)) == set(found.index.astype(str))


def policy_text(text):
    """Endpoint, direction, bytes and packets of each line of the text form; `-` is None."""
    rows, endpoint = [], 0
    for line in text.splitlines():
        if line.startswith("Endpoint ID:"):
            endpoint = int(line.split()[-1])
        elif line.startswith(("Allow", "Deny")):
            verdict, direction, _, port, _, _, octets, packets, _, _ = line.split()
            rows.append((endpoint, direction.lower(), verdict.lower(), port, octets, packets))
    return sorted(rows)


@pytest.mark.parametrize("step", ["baseline", "load-balancing", "policy-deny-all"])
def test_the_policy_map_agrees_with_its_text_form(step):
    frame = cilium_policy.policy_map(first("cilium-dbg bpf policy get --all -o json", step))
    told = policy_text(exactly("cilium-dbg bpf policy get --all", step).decode())
    keys = ["endpoint", "direction", "verdict"]
    read = sorted(
        (r["endpoint"], r["direction"], r["verdict"], "ANY") for r in frame[keys].to_dict("records")
    )
    assert read == [row[:4] for row in told]
    uncounted = frame["packets"].isna().sum()
    assert uncounted > 0
    assert abs(uncounted - sum(row[5] == "-" for row in told)) <= 1  # the two were read a moment apart
    assert frame["matched_bytes"].isna().sum() == uncounted


def test_ports_of_policy_entries_are_those_of_the_policies():
    frame = cilium_policy.policy_map(
        first("cilium-dbg bpf policy get --all -o json", "policy-allow-frontend")
    )
    assert set(frame["dest_port"].dropna()) == {53, 80}
    dns = frame[frame["dest_port"] == 53]
    assert set(dns["protocol"]) == {"TCP", "UDP"}
    assert (frame["end_port"].dropna() == frame["dest_port"].dropna()).all()
    # the backend lets in its frontends' identities at 80, and the host; nobody else
    mine = frame[(frame["endpoint"] == 958) & (frame["direction"] == "ingress")]
    assert set(zip(mine["identity"], mine["dest_port"].fillna(0), strict=True)) == {
        (1, 0),
        (17870, 80),
        (46548, 80),
    }


def policy_entry(**changes):
    maps = json.loads(first("cilium-dbg bpf policy get --all -o json", "policy-allow-frontend"))
    entry = next(e for e in maps[0]["Content"] if e["Key"]["DestPortNetwork"])
    entry |= changes
    return json.dumps([{"EndpointID": "7", "Content": [entry]}]).encode()


def test_deny_proxy_and_port_ranges_of_policy_entries():
    denied = cilium_policy.policy_map(policy_entry(Flags=193)).iloc[0]
    assert (denied["verdict"], denied["dest_port"], denied["end_port"]) == ("deny", 53, 53)
    wide = cilium_policy.policy_map(policy_entry(Flags=(8 + 14) << 3, ProxyPortNetwork=4135)).iloc[0]
    assert (wide["end_port"], wide["proxy_port"]) == (56, 10000)
    old = cilium_policy.policy_map(policy_entry(Flags=0)).iloc[0]  # before 1.17: no prefix in the flags
    assert (old["dest_port"], old["end_port"]) == (53, 53)


@pytest.mark.parametrize(
    "changes", [{"Flags": None}, {"Key": {}}, {"Packets": "many"}, {"ProxyPortNetwork": -1}]
)
def test_a_policy_entry_that_does_not_fit_is_refused(changes):
    with pytest.raises(ParseError, match="policy get"):
        cilium_policy.policy_map(policy_entry(**changes))


def test_plain_config_prints_what_can_be_changed_and_no_more():
    plain = cilium_config.mutable_options(exactly("cilium-dbg config"))
    whole = cilium_config.config(first("cilium-dbg config --all -o json")).set_index("option")["value"]
    assert len(plain) == 11
    assert not plain["option"].str.contains("maglev|envoy", case=False).any()
    assert (whole["IPAM"], whole["RoutingMode"], whole["EnableEndpointRoutes"]) == (
        "kubernetes",
        "native",
        "true",
    )
    assert whole["UnsafeDaemonConfigOption.EnableHostLegacyRouting"] == "false"
    assert whole["Devices"] == '["eth0"]'
    with pytest.raises(ParseError, match="line 3"):
        cilium_config.mutable_options(b"#### Read-write configurations ####\nDebug : Disabled\nhalf a line\n")


def test_services_and_what_still_waits_to_be_written():
    rest = cilium_service.services(first("cilium-dbg service list -o json"))
    assert len(rest) == 13
    assert rest["service_id"].notna().all()
    (busy, _) = recorded("cilium", "cilium-dbg service list -o json", step="services-1000")
    waiting = cilium_service.services(busy.stdout).drop_duplicates(["frontend_ip", "port", "protocol"])
    assert (len(waiting), waiting["service_id"].isna().sum()) == (1008, 315)


def test_a_service_without_backends_is_a_row():
    items = json.loads(first("cilium-dbg service list -o json"))[:1]
    del items[0]["status"]["realized"]["backend-addresses"]
    frame = cilium_service.services(json.dumps(items).encode())
    assert (len(frame), frame["backend_ip"].isna().all()) == (1, True)


def test_agents_know_all_nodes():
    peers = cilium.peers(arm("cilium"))
    assert len(peers) == 4
    assert peers.groupby("peer")["pod_cidr"].unique().map(list).to_dict() == {
        "cilium-node-0": ["10.245.0.0/24"], "cilium-node-1": ["10.245.1.0/24"],
    }  # fmt: skip
