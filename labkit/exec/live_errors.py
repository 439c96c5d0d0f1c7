"""What went wrong between labkit and an API server, as one of labkit's errors.

No host and no user is named: a message may end in a report.
"""

from __future__ import annotations

import errno
import json
import re
import ssl
from typing import TYPE_CHECKING, Any

from labkit.errors import ApiError, NoTarget, RequestError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labkit.exec.request import Request

__all__ = ["api_error", "cause", "is_certificate", "never_arrived", "status_of"]

#: OpenSSL's verify codes (x509_vfy.h) that a person can do something about.
EXPIRED, NOT_YET_VALID = 10, 9
#: TLS alert 45, as OpenSSL names it.
CLIENT_EXPIRED = "CERTIFICATE_EXPIRED"
#: What urllib3, websocket-client and the system call a name that DNS does not know.
UNRESOLVED = ("NameResolutionError", "WebSocketAddressException", "gaierror")
REMEDIES = {
    401: "log in to the cluster again; the credentials are missing or have expired",
    403: "`labkit doctor` lists the rights that are needed",
    410: "the list has moved on; read it again",
    429: "the API server is overloaded; try later",
}
USER = re.compile(r'\b(User|Group|system:serviceaccount) "[^"]*"')


def status_of(body: bytes) -> dict[str, Any]:
    """The `Status` object in an answer; empty where it is none."""
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) and found.get("kind", "Status") == "Status" else {}


def api_error(request: Request, status: int, told: dict[str, Any], *, doing: str = "") -> RequestError:
    """The error for an answer of 400 and above; NoTarget where the pod or container of a command is not there."""
    reason = str(told.get("reason") or "")
    said = USER.sub(r'\1 "…"', str(told.get("message") or f"HTTP status {status}"))
    if request.kind in ("exec", "logs") and _no_target(status, said):
        return NoTarget(f"{request.subject}: {said}; it may have been replaced: list the pods again", request)
    remedy = REMEDIES.get(status, "")
    return ApiError(
        f"{doing or request.words[:200]}: {said} ({' '.join(filter(None, (reason, str(status))))})"
        + (f"; {remedy}" if remedy else ""),
        request,
        status=status,
        reason=reason,
    )


def _no_target(status: int, said: str) -> bool:
    """404 is a pod that is not there; the rest are kubelet's and the API server's words for a container."""
    words = (
        "container not found",
        "is not valid for pod",
        "container is not created",
        "does not have a host assigned",
    )
    ended = ("cannot exec in a stopped", "container is in CONTAINER_EXITED", "pod does not exist")
    return status == 404 or any(word in said for word in (*words, *ended))


def cause(error: BaseException) -> str:
    """Why a connection failed, in a few words."""
    return next(filter(None, map(_cause, _chain(error))), "the connection was cut")


def _cause(one: BaseException) -> str:
    if isinstance(one, ssl.SSLCertVerificationError):
        return _certificate(one)
    name, number = type(one).__name__, getattr(one, "errno", None)
    known = (
        (isinstance(one, ConnectionRefusedError), "connection refused: is the API server starting?"),
        (isinstance(one, TimeoutError) or "Timeout" in name, "no answer in time"),
        (number in (errno.EHOSTUNREACH, errno.ENETUNREACH), "no route to the API server; is a VPN needed?"),
        (name in UNRESOLVED, "the name of the API server cannot be resolved"),
        (CLIENT_EXPIRED in str(one).upper(), "the client certificate has expired; get new credentials"),
    )
    return next((words for is_so, words in known if is_so), "")


def is_certificate(error: BaseException) -> bool:
    """Whether TLS failed for its certificates: trying again changes nothing."""
    return any(
        isinstance(one, ssl.SSLCertVerificationError) or CLIENT_EXPIRED in str(one).upper()
        for one in _chain(error)
    )


def never_arrived(error: BaseException) -> bool:
    """Whether it is sure that the API server got nothing: refused, unresolved, or no TLS."""
    kinds = (ConnectionRefusedError, ssl.SSLError)
    return any(isinstance(one, kinds) or type(one).__name__ in UNRESOLVED for one in _chain(error))


def _certificate(error: ssl.SSLCertVerificationError) -> str:
    if error.verify_code == EXPIRED:
        return "the API server's certificate has expired; renew it, or check this machine's clock"
    if error.verify_code == NOT_YET_VALID:
        return "the API server's certificate is not yet valid; check this machine's clock"
    return f"the API server's certificate cannot be verified ({error.verify_message}); is this the right kubeconfig?"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and what it was raised from or wraps."""
    seen: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        one = todo.pop(0)
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        wrapped = [
            part for part in (*one.args, getattr(one, "reason", None)) if isinstance(part, BaseException)
        ]
        todo += [*wrapped, one.__cause__, one.__context__]
