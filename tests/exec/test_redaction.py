"""What is secret is taken out of replies before anybody sees them; what is not stays as it was, byte for byte."""

import base64
import json
from datetime import UTC, datetime

import pytest

from labkit.exec import Exec, Read, Reply
from labkit.exec.recording import Recorder, Recording
from labkit.exec.redaction import NO_ID, Redaction
from tests.conftest import RECORDINGS, arm

ID = "1f2e3d4c-5b6a-4978-8a9b-0c1d2e3f4a5b"
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEAplanted\nc2VjcmV0\n-----END RSA PRIVATE KEY-----\n"
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJwbGFudGVkIn0.cGxhbnRlZC1zaWduYXR1cmU"
SECRET = {"kind": "Secret", "metadata": {"name": "s"}, "data": {"key": "cGxhbnRlZC1kYXRh"}, "type": "Opaque"}
APPLIED = {"kubectl.kubernetes.io/last-applied-configuration": json.dumps(SECRET)}
POD = {
    "kind": "Pod",
    "metadata": {"name": "p", "annotations": APPLIED},
    "spec": {
        "containers": [
            {
                "name": "c",
                "env": [
                    {"name": "DB_PASSWORD", "value": "planted-pw"},
                    {"name": "AZURE_TENANT_ID", "value": ID},
                    {"name": "LOG_LEVEL", "value": "planted-level"},
                    {"name": "EMPTY", "value": ""},
                    {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "key"}}},
                ],
            }
        ],
        "automountServiceAccountToken": True,
    },
}
NODE = {
    "kind": "Node",
    "metadata": {"labels": {"kubernetes.azure.com/network-subscription": ID}, "uid": "7" * 8 + "-1111-2222-3333-444444444444"},
    "spec": {"providerID": f"azure:///subscriptions/{ID}/resourceGroups/MC_x/virtualMachines/0"},
}  # fmt: skip
LIST = {"kind": "SecretList", "items": [{"metadata": {"name": "s"}, "data": {"key": "cGxhbnRlZC1kYXRh"}}]}
ENCODED = base64.b64encode(PEM.encode()).decode()
CONFIG = f"client-certificate-data: {ENCODED}\n    token: {JWT}\n"

#: What is planted where: the words that must not come out.
PLANTED = {
    "a Secret": (json.dumps(SECRET), ["cGxhbnRlZC1kYXRh"]),
    "a list of Secrets": (json.dumps(LIST), ["cGxhbnRlZC1kYXRh"]),
    "a Pod with variables and what was applied": (json.dumps(POD), ["planted-pw", "planted-level", "cGxhbnRlZC1kYXRh", ID]),
    "a Node of AKS": (json.dumps(NODE), [ID]),
    "a key": (f"log: {PEM} after", ["MIIEpAIBAAKCAQEAplanted", "c2VjcmV0"]),
    "a key that was cut": (PEM[:60], ["MIIEpAIBAAKCA"]),
    "a kubeconfig": (CONFIG, [JWT, ENCODED, ENCODED[20:60]]),
    "a header": ("> Authorization: Bearer planted0123456789\n", ["planted0123456789"]),
    "an environment": (f"HOME=/root\0AZURE_CLIENT_SECRET=planted-s\0AZURE_TENANT_ID={ID}\0", ["planted-s", ID]),
    "an environment, printed": ("HOME=/root\nDB_PASSWORD=planted-pw\n", ["planted-pw"]),
    "a password in a URL": ("GET https://me:planted-pw@host/path", ["planted-pw"]),
    "a shared access signature": ("https://x.blob.core.windows.net/c?sv=1&sig=planted0123456789%3D", ["planted0123456789"]),
    "a storage key": ("AccountName=a;AccountKey=planted0123456789==;", ["planted0123456789"]),
    "an issuer": (f"https://sts.windows.net/{ID}/", [ID]),
    "JSON lines": (f'{{"tenantId":"{ID}"}}\n{{"access_token":"planted-token"}}\n', [ID, "planted-token"]),
}  # fmt: skip


class Tells:
    """Answers with what was planted, on both streams."""

    about = {"format": 1, "name": "planted", "origin": "synthetic", "note": "", "namespace": "x"}  # noqa: RUF012

    def __init__(self, text):
        self.text = text

    def run(self, request):
        said = self.text.encode()
        return Reply("", request, datetime(2026, 1, 2, tzinfo=UTC), 0.1, 0, said, said)

    def wait(self, seconds):
        """Nothing to wait for."""

    def close(self):
        """Nothing to close."""


