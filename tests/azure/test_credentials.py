"""Credentials go to one file of the run, mode 0600, and nowhere else unless asked."""

import stat

import pytest

from labkit.azure.credentials import fetch
from labkit.azure.up import up
from labkit.errors import AzureError, ProvisionError
from labkit.exec.tool import Tools
from labkit.provision import kubeconfig
from tests.azure.conftest import Heard, pace

KUBELOGIN = """#!/bin/sh
echo "$@" > {log}
sed -i 's/get-token/get-token-of-azurecli/' "$KUBECONFIG"
chmod 644 "$KUBECONFIG"
"""


@pytest.fixture
def standing(arm, clients, plan, state):
    up(plan, clients, state, Heard(), pace())
    return arm


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("standing")
def test_a_context_for_each_arm_under_a_name_of_ours(clients, plan, state, tools):
    assert fetch(plan, clients, state, tools) == []
    config = kubeconfig.read(state.kubeconfig)
    assert [entry["name"] for entry in config["contexts"]] == ["labkit-cni-overlay", "labkit-cni-cilium"]
    assert config["clusters"][0]["cluster"]["server"] == "https://overlay.invalid:443"
    assert mode(state.kubeconfig) == 0o600


@pytest.mark.usefixtures("standing")
def test_the_secret_is_in_the_kubeconfig_only(clients, plan, state, tools, caplog):
    caplog.set_level("DEBUG", "azure")
    fetch(plan, clients, state, tools)
    assert "listClusterUserCredential" in caplog.text, "the SDK does write about the request"
    holding = [path.name for path in state.folder.iterdir() if "c2VjcmV0" in path.read_text()]
    assert holding == ["kubeconfig"]
    assert "c2VjcmV0" not in caplog.text
    assert "a-token-of-the-test" not in caplog.text


@pytest.mark.usefixtures("standing")
def test_fetching_again_replaces(clients, plan, state, tools):
    fetch(plan, clients, state, tools)
    fetch(plan, clients, state, tools)
    assert len(kubeconfig.read(state.kubeconfig)["users"]) == 2


def test_admin_only_when_asked(standing, clients, plan, state, tools):
    fetch(plan, clients, state, tools)
    assert standing.sent("admin credential") == []
    fetch(plan, clients, state, tools, admin=True)
    assert len(standing.sent("admin credential")) == 2


def test_entra_id_without_kubelogin_says_what_to_do(standing, clients, plan, state, tools):
    standing.entra_id = True
    (said,) = fetch(plan, clients, state, tools)
    assert "kubelogin is not on PATH" in said
    assert f"KUBECONFIG={state.kubeconfig} kubelogin convert-kubeconfig --login azurecli" in said


def test_entra_id_through_kubelogin(standing, clients, plan, state, tmp_path):
    standing.entra_id = True
    program, log = tmp_path / "bin" / "kubelogin", tmp_path / "asked"
    program.parent.mkdir()
    program.write_text(KUBELOGIN.format(log=log))
    program.chmod(0o755)
    assert fetch(plan, clients, state, Tools({"PATH": f"{program.parent}:/usr/bin:/bin"})) == []
    assert log.read_text() == "convert-kubeconfig --login azurecli\n"
    assert "get-token-of-azurecli" in state.kubeconfig.read_text()
    assert mode(state.kubeconfig) == 0o600, "whatever the program left"


def test_a_login_mode_of_ones_own(standing, clients, plan, state):
    standing.entra_id = True
    (said,) = fetch(plan, clients, state, Tools({"PATH": "", "AAD_LOGIN_METHOD": "spn"}))
    assert said.endswith("kubelogin convert-kubeconfig")


@pytest.mark.usefixtures("standing")
def test_merging_keeps_what_is_there(clients, plan, state, tools, tmp_path):
    mine = tmp_path / "config"
    mine.write_text(
        "current-context: work\ncontexts: [{name: work, context: {cluster: work, user: work}}]\n"
        "clusters: [{name: work, cluster: {server: 'https://work.invalid'}}]\nusers: [{name: work, user: {token: t}}]\n"
    )
    (said,) = fetch(plan, clients, state, tools, merge=mine)
    config = kubeconfig.read(mine)
    assert str(mine) in said
    assert config["current-context"] == "work"
    assert [e["name"] for e in config["contexts"]] == ["work", "labkit-cni-overlay", "labkit-cni-cilium"]
    assert state.about["merged"] == str(mine)


def test_local_accounts_that_are_off(standing, clients, plan, state, tools):
    standing.fail(
        "admin credential",
        status=400,
        code="BadRequest",
        message="Getting static credential is not allowed",
        bare=True,
    )
    with pytest.raises(AzureError, match="fetching the credentials of the cluster overlay"):
        fetch(plan, clients, state, tools, admin=True)


def test_no_credentials_at_all(standing, clients, plan, state, tools):
    standing.credential = lambda *_: (200, {}, {"kubeconfigs": []})
    with pytest.raises(ProvisionError, match="is not a kubeconfig"):
        fetch(plan, clients, state, tools)
