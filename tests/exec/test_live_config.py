"""From a kubeconfig to a connection: contexts, several files, certificates, login programs; and no traces."""

import base64
import contextlib
import json
import os
import socket
import socketserver
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml

from labkit.chain import Terms, talking
from labkit.errors import ApiError, SourceError
from labkit.exec import Exec, Read
from labkit.exec.live import Live
from labkit.exec.live_config import context_names, shown
from tests.exec.test_live import ask
from tests.kube.cluster import TOOLBOX, kubeconfig
from tests.kube.fixtures import TOKEN

ANOTHER, THIRD = "another", "a-third"


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


def test_tls_and_a_token_leave_nothing_on_disk(secure, tmp_path, live):
    server, ca = secure
    path = kubeconfig(tmp_path, server, user={"token": TOKEN}, ca=ca)
    before = (Path(path).read_bytes(), set(Path(tempfile.gettempdir()).iterdir()))
    arm = live(kubeconfig=path)
    assert arm.run(Read(step="s", path="/version")).exit_code == 0
    assert (Path(path).read_bytes(), set(Path(tempfile.gettempdir()).iterdir())) == before
    held = set(arm._access._files)
    arm.close()
    assert held
    assert not any(Path(f"/proc/self/fd/{number}").exists() for number in held)


def logs_in(tmp_path, status):
    """A login program that gives what a file holds, and notes each time that it is run."""
    given, count = tmp_path / "given", tmp_path / "runs"
    told = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential"}
    given.write_text(json.dumps({**told, "status": status}))
    code = f"open({str(count)!r}, 'a').write('x'); print(open({str(given)!r}).read())"
    return {"apiVersion": told["apiVersion"], "command": sys.executable, "args": ["-c", code]}


def gives(tmp_path, **status):
    """Let that program give something else from now on."""
    given = tmp_path / "given"
    given.write_text(json.dumps({**json.loads(given.read_text()), "status": status}))


def in_a(**time):
    return (datetime.now(UTC) + timedelta(**time)).strftime("%Y-%m-%dT%H:%M:%SZ")


def version_of(arm):
    return arm.run(Read(step="s", path="/version")).exit_code


def test_a_login_program_is_run_once_for_all_threads(secure, tmp_path, live):
    server, ca = secure
    login = logs_in(tmp_path, {"token": TOKEN, "expirationTimestamp": in_a(seconds=60)})
    arm = live(kubeconfig=kubeconfig(tmp_path, server, user={"exec": login}, ca=ca))
    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(lambda _: version_of(arm), range(64))) == {0}
    assert (tmp_path / "runs").read_text() == "x"


def test_credentials_that_are_refused_are_had_anew_once(secure, tmp_path, live):
    server, ca = secure
    login = logs_in(tmp_path, {"token": TOKEN})
    arm = live(kubeconfig=kubeconfig(tmp_path, server, user={"exec": login}, ca=ca))
    server.token = ANOTHER
    gives(tmp_path, token=ANOTHER)
    with ThreadPoolExecutor(16) as pool:
        asked = [pool.submit(ask, arm, "echo", str(i), target=TOOLBOX) for i in range(16)]
        assert [one.result(20).stdout for one in asked] == [f"{i}\n".encode() for i in range(16)]
    assert version_of(arm) == 0
    assert (tmp_path / "runs").read_text() == "xx"
    server.token = THIRD
    for request in (Read(step="s", path="/version"), Exec(step="s", target=TOOLBOX, argv=("true",))):
        with pytest.raises(ApiError, match="log in to the cluster again") as error:
            arm.run(request)
        assert error.value.status == 401


def test_credentials_are_had_anew_before_they_end(secure, tmp_path, live):
    server, ca = secure
    login = logs_in(tmp_path, {"token": TOKEN, "expirationTimestamp": in_a(seconds=2)})
    arm = live(kubeconfig=kubeconfig(tmp_path, server, user={"exec": login}, ca=ca))
    time.sleep(2)
    (tmp_path / "given").write_text("none")
    assert version_of(arm) == version_of(arm) == 0  # those it has are tried as long as the server takes them
    assert (tmp_path / "runs").read_text() == "xx"


def test_a_token_in_a_file_is_read_again(secure, tmp_path, live):
    server, ca = secure
    (tmp_path / "token").write_text(TOKEN)
    arm = live(kubeconfig=kubeconfig(tmp_path, server, user={"tokenFile": "token"}, ca=ca))
    server.token = ANOTHER
    (tmp_path / "token").write_text(ANOTHER)
    assert version_of(arm) == 0


def test_a_certificate_that_a_login_program_gives_stays_in_memory(secure, tmp_path, live, monkeypatch):
    server, ca = secure
    pem = {
        key: (tmp_path / file).read_text()
        for key, file in (("clientCertificateData", "certificate.pem"), ("clientKeyData", "key.pem"))
    }
    path = kubeconfig(tmp_path, server, user={"exec": logs_in(tmp_path, {"token": TOKEN, **pem})}, ca=ca)
    files = tmp_path / "temporary"  # of this test alone: others write beside it
    files.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(files))
    arm = live(kubeconfig=path)
    assert (version_of(arm), len(arm._access._files)) == (0, 3)
    assert list(files.iterdir()) == []


def test_a_login_program_that_fails_says_which(secure, tmp_path):
    server, ca = secure
    login = {"apiVersion": "client.authentication.k8s.io/v1", "command": "no-such-kubelogin"}
    with pytest.raises(SourceError, match="no-such-kubelogin, gave no credential"):
        Live("fake", kubeconfig=kubeconfig(tmp_path, server, user={"exec": login}, ca=ca))


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
    assert len(arm._access._files) == 3
    assert yaml.safe_load(Path(path).read_text())["users"][0]["user"]["token"] == TOKEN


