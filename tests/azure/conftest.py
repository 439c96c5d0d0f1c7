"""A fake Azure on loopback, clients of the real SDK for it, and plans."""

from __future__ import annotations

import gc
import itertools
import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from azure.core.credentials import AccessTokenInfo

from labkit.azure.clients import Clients
from labkit.exec.tool import Tools
from labkit.provision.pace import Pace
from labkit.provision.plan import Plan, parse
from labkit.provision.state import State
from tests.azure.fake_arm import TOKEN, FakeArm, certificate
from tests.azure.fake_subscription import SUBSCRIPTION

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
ENVIRON = {"AZURE_SUBSCRIPTION_ID": SUBSCRIPTION}
HEAD = 'name = "cni"\nregion = "westeurope"\nowner = "ada"\n[cluster]\nkubernetes_version = "1.34"\nvm_size = "Standard_D4s_v5"\n'
TWO_ARMS = HEAD + "[arms.overlay]\n[arms.cilium]\n"
BEFORE_AFTER = HEAD + '[arms.before]\nkind = "overlay"\n[arms.after]\nkind = "cilium"\nof = "before"\n'


class Login:
    """A credential that hands out one token."""

    def __init__(self, token: str = TOKEN) -> None:
        self.token = token

    def get_token_info(self, *_scopes: str, **_: Any) -> AccessTokenInfo:
        return AccessTokenInfo(self.token, 4_000_000_000)


class Heard:
    """Remembers what was told. With `interrupt_at`, Ctrl-C is pressed when so much was."""

    def __init__(self, interrupt_at: int = 0) -> None:
        self.told_of: list[tuple[str, str, str]] = []
        self.interrupt_at = interrupt_at

    def told(self, subject: str, state: str, doing: str) -> None:
        self.told_of.append((subject, state, doing))
        if len(self.told_of) == self.interrupt_at:
            raise KeyboardInterrupt


def plan_of(text: str = TWO_ARMS) -> Plan:
    return parse(text, "plan.toml", ENVIRON)


def pace(limit_s: float = 10_000, now: datetime = NOW) -> Pace:
    """Time that passes by a second whenever somebody looks at the clock, and waits that wait for nothing."""
    ticks = itertools.count()
    return Pace(
        every_s=1, limit_s=limit_s, wait=lambda _: None, clock=lambda: float(next(ticks)), now=lambda: now
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The SDK's retry policy drops responses that it streams without closing them."""
    dropped = pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")
    for item in items:
        if item.path.parent == HERE:
            item.add_marker(dropped)


@pytest.fixture(scope="module", autouse=True)
def _collect_dropped() -> Iterator[None]:
    """So that they are not found while a test of something else runs."""
    yield
    gc.collect()


@pytest.fixture(scope="session", autouse=True)
def _quiet_sdk() -> None:
    """The SDK writes a page on every request at level INFO; formatting those would be half of the time."""
    logging.getLogger("azure").setLevel(logging.WARNING)


@pytest.fixture(scope="session")
def identity(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def arm(identity: tuple[Path, Path]) -> Iterator[FakeArm]:
    fake = FakeArm(*identity)
    yield fake
    fake.close()


@pytest.fixture
def options(arm: FakeArm, identity: tuple[Path, Path]) -> dict[str, Any]:
    """What points the SDK's clients at the fake: the same that points them at another cloud. Nothing is patched."""
    return {
        "credential": Login(),
        "base_url": arm.url,
        "credential_scopes": [f"{arm.url}/.default"],
        "connection_verify": str(identity[0]),
        "polling_interval": 0,
        "retry_backoff_factor": 0,
    }


@pytest.fixture
def clients(options: dict[str, Any]) -> Iterator[Clients]:
    made = Clients(SUBSCRIPTION, **options)
    yield made
    made.close()


@pytest.fixture
def plan() -> Plan:
    return plan_of()


@pytest.fixture
def state(tmp_path: Path, plan: Plan) -> State:
    return State.open(tmp_path / "run", plan)


@pytest.fixture
def tools() -> Tools:
    """No program at all."""
    return Tools({"PATH": ""})
