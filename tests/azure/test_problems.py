"""Whatever Azure says comes out as one sentence and a remedy. Messages are those that people have published."""

import pytest
from azure.identity import EnvironmentCredential

from labkit.azure.clients import Clients
from labkit.azure.problems import REMEDIES
from labkit.azure.up import up
from labkit.errors import AzureError, ProvisionError
from tests.azure.conftest import SUBSCRIPTION, Heard, Login, pace

#: status, code, message; whether AKS sends it without the outer "error"; what it is known as, a word of the remedy.
SAID = [
    (400, "ErrCode_InsufficientVCPUQuota", "Insufficient regional vcpu quota left for location westus2. left regional vcpu quota 4, requested quota 6.", True, "quota", "fewer `nodes`"),
    (409, "OperationNotAllowed", "Operation could not be completed as it results in exceeding approved Total Regional Cores quota. Additional details - Location: eastus, Current Limit: 100", False, "quota", "ask for more quota"),
    (409, "QuotaExceeded", "Provisioning of resource(s) failed.", False, "quota", "quota"),
    (400, "BadRequest", "The VM size of Standard_D2_v2 is not allowed in your subscription in location 'eastus'. The available VM sizes are 'standard_b16pls_v2,standard_b16ps_v2'", True, "sku", "another `vm_size`"),
    (409, "SkuNotAvailable", "The requested VM size is currently not available.", False, "sku", "list-skus"),
    (400, "AvailabilityZoneNotSupported", "The zone(s) '1' for resource 'system' is not supported.", True, "zone", "another `zone`"),
    (400, "K8sVersionNotSupported", "Managed cluster aks is on version 1.30.14, which is not supported in this region.", True, "version", "get-versions"),
    (403, "RequestDisallowedByPolicy", "Resource 'overlay' was disallowed by policy.", False, "policy", "exempt"),
    (400, "BadRequest", "Feature Microsoft.ContainerService/KubeProxyConfigurationPreview is not enabled.", True, "preview", "az feature register"),
    (403, "AuthorizationFailed", "The client 'ada' does not have authorization to perform action", False, "permission", "Contributor"),
    (404, "SubscriptionNotFound", f"The subscription '{SUBSCRIPTION}' could not be found.", False, "subscription", "az account list"),
    (401, "ExpiredAuthenticationToken", "The access token expiry UTC time is earlier than current UTC time.", False, "login", "az login"),
    (409, "OperationNotAllowed", "Operation is not allowed: Another operation (Updating) is in progress, please wait for it to finish", True, "busy", "still busy"),
    (409, "ScopeLocked", "The scope cannot perform write operation because following scope(s) are locked", False, "locked", "lock off"),
    (400, "InvalidParameter", "The value of parameter networkProfile.podCidr is invalid.", True, "", "--dry-run"),
    (500, "InternalServerError", "Encountered internal server error.", False, "", "Azure's own fault"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "code", "message", "bare", "about", "remedy"), SAID)
def test_what_a_request_is_refused_with(arm, clients, status, code, message, bare, about, remedy):
    arm.fail("put group", status=status, code=code, message=message, bare=bare, nth=0)
    with pytest.raises(AzureError) as caught:
        clients.create_group("labkit-cni", {"location": "westeurope", "tags": {}})
    error = caught.value
    assert (error.status, error.code, error.about) == (status, code, about)
    assert remedy in error.remedy
    assert str(error).startswith("creating the resource group labkit-cni: ")
    assert len(str(error).splitlines()) == 2
    assert SUBSCRIPTION not in str(error)


LATE = [(code, message, remedy) for _status, code, message, _bare, _about, remedy in SAID[:8]]


@pytest.mark.parametrize(("code", "message", "remedy"), LATE)
def test_what_an_operation_fails_with_later(arm, clients, plan, state, code, message, remedy):
    """The operation itself answered 200: its status is not an error's, and is not told as one."""
    arm.fail("put cluster", late=True, code=code, message=message)
    with pytest.raises(ProvisionError) as caught:
        up(plan, clients, state, Heard(), pace())
    told = str(caught.value).splitlines()[:2]
    assert told[0].endswith(f"({code})")
    assert remedy in told[1]


def test_the_innermost_reason_counts(arm, clients):
    inner = {"code": "QuotaExceeded", "message": "Cores quota is used up"}
    fault = {
        "code": "InvalidTemplateDeployment",
        "message": "See inner errors for details.",
        "details": [inner],
    }
    arm.fail("put group", status=400, nth=0, whole={"error": fault})
    with pytest.raises(AzureError, match="Cores quota is used up") as caught:
        clients.create_group("labkit-cni", {"location": "westeurope", "tags": {}})
    assert caught.value.code == "QuotaExceeded"


def test_throttling_is_waited_for_as_azure_asks(arm, clients):
    for nth in (1, 2, 3):
        arm.fail("put group", status=429, code="TooManyRequests", headers={"Retry-After": "0"}, nth=nth)
    clients.create_group("labkit-cni", {"location": "westeurope", "tags": {}})
    assert len(arm.sent("put group")) == 4


def test_throttling_that_does_not_end_is_told(arm, options):
    arm.fail("put group", status=429, code="TooManyRequests", headers={"Retry-After": "0"}, nth=0)
    clients = Clients(SUBSCRIPTION, **options, retry_total=2)
    with pytest.raises(AzureError, match="slow down") as caught:
        clients.create_group("labkit-cni", {"location": "westeurope", "tags": {}})
    assert caught.value.status == 429
    clients.close()


@pytest.mark.usefixtures("arm")
def test_a_wrong_token(options):
    clients = Clients(SUBSCRIPTION, **{**options, "credential": Login("stolen")})
    with pytest.raises(AzureError, match="az login") as caught:
        clients.groups()
    assert caught.value.status == 401
    assert "stolen" not in str(caught.value)
    clients.close()


def test_nobody_is_logged_in(arm, options):
    clients = Clients(SUBSCRIPTION, **{**options, "credential": EnvironmentCredential()})
    with pytest.raises(AzureError, match="az login"):
        clients.groups()
    assert arm.seen == []
    clients.close()


def test_nobody_answers(arm, options):
    arm.close()
    clients = Clients(SUBSCRIPTION, **options, retry_total=1)
    with pytest.raises(AzureError, match="check the network") as caught:
        clients.groups()
    assert caught.value.about == "network"
    clients.close()


def test_an_answer_that_is_not_azures(arm, options):
    """A proxy that answers in HTML."""
    arm.fail("list groups", status=502, nth=0, whole="<html>Bad Gateway</html>")
    clients = Clients(SUBSCRIPTION, **options, retry_total=0)
    with pytest.raises(AzureError, match="Azure's own fault"):
        clients.groups()
    clients.close()


def test_every_remedy_has_a_name_of_its_own():
    names = [known.name for known in REMEDIES]
    assert len(set(names)) == len(names)
