"""Rules on nodes: only what changed is written, and a real kernel takes them as they are meant."""

import re
import time

import pytest

from labkit.errors import ProvisionError
from labkit.exec.request import Logs
from labkit.netns.iptables_restore import PIECE, changes, load
from labkit.netns.kube_proxy import KubeProxy, stale_connections
from labkit.netns.kube_proxy_rules import LARGE_CLUSTER, service_ports
from labkit.netns.machines import Done
from labkit.parse import iptables
from tests.netns.conftest import STEP
from tests.netns.fake_machines import FakeMachines
from tests.netns.rulesets import assert_alike, generated, parsed


def objects(*names, at=("10.244.0.2", "10.244.1.2"), protocol="TCP"):
    """A Service of each name with these endpoints, as the API has them."""
    ports = [{"name": "", "port": 80, "protocol": protocol}]
    services = [
        {
            "metadata": {"namespace": "shop", "name": name},
            "spec": {
                "clusterIP": f"10.0.{n // 250}.{n % 250 + 1}",
                "ports": [{**ports[0], "targetPort": 80}],
            },
        }
        for n, name in enumerate(names)
    ]
    ready = [{"addresses": [ip], "conditions": {"ready": True}, "nodeName": "node-1"} for ip in at]
    slices = [
        {
            "metadata": {"namespace": "shop", "labels": {"kubernetes.io/service-name": name}},
            "endpoints": ready or None,
            "ports": ports if ready else None,
        }
        for name in names
    ]
    return {"Service": services, "EndpointSlice": slices}


def written(machines):
    """The chains that were written into the first node since the last look."""
    found = [stdin.decode() for target, argv, stdin in machines.ran
             if target == "node/node-1" and argv[0] == "iptables-restore"]  # fmt: skip
    machines.ran.clear()
    return {chain for text in found for chain in re.findall(r"^:(\S+)", text, re.MULTILINE)}, "".join(found)


def test_only_what_changed_is_written():
    machines = FakeMachines()
    proxy = KubeProxy(machines)
    proxy.sync(objects("a", "b"))
    first, text = written(machines)
    assert {"KUBE-SERVICES", "KUBE-POSTROUTING", "KUBE-MARK-MASQ"} < first
    assert text.count("-I PREROUTING 1 ") == 1
    proxy.sync(objects("a", "b"))
    assert written(machines)[0] == set()
    proxy.sync(objects("a", "b", "c"))
    added, text = written(machines)
    assert sorted(chain[:9] for chain in added) == ["KUBE-SEP-", "KUBE-SEP-", "KUBE-SERV", "KUBE-SVC-"]
    assert "-I " not in text
    proxy.sync(objects("a", "b"))
    removed, text = written(machines)
    assert removed == added
    assert set(re.findall(r"^-X (\S+)", text, re.MULTILINE)) == added - {"KUBE-SERVICES"}


def test_a_service_that_loses_its_endpoints_is_refused_instead():
    machines = FakeMachines()
    proxy = KubeProxy(machines)
    proxy.sync(objects("a"))
    written(machines)
    proxy.sync(objects("a", at=()))
    _, text = written(machines)
    assert '"shop/a has no endpoints" -m tcp --dport 80 -j REJECT' in text
    assert text.count("-X KUBE-S") == 3


