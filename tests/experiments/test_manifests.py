"""The manifests are what the recordings show, and what a cluster of any provider takes."""

import json
import re

import pytest

from labkit.collect import policies as collect_policies
from labkit.errors import ParameterError
from labkit.experiments.manifests import (
    POLICIES,
    images,
    policies,
    scale_policies,
    scale_services,
    workload,
)
from labkit.experiments.steps import POLICY_STEPS, WORKLOAD_STEPS, step
from labkit.parse.answers import answers
from tests.conftest import RECORDINGS, arm

WORKLOAD = workload("cni-lab", images())
MADE = {f"{one['kind']}/{one['metadata']['name']}": one for one in WORKLOAD}


def recorded(name, path, step="baseline"):
    """Objects of the lab that a recording's API server listed, by name."""
    items = json.loads(arm(name).at(step).read(path).stdout)["items"]
    return {i["metadata"]["name"]: i for i in items if i["metadata"].get("namespace") == "cni-lab"}


def pods(objects):
    for one in objects:
        if one["kind"] == "Pod":
            yield one["metadata"], one["spec"]
        elif "template" in one.get("spec", {}):
            yield one["spec"]["template"]["metadata"], one["spec"]["template"]["spec"]


@pytest.mark.parametrize("name", RECORDINGS)
def test_the_workload_is_what_was_recorded(name):
    (applied,) = [
        r for r in arm(name).executor.recording.requests() if r.kind == "apply" and r.step == "setup"
    ]
    assert tuple(MADE) == applied.objects
    for kind, path in (
        ("Deployment", "/apis/apps/v1/deployments"),
        ("DaemonSet", "/apis/apps/v1/daemonsets"),
    ):
        for called, there in recorded(name, path).items():
            mine = MADE[f"{kind}/{called}"]
            assert mine["metadata"]["labels"] == there["metadata"]["labels"]
            assert mine["spec"]["selector"] == there["spec"]["selector"]
            assert mine["spec"].get("replicas") == there["spec"].get("replicas")
            assert_same_pod(mine["spec"]["template"], there["spec"]["template"])
    (client,) = (
        pod for called, pod in recorded(name, "/api/v1/pods").items() if called == "perf-test-client"
    )
    assert_same_pod(MADE["Pod/perf-test-client"], client)


def assert_same_pod(mine, there):
    assert mine["metadata"]["labels"].items() <= there["metadata"]["labels"].items()
    for name in ("hostNetwork", "hostPID"):
        assert mine["spec"].get(name) == there["spec"].get(name)
    for own, other in zip(mine["spec"]["containers"], there["spec"]["containers"], strict=True):
        assert own["name"] == other["name"]
        assert own.get("command") == other.get("command")
        assert {p["containerPort"] for p in other.get("ports", [])} <= {
            p["containerPort"] for p in own.get("ports", [])
        }
        assert re.split(r"[:@]", own["image"])[0].endswith("/" + re.split(r"[:@]", other["image"])[0])


@pytest.mark.parametrize("name", RECORDINGS)
def test_services_are_what_was_recorded(name):
    for called, there in recorded(name, "/api/v1/services").items():
        mine = MADE[f"Service/{called}"]
        for part in ("selector", "ports"):
            assert mine["spec"][part] == there["spec"][part]
        assert mine["spec"].get("sessionAffinity", "None") == there["spec"]["sessionAffinity"]
    for called, there in recorded(name, "/api/v1/services", "services-100").items():
        if called.startswith("scale-"):
            mine = scale_services("cni-lab", 100)[int(called[6:])]
            assert mine["metadata"]["name"] == called
            assert mine["metadata"]["labels"] == there["metadata"]["labels"]
            assert (mine["spec"]["selector"], mine["spec"]["ports"]) == (
                there["spec"]["selector"],
                there["spec"]["ports"],
            )


@pytest.mark.parametrize("name", RECORDINGS)
@pytest.mark.parametrize("at", POLICY_STEPS)
def test_policies_are_equal_in_effect_to_the_recorded_ones(name, at):
    there = recorded(name, collect_policies.NETWORK_POLICIES, at)
    mine = {one["metadata"]["name"]: one for one in policies("cni-lab", POLICY_STEPS[at])}
    assert {called: one["spec"] for called, one in mine.items()} == {
        called: one["spec"] for called, one in there.items()
    }


def test_the_page_that_the_backend_serves_is_read_as_an_answer():
    ((_, spec),) = pods([MADE["Deployment/app-backend"]])
    said = spec["containers"][0]["command"][2].split(">")[0].replace("echo", "").strip()
    env = {e["name"]: e["valueFrom"]["fieldRef"]["fieldPath"] for e in spec["containers"][0]["env"]}
    assert (env["POD_NAME"], env["NODE_NAME"]) == ("metadata.name", "spec.nodeName")
    page = said.replace("$POD_NAME", "app-backend-1").replace("$NODE_NAME", "node-1")
    assert answers(page.encode()).iloc[0][["backend", "backend_node"]].tolist() == ["app-backend-1", "node-1"]


