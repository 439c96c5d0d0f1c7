"""What the tests of the doctor share."""

from tests.kube.fixtures import kube

__all__ = ["kube"]
