"""A process that has already imported what notebooks import, and forks kernels: `python -m` this module.

Starting an ordinary kernel and importing pandas, matplotlib and labkit costs two seconds of CPU, eight
times over in a run. Here it is paid once, while the parent imports papermill; a forked kernel is ready
at once. It is ipykernel as ever: only what it would have imported is there already.

One line of JSON a kernel on stdin, `{"argv": ["-f", "<connection file>", …], "cwd": "…", "environ": {}}`;
its pid on stdout. The end of stdin is the end of the nursery; its kernels notice that their parent has gone.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import json
import os
import signal
import sys
from typing import IO

__all__ = ["main"]

#: What labkit imports only when it is needed, and every notebook needs.
ALWAYS = (
    "ipykernel.ipkernel",
    "ipykernel.kernelapp",
    "pandas",
    "pandas.io.formats.html",
    "pyarrow.parquet",
    "matplotlib.pyplot",
    "matplotlib.backends.backend_svg",
)


def main(orders: IO[str], answers: IO[str], modules: list[str]) -> None:
    """Import, then fork a kernel for each line of orders until there are no more."""
    prepare(modules)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the system buries the children
    gc.collect()
    gc.freeze()  # so that no kernel's collector touches, and thereby copies, what they share
    gc.set_threshold(50_000, 20, 100)  # frames are no cycles: looking for some costs more than it finds
    for line in orders:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            os.environ |= order["environ"]
            become_kernel(order["argv"], order["cwd"])
        answers.write(f"{pid}\n")
        answers.flush()


def prepare(modules: list[str]) -> None:
    """Import all that a notebook of this run will, so that it behaves as if imported in a kernel."""
    os.environ["JPY_PARENT_PID"] = str(os.getpid())  # when this process ends, its kernels do
    os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    for name in (*ALWAYS, *modules):
        try:
            importlib.import_module(name)
        except ImportError:  # a name from a module, or a mistake that the notebook itself will show
            continue
    import pandas as pd  # noqa: PLC0415

    pd.set_option("display.max_columns", 20)  # its default in a kernel; pandas decides when it is imported


def become_kernel(argv: list[str], cwd: str) -> None:
    """Turn this forked process into the kernel of a notebook. Never returns."""
    os.setsid()  # a signal to the kernel's group must not reach the nursery
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(2, 1)  # stdout carries pids to the parent
    os.chdir(cwd)
    sys.argv = ["ipykernel_launcher", *argv]
    from ipykernel.kernelapp import IPKernelApp  # noqa: PLC0415

    IPKernelApp.launch_instance(argv)
    os._exit(0)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    main(sys.stdin, sys.stdout, sys.argv[1:])
