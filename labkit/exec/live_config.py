"""A context of the kubeconfig, as configuration of the official client.

What a kubeconfig holds stays in this process: certificates and keys, which Python's TLS only takes from files,
are given as files in memory; nothing refreshed is written back. The text of an error is never that of the
YAML parser or of the client: both quote the file.
"""

from __future__ import annotations

import base64
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.errors import SourceError

if TYPE_CHECKING:
    from kubernetes.client import Configuration

__all__ = ["Access", "context_names", "login_program", "open_context", "shown"]

#: What may be inline in an entry, by the name of the same as a file.
INLINE = ("certificate-authority", "client-certificate", "client-key")
#: What in the name of a context says whose it is: ids of accounts and tenants, addresses of servers and people.
PRIVATE = re.compile(
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d{8,}|[\w.-]+\.[\w-]+:\d+|[\w.+-]+@[\w-]+\.[\w.-]+",
    re.IGNORECASE,
)


@dataclass(slots=True)
class Access:
    """The client's configuration for a context. `close` forgets what was held in memory for it."""

    configuration: Configuration
    files: list[int] = field(default_factory=list)

    def close(self) -> None:
        """Twice is no error."""
        while self.files:
            os.close(self.files.pop())


def shown(context: str) -> str:
    """The name of a context without what identifies an account, a server or a person."""
    return PRIVATE.sub("…", context)


def context_names(kubeconfig: str = "") -> list[str]:
    """The contexts of a kubeconfig (several files are joined by `:`), as written. Raises SourceError."""
    return sorted(entry["name"] for entry in _entries(_merged(kubeconfig), "contexts"))


def login_program(context: str, kubeconfig: str = "") -> str:
    """The program that the user of a context logs in with, as kubelogin; empty where there is none.

    Raises SourceError for an unknown context.
    """
    _, user = _parts(_merged(kubeconfig), context)
    return str((user.get("exec") or {}).get("command") or "")


def open_context(context: str, kubeconfig: str = "") -> Access:
    """What the client needs to reach a context. Without `kubeconfig`: KUBECONFIG, or ~/.kube/config.

    Runs the login program of the context, if it has one. Raises SourceError for an unknown context (naming
    those there are), an incomplete entry, or a login that gives nothing.
    """
    from kubernetes.client import Configuration  # noqa: PLC0415  (half a second)
    from kubernetes.config.config_exception import ConfigException  # noqa: PLC0415
    from kubernetes.config.kube_config import KubeConfigLoader  # noqa: PLC0415

    merged = _merged(kubeconfig)
    cluster, user = _parts(merged, context)
    access = Access(Configuration())
    access.files += _to_memory(cluster) + _to_memory(user)
    try:
        loader = KubeConfigLoader(merged, active_context=context, config_base_path=None)
        loader.load_and_set(access.configuration)
    except (ConfigException, OSError, ValueError, KeyError, TypeError) as error:
        access.close()
        raise SourceError(
            f"the kubeconfig's entry of context {shown(context)} cannot be used ({type(error).__name__}); "
            f"see what `kubectl --context {context} version` says"
        ) from None
    if "exec" in user and not (access.configuration.api_key or access.configuration.cert_file):
        access.close()
        raise SourceError(
            f"the login program of context {shown(context)}, {user['exec'].get('command')}, gave no credential; "
            f"log in so that `kubectl --context {context} version` works, then start again"
        )
    access.configuration.retries = False  # labkit retries itself, and knows what is safe to retry
    access.configuration.connection_pool_maxsize = 64
    return access


def _merged(kubeconfig: str) -> Any:  # noqa: ANN401  (a node of the client's own tree)
    import yaml  # noqa: PLC0415
    from kubernetes.config.config_exception import ConfigException  # noqa: PLC0415
    from kubernetes.config.kube_config import KubeConfigMerger  # noqa: PLC0415

    paths = kubeconfig or os.environ.get("KUBECONFIG") or "~/.kube/config"
    try:
        merged = KubeConfigMerger(paths).config
    except (
        ConfigException,
        yaml.YAMLError,
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
    ) as error:
        raise SourceError(f"{paths} is no kubeconfig that can be read ({type(error).__name__})") from None
    if merged is None:
        raise SourceError(
            f"there is no kubeconfig at {paths}; name one with KUBECONFIG, or get credentials first"
        )
    return merged


def _entries(merged: Any, key: str) -> list[dict[str, Any]]:  # noqa: ANN401
    return [entry.value for entry in merged.value.get(key) or []]


def _parts(merged: Any, context: str) -> tuple[dict[str, Any], dict[str, Any]]:  # noqa: ANN401
    """The cluster and the user of a context: the very dictionaries that the loader will read."""
    names = sorted(entry["name"] for entry in _entries(merged, "contexts"))
    found = [entry["context"] for entry in _entries(merged, "contexts") if entry["name"] == context]
    if not found:
        raise SourceError(
            f"the kubeconfig has no context {context!r}; it has: {', '.join(names) or 'none'}. Write live:<context>"
        )
    clusters = {entry["name"]: entry.get("cluster") for entry in _entries(merged, "clusters")}
    users = {entry["name"]: entry.get("user") for entry in _entries(merged, "users")}
    cluster = clusters.get(found[0].get("cluster"))
    if not isinstance(cluster, dict) or "server" not in cluster:
        raise SourceError(f"context {shown(context)} names no cluster with a server in the kubeconfig")
    return cluster, users.get(found[0].get("user")) or {}


def _to_memory(entry: dict[str, Any]) -> list[int]:
    """Turn what is inline into files in memory; where there are none (macOS), the client makes its own."""
    if not (hasattr(os, "memfd_create") and Path("/proc/self/fd").is_dir()):
        return []
    made = []
    for key in INLINE:
        if data := entry.pop(f"{key}-data", None):
            held = os.memfd_create("labkit")
            os.write(held, base64.b64decode(data))
            entry[key] = f"/proc/self/fd/{held}"
            made.append(held)
    return made
