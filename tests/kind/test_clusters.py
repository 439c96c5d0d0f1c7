"""kind as a provider: real programs of that name, which write down what they were asked."""

import shlex
import stat
from itertools import pairwise
from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner

from labkit.cli import arms
from labkit.errors import OwnershipError, ParameterError, ProvisionError
from labkit.exec.tool import Tools
from labkit.kind import clusters, commands
from labkit.provision.pace import Quiet
from labkit.provision.plan import parse
from labkit.provision.state import State

PLAN = """
name = "local"
provider = "kind"
owner = "ada"
[cluster]
nodes = 2
service_cidr = "10.96.0.0/16"
dns_service_ip = "10.96.0.10"
[kind]
image = "kindest/node:v1.34.0"
cilium_version = "1.18.6"
calico_version = "v3.32.2"
[arms.overlay]
policy = "calico"
[arms.cilium-bpfveth]
"""
#: Notes what it was asked; `kind` keeps a list of clusters, and writes a kubeconfig as kind does.
PROGRAM = """#!/bin/sh
echo "$(basename "$0") $*" >> {log}
case "$(basename "$0") $1 $2" in
"kind create cluster") echo "$4" >> {list}
  echo "{{contexts: [], clusters: [], users: []}}" > "$KUBECONFIG"; chmod 600 "$KUBECONFIG" ;;
"kind delete cluster") sed -i "/^$4\\$/d" {list} ;;
"kind get clusters") cat {list} ;;
esac
[ ! -e {fail}-$(basename "$0") ]
"""


@pytest.fixture
def plan():
    return parse(PLAN, "plan.toml", {})


@pytest.fixture
def state(tmp_path, plan):
    return State.open(tmp_path / "run", plan)


