"""What Azure says when it says no, as one clear sentence and a remedy.

Codes as Azure Resource Manager, AKS and the compute provider spell them; where a code says little
(`BadRequest`, `OperationNotAllowed`), the words of the message decide.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from labkit.errors import AzureError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

__all__ = ["BUSY", "asking", "of_failure"]


@dataclass(frozen=True, slots=True)
class Remedy:
    """Applies to a code of `codes`, or to a message that `words` matches."""

    name: str
    codes: frozenset[str]
    words: str
    remedy: str


def _on(name: str, codes: str, words: str, remedy: str) -> Remedy:
    return Remedy(name, frozenset(codes.lower().split()), words, remedy)


BUSY = "busy"
AGAIN = "run the same command again, it continues where this stopped"

#: In this order: what says more stands first.
REMEDIES = (
    _on(
        "throttled",
        "TooManyRequests SubscriptionRequestsThrottled OperationThrottled",
        r"\bthrottl",
        "Azure asks to slow down; wait some minutes and " + AGAIN,
    ),
    _on(
        "quota",
        "QuotaExceeded ErrCode_InsufficientVCPUQuota InsufficientVCPUQuota PublicIPCountLimitReached",
        r"exceeding (approved|quota)|insufficient \w* ?vcpu quota",
        "plan fewer `nodes`, a smaller `vm_size` or another `region`, or ask for more quota (portal: Quotas, Compute)",
    ),
    _on(
        "capacity",
        "AKSCapacityHeavyUsage AKSCapacityError AllocationFailed ZonalAllocationFailed "
        "OverconstrainedAllocationRequest OverconstrainedZonalAllocationRequest",
        r"do(es)? not have (sufficient|enough) capacity",
        "Azure has no such machines free there now; plan another `zone`, `region` or `vm_size`, or try later",
    ),
    _on(
        "zone",
        "AvailabilityZoneNotSupported",
        r"availability zone",
        "plan another `zone`, or `zone = ''` in [cluster] for none (the parity gate then reads where nodes are)",
    ),
    _on(
        "sku",
        "SkuNotAvailable VMSizeNotSupported",
        r"not (allowed in your|supported for) subscription|sku .*not available|vm size .*not (available|supported)",
        "plan another `vm_size` or `region`; `az vm list-skus --location REGION --output table` names those you may use",
    ),
    _on(
        "version",
        "K8sVersionNotSupported AgentPoolK8sVersionNotSupported InvalidKubernetesVersion",
        r"version [\d.]+,? which is not supported|kubernetes version [\d.]+ is not",
        "plan another `kubernetes_version`; `az aks get-versions --location REGION --output table` names those there are",
    ),
    _on(
        "policy",
        "RequestDisallowedByPolicy RequestDisallowedByAzure",
        r"disallowed by policy",
        "a policy of the subscription forbids it: plan a `region` or `vm_size` it allows, or ask its owner to exempt "
        "the resource group",
    ),
    _on(
        "preview",
        "FeatureNotRegistered PreviewFeatureNotRegistered",
        r"feature \S+ is not (enabled|registered)",
        "register it with `az feature register --namespace Microsoft.ContainerService --name FEATURE`, wait until it "
        "is Registered, then `az provider register --namespace Microsoft.ContainerService`",
    ),
    _on(
        "provider",
        "MissingSubscriptionRegistration SubscriptionNotRegistered",
        "",
        "register it with `az provider register --namespace Microsoft.ContainerService --wait`",
    ),
    _on(
        "permission",
        "AuthorizationFailed LinkedAuthorizationFailed Forbidden",
        "",
        "the one who is logged in needs the role Contributor on the subscription",
    ),
    _on(
        "subscription",
        "SubscriptionNotFound InvalidSubscriptionId ReadOnlyDisabledSubscription InvalidAuthenticationTokenTenant",
        "",
        "check `subscription` in the plan; `az account list --output table` names those you have",
    ),
    _on(
        "login",
        "ExpiredAuthenticationToken InvalidAuthenticationToken AuthenticationFailed",
        "",
        "log in with `az login`, or name a service principal in AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_CLIENT_SECRET",
    ),
    _on(
        "locked",
        "ScopeLocked CannotDeleteLockedResource",
        r"\block(ed|s)?\b",
        "somebody has locked it; take the lock off (portal: Locks), then " + AGAIN,
    ),
    _on(
        BUSY,
        "AnotherOperationInProgress OperationPreempted EtagMismatch ResourceGroupBeingDeleted "
        "ResourceGroupDeletionBlocked ResourceGroupDeletionTimeout",
        r"in progress|being deleted|please wait",
        "Azure is still busy with it; wait some minutes and " + AGAIN,
    ),
)
UNKNOWN = "nothing is known of this code here; `labkit up --dry-run` shows what is sent, and " + AGAIN
OUTAGE = "this is Azure's own fault; wait some minutes and " + AGAIN


class asking:
    """`with asking("creating the cluster cilium", subscription):` turns the SDK's errors into AzureError."""

    def __init__(self, doing: str, subscription: str) -> None:
        self.doing, self.subscription = doing, subscription

    def __enter__(self) -> None:
        """Nothing is held open."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            return
        from azure.core import exceptions  # noqa: PLC0415

        if isinstance(error, exceptions.AzureError):
            raise _translated(error, self.doing, self.subscription) from error


def of_failure(doing: str, subscription: str, error: dict[str, Any]) -> AzureError:
    """What Azure left behind as the reason of a failure: code, message, details."""
    return _told(doing, subscription, list(_pairs(error)), None)


def _translated(error: Exception, doing: str, subscription: str) -> AzureError:
    from azure.core import exceptions  # noqa: PLC0415

    if isinstance(error, exceptions.HttpResponseError) and error.error is not None:
        status = error.status_code if error.status_code and error.status_code >= 400 else None
        return _told(doing, subscription, list(_pairs(error.error)), status)
    said = _hidden(
        str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__, subscription
    )
    status = getattr(error, "status_code", None)
    if isinstance(error, exceptions.ClientAuthenticationError):
        return _error(doing, subscription, said, _known("login"), status, "")
    if isinstance(error, exceptions.HttpResponseError):
        return _told(doing, subscription, [("", said)], status)
    remedy = f"Azure could not be reached: check the network and its proxy; {AGAIN}"
    return AzureError(doing, said, remedy, status=None, code="", about="network")


def _told(doing: str, subscription: str, pairs: list[tuple[str, str]], status: int | None) -> AzureError:
    """The code and message that say most: the first with a remedy, or else the innermost."""
    for code, message in pairs:
        for known in REMEDIES:
            if code.lower() in known.codes or (
                known.words and re.search(known.words, message, re.IGNORECASE)
            ):
                return _error(doing, subscription, message, known, status, code)
    code, message = pairs[-1] if pairs else ("", "Azure gave no reason")
    if status == 429:
        return _error(doing, subscription, message, _known("throttled"), status, code)
    remedy = OUTAGE if (status or 0) >= 500 else UNKNOWN
    return _error(doing, subscription, message, _on("", "", "", remedy), status, code)


def _error(
    doing: str, subscription: str, message: str, known: Remedy, status: int | None, code: str
) -> AzureError:
    problem = _hidden(_sentence(message), subscription)
    return AzureError(doing, problem, known.remedy, status=status, code=code, about=known.name)


def _pairs(error: Any) -> Iterator[tuple[str, str]]:  # noqa: ANN401  (the SDK's error, or JSON like it)
    """Codes and messages, from the outermost error inwards."""
    part = error if isinstance(error, dict) else vars(error)
    if part.get("code") or part.get("message"):
        yield str(part.get("code") or ""), str(part.get("message") or "")
    for detail in part.get("details") or []:
        yield from _pairs(detail)


def _sentence(message: str) -> str:
    """The first lines of a message, on one line and not endless: AKS lists every VM size that there is."""
    said = " ".join(message.split()).rstrip(". ")
    return said if len(said) <= 300 else said[:297] + "…"


def _hidden(text: str, subscription: str) -> str:
    return (
        re.sub(re.escape(subscription), "{subscription}", text, flags=re.IGNORECASE) if subscription else text
    )


def _known(name: str) -> Remedy:
    return next(known for known in REMEDIES if known.name == name)
