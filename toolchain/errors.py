"""The errors that a user can meet, each with the exit code of the command line.

A known error is one sentence that says what is wrong, and a hint that says what to do about it.
"""

from __future__ import annotations

from dataclasses import dataclass


class ToolchainError(Exception):
    """A known failure.

    Args:
        message: what is wrong, naming the file, node or argument.
        hint: the way out, or an empty string when there is none.
        exit_code: the exit status of the command line.
    """

    exit_code: int = 1

    def __init__(self, message: str, hint: str = "", exit_code: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if exit_code is not None:
            self.exit_code = exit_code


class UsageError(ToolchainError):
    """The command or call is wrong: a name, flag, path or shape."""

    exit_code = 2


class UnsupportedError(ToolchainError):
    """An input or operator that cannot be handled exactly."""

    exit_code = 3


class ParityError(ToolchainError):
    """The written file does not compute what the source network computes."""

    exit_code = 4


class RegressionError(ToolchainError):
    """A measured figure is worse than the reference allows."""

    exit_code = 5


class MissingDependencyError(ToolchainError):
    """An optional package is needed and not installed."""

    exit_code = 6


@dataclass(frozen=True)
class Refusal:
    """One reason why a node cannot be lowered.

    Attributes:
        op: operator type, with its domain when that is not the ONNX one.
        node: name of the node.
        reason: what about it is not supported.
        hint: what the user can do.
    """

    op: str
    node: str
    reason: str
    hint: str = ""


class UnsupportedOpsError(UnsupportedError):
    """Every node that cannot be lowered, reported at once.

    Attributes:
        refusals: one entry per node.
    """

    def __init__(self, refusals: list[Refusal], target: str, verb: str = "lowered to") -> None:
        self.refusals = refusals
        self.target = target
        kinds = sorted({refusal.op for refusal in refusals})
        first = refusals[0]
        super().__init__(
            f"{len(refusals)} node(s) cannot be {verb} {target}: {', '.join(kinds)}"
            f" (first: '{first.node}': {first.reason})",
            first.hint or "replace the operator in the network, or export with -f onnx",
        )

    def rows(self) -> list[tuple[str, int, str, str, str]]:
        """Rows (op, count, first node, reason, what to do), one per distinct op and reason."""
        grouped: dict[tuple[str, str], list[Refusal]] = {}
        for refusal in self.refusals:
            grouped.setdefault((refusal.op, refusal.reason), []).append(refusal)
        return [
            (op, len(members), members[0].node, reason, members[0].hint)
            for (op, reason), members in sorted(grouped.items())
        ]
