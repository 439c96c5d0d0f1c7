"""What must not be written down, taken out of replies before anybody sees them: pure, bytes to bytes.

Taken out: the data of Secrets (also inside `last-applied-configuration`), the values of containers' environment
variables (`env`), other variables and JSON members whose names say that they are secret, PEM blocks (plain or base64), bearer tokens, JWTs,
passwords in URLs, Azure's shared access signatures and keys, subscription and tenant ids, and with `ips`
public addresses. What is put in their place keeps the shape: JSON stays JSON, an id an id, an address an
address (all public ones become the same).

Not looked into: bytes that are no UTF-8 (captures: a payload on the wire is kept as it was), and values that
stand in another encoding (hex, compressed, base64 of anything but PEM).
"""

from __future__ import annotations

import ipaddress
import json
import re
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from labkit.exec.output import Stored, is_text

if TYPE_CHECKING:
    from labkit.exec.output import Output
    from labkit.exec.request import Reply

__all__ = ["MARK", "Redaction"]

MARK = "REDACTED"
NO_ID = "00000000-0000-0000-0000-000000000000"
#: Documentation addresses (RFC 5737, RFC 3849): public ones become these.
NO_IPV4, NO_IPV6 = "203.0.113.0", "2001:db8::"
#: Azure's platform address, the same everywhere: it identifies nobody (what-is-ip-address-168-63-129-16).
PLATFORM = "168.63.129.16"

GUID = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
HIDDEN_NAME = (
    r"pass(?:word|wd|phrase)?|secrets?|tokens?|credentials?|api_?key|access_?key|account_?key|private_?key"
    r"|connection_?string|sas|auth"
)
#: A word of such a name, as in DB_PASSWORD or azure.client-secret, but not in AUTHOR or BYPASS.
NAME = re.compile(rf"(?:^|[_.\-])(?:{HIDDEN_NAME})(?:$|[_.\-])", re.IGNORECASE)
WHOSE = re.compile(r"subscription|tenant", re.IGNORECASE)
#: Members of JSON documents that hold a secret itself (`secretName`, `automountServiceAccountToken` do not).
MEMBER = re.compile(
    r"(?:access_?|refresh_?|id_?)?token|password|passwd|client_?secret|private_?key|client-key-data",
    re.IGNORECASE,
)

#: (a part that must occur for the pattern to be tried, the pattern, what is put in its place)
TEXT: tuple[tuple[str, re.Pattern[str], str], ...] = (
    (
        "-----BEGIN ",
        re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----[^\"]*?(?:-----END \1-----|(?=\")|\Z)"),
        rf"-----BEGIN \1----- {MARK} -----END \1-----",
    ),
    ("LS0tLS1CRUdJTi", re.compile(r"LS0tLS1CRUdJTi[A-Za-z0-9+/=]+"), MARK),  # base64 of -----BEGIN
    ("earer", re.compile(r"\b([Bb]earer)\s+[A-Za-z0-9._~+/=-]{8,}"), rf"\1 {MARK}"),
    ("eyJ", re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"), MARK),
    ("://", re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s/@:\"']+:[^\s/@\"']+@"), rf"\1{MARK}@"),
    ("sig=", re.compile(r"([?&]sig=)[A-Za-z0-9%+/=]{16,}"), rf"\1{MARK}"),
    ("Key=", re.compile(r"\b((?:Account|SharedAccess)Key=)[A-Za-z0-9+/=]{16,}"), rf"\1{MARK}"),
    (
        "=",
        re.compile(
            rf"((?:^|[\0\s;,'\"])(?:[A-Z][A-Z0-9]*_)*(?:{HIDDEN_NAME.upper()})(?:_[A-Z0-9]+)*=)[^\0\s;,'\"]+",
            re.MULTILINE,
        ),
        rf"\1{MARK}",
    ),
    (
        '":',
        re.compile(rf"(\"(?:{MEMBER.pattern})\"\s*:\s*\")(?:[^\"\\]|\\.)+", re.IGNORECASE),
        rf"\1{MARK}",
    ),
    (
        "-",
        re.compile(
            r"((?:subscription|tenant)[\w-]*[\"']?\s*[/:=]\s*[\"']?"
            rf"|login\.microsoftonline\.\w+/|sts\.windows\.net/|\btid[\"']?\s*[:=]\s*[\"']?){GUID}",
            re.IGNORECASE,
        ),
        rf"\g<1>{NO_ID}",
    ),
)
#: What holds none of these, in lower case, holds nothing of the above. Most replies do not: they are only searched.
HINTS = (
    "pass", "secret", "token", "credential", "api_key", "apikey", "api-key", "access_key", "accesskey",
    "access-key", "account_key", "accountkey", "account-key", "private_key", "privatekey", "private-key",
    "client-key", "connection_string", "connectionstring", "connection-string", "_sas", "sas_", "-sas", "sas-",
    '"sas"', "_auth", "auth_", "-auth", "auth-", '"auth"', "subscription", "tenant", "microsoftonline",
    '"env"', 'env\\"', "sts.windows", "tid", "-----begin ", "ls0tls1crudjti", "bearer", "eyj", "sig=", "@",
)  # fmt: skip
IPV4 = re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.])")
IPV6 = re.compile(r"(?<![\w:.])(?=[0-9a-fA-F:]*:[0-9a-fA-F:]*:)[0-9a-fA-F:]{3,39}(?![\w:])")


