"""The command line: one file per subcommand, imported only when it is called."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from toolchain.errors import ToolchainError, UsageError

COMMANDS = {
    "export": "Convert a network, run every file written, compare, and only then keep it.",
    "verify": "Compare a model file with the network that it was made from.",
    "inspect": "Show operators, shapes, parameters, multiply-adds and what would be refused.",
    "evaluate": "Judge face parsers on annotated pictures.",
    "predict": "Run a model file on a photograph and draw the result.",
    "models": "List the networks of the zoo.",
    "train": "Train a network.",
    "compress": "Make a network smaller: kernel sparsity, filter removal, specialisation, storage.",
    "benchmark": "Measure model files against each other, and the whole pipeline.",
    "demo": "Show the face parse and its effects live: webcam, clip or photographs; window or browser.",
    "doctor": "Say what can run on this computer.",
}
INTERRUPTED = 130
# Turns of a waiting loop in GNU's OpenMP; its own default is a hundred times as many.
SPINS = "3000"
# Newer Typers carry a Click of their own, so its exceptions can only be reached through Typer's.
CommandLineError = next(base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException")


class LazyGroup(TyperGroup):
    """Knows the name and help of every subcommand; imports its module only when it is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names in the order of the help page."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import the module of a subcommand; None for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"toolchain.cli.{cmd_name}")
        if hasattr(module, "make_command"):
            return module.make_command()
        return command_of(
            cmd_name, COMMANDS[cmd_name], getattr(module, cmd_name), getattr(module, "COMMAND_CLASS", None)
        )

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the listing from the table above, without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def command_of(
    name: str, summary: str, function: Callable[..., None], kind: type[TyperCommand] | None = None
) -> Any:
    """The command that parses the arguments of `function` and calls it."""
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    single.command(name, cls=kind, help=summary)(function)
    return typer.main.get_command(single)


app = typer.Typer(cls=LazyGroup, add_completion=False, no_args_is_help=True, rich_markup_mode=None)


def _print_version(wanted: bool) -> None:
    if wanted:
        from toolchain import __version__

        typer.echo(f"toolchain {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Show the version."
    ),
) -> None:
    """From a PyTorch network to a phone: train, export, verify, measure."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and leave the process with its exit code."""
    _wait_briefly()
    sys.exit(run(arguments))


def _wait_briefly() -> None:
    """Let PyTorch's threads give a core away soon when they wait for each other; the user comes first.

    By default OpenMP's threads wait actively for milliseconds: beside one other busy program a training step
    took 2.0 s on two cores instead of 0.13 s; so it is 0.38 s, and 0.16 s without the other program.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)


def file_error(error: OSError) -> ToolchainError:
    """What the operating system refused, as a known error; the traceback stays reachable."""
    known = UsageError(
        f"'{error.filename}': {error.strerror}" if error.filename else str(error),
        "check the path, its permissions and the room on the disk",
    )
    known.__cause__ = error
    return known


def run(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code; known errors are shown, never raised."""
    command = typer.main.get_command(app)
    try:
        status = command.main(arguments, prog_name="toolchain", standalone_mode=False)
    except ToolchainError as error:
        from toolchain.cli.output import show_error

        return show_error(error)
    except OSError as error:
        from toolchain.cli.output import show_error

        return show_error(file_error(error))
    except CommandLineError as error:  # type: ignore[misc]
        error.show()
        return int(error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    if status == INTERRUPTED:
        typer.echo("interrupted", err=True)
    return status if isinstance(status, int) else 0
