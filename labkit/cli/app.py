"""Commands and exit codes: 0 good, 1 failed (or refuted under --strict), 2 misuse."""

from __future__ import annotations

import contextlib
import signal
import sys

import typer

from labkit.cli import arms, doctor, record, recordings, run
from labkit.errors import LabError, NotebookError, ParameterError, SourceError

__all__ = ["app", "main"]

MISUSE = (ParameterError, SourceError)

app = typer.Typer(
    name="labkit",
    help="Compare how clusters move packets: run the notebooks on arms, and read the report.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
run.register(app)
record.register(app)
app.add_typer(recordings.app, name="recordings")
arms.register(app)
doctor.register(app)


def main(arguments: list[str] | None = None) -> None:
    """The command `labkit`. Always ends by SystemExit. An error that labkit raises on purpose is one message, without a traceback."""
    with contextlib.suppress(ValueError):  # not in the main thread
        for number in (signal.SIGTERM, signal.SIGHUP):  # end kernels and put back, as Ctrl-C does
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup(1) has it
                signal.signal(number, signal.default_int_handler)
    try:
        app(arguments)
    except LabError as error:
        lines = [str(error), *getattr(error, "__notes__", [])]
        typer.echo("labkit: " + "\n".join(lines), err=True)
        sys.exit(2 if isinstance(error, MISUSE) and not isinstance(error, NotebookError) else 1)