def test_everything_carries_the_label_and_is_in_the_namespace():
    for at in ("policy-allow-frontend", "services-3", "policies-3", "affinity", "endpoints-3", "measure-1"):
        for one in step(at, namespace="elsewhere").objects.values():
            assert one["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "labkit"
            assert "elsewhere" in (one["metadata"].get("namespace"), one["metadata"]["name"])
    assert MADE["Namespace/cni-lab"]["metadata"]["name"] == "cni-lab"


def test_scaled_policies_open_a_port_each_and_the_last_the_one_that_is_asked():
    *others, last = scale_policies("cni-lab", 4)
    assert [one["metadata"]["name"] for one in others] == ["scale-00000", "scale-00001", "scale-00002"]
    assert [one["spec"]["ingress"][0]["ports"][0]["port"] for one in others] == [10000, 10001, 10002]
    assert last["metadata"]["name"] == "scale-allow"
    assert last["spec"]["ingress"][0]["ports"][0]["port"] == 80
    assert {one["spec"]["podSelector"]["matchLabels"]["app"] for one in (*others, last)} == {"backend"}
    assert [one["metadata"]["name"] for one in scale_policies("cni-lab", 1)] == ["scale-allow"]


def test_more_of_them_are_the_same_and_some_beside():
    few, many = step("policies-2").objects, step("policies-5").objects
    assert few.items() <= many.items()
    assert len(many) - len(few) == 3


def test_pods_are_fit_for_any_cluster():
    for metadata, spec in pods(WORKLOAD):
        assert metadata["labels"]["app.kubernetes.io/managed-by"] == "labkit"
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        for container in spec["containers"]:
            assert set(container["resources"]["requests"]) == {"cpu", "memory"}
            assert "memory" in container["resources"]["limits"]
            assert "cpu" not in container["resources"]["limits"]  # it would be measured
            assert "readinessProbe" not in container  # nor may probes be traffic
            assert "livenessProbe" not in container
    space = MADE["Namespace/cni-lab"]["metadata"]["labels"]
    assert space["pod-security.kubernetes.io/enforce"] == "privileged"
    ((_, analyzer),) = pods([MADE["DaemonSet/network-analyzer"]])
    assert analyzer["tolerations"] == [{"operator": "Exists"}]


def test_the_lab_is_on_the_same_two_nodes():
    for name in ("app-frontend", "app-backend", "perf-server"):
        ((metadata, spec),) = pods([MADE[f"Deployment/{name}"]])
        (spread,) = spec["topologySpreadConstraints"]
        assert spread["whenUnsatisfiable"] == "DoNotSchedule"
        assert spread["labelSelector"]["matchLabels"].items() <= metadata["labels"].items()
    ((_, client),) = pods([MADE["Pod/perf-test-client"]])
    terms = client["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert [t["labelSelector"]["matchLabels"]["app"] for t in terms] == ["perf-server", "backend"]


def test_images_of_ones_own(tmp_path):
    own = tmp_path / "images.toml"
    own.write_text('nginx = "registry.example/mirror/nginx:1"\n')
    found = images(own)
    assert (found["nginx"], found["httpd"]) == ("registry.example/mirror/nginx:1", images()["httpd"])
    ((_, spec),) = pods([step("baseline", references=found).objects["Deployment/app-frontend"]])
    assert [c["image"] for c in spec["containers"]] == [found["nginx"], found["nicolaka/netshoot"]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('redis = "x"', "no image redis; there are: nginx, httpd"),
        ("nginx = 3", "no image nginx"),
        ("{", "cannot read the images"),
    ],
)
def test_a_file_of_images_that_is_wrong(tmp_path, text, said):
    (tmp_path / "images.toml").write_text(text)
    with pytest.raises(ParameterError, match=said):
        images(tmp_path / "images.toml")


def test_images_have_a_tag_or_a_digest():
    assert all(
        re.search(r":v?\d+(\.\d+)+(@sha256:[0-9a-f]{64})?$", reference) for reference in images().values()
    )


def test_steps_are_those_of_the_recordings():
    for name in RECORDINGS:
        for at in {request.step for request in arm(name).executor.recording.requests()}:
            assert step(at).objects.keys() >= set(MADE)


def test_a_step_is_the_workload_and_what_is_added():
    assert all(step(name).objects.keys() == MADE.keys() for name in WORKLOAD_STEPS)
    deny, allow = ({f"NetworkPolicy/{name}" for name in names} for names in POLICIES)
    assert step("policy-deny-all").objects.keys() - MADE.keys() == deny
    assert step("policy-allow-frontend").objects.keys() - MADE.keys() == deny | allow
    names = sorted(step("services-1200").objects.keys() - MADE.keys())
    assert (names[0], names[-1], len(names)) == ("Service/scale-00000", "Service/scale-01199", 1200)


@pytest.mark.parametrize("name", ["policy-deny", "services-0", "services-", "services-200000", ""])
def test_an_unknown_step_is_refused_with_those_there_are(name):
    with pytest.raises(
        ParameterError,
        match=r"no step '.*'; there are: setup, baseline, .*policy-deny-all.*services-<number>",
    ):
        step(name)


def test_a_service_has_as_many_pods_as_are_asked_for_and_none_of_another_number():
    servers, service = (
        step("endpoints-7").objects[f"{kind}/scale-endpoints-7"] for kind in ("Deployment", "Service")
    )
    assert servers["spec"]["replicas"] == 7
    labels = servers["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert (
        not step("endpoints-8").objects["Service/scale-endpoints-8"]["spec"]["selector"].items()
        <= labels.items()
    )
    assert ":" in servers["spec"]["template"]["spec"]["containers"][0]["image"]
