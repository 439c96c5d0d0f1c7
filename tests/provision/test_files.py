"""State, kubeconfigs and programs: private, whole or not at all, and clear about what is wrong."""

import json
import stat

import pytest

from labkit.errors import ProvisionError
from labkit.exec.tool import Tools
from labkit.provision import kubeconfig
from labkit.provision.files import write
from labkit.provision.plan import parse
from labkit.provision.state import State

PLAN = parse(
    'name = "local"\nprovider = "kind"\nowner = "ada"\n[kind]\ncilium_version = "1.18.6"\n[arms.cilium]\n',
    "plan.toml",
    {},
)
CONFIG = b"""
current-context: c
contexts: [{name: c, context: {cluster: k, user: u, namespace: n}}, {name: other, context: {cluster: k, user: v}}]
clusters: [{name: k, cluster: {server: "https://k.invalid"}}]
users: [{name: u, user: {token: very-secret}}, {name: v, user: {exec: {command: kubelogin}}}]
"""


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_is_private(tmp_path):
    write(tmp_path / "deep" / "file", b"x")
    assert mode(tmp_path / "deep" / "file") == 0o600


def test_a_file_that_was_readable_is_private_after(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(0o644)
    write(path, b"new")
    assert (path.read_text(), mode(path)) == ("new", 0o600)


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


def test_what_cannot_be_written_leaves_nothing(tmp_path):
    (tmp_path / "file").mkdir()
    with pytest.raises(OSError, match="file"):
        write(tmp_path / "file", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_state_survives(tmp_path):
    State.open(tmp_path, PLAN).note("cilium", stage="creating")
    state = State.open(tmp_path, PLAN)
    state.note(group="g")
    assert State.open(tmp_path, PLAN).arms == {"cilium": {"stage": "creating"}}
    assert State.open(tmp_path, PLAN).about["group"] == "g"


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"about": {}}', '{"about": 3, "arms": {}}', '{"about": {}, "arms": {"a": 1}}']
)
def test_a_broken_state_is_refused(tmp_path, text):
    (tmp_path / "state.json").write_text(text)
    with pytest.raises(ProvisionError, match=r"state\.json"):
        State.open(tmp_path, PLAN)


def test_the_state_of_a_newer_labkit_is_refused(tmp_path):
    State.open(tmp_path, PLAN).note()
    path = tmp_path / "state.json"
    told = json.loads(path.read_text())
    told["about"]["format"] = 2
    path.write_text(json.dumps(told))
    with pytest.raises(ProvisionError, match="its format is 2"):
        State.open(tmp_path, PLAN)


def test_the_current_context_is_taken_under_another_name():
    taken = kubeconfig.take(CONFIG, "mine")
    assert taken["contexts"] == [{"name": "mine", "context": {"cluster": "mine", "user": "mine"}}]
    assert taken["users"] == [{"name": "mine", "user": {"token": "very-secret"}}]
    assert kubeconfig.login_commands(taken) == set()


def test_any_context_can_be_taken(tmp_path):
    (tmp_path / "config").write_bytes(CONFIG)
    taken = kubeconfig.only(kubeconfig.read(tmp_path / "config"), "other")
    assert kubeconfig.login_commands(taken) == {"kubelogin"}


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"a: [", b"current-context: x\ncontexts: []", CONFIG.replace(b"name: u,", b"name: w,")],
)
def test_what_is_no_kubeconfig_is_refused_and_not_quoted(data):
    with pytest.raises(ProvisionError) as caught:
        kubeconfig.take(data, "mine")
    assert "very-secret" not in str(caught.value)


def test_merging_and_removing_touch_only_ours(tmp_path):
    path = tmp_path / "config"
    path.write_bytes(CONFIG)
    kubeconfig.merge(path, [kubeconfig.take(CONFIG, "mine")])
    kubeconfig.merge(path, [kubeconfig.take(CONFIG, "mine")])
    assert [entry["name"] for entry in kubeconfig.read(path)["contexts"]] == ["c", "other", "mine"]
    kubeconfig.remove(path, ["mine", "nobody"])
    config = kubeconfig.read(path)
    assert [entry["name"] for entry in config["contexts"]] == ["c", "other"]
    assert config["current-context"] == "c"
    assert mode(path) == 0o600


def test_removing_what_is_not_there_writes_nothing(tmp_path):
    path = tmp_path / "config"
    kubeconfig.remove(path, ["mine"])
    assert not path.exists()
    path.write_bytes(CONFIG)
    kubeconfig.remove(path, ["mine"])
    assert path.read_bytes() == CONFIG


def test_removing_the_current_context_leaves_none(tmp_path):
    path = tmp_path / "config"
    path.write_bytes(CONFIG)
    kubeconfig.remove(path, ["c"])
    assert kubeconfig.read(path)["current-context"] == ""


@pytest.fixture
def tools(tmp_path):
    """One program, `speak`, in a PATH of its own."""
    program = tmp_path / "bin" / "speak"
    program.parent.mkdir()
    program.write_text(
        '#!/bin/sh\necho "$1 $WHO"; echo "line of stderr" >&2; [ "$1" = slow ] && exec /bin/sleep 9; exit ${2:-0}\n'
    )
    program.chmod(0o755)
    return Tools({"PATH": str(program.parent), "WHO": "nobody"})


def test_a_program_is_run_with_its_words_and_environment(tools):
    assert tools.has("speak")
    assert tools.run(("speak", "a b; exit 9"), WHO="ada") == "a b; exit 9 ada\n"


def test_a_program_that_fails_says_why(tools):
    with pytest.raises(ProvisionError, match="speak well 3 exited 3: line of stderr"):
        tools.run(("speak", "well", "3"))


def test_a_program_that_is_missing_is_named(tools):
    assert not tools.has("kind")
    with pytest.raises(ProvisionError, match="kind is not on PATH, so this was not run: kind get clusters"):
        tools.run(("kind", "get", "clusters"))


def test_a_program_that_takes_too_long_is_stopped(tools):
    with pytest.raises(ProvisionError, match="was stopped"):
        tools.run(("speak", "slow"), limit_s=0.1)
