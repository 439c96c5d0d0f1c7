"""A context of the kubeconfig, as configuration of the official client.

What a kubeconfig holds stays in this process: certificates and keys, which Python's TLS only takes from files,
are given as files in memory; nothing refreshed is written back. The text of an error is never that of the
YAML parser or of the client: both quote the file.
"""

from __future__ import annotations

import base64
import logging
import os
import re
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import urllib3

from labkit.errors import SourceError

if TYPE_CHECKING:
    from kubernetes.client import Configuration

__all__ = ["Access", "context_names", "login_program", "shown"]

log = logging.getLogger(__name__)

#: What may be inline in an entry, by the name of the same as a file.
INLINE = ("certificate-authority", "client-certificate", "client-key")
#: What a login program gives, by the name of the same in a kubeconfig.
GIVEN = {
    "token": "token", "clientCertificateData": "client-certificate-data", "clientKeyData": "client-key-data",
}  # fmt: skip
#: How long before their end credentials are renewed, if they hold long enough; how long after a failure it is tried again.
EARLY, RELOAD = timedelta(minutes=5), timedelta(minutes=1)
#: What in the name of a context says whose it is: ids of accounts and tenants, addresses of servers and people.
PRIVATE = re.compile(
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d{8,}|[\w.-]+\.[\w-]+:\d+|[\w.+-]+@[\w-]+\.[\w.-]+",
    re.IGNORECASE,
)


class Access:
    """How a context is reached: the client's configuration, with credentials that are renewed. Safe in threads.

    Credentials are read again when they are about to expire, and when the server refuses them (`renew`): the
    kubeconfig may have new ones, and a login program gives others. `serial` counts them.
    """

    def __init__(self, context: str, kubeconfig: str = "") -> None:
        """Runs the login program of the context, if it has one.

        Raises SourceError for an unknown context (naming those there are), an incomplete entry, or a login that
        gives nothing.
        """
        self._context, self._kubeconfig = context, kubeconfig
        self._files: list[int] = []
        self._until: datetime | None = None
        self._loading = threading.Lock()  # a login program runs once, not in each thread
        self.serial = 0
        self.configuration: Configuration
        try:
            self._load()
        except SourceError:
            self.close()
            raise

    def current(self) -> int:
        """The number of the credentials that hold now."""
        with self._loading:
            if self._until and datetime.now(UTC) >= self._until:
                self._until = datetime.now(UTC) + RELOAD
                self._try("expire")
            return self.serial

    def renew(self, serial: int) -> bool:
        """Whether there are other credentials now than those of this number, which were refused."""
        with self._loading:
            return serial != self.serial or self._try("were refused")

    def close(self) -> None:
        """Forget what was held in memory. Twice is no error."""
        while self._files:
            os.close(self._files.pop())

    def _try(self, why: str) -> bool:
        try:
            self._load()
        except SourceError as error:
            log.warning("the credentials %s, and no new ones were had: %s", why, error)
            return False
        return True

    def _load(self) -> None:
        from kubernetes.client import Configuration  # noqa: PLC0415  (half a second)
        from kubernetes.config.config_exception import ConfigException  # noqa: PLC0415
        from kubernetes.config.kube_config import KubeConfigLoader  # noqa: PLC0415

        merged, configuration = _merged(self._kubeconfig), Configuration()
        cluster, user = _parts(merged, self._context)
        until = _log_in(user, cluster, self._context) if "exec" in user.value else None
        try:
            for entry in (cluster.value, user.value):
                self._files += _to_memory(entry)
            loader = KubeConfigLoader(merged, active_context=self._context, config_base_path=None)
            loader.load_and_set(configuration)
        except (ConfigException, OSError, ValueError, KeyError, TypeError) as error:
            raise SourceError(
                f"the kubeconfig's entry of context {shown(self._context)} cannot be used ({type(error).__name__}); "
                f"see what `kubectl --context {self._context} version` says"
            ) from None
        configuration.refresh_api_key_hook = None  # it would log in again at each request near the end
        configuration.retries = False  # labkit retries itself, and knows what is safe to retry
        configuration.connection_pool_maxsize = 64
        _proxied(configuration, self._context)
        if not configuration.verify_ssl:
            urllib3.disable_warnings(
                urllib3.exceptions.InsecureRequestWarning
            )  # it was chosen; the doctor says it
        self.configuration, self._until = configuration, until
        self.serial += 1


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
    return str((user.value.get("exec") or {}).get("command") or "")


