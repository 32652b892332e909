"""Equations of Einsum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Equation:
    """An equation with one label per axis; an ellipsis stands for labels from "0" on.

    Attributes:
        inputs: labels of every operand.
        output: labels of the result.
    """

    inputs: tuple[str, ...]
    output: str

    @property
    def supported(self) -> bool:
        """Whether there are one or two operands and no operand has a label twice."""
        terms = (*self.inputs, self.output)
        return len(self.inputs) <= 2 and all(len(set(term)) == len(term) for term in terms)

    def batch(self) -> str:
        """Labels of both operands and of the result."""
        return "".join(label for label in self.output if all(label in term for term in self.inputs))

    def summed(self) -> str:
        """Labels of both operands that the result does not have."""
        first = self.inputs[0]
        return "".join(
            label for label in first if label not in self.output and all(label in t for t in self.inputs)
        )

    def free(self, index: int) -> str:
        """Labels that only this operand and the result have."""
        others = [term for place, term in enumerate(self.inputs) if place != index]
        own = self.inputs[index]
        return "".join(label for label in self.output if label in own and not any(label in t for t in others))

    def alone(self, index: int) -> str:
        """Labels that only this operand has: it is summed over them first."""
        others = [term for place, term in enumerate(self.inputs) if place != index]
        terms = [self.output, *others]
        return "".join(label for label in self.inputs[index] if not any(label in term for term in terms))

    def order(self, index: int) -> str:
        """The labels of an operand in the order in which a matrix product takes them."""
        summed = self.summed() if len(self.inputs) == 2 else ""
        return self.batch_or_free(index) + summed + self.alone(index)

    def batch_or_free(self, index: int) -> str:
        """Labels of an operand that stay."""
        return self.free(index) if len(self.inputs) == 1 else self.batch() + self.free(index)

    def result(self) -> str:
        """The labels of the result in the order in which the product makes them."""
        if len(self.inputs) == 1:
            return self.order(0)[: len(self.output)]
        return self.batch() + self.free(0) + self.free(1)


def parse(equation: str, ranks: Sequence[int]) -> Equation:
    """Read an equation; without an arrow the result has the labels that occur once, in alphabetical order."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    widths = [
        rank - len(term.replace("...", "")) for term, rank in zip(terms, ranks, strict=True) if "..." in term
    ]
    width = max(widths, default=0)
    hidden = "".join(str(number) for number in range(width))
    expanded = []
    for term, rank in zip(terms, ranks, strict=True):
        own = rank - len(term.replace("...", ""))
        expanded.append(term.replace("...", hidden[width - own :] if own else ""))
    if arrow:
        return Equation(tuple(expanded), right.replace("...", hidden))
    labels = [label for label in sorted(set(left)) if label.isalpha() and left.count(label) == 1]
    return Equation(tuple(expanded), hidden + "".join(labels))