@pytest.mark.parametrize("what", PLANTED)
def test_what_is_planted_is_neither_written_nor_handed_on(what, tmp_path):
    text, secrets = PLANTED[what]
    recorder = Recorder(Tells(text), tmp_path / "planted")
    request = Read(step="s", path="/x")
    handed = recorder.run(request)
    recorder.close()
    written = b"".join(file.read_bytes() for file in (tmp_path / "planted").rglob("*") if file.is_file())
    for secret in secrets:
        assert secret in text
        for place in (handed.stdout, handed.stderr, written):
            assert secret.encode() not in place
    assert Recording.open(tmp_path / "planted").find(request) == handed
    if text.startswith("{") and "\n" not in text:
        assert json.loads(handed.stdout).keys() == json.loads(text).keys()


def test_what_is_not_secret_stays_beside_it():
    node = json.loads(Redaction().text(json.dumps(NODE)))
    assert node["metadata"]["uid"] == NODE["metadata"]["uid"]
    assert (
        node["spec"]["providerID"] == f"azure:///subscriptions/{NO_ID}/resourceGroups/MC_x/virtualMachines/0"
    )
    pod = json.loads(Redaction().text(json.dumps(POD)))
    variables = {v["name"]: v.get("value", v.get("valueFrom")) for v in pod["spec"]["containers"][0]["env"]}
    assert variables["LOG_LEVEL"] == "REDACTED"
    assert variables["EMPTY"] == ""
    assert variables["KEY"] == {"secretKeyRef": {"name": "s", "key": "key"}}
    assert Redaction().text("HOME=/root\nDB_PASSWORD=x\n") == "HOME=/root\nDB_PASSWORD=REDACTED\n"


@pytest.mark.parametrize("what", PLANTED)
def test_what_is_clean_is_not_changed_again(what):
    clean = Redaction(ips=True).text(PLANTED[what][0])
    assert Redaction(ips=True).text(clean) == clean


@pytest.mark.parametrize("name", RECORDINGS)
def test_ordinary_replies_are_left_alone(name):
    """All but the certificate of the client CA in kube-system's ConfigMaps, and environments of containers."""
    recording, redaction = arm(name).executor.recording, Redaction()
    for request in recording.requests():
        reply = recording.find(request)
        after = redaction.reply(reply)
        if request.words == "GET /api/v1/namespaces/kube-system/configmaps":
            gone = "-----BEGIN CERTIFICATE----- REDACTED -----END CERTIFICATE-----"
            assert after.text.count(gone) == reply.text.count("-----BEGIN")
            assert len(json.loads(after.text)["items"]) == len(json.loads(reply.text)["items"])
        elif after is not reply:
            assert without_environments(json.loads(after.text)) == without_environments(
                json.loads(reply.text)
            )
            assert "REDACTED" in after.text


def without_environments(value):
    """A JSON value with nothing in its members `env`."""
    if isinstance(value, list):
        return [without_environments(item) for item in value]
    if isinstance(value, dict):
        return {key: key if key == "env" else without_environments(item) for key, item in value.items()}
    if isinstance(value, str) and value.startswith("{"):  # what was applied, as an annotation
        return without_environments(json.loads(value))
    return value


def test_public_addresses_go_where_asked_and_private_ones_stay():
    text = "10.244.1.7 via 20.31.4.5 dev eth0, fd00::1 and 2603:1030:c02::7, 168.63.129.16, 1.2.3.4.5, aa:bb:cc:dd:ee:ff"
    assert Redaction().text(text) == text
    assert Redaction(ips=True).text(text) == (
        "10.244.1.7 via 203.0.113.0 dev eth0, fd00::1 and 2001:db8::, 168.63.129.16, 1.2.3.4.5, aa:bb:cc:dd:ee:ff"
    )
    json_text = json.dumps({"status": {"addresses": [{"type": "ExternalIP", "address": "20.31.4.5"}]}})
    assert "20.31.4.5" not in Redaction(ips=True).text(json_text)


def test_bytes_that_are_no_text_are_not_looked_into():
    reply = Reply(
        "",
        Exec(step="s", target="node/a", argv=("tcpdump",)),
        datetime.now(UTC),
        0.1,
        0,
        b"\xd4\xc3" + PEM.encode(),
    )
    assert Redaction(ips=True).reply(reply) is reply
