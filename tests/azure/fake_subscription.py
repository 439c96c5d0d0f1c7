"""What the fake Azure holds: groups, clusters, operations; what requests do to them, and what is answered."""

from __future__ import annotations

import base64
import json
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

SUBSCRIPTION = "11111111-2222-3333-4444-555555555555"

#: Status, headers, body.
Answer = tuple[int, dict[str, str], Any]

KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: {name}
clusters: [{{name: {name}, cluster: {{server: "https://{name}.invalid:443", certificate-authority-data: Y2E=}}}}]
contexts: [{{name: {name}, context: {{cluster: {name}, user: {user}}}}}]
users: [{{name: {user}, user: {login}}}]
"""
CERTIFICATE = "{client-certificate-data: Y2VydA==, client-key-data: c2VjcmV0LWtleQ==}"
EXEC = "{exec: {apiVersion: client.authentication.k8s.io/v1beta1, command: kubelogin, args: [get-token]}}"
BUSY = ("Creating", "Updating", "Deleting")


@dataclass
class Operation:
    """Something long: ends after so many polls, or looks at anything where nobody polls; well or with an error."""

    polls: int
    looks: int
    end: Callable[[], None]
    error: dict[str, Any] | None = None
    status: str = "InProgress"


@dataclass(frozen=True)
class Request:
    """The path as it was written, what it asks to be, and the error that it is to end with later, if any."""

    path: str
    body: Any
    late: dict[str, str] | None


def error(status: int, code: str, message: str, *, bare: bool = False) -> Answer:
    """An error as Azure words it; AKS answers some without the outer "error"."""
    said = {"code": code, "message": message}
    return status, {}, said if bare else {"error": said}


class Subscription:
    """Groups by lower-case name, clusters by group and name."""

    def __init__(self, polls: int = 2, lag: int = 3) -> None:
        self.url = ""
        self.groups: dict[str, dict[str, Any]] = {}
        self.clusters: dict[tuple[str, str], dict[str, Any]] = {}
        self.others: dict[str, list[dict[str, Any]]] = {}  # what somebody else put into a group
        self.operations: dict[str, Operation] = {}
        self.polls, self.lag = polls, lag
        self.lingering: dict[str, int] = {}  # groups that still answer so often after they were deleted
        self.entra_id = False

    def add_group(self, name: str, tags: dict[str, str], **more: Any) -> None:
        self.groups[name.lower()] = {
            "id": f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{name}",
            "name": name,
            "location": "westeurope",
            "tags": tags,
            "properties": {"provisioningState": "Succeeded"},
            **more,
        }

    def tagged(self) -> list[str]:
        """Names of groups that carry a tag of labkit, or that AKS manages: what a bill would show."""
        found = (group for group in self.groups.values() if "labkit" in group["tags"] or "managedBy" in group)
        return sorted(group["name"] for group in found)

    def finish(self) -> None:
        """What was begun goes on, and ends, without anybody who polls."""
        for operation in self.operations.values():
            operation.polls = 0
            self._end(operation)

    # Resource groups

    def list_groups(self, _request: Request) -> Answer:
        self._age()
        return 200, {}, {"value": list(self.groups.values())}

    def get_group(self, _request: Request, group: str) -> Answer:
        self._age(group)
        return (200, {}, self.groups[group]) if group in self.groups else self._no_group(group)

    def put_group(self, request: Request, group: str) -> Answer:
        there = group in self.groups
        self.add_group(request.path.rsplit("/", 1)[1], request.body["tags"])
        return (200 if there else 201), {}, self.groups[group]

    def delete_group(self, request: Request, group: str) -> Answer:
        if group not in self.groups:
            return self._no_group(group)
        self.groups[group]["properties"] = {"provisioningState": "Deleting"}

        def end() -> None:
            if request.late:
                self.groups[group]["properties"] = {"provisioningState": "Succeeded"}
                return
            for home, name in list(self.clusters):
                if home == group:
                    self._drop_cluster(home, name)
            self.lingering[group] = 1  # a group that is gone may answer once more

        return 202, self._begin(end, request, "Location"), None

    def list_resources(self, _request: Request, group: str) -> Answer:
        if group not in self.groups:
            return self._no_group(group)
        inside = [found for (home, _name), found in self.clusters.items() if home == group]
        return 200, {}, {"value": [*inside, *self.others.get(group, [])]}

    # Clusters

    def get_cluster(self, _request: Request, group: str, name: str) -> Answer:
        self._age()
        found = self.clusters.get((group, name))
        return (200, {}, found) if found else self._no_cluster(name)

    def put_cluster(self, request: Request, group: str, name: str) -> Answer:
        if group not in self.groups:
            return self._no_group(group)
        there = self.clusters.get((group, name))
        if there and there["properties"]["provisioningState"] in BUSY:
            return error(409, "OperationNotAllowed", "Another operation is in progress.", bare=True)
        made = deepcopy(request.body)
        made |= {"id": request.path, "name": name, "type": "Microsoft.ContainerService/ManagedClusters"}
        made["properties"]["provisioningState"] = "Updating" if there else "Creating"
        for pool in made["properties"]["agentPoolProfiles"]:
            pool["provisioningState"] = "Creating"
        self.clusters[group, name] = made
        managed = made["properties"]["nodeResourceGroup"]
        if managed.lower() not in self.groups:
            self.add_group(managed, made["tags"], managedBy=made["id"])
        headers = self._begin(lambda: self._built(made, request.late), request, "Azure-AsyncOperation")
        return (200 if there else 201), headers, deepcopy(made)

    def delete_cluster(self, request: Request, group: str, name: str) -> Answer:
        if (group, name) not in self.clusters:
            return 204, {}, None
        self.clusters[group, name]["properties"]["provisioningState"] = "Deleting"
        return 202, self._begin(lambda: self._drop_cluster(group, name), request, "Location"), None

    def user_credential(self, _request: Request, group: str, name: str) -> Answer:
        return self.credential(group, name, "clusterUser", EXEC if self.entra_id else CERTIFICATE)

    def admin_credential(self, _request: Request, group: str, name: str) -> Answer:
        return self.credential(group, name, "clusterAdmin", CERTIFICATE)

    def credential(self, group: str, name: str, user: str, login: str) -> Answer:
        if (group, name) not in self.clusters:
            return self._no_cluster(name)
        text = KUBECONFIG.format(name=name, user=f"{user}_{group}_{name}", login=login)
        return 200, {}, {"kubeconfigs": [{"name": user, "value": base64.b64encode(text.encode()).decode()}]}

    # Operations

    def poll_operation(self, _request: Request, key: str) -> Answer:
        operation = self._advance(key)
        answer: dict[str, Any] = {"name": key, "status": operation.status}
        if operation.status == "Failed":
            answer["error"] = operation.error
        return 200, {"Retry-After": "0"}, answer

    def poll_location(self, _request: Request, key: str) -> Answer:
        operation = self._advance(key)
        if operation.status == "InProgress":
            return 202, {"Location": self._operation_url("operationresults", key), "Retry-After": "0"}, None
        return (409, {}, {"error": operation.error}) if operation.status == "Failed" else (200, {}, None)

    def _begin(self, end: Callable[[], None], request: Request, header: str) -> dict[str, str]:
        key = f"op{len(self.operations)}"
        self.operations[key] = Operation(self.polls, self.polls * 20, end, request.late)
        kind = "operations" if header == "Azure-AsyncOperation" else "operationresults"
        return {header: self._operation_url(kind, key), "Retry-After": "0"}

    def _operation_url(self, kind: str, key: str) -> str:
        return f"{self.url}/subscriptions/{SUBSCRIPTION}/{kind}/{key}?api-version=2016-03-30"

    def _advance(self, key: str) -> Operation:
        operation = self.operations[key]
        operation.polls -= 1
        self._end(operation)
        return operation

    def _end(self, operation: Operation) -> None:
        if min(operation.polls, operation.looks) <= 0 and operation.status == "InProgress":
            operation.status = "Failed" if operation.error else "Succeeded"
            operation.end()

    def _built(self, cluster: dict[str, Any], late: dict[str, str] | None) -> None:
        properties = cluster["properties"]
        properties.pop("status", None)
        properties["provisioningState"] = "Failed" if late else "Succeeded"
        if late:
            properties["status"] = {"provisioningError": late}
            return
        properties["currentKubernetesVersion"] = f"{properties['kubernetesVersion']}.7"
        for pool in properties["agentPoolProfiles"]:
            pool |= {"provisioningState": "Succeeded", "nodeImageVersion": "AKSUbuntu-2404gen2-202611.01.0"}

    def _drop_cluster(self, group: str, name: str) -> None:
        managed = self.clusters.pop((group, name))["properties"]["nodeResourceGroup"].lower()
        if managed in self.groups:
            self.groups[managed]["properties"] = {"provisioningState": "Deleting"}
            self.lingering[managed] = self.lag

    def _age(self, *groups: str) -> None:
        """A look: time has passed."""
        for operation in list(self.operations.values()):
            operation.looks -= 1
            self._end(operation)
        for name in groups:
            if name in self.lingering:
                self.lingering[name] -= 1
                if self.lingering[name] < 0:
                    del self.lingering[name]
                    self.groups.pop(name, None)

    def _no_group(self, group: str) -> Answer:
        return error(404, "ResourceGroupNotFound", f"Resource group '{group}' could not be found.")

    def _no_cluster(self, name: str) -> Answer:
        return error(404, "ResourceNotFound", f"The Resource '{name}' was not found.")


def as_bytes(answer: Any) -> bytes:
    """A body on the wire."""
    return b"" if answer is None else json.dumps(answer).encode()
