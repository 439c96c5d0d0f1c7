"""Kubeconfigs: one context an arm, under a name of ours, in files that only their owner may read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labkit.errors import ProvisionError
from labkit.provision.files import write as write_file

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["login_commands", "merge", "only", "read", "remove", "take", "write"]

Config = dict[str, Any]
EMPTY: Config = {
    "apiVersion": "v1",
    "kind": "Config",
    "clusters": [],
    "users": [],
    "contexts": [],
    "current-context": "",
}
#: Where entries are listed, and under which key the entry itself stands.
LISTS = {"clusters": "cluster", "users": "user", "contexts": "context"}


def take(data: bytes, name: str) -> Config:
    """The current context of a kubeconfig, with its cluster and user, all three called `name`."""
    config = _parse(data, "the kubeconfig that was handed out")
    return only(config, str(config.get("current-context")), name)


def only(config: Config, context_name: str, name: str = "") -> Config:
    """One context of a kubeconfig, with its cluster and user, all three called `name` or as the context was."""
    name = name or context_name
    try:
        context = _entry(config, "contexts", context_name)
        cluster = _entry(config, "clusters", context["cluster"])
        user = _entry(config, "users", context["user"])
    except (KeyError, TypeError) as error:
        raise ProvisionError(f"a kubeconfig without a usable context: {error}") from None
    return {
        **EMPTY,
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
    }


def read(path: Path) -> Config:
    """A kubeconfig file; one without entries where there is none."""
    return _parse(path.read_bytes(), str(path)) if path.is_file() else dict(EMPTY)


def write(path: Path, config: Config) -> None:
    """A kubeconfig file, mode 0600."""
    import yaml  # noqa: PLC0415  (import labkit must stay fast)

    write_file(path, yaml.safe_dump(config, sort_keys=False).encode())


def merge(path: Path, configs: Iterable[Config]) -> None:
    """Put entries into a kubeconfig file. Entries of the same names are replaced; all others stay as they are.

    The current context stays what it was. Comments of the file are lost, as kubectl loses them.
    """
    config = read(path)
    for added in configs:
        config = _without(config, {entry["name"] for entry in added["contexts"]})
        for key in LISTS:
            config[key] = [*config[key], *added[key]]
    write(path, config)


def remove(path: Path, names: Iterable[str]) -> None:
    """Take entries of these names out of a kubeconfig file, if it exists and has any."""
    gone = set(names)
    if path.is_file() and gone & {entry["name"] for entry in read(path).get("contexts") or []}:
        write(path, _without(read(path), gone))


def login_commands(config: Config) -> set[str]:
    """The programs that the users of a kubeconfig log in with, as kubelogin; empty where it holds credentials."""
    users = (entry.get("user") or {} for entry in config["users"])
    return {str(user["exec"]["command"]) for user in users if "exec" in user}


def _without(config: Config, names: set[str]) -> Config:
    kept = {**EMPTY, **config}
    for key in LISTS:
        kept[key] = [entry for entry in config.get(key) or [] if entry["name"] not in names]
    if kept["current-context"] in names:
        kept["current-context"] = ""
    return kept


def _entry(config: Config, key: str, name: str) -> Config:
    found = [entry[LISTS[key]] for entry in config[key] if entry["name"] == name]
    if not found:
        raise KeyError(f"no {LISTS[key]} {name!r}")
    return dict(found[0])


def _parse(data: bytes, where: str) -> Config:
    import yaml  # noqa: PLC0415

    try:
        config = yaml.safe_load(data)
    except yaml.YAMLError as error:
        # not the error itself: it quotes the file, and the file holds credentials
        raise ProvisionError(f"{where} is not YAML ({type(error).__name__})") from None
    if not isinstance(config, dict):
        raise ProvisionError(f"{where} is not a kubeconfig")
    return config
