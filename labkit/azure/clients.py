"""The Azure SDK's clients of one subscription, made when first used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labkit.azure.bodies import CLUSTER_API, GROUP_API
from labkit.azure.problems import asking

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential
    from azure.core.polling import LROPoller
    from azure.mgmt.containerservice import ContainerServiceClient
    from azure.mgmt.containerservice.operations import ManagedClustersOperations
    from azure.mgmt.resource.resources import ResourceManagementClient

__all__ = ["Clients"]

Found = dict[str, Any]


class Clients:
    """Asks Azure Resource Manager. What it gives are plain objects, with the names of the REST API.

    Without a credential it is that of azure-identity's DefaultAzureCredential: environment, workload and
    managed identity, `az login`. `options` go to the SDK's clients as they are: `base_url`,
    `credential_scopes` and `cloud_setting` for another cloud, retries, proxies, certificates.
    """

    def __init__(
        self,
        subscription: str,
        credential: TokenCredential | None = None,
        **options: Any,  # noqa: ANN401  (the SDK's own, any of them)
    ) -> None:
        self.subscription = subscription
        self._credential, self._options = credential, options
        self._clusters: dict[str, ContainerServiceClient] = {}
        self._resources: ResourceManagementClient | None = None

    def group(self, name: str) -> Found | None:
        """A resource group, or None where there is none."""
        from azure.core.exceptions import ResourceNotFoundError  # noqa: PLC0415

        with self.asking(f"looking for the resource group {name}"):
            try:
                return self._groups().resource_groups.get(name).as_dict()
            except ResourceNotFoundError:
                return None

    def groups(self) -> list[Found]:
        """All resource groups of the subscription, those that AKS manages too."""
        with self.asking("listing the resource groups"):
            return [found.as_dict() for found in self._groups().resource_groups.list()]

    def resources(self, group: str) -> list[Found]:
        """What is in a resource group."""
        with self.asking(f"listing what is in the resource group {group}"):
            return [found.as_dict() for found in self._groups().resources.list_by_resource_group(group)]

    def create_group(self, name: str, body: Found) -> None:
        """Create a resource group, or give it these tags."""
        with self.asking(f"creating the resource group {name}"):
            self._groups().resource_groups.create_or_update(name, body)

    def delete_group(self, name: str) -> LROPoller[None]:
        """Begin to delete a resource group and all that is in it."""
        with self.asking(f"deleting the resource group {name}"):
            return self._groups().resource_groups.begin_delete(name)

    def cluster(self, group: str, name: str, version: str = CLUSTER_API) -> Found | None:
        """A managed cluster, or None where there is none, or no such group."""
        from azure.core.exceptions import ResourceNotFoundError  # noqa: PLC0415

        with self.asking(f"looking for the cluster {name}"):
            try:
                return self.clusters(version).get(group, name).as_dict()
            except ResourceNotFoundError:
                return None

    def put_cluster(self, group: str, name: str, body: Found, version: str, doing: str) -> LROPoller[Any]:
        """Begin to create a cluster, or to change it. The body is sent as it is."""
        with self.asking(doing):
            put: Any = self.clusters(version).begin_create_or_update  # a body is a TypedDict to the SDK
            poller: LROPoller[Any] = put(group, name, body)
            return poller

    def delete_cluster(self, group: str, name: str) -> LROPoller[None]:
        """Begin to delete a cluster, and with it its managed group."""
        with self.asking(f"deleting the cluster {name}"):
            return self.clusters().begin_delete(group, name)

    def credentials(self, group: str, name: str, *, admin: bool) -> bytes:
        """The kubeconfig of a cluster: the user's, or that of its local administrator."""
        with self.asking(f"fetching the credentials of the cluster {name}"):
            clusters = self.clusters()
            if admin:
                found = clusters.list_cluster_admin_credentials(group, name)
            else:
                found = clusters.list_cluster_user_credentials(group, name, format="exec")
        configs = [config.value for config in found.kubeconfigs or [] if config.value]
        return bytes(configs[0]) if configs else b""

    def clusters(self, version: str = CLUSTER_API) -> ManagedClustersOperations:
        """The SDK's operations on managed clusters, in a version of the API."""
        from azure.mgmt.containerservice import ContainerServiceClient  # noqa: PLC0415

        if version not in self._clusters:
            self._clusters[version] = ContainerServiceClient(
                self._login(), self.subscription, api_version=version, **self._options
            )
        return self._clusters[version].managed_clusters

    def asking(self, doing: str) -> asking:
        """Turns what the SDK raises into AzureError, which says what was being done and what to do about it."""
        return asking(doing, self.subscription)

    def close(self) -> None:
        """Close the connections."""
        for client in (*self._clusters.values(), self._resources):
            if client is not None:
                client.close()

    def _groups(self) -> ResourceManagementClient:
        from azure.mgmt.resource.resources import ResourceManagementClient  # noqa: PLC0415

        if self._resources is None:
            self._resources = ResourceManagementClient(
                self._login(), self.subscription, api_version=GROUP_API, **self._options
            )
        return self._resources

    def _login(self) -> TokenCredential:
        from azure.identity import DefaultAzureCredential  # noqa: PLC0415

        if self._credential is None:
            self._credential = DefaultAzureCredential()
        return self._credential
