"""The command line ``simulate``: parses, calls, prints. Heavy libraries load inside the commands only."""

from __future__ import annotations

import sys
from collections.abc import Sequence

PROGRAM = "simulate"

EXIT_CONFIG, EXIT_DATA, EXIT_EXTRA, EXIT_IO, EXIT_PIPE, EXIT_INTERRUPTED = 2, 3, 4, 5, 141, 130
"""Exit statuses: wrong name or option, data, missing extra, input/output, reader gone, interrupted."""


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status.

    Args:
        args: Words after the program's name; those of this process by default.
    """
    from stagelens.pipeline.cli.console import clean_warnings, complain, drop_output

    words = list(sys.argv[1:] if args is None else args)
    with clean_warnings():
        try:
            status = _run(words)
            sys.stdout.flush()
        except BrokenPipeError:  # the reader (head, less) has left: nobody to tell
            drop_output()
            return EXIT_PIPE
        except KeyboardInterrupt:
            complain("interrupted; finished parts are kept and the same command goes on from there")
            return EXIT_INTERRUPTED
        except Exception as error:
            status = _explained(error)
    return status


def _run(words: list[str]) -> int:
    import typer

    from stagelens.pipeline.cli.app import build

    command = build()
    try:
        with command.make_context(PROGRAM, words) as context:
            command.invoke(context)
    except typer.Exit as done:
        return int(done.exit_code)
    return 0


def _explained(error: Exception) -> int:
    """Say one clean line for the faults that a person can mend; raise the rest, they are ours.

    Raises:
        Exception: The error itself, where it is no fault of the caller.
    """
    from stagelens.pipeline.cli.console import complain
    from stagelens.pipeline.cli.suggest import UsageFault, usage_line
    from stagelens.pipeline.errors import ConfigError, DataError, MissingExtra

    if isinstance(error, UsageFault):
        complain(usage_line(error))
        return EXIT_CONFIG
    if isinstance(error, MissingExtra):
        complain(str(error))
        return EXIT_EXTRA
    if isinstance(error, ConfigError | FloatingPointError):  # a training whose options lead beyond numbers
        complain(str(error))
        return EXIT_CONFIG
    if isinstance(error, DataError):
        complain(str(error))
        return EXIT_DATA
    if isinstance(error, OSError):
        complain(f"{error}. Check the path, its permissions and the free space, or write to another folder.")
        return EXIT_IO
    raise error
