"""The objects of the lab, from the YAML beside this module: what they are called, and which images they run."""

from __future__ import annotations

import copy
import json
import tomllib
from functools import cache
from importlib import resources
from pathlib import Path
from string import ascii_lowercase
from typing import TYPE_CHECKING, Any

from labkit.errors import ParameterError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = [
    "IMAGES",
    "POLICIES",
    "PROBE",
    "Object",
    "as_manifest",
    "images",
    "key",
    "measure",
    "one_more",
    "policies",
    "scale_endpoints",
    "scale_policies",
    "scale_services",
    "sticky_service",
    "workload",
]

Object = dict[str, Any]

HERE = Path(__file__).parent
MANIFESTS = HERE / "manifests"
#: The file that says what is pulled for each image that the manifests name.
IMAGES = HERE / "images.toml"
#: What is applied first stands first, as recorded.
WORKLOAD = (
    "namespace", "app-frontend", "app-backend", "perf-server", "perf-test-client", "network-analyzer",
)  # fmt: skip
#: The policies of the run-book: what denies, and what then allows something.
POLICIES = (("deny-all",), ("allow-dns-egress", "allow-frontend-to-backend", "allow-frontend-egress"))


#: What a container is given of the probe, and the Python that runs it there: no image has to be built for it.
PROBE_VARIABLE = "LABKIT_PROBE"
PROBE = f"import os; exec(os.environ['{PROBE_VARIABLE}'])"


def key(one: Object) -> str:
    """The name of an object in its namespace: `Kind/name`."""
    return f"{one['kind']}/{one['metadata']['name']}"


def images(override: Path | None = None) -> dict[str, str]:
    """The reference of each image; what a file of one's own names, as it names it.

    Raises ParameterError where that file is none, or names an image that the manifests do not have.
    """
    known: dict[str, str] = tomllib.loads(IMAGES.read_text())
    if override is None:
        return known
    try:
        own = tomllib.loads(override.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ParameterError(
            f"cannot read the images of {override}: {error}; {IMAGES} shows how it looks"
        ) from None
    if unknown := sorted(
        name for name, said in own.items() if name not in known or not isinstance(said, str)
    ):
        raise ParameterError(f"{override}: no image {', '.join(unknown)}; there are: {', '.join(known)}")
    return known | own


def workload(namespace: str, references: Mapping[str, str]) -> tuple[Object, ...]:
    """The namespace and what runs in it, in the order in which it is applied."""
    objects = [one for file in WORKLOAD for one in _read(file)]
    return tuple(_in(_with_images(objects, references), namespace))


def measure(namespace: str, references: Mapping[str, str], pairs: int) -> tuple[Object, ...]:
    """What is measured in turns: a client and two servers for each pair of nodes, and servers on all nodes.

    Containers called `probe` have the source of `labkit.probe` in their environment: see `PROBE`.
    """
    objects = _read("measure-host")
    for letter in ascii_lowercase[:pairs]:
        objects += [_lettered(one, letter) for one in _read("measure")]
    source = resources.files("labkit").joinpath("probe.py").read_text()
    for container in (c for pod in _pods(objects) for c in pod["containers"] if c["name"] == "probe"):
        container["env"] = [{"name": PROBE_VARIABLE, "value": source}]
        container["command"] = [PROBE if word == "PROBE" else word for word in container["command"]]
    return tuple(_in(_with_images(objects, references), namespace))


def _lettered(one: Object, letter: str) -> Object:
    """The object of one pair of nodes."""
    found: Object = json.loads(json.dumps(one).replace("PAIR", letter))
    return found


def _with_images(objects: list[Object], references: Mapping[str, str]) -> list[Object]:
    for pod in _pods(objects):
        for container in pod["containers"]:
            container["image"] = references[container["image"]]
    return objects


def policies(namespace: str, names: Iterable[str]) -> tuple[Object, ...]:
    """The NetworkPolicies of these names."""
    known = {one["metadata"]["name"]: one for one in _read("policies")}
    return tuple(_in([known[name] for name in names], namespace))


def scale_services(namespace: str, count: int) -> tuple[Object, ...]:
    """So many Services on the backends: `scale-00000` and on."""
    (one,) = _in(_read("scale-service"), namespace)
    return tuple(_numbered(one, f"{number:05d}") for number in range(count))


def scale_endpoints(namespace: str, references: Mapping[str, str], count: int) -> tuple[Object, ...]:
    """A Service with so many pods behind it, which all answer: `scale-endpoints-<number>`."""
    servers, service = (_numbered(one, str(count)) for one in _in(_read("scale-endpoints"), namespace))
    label = {"app": servers["metadata"]["name"]}  # those of another number may be ending still
    servers["spec"] |= {"replicas": count, "selector": {"matchLabels": label}}
    servers["spec"]["template"]["metadata"]["labels"] |= label
    servers["spec"]["template"]["spec"]["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"] = (
        label
    )
    service["spec"]["selector"] = label
    return (*_with_images([servers], references), service)


def scale_policies(namespace: str, count: int) -> tuple[Object, ...]:
    """So many policies on the backends; the last, `scale-allow`, is the one that lets the frontends in."""
    one, allow = _in(_read("scale-policy"), namespace)
    others = [_numbered(copy.deepcopy(one), f"{number:05d}") for number in range(count - 1)]
    for number, other in enumerate(others):
        other["spec"]["ingress"][0]["ports"][0]["port"] += number
    return (*others, allow)


def one_more(namespace: str) -> Object:
    """One Service on the backends beside the others, to time how soon it works."""
    (one,) = _in(_read("scale-service"), namespace)
    return _numbered(one, "one-more")


def sticky_service(namespace: str) -> tuple[Object, ...]:
    """A Service of the backends with session affinity."""
    return tuple(_in(_read("sticky-service"), namespace))


def _numbered(one: Object, number: str) -> Object:
    return {**one, "metadata": {**one["metadata"], "name": f"{one['metadata']['name']}{number}"}}


def _read(file: str) -> list[Object]:
    return copy.deepcopy(_parsed(file))


@cache
def _parsed(file: str) -> list[Object]:
    import yaml  # noqa: PLC0415  (slow to import)

    path = MANIFESTS / f"{file}.yaml"
    documents: list[Object] = list(yaml.safe_load_all(path.read_text()))
    return [one for each in documents for one in (each["items"] if each["kind"] == "List" else [each])]


def _pods(objects: Iterable[Object]) -> Iterator[Object]:
    """The specs of the pods that these objects are or make."""
    for one in objects:
        spec = one.get("spec", {})
        if one["kind"] == "Pod":
            yield spec
        elif "template" in spec:
            yield spec["template"]["spec"]


def _in(objects: Iterable[Object], namespace: str) -> list[Object]:
    """The objects in this namespace; a Namespace gets its name."""
    for one in objects:
        one["metadata"]["name" if one["kind"] == "Namespace" else "namespace"] = namespace
    return list(objects)


def as_manifest(objects: Iterable[Object]) -> str:
    """What a request carries: a JSON array."""
    return json.dumps(list(objects), separators=(",", ":"))