class Bench:
    """A PATH with programs that note what they were asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "bin").mkdir()
        (folder / "list").write_text("")
        self.environ = {"PATH": f"{folder}/bin:/usr/bin:/bin"}
        self.tools = Tools(self.environ)

    def put(self, *names: str) -> None:
        for name in names:
            path = self.folder / "bin" / name
            text = PROGRAM.format(
                log=self.folder / "log", list=self.folder / "list", fail=self.folder / "fail"
            )
            path.write_text(text)
            path.chmod(0o755)

    @property
    def asked(self) -> list[str]:
        log = self.folder / "log"
        return log.read_text().splitlines() if log.exists() else []

    @property
    def there(self) -> list[str]:
        return (self.folder / "list").read_text().split()


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path)
    made.put("kind", "docker", "kubectl", "helm")
    return made


@pytest.fixture
def bare(tmp_path):
    """A machine with none of the programs: a PATH that leads nowhere."""
    made = Bench(tmp_path)
    made.environ["PATH"] = f"{tmp_path}/bin"
    return made


def test_the_configuration_of_a_cluster(plan, state, bench):
    clusters.up(plan, state, bench.tools, Quiet())
    overlay = yaml.safe_load((state.folder / "overlay.kind.yaml").read_text())
    assert overlay["apiVersion"] == "kind.x-k8s.io/v1alpha4"
    assert overlay["networking"] == {
        "disableDefaultCNI": True,
        "kubeProxyMode": "iptables",
        "podSubnet": "10.244.0.0/16",
        "serviceSubnet": "10.96.0.0/16",
    }
    assert [node["role"] for node in overlay["nodes"]] == ["control-plane", "worker", "worker"]
    assert {node["image"] for node in overlay["nodes"]} == {"kindest/node:v1.34.0"}
    cilium = yaml.safe_load((state.folder / "cilium-bpfveth.kind.yaml").read_text())
    assert cilium["networking"] == {**overlay["networking"], "kubeProxyMode": "none"}
    assert cilium["nodes"] == overlay["nodes"]


def test_the_commands_in_order(plan, state, bench):
    outcome = clusters.up(plan, state, bench.tools, Quiet())
    assert outcome.contexts == {
        "overlay": "kind-labkit-local-overlay",
        "cilium-bpfveth": "kind-labkit-local-cilium-bpfveth",
    }
    assert outcome.not_run == []
    verbs = [" ".join(line.split()[:3]) for line in bench.asked]
    each = ["kind create cluster", "helm upgrade --install", "kubectl wait node"]
    assert verbs == ["kind get clusters", *each, *each]
    calico, cilium = (line for line in bench.asked if line.startswith("helm"))
    assert "--version v3.32.2" in calico
    assert "installation.calicoNetwork.ipPools[0].encapsulation=None" in calico
    assert "--kube-context kind-labkit-local-cilium-bpfveth" in cilium
    assert "routingMode=native" in cilium
    assert stat.S_IMODE(state.kubeconfig.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("cilium", {"bpf.hostLegacyRouting": "true", "hubble.enabled": "false", "l7Proxy": "false"}),
        ("cilium-acns", {"bpf.hostLegacyRouting": "true", "hubble.enabled": "true", "l7Proxy": "false"}),
        ("cilium-acns-l7", {"bpf.hostLegacyRouting": "true", "hubble.enabled": "true", "l7Proxy": "true"}),
        ("cilium-bpfveth", {"bpf.hostLegacyRouting": "false", "hubble.enabled": "true", "l7Proxy": "false"}),
    ],
)
def test_cilium_is_set_up_as_aks_does_for_each_kind(kind, values):
    plan = parse(PLAN.replace("cilium-bpfveth", kind), "plan.toml", {})
    (argv,) = commands.install(plan, plan.arms[kind], helm=True)
    given = dict(word.split("=", 1) for flag, word in pairwise(argv) if flag == "--set")
    assert values.items() <= given.items()
    assert given["k8sServiceHost"] == f"labkit-local-{kind}-control-plane"


def test_the_cilium_program_where_there_is_no_helm(tmp_path):
    plan = parse(PLAN.replace('[arms.overlay]\npolicy = "calico"\n', ""), "plan.toml", {})
    bench = Bench(tmp_path)
    bench.put("kind", "podman", "kubectl", "cilium")
    assert clusters.up(plan, State.open(tmp_path / "run", plan), bench.tools, Quiet()).not_run == []
    assert any(
        line.startswith("cilium install --version 1.18.6 --context kind-labkit-local-")
        for line in bench.asked
    )


def test_an_arm_without_a_policy_engine_keeps_kinds_own_network(tmp_path):
    plan = parse(PLAN.replace('policy = "calico"\n', ""), "plan.toml", {})
    bench = Bench(tmp_path)
    bench.put("kind", "docker", "kubectl", "helm")
    outcome = clusters.up(plan, State.open(tmp_path / "run", plan), bench.tools, Quiet())
    assert commands.config(plan, plan.arms["overlay"])["networking"]["disableDefaultCNI"] is False
    assert "kindnet" in outcome.notes[0]


def test_where_a_tool_is_missing_the_commands_are_printed_and_none_is_run(plan, state, bare):
    bare.put("kubectl")
    outcome = clusters.up(plan, state, bare.tools, Quiet())
    assert outcome.contexts == {}
    assert (
        "not on PATH: kind, docker or podman or nerdctl, helm or cilium, helm; nothing was run"
        in outcome.notes[-1]
    )
    assert outcome.not_run[0] == f"export KUBECONFIG={state.kubeconfig}"
    assert [shlex.split(line)[0] for line in outcome.not_run[1:]] == ["kind", "helm", "kubectl"] * 2
    assert bare.asked == []
    assert (state.folder / "overlay.kind.yaml").exists(), "the commands name it"


def test_what_is_printed_is_what_is_run(plan, state, bench):
    clusters.up(plan, state, bench.tools, Quiet())
    run = [line for line in bench.asked if line != "kind get clusters"]
    printed = [shlex.join(argv) for argv in clusters.planned(plan, state)]
    assert [shlex.split(line) for line in printed] == [line.split() for line in run]


def test_a_second_up_creates_nothing(plan, state, bench):
    clusters.up(plan, state, bench.tools, Quiet())
    before = len(bench.asked)
    clusters.up(plan, State.open(state.folder, plan), bench.tools, Quiet())
    assert bench.asked[before:] == ["kind get clusters"]


def test_an_up_that_failed_goes_on(plan, state, bench):
    (bench.folder / "fail-helm").touch()
    with pytest.raises(ProvisionError, match="helm upgrade --install calico"):
        clusters.up(plan, state, bench.tools, Quiet())
    (bench.folder / "fail-helm").unlink()
    clusters.up(plan, State.open(state.folder, plan), bench.tools, Quiet())
    created = [line.split()[4] for line in bench.asked if line.startswith("kind create")]
    assert created == ["labkit-local-overlay", "labkit-local-cilium-bpfveth"]


def test_a_cluster_of_somebody_else_is_refused_by_name(plan, state, bench):
    (bench.folder / "list").write_text("labkit-local-overlay\n")
    with pytest.raises(OwnershipError, match="a kind cluster labkit-local-overlay exists"):
        clusters.up(plan, state, bench.tools, Quiet())
    clusters.down(plan, state, bench.tools, Quiet())
    assert bench.there == ["labkit-local-overlay"]


def test_down_deletes_what_up_created_and_nothing_else(plan, state, bench):
    (bench.folder / "list").write_text("theirs\n")
    clusters.up(plan, state, bench.tools, Quiet())
    outcome = clusters.down(plan, state, bench.tools, Quiet())
    assert bench.there == ["theirs"]
    assert outcome.notes == ["gone: labkit-local-overlay, labkit-local-cilium-bpfveth"]
    assert not state.kubeconfig.exists()
    assert state.arms == {}


@pytest.mark.parametrize("failing", ["kind", "helm", "kubectl"])
def test_a_fault_at_any_program_leaves_nothing_after_down(plan, state, bench, failing):
    (bench.folder / f"fail-{failing}").touch()
    with pytest.raises(ProvisionError):
        clusters.up(plan, state, bench.tools, Quiet())
    (bench.folder / f"fail-{failing}").unlink()
    clusters.down(plan, State.open(state.folder, plan), bench.tools, Quiet())
    assert bench.there == []


def test_what_kind_did_not_delete_is_told(plan, state, bench):
    clusters.up(plan, state, bench.tools, Quiet())
    (bench.folder / "list").chmod(0o444)
    path = bench.folder / "bin" / "kind"
    path.write_text(path.read_text().replace("sed -i", "true"))
    with pytest.raises(
        ProvisionError, match="still there after kind deleted them: labkit-local-cilium-bpfveth"
    ) as caught:
        clusters.down(plan, state, bench.tools, Quiet())
    assert len(caught.value.left) == 2


def test_down_without_kind_prints_the_commands(plan, state, bench):
    clusters.up(plan, state, bench.tools, Quiet())
    outcome = clusters.down(plan, state, Tools({"PATH": ""}), Quiet())
    assert outcome.not_run == [
        "kind delete cluster --name labkit-local-overlay",
        "kind delete cluster --name labkit-local-cilium-bpfveth",
    ]


APP = typer.Typer()
arms.register(APP)


@pytest.fixture
def run(bench, tmp_path):
    (tmp_path / "plan.toml").write_text(PLAN)
    outside = arms.Outside(environ={**bench.environ, "HOME": str(tmp_path)})

    def command(*words):
        asked = [*words, "--plan", str(tmp_path / "plan.toml"), "--folder", str(tmp_path / "run")]
        return CliRunner().invoke(APP, asked, obj=outside)

    return command


def test_up_and_down_on_the_command_line(run, bench):
    done = run("up")
    assert done.exit_code == 0, done.exception
    assert "labkit run --arm overlay=live:kind-labkit-local-overlay" in done.stdout
    assert run("down", "--yes").exit_code == 0
    assert bench.there == []


def test_a_dry_run_runs_nothing(run, bench):
    done = run("up", "--dry-run")
    assert "kubeProxyMode: none" in done.stdout
    assert "nothing was run" in done.stdout
    assert bench.asked == []


def test_what_is_azures_is_misuse_on_kind(run):
    assert isinstance(run("up", "--admin").exception, ParameterError)
