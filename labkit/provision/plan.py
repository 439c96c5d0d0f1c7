"""The plan of a comparison: which arms, where, for how long, and what is equal in all of them."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from datetime import timedelta
from getpass import getuser
from typing import TYPE_CHECKING

from labkit.errors import PlanError
from labkit.provision.check import check
from labkit.provision.kinds import KINDS, Kind
from labkit.provision.tables import fill

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any

__all__ = ["Arm", "KindSettings", "Pins", "Plan", "Prices", "parse", "read"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pins:
    """What could silently differ between arms. Stated once, equal in all arms that state nothing else.

    What AKS decides by itself when it is left out (VM size, LocalDNS, upgrades) is the reason that every
    field is always sent. MTU and accelerated networking follow the VM size; they have no field of their own.
    """

    kubernetes_version: str = ""
    vm_size: str = ""
    os_sku: str = "Ubuntu2404"
    os_disk_type: str = "Managed"
    os_disk_gb: int = 128
    zone: str = "1"
    nodes: int = 3
    max_pods: int = 110
    tier: str = "Free"
    pod_cidr: str = "10.244.0.0/16"
    service_cidr: str = "10.0.0.0/16"
    dns_service_ip: str = "10.0.0.10"
    local_dns: str = "Disabled"
    entra_id: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class KindSettings:
    """Versions that a plan for kind names itself: labkit knows none that would be right for long."""

    image: str = ""
    cilium_version: str = ""
    calico_version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """Prices an hour, from the price sheet of the person who pays. Zero is a price; nothing is unknown."""

    currency: str = ""
    node: float | None = None
    cluster: float | None = None
    acns_node: float | None = None


@dataclass(frozen=True, slots=True)
class Arm:
    """One cluster, or (with `of`) what another arm's cluster becomes when its dataplane is moved."""

    name: str
    kind: str
    policy: str
    kube_proxy: str
    pins: Pins
    of: str = ""

    @property
    def is_a(self) -> Kind:
        """What its kind means."""
        return KINDS[self.kind]

    @property
    def cluster(self) -> str:
        """The arm whose cluster it is: its own name, or that of the arm it is moved from."""
        return self.of or self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A whole plan, checked. `created` are the arms that `up` creates, `moved` those that come of them later."""

    name: str
    provider: str
    owner: str
    hours: float
    arms: dict[str, Arm]
    subscription: str = ""
    region: str = ""
    kind: KindSettings = field(default_factory=KindSettings)
    prices: Prices = field(default_factory=Prices)

    @property
    def created(self) -> list[Arm]:
        return [arm for arm in self.arms.values() if not arm.of]

    @property
    def moved(self) -> list[Arm]:
        return [arm for arm in self.arms.values() if arm.of]

    @property
    def lifetime(self) -> timedelta:
        return timedelta(hours=self.hours)

    def context(self, arm: Arm) -> str:
        """The name of an arm's context in a kubeconfig. A moved arm has the context of its cluster."""
        return f"labkit-{self.name}-{arm.cluster}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Head:
    name: str
    region: str = ""
    subscription: str = ""
    provider: str = "azure"
    owner: str = ""
    hours: float = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _ArmHead:
    kind: str = ""
    policy: str = ""
    kube_proxy: str = ""
    of: str = ""


TABLES = ("cluster", "arms", "kind", "prices")


def read(path: Path, environ: Mapping[str, str]) -> Plan:
    """A plan from a file. Raises PlanError, which lists everything that is wrong with it, not the first.

    A plan without `subscription` uses AZURE_SUBSCRIPTION_ID, if there is one: it is needed to send, not to plan.
    A plan without `owner` is of the person who is logged in here.
    """
    try:
        text = path.read_text()
    except OSError as error:
        raise PlanError(str(path), [f"cannot be read: {error.strerror}"]) from None
    return parse(text, str(path), environ)


def parse(text: str, name: str, environ: Mapping[str, str]) -> Plan:
    """The plan in a TOML text; `name` stands in errors. Raises PlanError."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PlanError(name, [f"is not TOML: {error}"]) from None
    problems: list[str] = []
    plan = _plan(document, environ, problems)
    if plan is None or problems:
        raise PlanError(name, problems)
    return plan


def _plan(document: dict[str, Any], environ: Mapping[str, str], problems: list[str]) -> Plan | None:
    tables = {key: document.pop(key, {}) for key in TABLES}
    problems += [f"[{key}] must be a table" for key, table in tables.items() if not isinstance(table, dict)]
    if problems:
        return None
    head = fill(_Head, document, "the plan", problems, also=TABLES)
    pins = fill(Pins, tables["cluster"], "[cluster]", problems)
    settings = fill(KindSettings, tables["kind"], "[kind]", problems)
    prices = fill(Prices, tables["prices"], "[prices]", problems)
    if head is None or pins is None or settings is None or prices is None:
        return None
    arms = {name: _arm(name, table, pins, problems) for name, table in tables["arms"].items()}
    plan = Plan(
        name=head.name,
        provider=head.provider,
        owner=head.owner or getuser(),
        hours=head.hours,
        arms={name: arm for name, arm in arms.items() if arm is not None},
        subscription=head.subscription or environ.get("AZURE_SUBSCRIPTION_ID", ""),
        region=head.region,
        kind=settings,
        prices=prices,
    )
    problems += check(plan)
    return plan


def _arm(name: str, table: Any, pins: Pins, problems: list[str]) -> Arm | None:  # noqa: ANN401  (as it stands in the file)
    where = f"[arms.{name}]"
    if not isinstance(table, dict):
        problems.append(f"{where} must be a table")
        return None
    own = {key: table.pop(key) for key in list(table) if key in _ArmHead.__dataclass_fields__}
    head = fill(_ArmHead, own, where, problems)
    overrides = fill(Pins, table, where, problems, over=pins, also=tuple(_ArmHead.__dataclass_fields__))
    if head is None or overrides is None:
        return None
    kind = KINDS.get(head.kind or name)
    if kind is None:
        problems.append(
            f"{where}: kind {head.kind or name!r} is not known; write kind = one of {', '.join(KINDS)}"
        )
        return None
    policy, proxy = head.policy or kind.policies[0], head.kube_proxy or kind.kube_proxies[0]
    arm = Arm(name, head.kind or name, policy, proxy, overrides, head.of)
    for key, value, known in (("policy", policy, kind.policies), ("kube_proxy", proxy, kind.kube_proxies)):
        if value not in known:
            problems.append(f"{where}: {key} of a {arm.kind} arm is {' or '.join(known)}, not {value!r}")
    return arm
