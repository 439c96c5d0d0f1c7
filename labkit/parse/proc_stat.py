"""`/proc/stat`: what the CPUs have done since the kernel started.

Format: proc_stat(5). The kernel counts in ticks of 1/USER_HZ second, and USER_HZ is 100 on every
architecture that AKS offers (`include/asm-generic/param.h`); they become seconds here, with a resolution of
10 ms. `user_s` includes `guest_s`, and `nice_s` includes `guest_nice_s`, so the two guests are no part of
a sum. The file describes the kernel, not the namespace it is read in: nodes that share a kernel (kind, the
recordings of this project) show the same numbers, which must be counted once.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from labkit.errors import ParseError
from labkit.parse.decode import text_of
from labkit.schema import Column, Schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

__all__ = ["CPU_TIMES", "USER_HZ", "cpu_times"]

TOOL = "/proc/stat"
USER_HZ = 100
STATES = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "guest", "guest_nice")
OTHERS = ("intr", "ctxt", "btime", "processes", "procs_running", "procs_blocked", "softirq")
CPU = re.compile(r"(cpu\d*)((?: +\d+)+)$")
OTHER = re.compile(rf"(?:{'|'.join(OTHERS)})(?: \d+)+$")

CPU_TIMES = Schema("cpu_times", "CPU time since the kernel started, one row a CPU.", key=("cpu",), columns=(
    Column("cpu", "str", "`all`, or the CPU's name such as `cpu0`"),
    Column("user_s", "float64", "in user space"),
    Column("nice_s", "float64", "in user space, with low priority"),
    Column("system_s", "float64", "in the kernel, for a process"),
    Column("idle_s", "float64", "idle"),
    Column("iowait_s", "float64", "idle, with an I/O outstanding"),
    Column("irq_s", "float64", "in hardware interrupts"),
    Column("softirq_s", "float64", "in software interrupts: most of what packets cost that no process asked for"),
    Column("steal_s", "float64", "taken away by the hypervisor"),
    Column("guest_s", "float64", "running a guest; part of user_s"),
    Column("guest_nice_s", "float64", "running a guest with low priority; part of nice_s"),
))  # fmt: skip


def cpu_times(data: bytes) -> pd.DataFrame:
    """Every CPU and `all`: frame CPU_TIMES.

    Raises ParseError on a line that is none of the file's, on a kernel that counts other states, and
    where the file ends before its line `softirq`.
    """
    lines = text_of(TOOL, data).splitlines()
    rows = list(_cpus(lines))
    if not rows or rows[0]["cpu"] != "all" or not lines[-1].startswith("softirq "):
        raise ParseError(
            TOOL, "it begins with no line cpu or ends with no line softirq", excerpt=data[:40].decode()
        )
    return CPU_TIMES.frame(rows)


def _cpus(lines: list[str]) -> Iterator[dict[str, str | float]]:
    for number, line in enumerate(lines, 1):
        if match := CPU.match(line):
            ticks = [int(tick) for tick in match[2].split()]
            if len(ticks) != len(STATES):
                raise ParseError(
                    TOOL, f"{len(ticks)} states of {match[1]}, not {len(STATES)}", line=number, excerpt=line
                )
            seconds = {f"{state}_s": tick / USER_HZ for state, tick in zip(STATES, ticks, strict=True)}
            yield {"cpu": "all" if match[1] == "cpu" else match[1], **seconds}
        elif not OTHER.match(line):
            raise ParseError(TOOL, "not a line of this file", line=number, excerpt=line)
