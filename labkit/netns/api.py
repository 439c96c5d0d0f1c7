"""GET of an API path, answered from a store as an API server answers it: a status and JSON.

Paths and shapes: Kubernetes API reference v1.36, "API concepts". Watching is left to who serves HTTP.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from labkit.errors import ParameterError
from labkit.netns.kinds import KINDS, Kind, group_versions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from labkit.netns.store import Item, Store

__all__ = ["VERSION", "failure", "find", "read"]

#: What `/version` says. The Kubernetes that is imitated is 1.36; what imitates it stands behind the plus.
VERSION = {
    "major": "1",
    "minor": "36",
    "gitVersion": "v1.36.0+labkit-netns",
    "gitCommit": "",
    "gitTreeState": "not-kubernetes",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "",
    "platform": "linux/namespaces",
}
VERBS = ["delete", "get", "list", "patch", "watch"]


def read(store: Store, path: str) -> tuple[int, bytes]:
    """Status of HTTP and body: a list, an object, what the API has, or a Status that says what is wrong."""
    parts = urlsplit(path)
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    code, body = _answer(store, unquote(parts.path).rstrip("/"), query)
    return code, json.dumps(body, separators=(",", ":")).encode() + b"\n"


def _answer(store: Store, path: str, query: Mapping[str, str]) -> tuple[int, Mapping[str, Any]]:
    if offered := _discovery(path):
        return 200, offered
    place = find(path)
    if place is None:
        return 404, failure(404, "NotFound", "the server could not find the requested resource")
    kind, namespace, name = place
    if name:
        item = store.get(kind.name, namespace or "", name)
        if item is None:
            group = f".{kind.group}" if kind.group else ""
            return 404, failure(404, "NotFound", f'{kind.plural}{group} "{name}" not found', kind, name)
        return 200, {"kind": kind.name, "apiVersion": kind.api_version, **item}
    try:
        version = store.version
        found = store.list(
            kind.name, namespace, query.get("labelSelector", ""), query.get("fieldSelector", "")
        )
    except ParameterError as error:
        return 400, failure(400, "BadRequest", str(error))
    return 200, _list(kind, version, found)


def find(path: str) -> tuple[Kind, str | None, str] | None:
    """Kind, namespace (None is all, or none) and name (empty is a list) that a path means; None where nothing."""
    for kind in KINDS.values():
        rest = path.removeprefix(kind.prefix + "/")
        if rest == path:
            continue
        match rest.split("/"):
            case [kind.plural]:
                return kind, None, ""
            case [kind.plural, name] if not kind.namespaced:
                return kind, "", name
            case ["namespaces", namespace, kind.plural] if kind.namespaced:
                return kind, namespace, ""
            case ["namespaces", namespace, kind.plural, name] if kind.namespaced:
                return kind, namespace, name
    return None


def failure(code: int, reason: str, message: str, kind: Kind | None = None, name: str = "") -> dict[str, Any]:
    """A Status object."""
    details = {"name": name, "group": kind.group, "kind": kind.plural} if kind else {}
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "details": {key: value for key, value in details.items() if value},
        "code": code,
    }


def _list(kind: Kind, version: int, items: list[Item]) -> dict[str, Any]:
    """The items of a list do not repeat what they are."""
    return {
        "kind": f"{kind.name}List",
        "apiVersion": kind.api_version,
        "metadata": {"resourceVersion": str(version)},
        "items": [
            {key: value for key, value in item.items() if key not in ("kind", "apiVersion")} for item in items
        ],
    }


def _discovery(path: str) -> dict[str, Any] | None:
    groups = group_versions()
    if path == "/version":
        return dict(VERSION)
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
    if path == "/apis":
        return {
            "kind": "APIGroupList",
            "apiVersion": "v1",
            "groups": [_group(group, version) for group, version in groups.items()],
        }
    for kind in KINDS.values():
        if path == kind.prefix:
            return {
                "kind": "APIResourceList",
                "apiVersion": "v1",
                "groupVersion": kind.api_version,
                "resources": list(_resources(kind.prefix)),
            }
        if kind.group and path == f"/apis/{kind.group}":
            return {"kind": "APIGroup", "apiVersion": "v1", **_group(kind.group, kind.version)}
    return None


def _group(group: str, version: str) -> dict[str, Any]:
    this = {"groupVersion": f"{group}/{version}", "version": version}
    return {"name": group, "versions": [this], "preferredVersion": this}


def _resources(prefix: str) -> Iterator[dict[str, Any]]:
    for kind in KINDS.values():
        if kind.prefix == prefix:
            yield {
                "name": kind.plural,
                "singularName": kind.name.lower(),
                "namespaced": kind.namespaced,
                "kind": kind.name,
                "verbs": VERBS,
                **({"shortNames": list(kind.short)} if kind.short else {}),
            }
