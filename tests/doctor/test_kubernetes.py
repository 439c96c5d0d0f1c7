"""What the doctor finds on a cluster, and that it changes nothing there."""

import sys
from pathlib import Path

import pytest

from labkit.doctor.kubernetes import cluster
from labkit.experiments.manifests import images
from tests.kube.cluster import OURS, certificate, kubeconfig, node, pod
from tests.kube.server import FakeKube


@pytest.fixture
def looked(kube, tmp_path):
    """Checks of the fake cluster, by what was looked at."""

    def look(references=None, **options):
        path = kubeconfig(tmp_path, kube, **options)
        return {c.check: c for c in cluster("overlay", "fake", kubeconfig=path, references=references)}

    return look


def put_tools(kube, tmp_path, **scripts):
    """Give the agent's image programs that print something and end so."""
    folder = tmp_path / "image"
    folder.mkdir()
    for name, script in scripts.items():
        program = folder / name.replace("_", "-")
        program.write_text(f"#!{sys.executable}\n{script}\n")
        program.chmod(0o755)
    kube.backend.images["cilium-agent"] = folder


def test_a_cluster_that_has_all(kube, looked, tmp_path):
    put_tools(kube, tmp_path, cilium_dbg="print('OK')", hubble="print('Healthcheck: Ok')")
    for name in ("node-0", "node-1"):
        one = node(name)
        one["status"]["images"] = [{"names": [ref, f"{ref.rpartition(':')[0]}"]} for ref in tags()]
        kube.store.apply(one)
    before = kube.store.version
    found = looked()
    assert {check.state for name, check in found.items() if name != "leave to change it"} == {"ok"}, found
    assert found["leave to change it"].remedy == "--allow-context fake, if labkit may; or --read-only"
    assert found["API server"].found == "v1.36.2 answers"
    assert found["rights to change the lab"].found == "all 30"
    assert found["Cilium agents"].found == "1 of 1 answer"
    assert kube.store.version == before
    assert {method for method, _ in kube.seen} == {"GET", "POST"}
    assert all("accessreviews" in path for method, path in kube.seen if method == "POST")


def tags():
    """References as a node tells them: tag, or repository and digest."""
    for reference in images().values():
        tag, _, digest = reference.partition("@")
        yield f"{tag.rpartition(':')[0]}@{digest}" if digest else tag


def test_rights_that_are_lacking_are_named(kube, looked):
    kube.denied = {("get", "pods/exec"), ("delete", "namespaces"), ("list", "nodes")}
    found = looked()
    assert (found["rights to run commands"].state, found["rights to read"].found) == (
        "missing",
        "lacking: list nodes",
    )
    assert found["rights to change the lab"].state == "note"
    assert "--read-only" in found["rights to change the lab"].remedy


@pytest.mark.parametrize(("labels", "check", "state"), [
    ({}, "namespace cni-lab", "missing"),
    (OURS, "analyzer", "ok"),
    ({**OURS, "pod-security.kubernetes.io/enforce": "restricted"}, "analyzer", "missing"),
])  # fmt: skip
def test_the_place_of_the_analyzer(kube, looked, labels, check, state):
    kube.store.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "cni-lab", "labels": labels}}
    )
    assert looked()[check].state == state


def test_what_cannot_be_known_is_not_told_as_good(kube, looked):
    kube.store.delete("Namespace", "", "cni-lab")
    found = looked()
    assert found["image nginx"].state == "note"
    assert "not known without trying: a pull of" in found["image nginx"].found
    assert "an admission webhook" in found["analyzer"].found


def test_nodes_that_do_not_fit(kube, looked):
    kube.store.apply(node("node-0", ready="False"))
    kube.store.apply(node("node-1", kubelet="v1.32.0"))
    found = looked()
    assert (found["nodes"].state, found["nodes"].found) == ("missing", "1 of 2 are ready and run Linux")
    assert (found["kubelets"].state, found["kubelets"].found) == ("note", "v1.32.0")
    kube.store.apply(node("node-0"))
    tainted = node("node-1")
    tainted["spec"]["taints"] = [{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}]
    kube.store.apply(tainted)
    found = looked()["nodes"]
    assert (found.state, found.found) == ("missing", "2 of 2 are ready and run Linux, 1 without taints")
    kube.version = "v1.22.3"
    assert looked()["API server"].state == "missing"


def test_images_of_another_registry_are_looked_for_in_place_of_labkits(kube, looked):
    one = node("node-0")
    digest = "sha256:" + "0" * 64
    one["status"]["images"] = [
        {"names": [f"registry.test:5000/httpd@{digest}", "registry.test:5000/nginx:1"]}
    ]
    kube.store.apply(one)
    found = looked({"nginx": "registry.test:5000/nginx:1", "httpd": f"registry.test:5000/httpd:2@{digest}"})
    for name in ("nginx", "httpd"):
        assert found[f"image {name}"].found.startswith(
            "on 1 of 2 nodes; not known without trying: a pull of reg"
        )
    assert "image nicolaka/netshoot" not in found


def test_a_server_that_is_not_verified_is_told(kube, tmp_path):
    server = FakeKube(kube.backend, tls=certificate(tmp_path))
    path = Path(kubeconfig(tmp_path, server))
    path.write_text(path.read_text().replace("server:", "insecure-skip-tls-verify: true\n    server:"))
    found = {check.check: check for check in cluster("a", "fake", kubeconfig=str(path))}
    server.stop()
    assert (found["TLS"].state, found["API server"].state) == ("note", "ok")


def test_an_agent_of_another_installer_is_found_by_its_container(kube, looked, tmp_path):
    put_tools(kube, tmp_path, cilium_dbg="print('OK')", hubble="print('Healthcheck: Ok')")
    kube.store.delete("Pod", "kube-system", "cilium-0")
    kube.store.apply(pod("networking", "anetd-x", "node-1", "cilium-agent"))
    assert looked()["Cilium agents"].found == "1 of 1 answer"


def test_an_agent_that_does_not_answer_says_why(kube, looked, tmp_path):
    put_tools(kube, tmp_path, cilium_dbg="import sys; sys.exit('Cilium: not ready')")
    found = looked()
    assert found["Cilium agents"].found == "0 of 1 answer; on node-0: exit code 1: Cilium: not ready"
    assert "exit code 127" in found["Hubble"].found
    kube.store.delete("Pod", "kube-system", "cilium-0")
    assert found.keys() - looked().keys() == {"Cilium agents", "Hubble"}


def test_what_is_out_of_reach_is_one_line(kube, looked, tmp_path):
    login = {"apiVersion": "client.authentication.k8s.io/v1", "command": "no-such-kubelogin"}
    assert looked(user={"exec": login})["login program"].remedy == "install no-such-kubelogin"
    kube.stop()
    assert [check.state for check in looked().values()] == ["missing"]
    assert "no context 'nope'" in next(cluster("a", "nope", kubeconfig=kubeconfig(tmp_path, kube))).found


def test_an_expired_certificate_is_told_with_its_remedy(kube, tmp_path):
    files = certificate(tmp_path, days=-1)
    server = FakeKube(kube.backend, tls=files)
    found = list(cluster("a", "fake", kubeconfig=kubeconfig(tmp_path, server, ca=files[0])))
    server.stop()
    assert [check.state for check in found] == ["missing"]
    assert "certificate has expired" in found[0].found
