"""Nodes and pods of namespaces: wired as the plugins do, each container in a world of its own."""

import json
import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from labkit.errors import NoTarget
from labkit.exec.request import Exec, Logs
from labkit.netns.wire import host_end, mac
from labkit.parse import access_log, answers
from tests.netns.conftest import pod


def links(arm, target, *options):
    return {link["ifname"]: link for link in arm.json(target, "ip", "-j", "-d", "link", "show", *options)}


def routes(arm, target):
    return arm.run(target, "ip", "route", "show").text.replace(" \n", "\n").splitlines()


def test_vxlan_is_wired_as_flannel_does(arms):
    arm = arms("vxlan")
    found = links(arm, "node-1")
    port = found[host_end(arm.topology, "test", "near")]
    assert (found["eth0"]["mtu"], found["cni0"]["mtu"], found["flannel.1"]["mtu"], port["mtu"]) == (
        1500,
        1450,
        1450,
        1450,
    )
    assert port["master"] == "cni0"
    assert port["linkinfo"]["info_slave_data"]["hairpin"]
    tunnel = found["flannel.1"]["linkinfo"]["info_data"]
    assert {k: tunnel[k] for k in ("id", "local", "link", "port", "learning")} == {
        "id": 1, "local": "10.224.0.4", "link": "eth0", "port": 8472, "learning": False,
    }  # fmt: skip
    assert routes(arm, "node-1") == [
        "default via 10.224.0.1 dev eth0 proto dhcp src 10.224.0.4 metric 100",
        "10.224.0.0/16 dev eth0 proto kernel scope link src 10.224.0.4 metric 100",
        "10.244.0.0/24 dev cni0 proto kernel scope link src 10.244.0.1",
        "10.244.1.0/24 via 10.244.1.0 dev flannel.1 onlink",
    ]
    (entry,) = arm.json("node-1", "bridge", "-j", "fdb", "show", "dev", "flannel.1")
    assert (entry["mac"], entry["dst"], entry["state"]) == (mac("10.244.1.0"), "10.224.0.5", "permanent")
    (way,) = arm.json("node-1", "ip", "-j", "neigh", "show", "dev", "flannel.1")
    assert (way["dst"], way["lladdr"], way["state"]) == ("10.244.1.0", mac("10.244.1.0"), ["PERMANENT"])
    me = arm.ip("near")
    assert routes(arm, "near") == [
        "default via 10.244.0.1 dev eth0",
        f"10.244.0.0/24 dev eth0 proto kernel scope link src {me}",
        "10.244.0.0/16 via 10.244.0.1 dev eth0",
    ]


def test_routed_is_wired_as_azures_transparent_mode(arms):
    arm = arms("routed")
    found = links(arm, "node-1")
    device = host_end(arm.topology, "test", "near")
    assert {link.get("linkinfo", {}).get("info_kind") for link in found.values()} == {None, "veth"}
    assert {link["mtu"] for name, link in found.items() if name != "lo"} == {1500}
    assert re.fullmatch(r"azv[0-9a-f]{11}", device)
    assert found[device]["address"] == "aa:aa:aa:aa:aa:aa"
    assert arm.run("node-1", "cat", f"/proc/sys/net/ipv4/conf/{device}/proxy_arp").text == "1\n"
    here = routes(arm, "node-1")
    assert f"{arm.ip('near')} dev {device} proto static" in here
    assert not [route for route in here if route.startswith("10.244.1.")], (
        "the fabric knows the other node's pods"
    )
    assert routes(arm, "near") == ["default via 169.254.1.1 dev eth0", "169.254.1.1 dev eth0 scope link"]
    (gateway,) = arm.json("near", "ip", "-j", "neigh", "show", "169.254.1.1")
    assert (gateway["lladdr"], gateway["state"]) == ("aa:aa:aa:aa:aa:aa", ["PERMANENT"])


def test_the_mtu_is_the_difference(arms):
    for name, fits, hops in (("vxlan", 1422, 3), ("routed", 1472, 4)):
        arm = arms(name)
        whole = ("ping", "-c", "1", "-W", "2", "-M", "do", "-s")
        arm.run("near", *whole, str(fits), arm.ip("far"))
        refused = arm.run("near", *whole, str(fits + 1), arm.ip("far"), check=False)
        assert (refused.exit_code, b"message too long" in refused.stderr) == (1, True)
        way = arm.run("near", "tracepath", "-n", "-m", "6", arm.ip("far")).text
        assert f"pmtu {fits + 28} hops {hops}" in way


@pytest.mark.parametrize(("topology", "outer"), [("vxlan", b" > 10.224.0.5.8472: "), ("routed", b"")])
def test_what_crosses_the_fabric_is_in_a_tunnel_or_not(arms, topology, outer):
    arm = arms(topology)
    listen = ["timeout", "3", "tcpdump", "-n", "-c", "1", "-i", "eth0", "icmp", "or", "udp", "port", "8472"]
    with ThreadPoolExecutor() as pool:
        seen = pool.submit(arm.run, "node-1", *listen)
        time.sleep(0.3)  # until it listens
        arm.run("near", "ping", "-c", "2", "-i", "0.2", arm.ip("far"))
    line = seen.result().stdout
    assert outer in line
    assert f"{arm.ip('near')} > {arm.ip('far')}: ICMP echo request".encode() in line


