"""A fake Kubernetes, and the live executor on it."""

from __future__ import annotations

import pytest

from labkit.exec.live import Live
from tests.kube.backend import Local
from tests.kube.cluster import certificate, kubeconfig, populate
from tests.kube.server import FakeKube

TOKEN = "a-token-of-the-test"  # noqa: S105


@pytest.fixture
def kube():
    """A fake API server of two nodes, whose containers run programs of this machine."""
    backend = Local()
    populate(backend.store)
    server = FakeKube(backend)
    yield server
    server.stop()
    backend.close()


@pytest.fixture
def live(kube, tmp_path):
    """Makes executors on it; what is made is closed at the end."""
    made = []

    def make(**options) -> Live:
        path = options.pop("kubeconfig", "") or kubeconfig(tmp_path, kube)
        options = {"limit_s": 20.0, "patience_s": 5.0, "allow_context": "fake", **options}
        made.append(Live("fake", kubeconfig=path, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


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
