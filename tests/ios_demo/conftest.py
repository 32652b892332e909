"""The iOS app's files, and a parser for its Swift sources."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import tree_sitter_swift
from tree_sitter import Language, Node, Parser

from toolchain.models.zoo import zoo
from toolchain.spec import ModelSpec

ROOT = next(
    folder for folder in Path(__file__).parents if (folder / "ios_demo/FaceParsing/Package.swift").is_file()
)


class SwiftFile:
    """A Swift source and its syntax tree."""

    def __init__(self, path: Path, parser: Parser) -> None:
        self.path = path
        self.source = path.read_bytes()
        self.root = parser.parse(self.source).root_node

    def text(self, node: Node) -> str:
        """What a node spans."""
        return self.source[node.start_byte : node.end_byte].decode()

    def nodes(self, *types: str) -> Iterator[Node]:
        """All nodes of these types, in order."""
        waiting = [self.root]
        while waiting:
            node = waiting.pop()
            if node.type in types:
                yield node
            waiting.extend(reversed(node.children))


@pytest.fixture(scope="session")
def app() -> Path:
    """The folder of the app."""
    return ROOT / "ios_demo"


@pytest.fixture(scope="session")
def swift_files(app: Path) -> list[SwiftFile]:
    """All Swift files of the app, its core and the core's tests."""
    parser = Parser(Language(tree_sitter_swift.language()))
    return [SwiftFile(path, parser) for path in sorted(app.rglob("*.swift"))]


@pytest.fixture(scope="session")
def core(swift_files: list[SwiftFile]) -> list[SwiftFile]:
    """Of the core alone."""
    return [file for file in swift_files if "Sources" in file.path.parts]


@pytest.fixture(scope="session")
def spec() -> ModelSpec:
    """The contract of the network that the README exports."""
    return zoo().get("mobile-hourglass").spec
