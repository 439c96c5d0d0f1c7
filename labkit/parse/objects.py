"""Any list of API objects as a frame of what they are called and whose they are."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from labkit.errors import ParseError
from labkit.parse.kubernetes import items
from labkit.schema import Column, Schema

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["MANAGED_BY", "OBJECTS", "objects"]

#: The label that says who made an object (Kubernetes' recommended labels).
MANAGED_BY = "app.kubernetes.io/managed-by"

OBJECTS = Schema("objects", "API objects by name.", key=("kind", "namespace", "name"), columns=(
    Column("kind", "str", "kind"),
    Column("namespace", "str", "namespace; NA for what belongs to none"),
    Column("name", "str", "name"),
    Column("managed_by", "str", f"label {MANAGED_BY}"),
    Column("owner", "str", "Kind/name of its controller: deleting that deletes this"),
    Column("created_at", "datetime64[us, UTC]", "time of creation"),
    Column("deleting", "boolean", "deletion was asked for and has not ended"),
))  # fmt: skip


def objects(data: bytes, kind: str) -> pd.DataFrame:
    """Objects of a list answer, which are of this kind (a list does not repeat it in its items)."""
    try:
        return OBJECTS.frame(_object(item["metadata"], kind) for item in items(data))
    except (KeyError, TypeError) as error:
        raise ParseError("the API server", f"a {kind} without {error}") from None


def _object(metadata: dict[str, Any], kind: str) -> dict[str, Any]:
    owners = [o for o in metadata.get("ownerReferences") or [] if o.get("controller")]
    return {
        "kind": kind,
        "namespace": metadata.get("namespace"),
        "name": metadata["name"],
        "managed_by": (metadata.get("labels") or {}).get(MANAGED_BY),
        "owner": f"{owners[0]['kind']}/{owners[0]['name']}" if owners else None,
        "created_at": datetime.fromisoformat(metadata["creationTimestamp"]),
        "deleting": "deletionTimestamp" in metadata,
    }
