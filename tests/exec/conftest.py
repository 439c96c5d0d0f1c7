"""What the tests of executors share."""

from tests.kube.fixtures import kube, live

__all__ = ["kube", "live"]
