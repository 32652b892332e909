"""`toolchain compress`: its first word says which way of making a network smaller."""

from __future__ import annotations

import importlib
from typing import Any

import typer
from typer.core import TyperGroup

from toolchain.cli import command_of
from toolchain.errors import MissingDependencyError

SUBCOMMANDS = {
    "train": "Train with the kernel-sparsity term; kernels that stay small are set to zero.",
    "remove": "Take zeroed filters out of a network for good.",
    "specialise": "Re-train a network for some of its classes, and shrink its head.",
    "distill": "Train a small network to answer as a large one does.",
    "pack": "Share and code weights: one small file.",
    "unpack": "Make safetensors of a packed file.",
    "pictures": "Draw the evolution of the kernels from the history of a training.",
    "experiment": "Run a recipe: every row and seed, and the table of all kept networks.",
}


class CompressGroup(TyperGroup):
    """Imports the module of a word only when it is used."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Words in the order of the help page."""
        return list(SUBCOMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of a word; None for an unknown one."""
        if cmd_name not in SUBCOMMANDS:
            return None
        name = f"compress_{cmd_name}"
        try:
            module = importlib.import_module(f"toolchain.cli.{name}")
        except ModuleNotFoundError as error:
            raise MissingDependencyError(
                f"compression needs the package '{error.name}'", 'pip install "mobile-toolchain[compress]"'
            ) from error
        return command_of(cmd_name, SUBCOMMANDS[cmd_name], getattr(module, name))

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the listing without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl(list(SUBCOMMANDS.items()))


app = typer.Typer(cls=CompressGroup, add_completion=False, no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _compress() -> None:
    """Make a network smaller: kernel sparsity, filter removal, specialisation, storage."""


def make_command() -> Any:
    """The group as the command line takes it."""
    return typer.main.get_command(app)