def test_the_world_outside_can_be_reached_from_nodes(arm):
    page = arm.run(
        "node-1",
        "curl",
        "-sS",
        "--max-time",
        "3",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        "http://203.0.113.10/",
    )
    assert page.text == "200"


def test_a_container_is_a_world_of_its_own(arm):
    assert arm.run("near", "hostname").text == "near\n"
    assert arm.run("near", "cat", "/proc/1/comm").text == "sleep\n"
    assert arm.run("near", "pwd").text == "/\n"
    assert arm.run("near", "cat", "/etc/resolv.conf").text == (
        "search test.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.0.0.10\noptions ndots:5\n"
    )
    assert set(arm.json("near", "ip", "-j", "link", "show")[1]) > {"ifname", "link_index"}
    assert arm.run("near", "ls", "/sys/class/net").text == "eth0\nlo\n"
    environment = dict(line.split("=", 1) for line in arm.run("near", "env").text.splitlines())
    assert environment == {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "TZ": "UTC", "HOSTNAME": "near",
    }  # fmt: skip
    denied = arm.run("near", "touch", "/usr/bin/mine", check=False)
    assert b"Read-only file system" in denied.stderr
    arm.run("near", "touch", "/etc/mine", "/run/mine", "/usr/local/mine")
    assert arm.run("beside", "sh", "-c", "ls /etc/mine /run/mine /usr/local/mine", check=False).stdout == b""


def test_a_node_has_the_machines_disk_and_sees_all_processes(arm):
    assert arm.run("node-1", "uname", "-n").text == "node-1\n"
    assert b"NAME=" in arm.run("node-1", "cat", "/host/etc/os-release").stdout
    assert b"apache2" in arm.run("node-1", "ps", "-eo", "comm").stdout
    assert (
        arm.run("node-1", "sysctl", "-n", "net.ipv4.ip_forward", "net.ipv4.conf.all.rp_filter").text
        == "1\n0\n"
    )


def test_the_backend_serves_its_names_and_logs_as_the_image_does(arm):
    page = arm.run("near", "curl", "-sS", f"http://{arm.ip('web')}/")
    assert answers.answers(page.stdout)[["backend", "backend_node"]].to_numpy().tolist() == [
        ["web", "node-2"]
    ]
    log = arm.executor.run(Logs(step="s", target="pod/test/web/main", tail=500))
    requests = access_log.lines(log.stdout).query("kind == 'request'")
    assert requests.iloc[-1][["client_ip", "path", "status"]].tolist() == [arm.ip("near"), "/", 200]
    assert len(arm.executor.run(Logs(step="s", target="pod/test/web/main", tail=1)).stdout.splitlines()) == 1


def test_32_commands_at_once(arm):
    began = time.monotonic()
    with ThreadPoolExecutor(32) as pool:
        said = list(pool.map(lambda n: arm.run("near", "sh", "-c", f"sleep 0.5; echo {n}").text, range(32)))
    assert said == [f"{n}\n" for n in range(32)]
    assert time.monotonic() - began < 8, "one after the other they take 16 s"


def test_a_program_or_a_target_that_is_not_there(arm):
    assert arm.run("near", "no-such-program", check=False).exit_code == 127
    for target in ("node/x", "pod/test/near/x", "pod/test/x/main", "pod/near", ""):
        for request in (Exec(step="s", target=target, argv=("true",)), Logs(step="s", target=target, tail=1)):
            with pytest.raises(NoTarget):
                arm.executor.run(request)


def test_a_pod_that_is_deleted_leaves_nothing_on_its_node(arm):
    guest = pod("guest", "node-1", command=["sleep", "1234567"])
    arm.apply(guest)
    address, device = arm.ip("guest"), host_end(arm.topology, "test", "guest")
    assert device in links(arm, "node-1")
    arm.delete(guest)
    arm.when(lambda: links(arm, "node-1"), lambda found: device not in found)
    assert not [route for route in routes(arm, "node-1") if route.startswith(f"{address} ")]
    assert b"1234567" not in arm.run("node-1", "ps", "-eo", "args").stdout
    arm.apply(guest)
    assert arm.ip("guest") != address, "an address rests before it is used again"
    arm.delete(guest)


def test_two_labs_at_once_do_not_meet(arms):
    vxlan, routed = arms("vxlan"), arms("routed")
    assert vxlan.ip("web") == routed.ip("web")
    for arm, word in ((vxlan, "this one"), (routed, "that one")):
        arm.run("web", "sh", "-c", f"echo {json.dumps(word)} >/usr/local/apache2/htdocs/which.html")
    for arm, word in ((vxlan, "this one"), (routed, "that one")):
        assert arm.run("near", "curl", "-sS", f"http://{arm.ip('web')}/which.html").text == f"{word}\n"