def _log_in(user: Any, cluster: Any, context: str) -> datetime | None:  # noqa: ANN401  (nodes of the client's tree)
    """Run the login program of a user and put what it gives into the user; until when that holds.

    The client's loader would write a certificate to disk, and take no notice of a failure.
    """
    from kubernetes.config.config_exception import ConfigException  # noqa: PLC0415
    from kubernetes.config.dateutil import parse_rfc3339  # noqa: PLC0415
    from kubernetes.config.exec_provider import ExecProvider  # noqa: PLC0415

    program = user["exec"].safe_get("command")
    try:
        given = ExecProvider(user["exec"], str(Path(user.path or ".").resolve().parent), cluster).run()
    except (ConfigException, OSError, ValueError, KeyError, TypeError) as error:
        raise SourceError(_no_login(context, program, type(error).__name__)) from None
    if not ("token" in given or {"clientCertificateData", "clientKeyData"} <= given.keys()):
        raise SourceError(_no_login(context, program, "neither a token nor a certificate"))
    user.value.pop("exec")
    for key, name in GIVEN.items():
        if key in given:
            inline = name.endswith("-data")
            user.value[name] = base64.b64encode(given[key].encode()).decode() if inline else given[key]
    if "expirationTimestamp" not in given:
        return None
    end: datetime = parse_rfc3339(given["expirationTimestamp"])
    return end - min(EARLY, max(timedelta(0), end - datetime.now(UTC)) / 5)


def _no_login(context: str, program: str, why: str) -> str:
    return (
        f"the login program of context {shown(context)}, {program}, gave no credential ({why}); "
        f"log in so that `kubectl --context {context} version` works, then start again"
    )


def _proxied(configuration: Configuration, context: str) -> None:
    """Take name and password out of a proxy's URL, where urllib3 does not look for them."""
    proxy = urlsplit(configuration.proxy or "")
    if proxy.scheme not in ("", "http"):
        raise SourceError(
            f"context {shown(context)} is reached through a proxy of kind {proxy.scheme}; labkit speaks to HTTP "
            "proxies (http://…) only"
        )
    if proxy.username:
        said = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
        configuration.proxy_headers = urllib3.make_headers(proxy_basic_auth=said)
        configuration.proxy = f"http://{proxy.netloc.rpartition('@')[2]}"


def _merged(kubeconfig: str) -> Any:  # noqa: ANN401  (a node of the client's own tree)
    import yaml  # noqa: PLC0415
    from kubernetes.config.config_exception import ConfigException  # noqa: PLC0415
    from kubernetes.config.kube_config import KubeConfigMerger  # noqa: PLC0415

    paths = kubeconfig or os.environ.get("KUBECONFIG") or "~/.kube/config"
    try:
        named = [Path(path).expanduser() for path in paths.split(os.pathsep) if path]
        there = [str(path) for path in named if path.exists() and (path.is_dir() or path.stat().st_size)]
        merged = KubeConfigMerger(os.pathsep.join(there)).config
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


def _entries(merged: Any, key: str) -> list[Any]:  # noqa: ANN401
    return list(merged.value.get(key) or [])


def _parts(merged: Any, context: str) -> tuple[Any, Any]:  # noqa: ANN401
    """The cluster and the user of a context, as nodes: of the very dictionaries that the loader will read."""
    from kubernetes.config.kube_config import ConfigNode  # noqa: PLC0415

    names = sorted(entry["name"] for entry in _entries(merged, "contexts"))
    found = [entry.value["context"] for entry in _entries(merged, "contexts") if entry["name"] == context]
    if not found:
        raise SourceError(
            f"the kubeconfig has no context {context!r}; it has: {', '.join(names) or 'none'}. Write live:<context>"
        )
    clusters = {entry["name"]: entry for entry in _entries(merged, "clusters")}
    users = {entry["name"]: entry for entry in _entries(merged, "users")}
    cluster, user = clusters.get(found[0].get("cluster")), users.get(found[0].get("user"))
    if not (cluster and isinstance(cluster.value.get("cluster"), dict) and "server" in cluster["cluster"]):
        raise SourceError(f"context {shown(context)} names no cluster with a server in the kubeconfig")
    if not (user and user.value.get("user")):
        return cluster["cluster"], ConfigNode("user", {}, cluster.path)
    return cluster["cluster"], user["user"]


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
