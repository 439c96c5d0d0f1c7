"""`make bench`: what the README and the notes say about speed, measured on this machine.

Whole processes, several runs after a warm-up, medians. These are figures to read, not assertions: the
machine decides them. Memory is the largest single process of a run (ru_maxrss of children).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent


def timed(command: list[str], runs: int, **options: object) -> tuple[float, float, float]:
    """Minimum, median and maximum seconds of a command, after one run that is not counted."""
    seconds = []
    for _ in range(runs + 1):
        begun = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, cwd=ROOT, **options)
        seconds.append(time.perf_counter() - begun)
    counted = sorted(seconds[1:])
    return counted[0], statistics.median(counted), counted[-1]


def say(what: str, figures: tuple[float, float, float]) -> float:
    low, median, high = figures
    sys.stdout.write(f"{what:<58} {median:8.2f} s   ({low:.2f} to {high:.2f})\n")
    return median


def one_after_the_other(folder: Path) -> float:
    """Seconds that plain papermill takes for all notebooks, one process each, in order."""
    begun = time.perf_counter()
    for notebook in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")):
        command = [
            BIN / "papermill",
            notebook,
            folder / notebook.name,
            "--cwd",
            notebook.parent,
            "--no-progress-bar",
        ]
        subprocess.run([str(part) for part in command], check=True, capture_output=True)
    return time.perf_counter() - begun


#: Benches of a part, each in a process of its own; they print what they find.
PARTS = ("tests.parse.bench", "tests.analysis.paths.bench", "tests.netns.bench", "tests.kube.bench")


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=5)
    runs = options.parse_args().runs
    sys.stdout.write(f"{os.cpu_count()} CPUs, Python {sys.version.split()[0]}, medians of {runs} runs\n\n")
    python, labkit = str(BIN / "python"), str(BIN / "labkit")
    empty = say("python -c pass", timed([python, "-c", "pass"], runs))
    whole = say("python -c 'import labkit'", timed([python, "-c", "import labkit"], runs))
    sys.stdout.write(f"{'  so import labkit alone':<58} {whole - empty:8.2f} s\n")
    say("labkit --help", timed([labkit, "--help"], runs))
    say("labkit recordings verify", timed([labkit, "recordings", "verify"], runs))
    folder = Path(tempfile.mkdtemp(prefix="labkit-bench-"))
    try:
        run = [labkit, "run", "--out", str(folder / "run")]
        warm = []
        for i in range(max(3, runs) + 1):
            begun = time.perf_counter()
            subprocess.run([*run[:-1], f"{run[-1]}{i}"], check=True, capture_output=True, cwd=ROOT)
            warm.append(time.perf_counter() - begun)
        counted = sorted(warm[1:])
        median = say(
            "labkit run, all notebooks and the report", (counted[0], statistics.median(counted), counted[-1])
        )
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        sys.stdout.write(f"{'  largest process so far':<58} {peak:8.0f} MiB\n")
        serial = one_after_the_other(folder)
        sys.stdout.write(f"{'plain papermill, one after the other (one run)':<58} {serial:8.2f} s\n")
        sys.stdout.write(f"{'  labkit run takes of that':<58} {100 * median / serial:8.0f} %\n")
        findings = json.loads((folder / "run1" / "findings.json").read_text())
        sys.stdout.write(f"\n{len(findings)} findings in findings.json of the default arms\n")
        for part in PARTS:
            sys.stdout.flush()
            subprocess.run([str(BIN / "python"), "-m", part, str(runs)], check=True, cwd=ROOT)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