def test_what_was_written_with_comments_keeps_them():
    machines = FakeMachines()
    proxy = KubeProxy(machines)
    few, many = [f"s{n}" for n in range(10)], [f"s{n}" for n in range(LARGE_CLUSTER // 2 + 1)]
    proxy.sync(objects(*few))
    assert '"shop/s9 -> ' in written(machines)[1]
    proxy.sync(objects(*many))
    chains, text = written(machines)
    assert " -> " not in text
    assert len(chains) == 3 * (len(many) - len(few)) + 1


def test_what_jumps_is_written_after_what_it_jumps_to():
    """And removed before, so that each piece can be loaded by itself."""
    many = {"nat": {f"KUBE-SVC-{n}": (f"-j KUBE-SEP-{n}",) for n in range(PIECE)}}
    many["nat"] |= {f"KUBE-SEP-{n}": () for n in range(PIECE)} | {"KUBE-SERVICES": ("-j KUBE-SVC-1",)}

    def order(pieces):
        return [re.findall(r"^:(KUBE-\w\w\w)", piece.decode(), re.MULTILINE) for piece in pieces]

    there = order(changes({}, many))
    assert [set(piece) for piece in there] == [{"KUBE-SEP"}, {"KUBE-SVC"}, {"KUBE-SER"}]
    gone = order(changes(many, {"nat": {"KUBE-SERVICES": ()}}))
    assert [set(piece) for piece in gone] == [{"KUBE-SER"}, {"KUBE-SVC"}, {"KUBE-SEP"}]


def test_udp_flows_to_what_has_gone_are_forgotten():
    def ports(*at):
        found = objects("dns", at=at, protocol="UDP")
        made = service_ports(found["Service"][0], found["EndpointSlice"])
        return {(port.name, port.protocol): port for port in made}

    (command,) = stale_connections(ports("10.244.0.2", "10.244.1.2"), ports("10.244.1.2"))
    assert " ".join(command) == (
        "conntrack -D -p udp --orig-dst 10.0.0.1 --orig-port-dst 80 --reply-src 10.244.0.2"
    )
    assert stale_connections(ports("10.244.0.2"), ports("10.244.0.2")) == []


def test_rules_that_are_refused_say_why():
    class Refusing(FakeMachines):
        def run(self, target, argv, *, stdin=b"", limit_s=120.0):  # noqa: ARG002
            return Done(2, b"", b"iptables-restore v1.8.9: Couldn't load match `recent'\n")

    with pytest.raises(ProvisionError, match=r"on node node-2 exited 2: .*Couldn't load match `recent'"):
        load(Refusing(), "node-2", b"*nat\nCOMMIT\n")


# On a real kernel.


def service(name, selector="web", **spec):
    labels = {"app.kubernetes.io/managed-by": "labkit"}
    return {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "test", "labels": labels},
        "spec": {"selector": {"app": selector}, "ports": [{"port": 80}], **spec},
    }  # fmt: skip


@pytest.fixture
def served(arm):
    """Services of several sorts in front of the web server; gone afterwards, with their rules."""
    made = (service("plain"), service("sticky", sessionAffinity="ClientIP"), service("outer", type="NodePort"),
            service("empty", "nobody"))  # fmt: skip
    arm.apply(*made)
    ips = [address(arm, item["metadata"]["name"]) for item in made]
    for ip in ips:
        arm.when(lambda: saved(arm), lambda text, ip=ip: f"-d {ip}/32" in text)
    yield arm
    arm.delete(*made)
    arm.when(lambda: saved(arm), lambda text: not any(f"-d {ip}/32" in text for ip in ips))


def address(arm, name):
    return arm.read(f"/api/v1/namespaces/test/services/{name}")["spec"]["clusterIP"]


def saved(arm, node="node-1"):
    return arm.run(node, "iptables-save", "-c").text


def fetched(arm, target, url):
    return arm.run(target, "curl", "-sS", "--max-time", "3", url, check=False)


def test_the_kernel_holds_what_the_api_shows(served):
    services = served.read("/api/v1/services")["items"]
    slices = served.read("/apis/discovery.k8s.io/v1/endpointslices")["items"]
    for node in served.topology.nodes:
        text = saved(served, node.name)
        assert_alike(generated(served.topology, node, services, slices), parsed(text))
        found = iptables.rules(text.encode())
        assert found["target"].notna().all()
        assert set(iptables.chains(text.encode())["table"]) == {"mangle", "filter", "nat"}


def test_services_answer(served):
    for name in ("plain", "sticky"):
        for target in ("near", "far", "node-1"):
            assert fetched(served, target, f"http://{address(served, name)}/").text == "web node-2\n"
    itself = served.run("web", "curl", "-sS", "--max-time", "3", f"http://{address(served, 'plain')}/")
    assert itself.text == "web node-2\n", "a pod reaches itself by its Service"
    port = served.read("/api/v1/namespaces/test/services/outer")["spec"]["ports"][0]["nodePort"]
    for node in served.topology.nodes:
        assert fetched(served, "far", f"http://{node.ip}:{port}/").text == "web node-2\n"
    began = time.monotonic()
    refused = fetched(served, "near", f"http://{address(served, 'empty')}/")
    assert refused.exit_code == 7, refused
    assert time.monotonic() - began < 3, "it is refused, not left without an answer"


def test_a_node_port_that_stays_local_is_served_where_the_pod_is_and_keeps_the_client(arm):
    local = service("local", type="NodePort", externalTrafficPolicy="Local")
    arm.apply(local)
    port = arm.when(lambda: arm.read("/api/v1/namespaces/test/services/local"), bool)["spec"]["ports"][0][
        "nodePort"
    ]
    arm.when(lambda: saved(arm, "node-2"), lambda text: f"--dport {port} -j KUBE-EXT-" in text)
    arm.when(lambda: saved(arm), lambda text: f"--dport {port} -j DROP" in text)
    elsewhere, here = (node.ip for node in arm.topology.nodes)
    assert fetched(arm, "node-1", f"http://{here}:{port}/").text == "web node-2\n"
    log = arm.executor.run(Logs(step=STEP, target="pod/test/web/main", tail=1)).text
    assert log.startswith(f"{elsewhere} "), "the client is not masqueraded"
    assert fetched(arm, "node-2", f"http://{elsewhere}:{port}/").exit_code == 28, "it is dropped"
    arm.delete(local)


def test_counters_go_on_when_another_service_comes(served):
    before = counted(served)
    fetched(served, "near", f"http://{address(served, 'plain')}/")
    assert counted(served) == before + 1
    another = service("another")
    served.apply(another)
    ip = address(served, "another")
    served.when(lambda: saved(served), lambda text: f"-d {ip}/32" in text)
    assert counted(served) == before + 1
    served.delete(another)
    served.when(lambda: saved(served), lambda text: f"-d {ip}/32" not in text)
    assert counted(served) == before + 1


def counted(arm):
    """Connections to the Service `plain` that its endpoint's rule has translated."""
    found = iptables.rules(saved(arm).encode())
    mine = found[(found["comment"] == "test/plain") & (found["target"] == "DNAT")]
    return int(mine["packets"].sum())


def test_names_come_and_go(served):
    def status(name):
        return re.search(r"status: (\w+)", served.run("near", "dig", name).text)[1]

    name = "plain.test.svc.cluster.local"
    served.when(lambda: status(name), lambda said: said == "NOERROR")
    found = served.run("near", "dig", "+short", "+search", "plain").text
    assert found.splitlines() == [address(served, "plain")]
    assert status("nobody.test.svc.cluster.local") == "NXDOMAIN"
    assert served.run("near", "dig", "+short", "AAAA", name).text == ""
    served.delete(service("plain"))
    served.when(lambda: status(name), lambda said: said == "NXDOMAIN")
