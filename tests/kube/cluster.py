"""A small cluster behind the fake API server: nodes with an analyzer each, a toolbox, an agent without a shell."""

from __future__ import annotations

import base64
import datetime as dt
import ipaddress
from typing import TYPE_CHECKING

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kube.server import FakeKube
    from tests.kube.store import Store

OURS = {"app.kubernetes.io/managed-by": "labkit"}
TOOLBOX = "pod/cni-lab/toolbox-0/toolbox"
AGENT = "pod/kube-system/cilium-0/cilium-agent"


def populate(store: Store, nodes: int = 2) -> None:
    """Nodes `node-0` and on, the lab's namespace, and pods."""
    for name, labels in (("cni-lab", OURS), ("kube-system", {}), ("default", {})):
        store.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    for i in range(nodes):
        store.apply(node(f"node-{i}"))
        owner = {"kind": "DaemonSet", "name": "network-analyzer", "apiVersion": "apps/v1", "uid": "1"}
        store.apply(pod("cni-lab", f"network-analyzer-{i}", f"node-{i}", "analyzer", owner))
    store.apply(pod("cni-lab", "toolbox-0", "node-0", "toolbox"))
    store.apply(pod("kube-system", "cilium-0", "node-0", "cilium-agent"))


def node(name, kubelet="v1.36.2", ready="True"):
    """A node that is ready and has no image of the lab."""
    told = {"kubeletVersion": kubelet, "operatingSystem": "linux"}
    status = {"conditions": [{"type": "Ready", "status": ready}], "nodeInfo": told, "images": []}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {}, "status": status}


def pod(namespace, name, node, container, owner=None):
    """A pod that runs. Its container's id stands in the cgroup of every process here: `0::/`."""
    told = {"name": container, "state": {"running": {}}, "ready": True, "containerID": "containerd://0::/"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {"k8s-app": "cilium"} if container == "cilium-agent" else {},
            "ownerReferences": [owner] if owner else [],
        },
        "spec": {"nodeName": node, "containers": [{"name": container, "image": "an-image"}]},
        "status": {"phase": "Running", "containerStatuses": [told]},
    }


def kubeconfig(
    folder: Path, kube: FakeKube, *, name: str = "fake", user: dict | None = None, ca: Path | None = None
) -> str:
    """A kubeconfig with one context, as a file; its path."""
    cluster = {"server": kube.url}
    if ca:
        cluster["certificate-authority-data"] = base64.b64encode(ca.read_bytes()).decode()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": user or {}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
    }
    path = folder / f"kubeconfig-{name}"
    path.write_text(yaml.safe_dump(config))
    return str(path)


def certificate(folder: Path, *, days: float = 1.0) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that ends in so many days, and its key, as files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "fake Kubernetes")])
    now, day = dt.datetime.now(dt.UTC), dt.timedelta(days=1)
    made = (
        x509.CertificateBuilder(
            name, name, key.public_key(), x509.random_serial_number(), now - 9 * day, now + days * day
        )
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = folder / "certificate.pem", folder / "key.pem"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    )
    return files