@dataclass(frozen=True, slots=True)
class Redaction:
    """Takes out what must not be written down; with `ips` public addresses too."""

    ips: bool = False

    def reply(self, reply: Reply) -> Reply:
        """The reply without it; the same object where there was nothing to take out."""
        output, stderr = self._output(reply), self.bytes(reply.stderr)
        if output is reply.output and stderr is reply.stderr:
            return reply
        return replace(reply, output=output, stderr=stderr)

    def _output(self, reply: Reply) -> Output:
        """A file of text is looked at as a whole, for what is taken out may be anywhere; any other stays where it is."""
        if isinstance(reply.output, Stored) and not is_text(reply.output):
            return reply.output
        stdout = reply.stdout
        clean = self.bytes(stdout)
        return reply.output if clean is stdout else clean

    def bytes(self, data: bytes) -> bytes:
        """Output without it. Bytes that are no UTF-8 are returned as they are."""
        try:
            text = data.decode()
        except UnicodeDecodeError:
            return data
        clean = self.text(text)
        return data if clean == text else clean.encode()

    def text(self, text: str) -> str:
        """Text without it. JSON is looked into, member by member, and stays JSON."""
        if not self.ips and not _hinted(text):
            return text
        if text[:1] in ("{", "["):
            try:
                document = json.loads(text)
            except ValueError:  # many documents, one a line; or not JSON
                return self._words(text)
            clean = self._json(document)
            return text if clean == document else json.dumps(clean, ensure_ascii=False, separators=(",", ":"))
        return self._words(text)

    def _words(self, text: str) -> str:
        for part, pattern, instead in TEXT:
            if part in text:
                text = pattern.sub(instead, text)
        if self.ips:
            text = IPV6.sub(lambda found: _public(found.group()), text)
            text = IPV4.sub(lambda found: _public(found.group()), text)
        return text

    def _json(self, value: Any, name: str = "", *, secret: bool = False) -> Any:  # noqa: ANN401  (any JSON)
        """A JSON value without it; `name` is that of the member it stands in."""
        if isinstance(value, dict):
            return self._object(value, name, secret=secret)
        if isinstance(value, list):
            listed = map(_unsaid, value) if name == "env" else value
            return [self._json(item, name, secret=secret) for item in listed]
        if not isinstance(value, str):
            return value
        if MEMBER.fullmatch(name):
            return MARK if value else value
        if WHOSE.search(name):
            value = re.sub(GUID, NO_ID, value)
        return self.text(value)

    def _object(self, value: dict[str, Any], name: str, *, secret: bool) -> dict[str, Any]:
        kind = str(value.get("kind", ""))
        if kind == "Secret" or (secret and name == "items"):  # the items of a list do not say their kind
            emptied = {key: _emptied(value[key]) for key in ("data", "stringData") if key in value}
            value = value | emptied
        if _is_variable(value):
            value = value | {"value": MARK}
        inside = kind == "SecretList"
        return {key: self._json(item, key, secret=inside) for key, item in value.items()}


def _hinted(text: str) -> bool:
    lower = text.lower()
    return any(hint in lower for hint in HINTS)


def _emptied(data: object) -> object:
    """The data of a Secret: its keys without their values."""
    return dict.fromkeys(data, MARK) if isinstance(data, dict) else data


def _unsaid(variable: Any) -> Any:  # noqa: ANN401  (an item of `env`)
    """A container's environment variable without its value; where that comes from somewhere, that stays."""
    said = isinstance(variable, dict) and variable.get("value")
    return {**variable, "value": MARK} if said else variable


def _is_variable(value: dict[str, Any]) -> bool:
    """Whether it is an environment variable (`name`, `value`) whose name says that it is secret, or whose."""
    name, said = value.get("name"), value.get("value")
    if not (isinstance(name, str) and isinstance(said, str) and said and value.keys() <= {"name", "value"}):
        return False
    return bool(NAME.search(name) or WHOSE.search(name))


@cache
def _public(text: str) -> str:
    """An address, or a documentation address in the place of a public one."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return text
    if not address.is_global or address.is_multicast or text == PLATFORM:
        return text
    return NO_IPV4 if address.version == 4 else NO_IPV6
