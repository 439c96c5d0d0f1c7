"""Where a cluster that stands is not what a request body asks for."""

from __future__ import annotations

from typing import Any

__all__ = ["drift"]

#: What Azure leaves out of its answers when it is off.
OFF = (False, None, "", "none", "disabled", "manual", "free")
#: A minor version stands for any of its patches.
VERSIONS = ("kubernetesVersion", "orchestratorVersion")
#: Tags carry the expiry; whose a cluster is has been checked before.
ASIDE = ("tags",)


def drift(wanted: dict[str, Any], found: dict[str, Any], where: str = "") -> list[str]:
    """Differences, as `networkProfile.podCidr is 10.1.0.0/16, not 10.244.0.0/16`. What is not asked for may be anything."""
    said = []
    for key, want in wanted.items():
        if key in ASIDE:
            continue
        said += _differs(want, found.get(key), f"{where}{key}")
    return said


def _differs(want: Any, have: Any, where: str) -> list[str]:  # noqa: ANN401  (JSON)
    if isinstance(want, dict):
        return drift(want, have if isinstance(have, dict) else {}, f"{where}.")
    if isinstance(want, list) and want and isinstance(want[0], dict):
        by_name = {part.get("name"): part for part in have or []}
        return [
            d for part in want for d in drift(part, by_name.get(part["name"], {}), f"{where}.{part['name']}.")
        ]
    same = _plain(want) == _plain(have) or (have is None and _plain(want) in OFF)
    if where.rpartition(".")[2] in VERSIONS:
        same = same or str(have).startswith(f"{want}.")
    return [] if same else [f"{where} is {have}, not {want}"]


def _plain(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, list):
        return sorted(str(part).lower() for part in value)
    return value.lower() if isinstance(value, str) else value