def test_files_that_are_empty_or_not_there_are_passed_over(kube, live, tmp_path):
    (tmp_path / "empty").touch()
    files = [str(tmp_path / "empty"), str(tmp_path / "none"), kubeconfig(tmp_path, kube)]
    assert version_of(live(kubeconfig=os.pathsep.join(files))) == 0


def test_of_several_files_the_first_that_has_an_entry_holds(secure, tmp_path, live):
    server, ca = secure
    first = kubeconfig(tmp_path, server, user={"token": TOKEN}, ca=ca)
    (tmp_path / "later").mkdir()
    later = kubeconfig(tmp_path / "later", server, user={"token": "wrong"}, ca=ca)
    assert version_of(live(kubeconfig=os.pathsep.join([first, later]))) == 0


@pytest.mark.parametrize(
    "context", ["arn:aws:eks:eu-west-1:123456789012:cluster/lab", "default/api:6443/ada", "a b=c"]
)
def test_a_context_of_any_name_is_a_source(kube, tmp_path, monkeypatch, context):
    path = Path(kubeconfig(tmp_path, kube))
    path.write_text(path.read_text().replace("name: fake", f"name: {json.dumps(context)}"))
    config = yaml.safe_load(path.read_text())
    for entry in config["contexts"]:
        entry["context"] = {"cluster": context, "user": context}
    path.write_text(yaml.safe_dump(config))
    monkeypatch.setenv("KUBECONFIG", str(path))
    made = talking(f"live:{context}", Terms())
    assert version_of(made) == 0
    made.close()


@pytest.mark.parametrize("key", ["certificate-authority-data", "client-key-data"])
def test_an_entry_that_is_no_base64_is_told(secure, tmp_path, key):
    server, ca = secure
    path = Path(kubeconfig(tmp_path, server, ca=ca))
    config = yaml.safe_load(path.read_text())
    part = "clusters" if "authority" in key else "users"
    config[part][0][part[:-1]][key] = "secret"
    path.write_text(yaml.safe_dump(config))
    with pytest.raises(SourceError, match="cannot be used") as error:
        Live("fake", kubeconfig=str(path))
    assert "secret" not in str(error.value)


def with_cluster(path, **more):
    config = yaml.safe_load(Path(path).read_text())
    config["clusters"][0]["cluster"] |= more
    Path(path).write_text(yaml.safe_dump(config))
    return path


def test_a_server_of_another_name_is_verified_by_that_name(secure, tmp_path, live):
    server, ca = secure
    path = kubeconfig(tmp_path, server, user={"token": TOKEN}, ca=ca)
    text = Path(path).read_text().replace("127.0.0.1", "localhost")
    Path(path).write_text(text)
    with pytest.raises(SourceError, match="cannot be verified"):
        Live("fake", kubeconfig=path)
    arm = live(kubeconfig=with_cluster(path, **{"tls-server-name": "127.0.0.1"}))
    assert (version_of(arm), ask(arm, "true").exit_code) == (0, 0)


def test_verification_is_skipped_where_the_kubeconfig_says_so(secure, tmp_path, live):
    server, _ = secure
    path = with_cluster(
        kubeconfig(tmp_path, server, user={"token": TOKEN}), **{"insecure-skip-tls-verify": True}
    )
    arm = live(kubeconfig=path)
    assert (version_of(arm), ask(arm, "true").exit_code) == (0, 0)


def test_a_proxy_with_a_password_is_passed_through(secure, tmp_path, live):
    server, ca = secure
    path = kubeconfig(tmp_path, server, user={"token": TOKEN}, ca=ca)
    with proxy("me:p%40ss") as (port, seen):
        arm = live(kubeconfig=with_cluster(path, **{"proxy-url": f"http://me:p%40ss@127.0.0.1:{port}"}))
        assert (version_of(arm), ask(arm, "true").exit_code) == (0, 0)
    assert {request.split()[1] for request in seen} == {f"127.0.0.1:{server.port}"}
    assert len(seen) >= 2
    with pytest.raises(SourceError, match="HTTP proxies"):
        Live("fake", kubeconfig=with_cluster(path, **{"proxy-url": "socks5://127.0.0.1:1"}))


@contextlib.contextmanager
def proxy(login, pause_s=0.0):
    """A forward proxy for who has this name and password (as in a URL): its port, and the requests it carried out."""
    seen, wanted = [], base64.b64encode(unquote(login).encode()).decode()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            head = [line.strip().decode() for line in iter(self.rfile.readline, b"\r\n")]
            if f"basic {wanted}".lower() not in {line.partition(": ")[2].lower() for line in head}:
                self.wfile.write(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
                return
            seen.append(head[0])
            host, _, port = head[0].split()[1].rpartition(":")
            with socket.create_connection((host, int(port))) as there:
                self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                back = threading.Thread(target=self.copy, args=(there, self.connection))
                back.start()
                self.copy(self.connection, there)
                back.join()

        def copy(self, source, target):
            with contextlib.suppress(OSError):
                while data := source.recv(65536):
                    target.sendall(data)
                    time.sleep(pause_s)
            with contextlib.suppress(OSError):
                target.shutdown(socket.SHUT_WR)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as listener:
        listener.daemon_threads = True
        listener.block_on_close = False
        threading.Thread(target=listener.serve_forever, args=(0.02,), daemon=True).start()
        yield listener.server_address[1], seen
        listener.shutdown()
