"""What the eBPF topology needs of a machine beyond what the others need."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from labkit.netns.ebpf.build import INCLUDES

__all__ = ["missing"]

#: Program, what for, and Debian's package.
PROGRAMS = (
    ("clang", "the eBPF programs are compiled at each start", "clang"),
    ("bpftool", "loads the programs, and writes and shows their maps", "bpftool"),
    ("tc", "attaches the programs to devices", "iproute2"),
    ("unshare", "tries what the kernel can, in a namespace that ends at once", "util-linux"),
)
HEADERS = (
    (Path("/usr/include/bpf/bpf_helpers.h"), "libbpf-dev"),
    (Path("/usr/include/linux/bpf.h"), "linux-libc-dev"),
)
#: In a network namespace of its own: a classifier of two instructions at its loopback device.
TRIAL = "tc qdisc add dev lo clsact && tc filter add dev lo ingress bpf da bytecode '1,6 0 0 0,'"


def missing() -> list[tuple[str, str, str]]:
    """What is missing, why it is needed, and how to get it; empty where the topology can be built.

    What only root can find out is left out for others, who are told of root anyway.
    """
    found = [
        (f"the program {name}", why, f"apt install {package}")
        for name, why, package in PROGRAMS
        if shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None
    ]
    found += [
        (f"the header {path}", "the eBPF programs are compiled with it", f"apt install {package}")
        for path, package in HEADERS
        if not path.exists()
    ]
    if not any((place / "asm" / "types.h").exists() for place in (INCLUDES, Path("/usr/include"))):
        found.append(
            ("the header asm/types.h", "the eBPF programs are compiled with it", "apt install linux-libc-dev")
        )
    if "\tbpf\n" not in Path("/proc/filesystems").read_text():
        found.append(("the file system bpf", "maps are pinned there", "a kernel with CONFIG_BPF_SYSCALL=y"))
    if not found and os.geteuid() == 0 and (said := _refused()):
        why = f"programs are attached with it; the kernel said: {said}"
        found.append(
            (
                "clsact and its BPF classifier",
                why,
                "a kernel with CONFIG_NET_CLS_BPF and CONFIG_NET_SCH_INGRESS",
            )
        )
    return found


def _refused() -> str:
    """What the kernel says to a classifier; empty where it takes it."""
    argv = ["unshare", "--net", "sh", "-c", TRIAL]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False)  # noqa: S603
    said = done.stderr.decode(errors="replace").strip()
    return (said or f"exit code {done.returncode}") if done.returncode else ""
