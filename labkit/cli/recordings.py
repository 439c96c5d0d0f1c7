"""`labkit recordings`: which there are, whether they are whole, and what was asked in them."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from labkit.cli import show
from labkit.errors import RecordingError
from labkit.exec.recording import Recording
from labkit.source import find_recording, recordings

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["app", "described", "listed", "verified"]

app = typer.Typer(
    help="The recordings that arms are replayed from.", no_args_is_help=True, rich_markup_mode=None
)

Name = Annotated[str | None, typer.Argument(metavar="NAME", help="name or path; default: all")]
Json = Annotated[bool, typer.Option("--json", help="one JSON document on stdout, nothing else there")]


@app.command("list")
def list_(name: Name = None, *, as_json: Json = False) -> None:
    """Name, origin, number of replies, size, date and note of each recording."""
    found = [listed(path) for path in _paths(name)]
    if as_json:
        typer.echo(show.as_json(found))
        return
    for entry in found:
        typer.echo(
            f"{entry['name']}  {entry['origin']}, {entry['replies']:,} replies, {entry['bytes'] / 1e6:.0f} MB, "
            f"{entry['recorded_at'][:10]}\n  {entry['note']}"
        )


@app.command()
def verify(name: Name = None, *, as_json: Json = False) -> None:
    """Read every line and blob, and compare with the checksums beside the recordings."""
    results = [verified(path) for path in _paths(name)]
    if as_json:
        typer.echo(show.as_json(results))
    else:
        for result in results:
            typer.echo(
                f"{result['name']}: {'damaged' if result['problems'] else result['checked'] + ', whole'}"
            )
            for problem in result["problems"]:
                typer.echo(f"  {problem}")
    raise typer.Exit(int(any(result["problems"] for result in results)))


@app.command()
def describe(name: Name = None, *, as_json: Json = False) -> None:
    """Who answered, in which steps, on which targets, and what was asked."""
    found = [described(path) for path in _paths(name)]
    typer.echo(show.as_json(found) if as_json else "\n\n".join(_page(entry) for entry in found))


def listed(path: Path) -> dict[str, Any]:
    """The header of a recording, with its size."""
    recording = Recording.open(path)
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return {**_header(recording), "replies": len(recording), "bytes": size, "path": str(path)}


def verified(path: Path) -> dict[str, Any]:
    """Every problem of a recording, in a sentence each; and what was checked."""
    try:
        recording = Recording.open(path)
        problems, count = recording.verify(), len(recording)
    except RecordingError as error:
        problems, count = [str(error)], 0
    sums = path.parent.parent / "recordings.sha256"
    listed_sums = _checksums(sums, path)
    problems += _differences(path, listed_sums) if listed_sums else []
    against = f", {len(listed_sums)} checksums" if listed_sums else ", no checksums beside it"
    return {"name": path.name, "checked": f"{count:,} replies{against}", "problems": problems}


def _checksums(sums: Path, path: Path) -> dict[Path, str]:
    """The SHA-256 of each file of this recording, as `sha256sum` wrote them from the folder of `sums`."""
    if not sums.is_file():
        return {}
    lines = (line.split(maxsplit=1) for line in sums.read_text().splitlines() if line.strip())
    stated = {sums.parent / name.lstrip("*"): digest for digest, name in lines}
    return {file: digest for file, digest in stated.items() if path in file.parents}


def _differences(path: Path, stated: dict[Path, str]) -> list[str]:
    there = {file for file in path.rglob("*") if file.is_file()}
    problems = [f"{file}: it is missing; fetch the recording anew" for file in sorted(stated.keys() - there)]
    problems += [f"{file}: no checksum is stated for it" for file in sorted(there - stated.keys())]
    problems += [
        f"{file}: its SHA-256 is not the stated one; it was altered"
        for file in sorted(there & stated.keys())
        if hashlib.sha256(file.read_bytes()).hexdigest() != stated[file]
    ]
    return problems


def described(path: Path) -> dict[str, Any]:
    """Header, steps with counts, targets, and each question with its step and how often it was asked."""
    recording = Recording.open(path)
    requests = list(recording.requests())
    asked = Counter((r.step, r.kind, r.words) for r in requests)
    return {
        **_header(recording),
        "steps": dict(Counter(r.step for r in requests)),
        "targets": dict(sorted(Counter(r.subject for r in requests).items())),
        "asked": [
            {"step": step, "kind": kind, "words": words, "times": times}
            for (step, kind, words), times in asked.items()
        ],
    }


def _page(entry: dict[str, Any]) -> str:
    steps = show.table(("step", "replies"), entry["steps"].items())
    targets = show.table(("target", "replies"), entry["targets"].items())
    asked = show.table(
        ("step", "times", "asked"),
        ((a["step"], a["times"], a["words"].replace("\n", " ")[:110]) for a in entry["asked"]),
    )
    head = f"{entry['name']}: {entry['origin']}, recorded {entry['recorded_at'][:19]} by {entry['recorder']}"
    return "\n\n".join((f"{head}\n{entry['note']}", steps, targets, asked))


def _header(recording: Recording) -> dict[str, Any]:
    keys = ("name", "origin", "note", "recorded_at", "recorder", "namespace")
    return {key: recording.about.get(key, "") for key in keys}


def _paths(name: str | None) -> list[Path]:
    return [find_recording(name)] if name else recordings()
