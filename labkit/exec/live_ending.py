"""Ending a command that a container still runs: closing its socket does not, for neither the API server nor
the kubelet nor the runtime ends a process because nobody listens any more.

Two means. Commands run under timeout(1), where the image has it: that also holds when labkit is killed or the
network is gone. Where it has not (an agent image without anything), or where a socket was cut, the process is
found from the analyzer on its node, which sees all processes there: in that container (by the container's id in
its cgroup), with exactly that argv, not the container's first process, and of several the oldest.
What is left: where neither is there, a command that does not bound itself runs on; that is logged.
"""

from __future__ import annotations

import logging
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labkit.errors import NoTarget, RequestError
from labkit.exec.live_exec import execute

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labkit.exec.live_api import Api
    from labkit.exec.live_exec import Container, Ended
    from labkit.exec.live_targets import Targets
    from labkit.exec.request import Exec

__all__ = [
    "CUT_OFF",
    "KILL_AFTER_S",
    "TIMED_OUT",
    "Bound",
    "bound_of",
    "bounded",
    "end_process",
    "lacks_timeout",
]

log = logging.getLogger(__name__)

KILL_AFTER_S = 2
#: Exit code of timeout(1) for a command that it ended; and those of one that SIGKILL or (BusyBox) SIGTERM did.
TIMED_OUT = 124
CUT_OFF = (TIMED_OUT, 137, 143)
SIGNALS = frozenset({"HUP", "INT", "KILL", "QUIT", "TERM", "USR1", "USR2"})
LOOKING_S = 15.0
#: What runc (`exec: "timeout": executable file not found`), crun, and Kata say of an image without it.
NO_TIMEOUT = re.compile(r"timeout\W{1,4}(?:executable file |was )?not found")
#: $1 is the container's id, $2 the signal, the rest the argv. In stat, behind the name in (), 3 is the process group and 20
#: the start time. A command has its own session, so its whole group is ended, children of a shell too.
SCRIPT = r"""
id=$1; signal=$2; shift 2
want=$(printf '%s\n' "$@")
ours() {
  grep -qF "$id" "/proc/$1/cgroup" 2>/dev/null && ! grep -q '^NSpid:.*[[:space:]]1$' "/proc/$1/status" 2>/dev/null
}
field() { sed 's/.*) //' "/proc/$1/stat" | cut -d ' ' -f "$2"; }
found=$(for p in /proc/[0-9]*; do
  p=${p#/proc/}
  [ "$(tr '\0' '\n' < "/proc/$p/cmdline")" = "$want" ] && ours "$p" && echo "$(field "$p" 20) $p"
done 2>/dev/null | sort -n | head -n 1)
pid=${found#* }
[ -n "$pid" ] || { echo none; exit 0; }
group=$(field "$pid" 3)
if ours "$group"; then all=-$group; else all=$pid; fi
kill -"$signal" "$all"
i=0
while [ -d "/proc/$pid" ] && [ $i -lt 20 ]; do sleep 0.1; i=$((i + 1)); done
[ ! -d "/proc/$pid" ] || kill -KILL "$all"
echo "$pid"
"""


@dataclass(frozen=True, slots=True)
class Bound:
    """What `timeout -s INT 8 …` says: for how long, the signal at the end, and the command itself."""

    seconds: float
    signal: str
    argv: tuple[str, ...]


def bounded(argv: Sequence[str], limit_s: float) -> list[str]:
    """The command under timeout(1), of GNU, BusyBox or Toybox; 0 seconds would be none."""
    return ["timeout", "-k", str(KILL_AFTER_S), str(max(1, math.ceil(limit_s))), *argv]


def bound_of(argv: Sequence[str]) -> Bound | None:
    """The bound that a command has by itself; None where it has none, or one that is not understood."""
    rest, signal = list(argv), "TERM"
    if rest.pop(0) != "timeout":
        return None
    while len(rest) > 2 and rest[0] in ("-s", "-k"):
        option, value, *rest = rest
        signal = value.removeprefix("SIG") if option == "-s" else signal
    if len(rest) < 2 or signal not in SIGNALS or not rest[0].replace(".", "", 1).isdigit():
        return None
    return Bound(float(rest[0]), signal, tuple(rest[1:]))


def lacks_timeout(ended: Ended) -> bool:
    """Whether a bounded command did not start for want of `timeout`, or of one that knows `-k`."""
    if NO_TIMEOUT.search(ended.refusal):
        return True
    if not ended.exit_code:
        return False
    first = ended.stderr.partition(b"\n")[0]
    printed = (ended.stderr + ended.short_stdout)[:2000].decode(
        errors="replace"
    )  # by the runtime, in the command's place
    return bool("exec failed" in printed and NO_TIMEOUT.search(printed)) or (
        not ended.stdout and first.startswith(b"timeout: ") and b"option" in first
    )


def end_process(
    api: Api, targets: Targets, where: Container, argv: Sequence[str], signal: str, request: Exec
) -> None:
    """Signal the oldest process of this argv in a container, from the analyzer of its node. Never raises."""
    doubt = f"{request.words[:200]} may still run on {request.subject}"
    try:
        pod = api.read_json(f"/api/v1/namespaces/{where.namespace}/pods/{where.pod}", request)
        ids = {
            told["name"]: str(told.get("containerID", "")).rpartition("//")[2]
            for told in pod.get("status", {}).get("containerStatuses") or []
        }
        if not ids.get(where.name):
            return  # the container has gone, and its processes with it
        analyzer = targets.analyzer(pod["spec"]["nodeName"], request)
        call = ["sh", "-c", SCRIPT, "sh", ids[where.name], signal, *argv]
        looked = execute(api, analyzer, call, request, limit_s=LOOKING_S)
        if looked.exit_code != 0:
            log.warning("%s: the analyzer could not look", doubt)
    except NoTarget as error:
        log.warning("%s, and nothing there can end it: %s", doubt, error)
    except RequestError as error:
        log.warning("%s: %s", doubt, error)
