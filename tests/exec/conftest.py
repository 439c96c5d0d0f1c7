"""What the tests of executors share."""

from tests.kube.fixtures import kube, live, secure

__all__ = ["kube", "live", "secure"]
