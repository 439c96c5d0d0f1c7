"""From a kubeconfig to a connection: contexts, several files, certificates, login programs; and no traces."""

import base64
import json
import os
import sys
import tempfile
from pathlib import Path

import pytest
import yaml

from labkit.errors import SourceError
from labkit.exec import Read
from labkit.exec.live import Live
from labkit.exec.live_config import context_names, shown
from tests.kube.backend import Local
from tests.kube.cluster import certificate, kubeconfig, populate
from tests.kube.server import FakeKube

TOKEN = "a-token-of-the-test"  # noqa: S105


def test_several_files_are_one_kubeconfig(kube, live, tmp_path):
    files = [kubeconfig(tmp_path, kube, name=name) for name in ("other", "fake")]
    both = os.pathsep.join(files)
    assert context_names(both) == ["fake", "other"]
    assert live(kubeconfig=both).about["name"] == "fake"


def test_an_unknown_context_is_told_with_those_there_are(kube, tmp_path):
    with pytest.raises(SourceError, match=r"no context 'nope'; it has: fake\. Write live:<context>"):
        Live("nope", kubeconfig=kubeconfig(tmp_path, kube))
    with pytest.raises(SourceError, match="no kubeconfig at"):
        Live("fake", kubeconfig=str(tmp_path / "none"))


@pytest.mark.parametrize(
    "broken", ["token: [secret", "users: secret", "- secret", "users: [{name: fake, user: {tok: secret}}]"]
)
def test_what_is_wrong_with_a_file_is_told_without_quoting_it(tmp_path, broken):
    path = tmp_path / "broken"
    path.write_text(broken)
    with pytest.raises(SourceError) as error:
        Live("fake", kubeconfig=str(path))
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("context", "name"),
    [
        ("kind-lab", "kind-lab"),
        ("arn:aws:eks:eu-west-1:123456789012:cluster/lab", "arn:aws:eks:eu-west-1:…:cluster/lab"),
        ("0a1b2c3d-0000-4000-8000-0a1b2c3d4e5f/lab", "…/lab"),
        ("default/api.example.com:6443/ada", "default/…/ada"),
        ("ada.l@example.com", "…"),
    ],
)
def test_the_name_that_is_shown_names_no_account(context, name):
    assert shown(context) == name


@pytest.fixture
def secure(tmp_path):
    """The same server over TLS, for who has the token; and its certificate."""
    backend = Local()
    populate(backend.store)
    files = certificate(tmp_path)
    server = FakeKube(backend, tls=files, token=TOKEN)
    yield server, files[0]
    server.stop()
    backend.close()


def test_tls_and_a_token_leave_nothing_on_disk(secure, tmp_path, live):
    server, ca = secure
    path = kubeconfig(tmp_path, server, user={"token": TOKEN}, ca=ca)
    before = (Path(path).read_bytes(), set(Path(tempfile.gettempdir()).iterdir()))
    arm = live(kubeconfig=path)
    assert arm.run(Read(step="s", path="/version")).exit_code == 0
    assert (Path(path).read_bytes(), set(Path(tempfile.gettempdir()).iterdir())) == before
    held = set(arm._access.files)
    arm.close()
    assert held
    assert not any(Path(f"/proc/self/fd/{number}").exists() for number in held)


def test_a_login_program_is_run_once_for_all_threads(secure, tmp_path, live):
    server, ca = secure
    count = tmp_path / "runs"
    status = {"token": TOKEN, "expirationTimestamp": "2999-01-01T00:00:00Z"}
    told = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}
    code = f"open({str(count)!r}, 'a').write('x'); print({json.dumps(json.dumps(told))})"
    login = {"apiVersion": told["apiVersion"], "command": sys.executable, "args": ["-c", code]}
    arm = live(kubeconfig=kubeconfig(tmp_path, server, user={"exec": login}, ca=ca))
    assert arm.run(Read(step="s", path="/version")).exit_code == 0
    assert count.read_text() == "x"


def test_a_login_program_that_fails_says_which(secure, tmp_path, caplog):
    server, ca = secure
    login = {"apiVersion": "client.authentication.k8s.io/v1", "command": "no-such-kubelogin"}
    with pytest.raises(SourceError, match="no-such-kubelogin, gave no credential"):
        Live("fake", kubeconfig=kubeconfig(tmp_path, server, user={"exec": login}, ca=ca))
    assert caplog


def test_a_wrong_token_is_told_with_what_to_do(secure, tmp_path):
    server, ca = secure
    with pytest.raises(SourceError, match="log in to the cluster again"):
        Live("fake", kubeconfig=kubeconfig(tmp_path, server, user={"token": "wrong"}, ca=ca))


def test_a_client_certificate_is_used_from_memory(secure, tmp_path, live):
    server, ca = secure
    pair = {
        f"client-{what}-data": base64.b64encode((tmp_path / file).read_bytes()).decode()
        for what, file in (("certificate", "certificate.pem"), ("key", "key.pem"))
    }
    path = kubeconfig(tmp_path, server, user={"token": TOKEN, **pair}, ca=ca)
    arm = live(kubeconfig=path)
    assert len(arm._access.files) == 3
    assert yaml.safe_load(Path(path).read_text())["users"][0]["user"]["token"] == TOKEN
