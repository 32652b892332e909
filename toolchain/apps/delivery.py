"""Where the demo apps expect a network: which formats they run, and in which folder they look for files.

An app lists its models folder: every file there with its sidecar is a choice on its screen.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from toolchain.apps.clip import write_clip
from toolchain.errors import ToolchainError, UnsupportedError, UsageError
from toolchain.face.parse import FACE_LABEL, contract_of
from toolchain.publish import sha256_of, staging
from toolchain.registry import Registry
from toolchain.spec import SEGMENTATION, Artifact, ModelSpec


@dataclass(frozen=True)
class App:
    """One of the demo apps.

    Attributes:
        name: as given to --app.
        folder: of its checkout, where the command is usually run.
        part: folder inside that every checkout of this app has, and no other.
        models: folder inside where it looks for files.
        clip: folder inside where it looks for the clip of its benchmark.
        format: the only one that it runs.
        precisions: what it offers to switch between.
        next_step: what the user does now; "{folder}" stands for the checkout.
    """

    name: str
    folder: Path
    part: Path
    models: Path
    clip: Path
    format: str
    precisions: tuple[str, ...]
    next_step: str


APPS: Registry[App] = Registry("app", "toolchain export --help")
APPS.add(
    "android",
    App(
        "android",
        Path("android_demo"),
        Path("app/src/main"),
        Path("app/src/main/assets/models"),
        Path("app/src/main/assets/clip"),
        "tflite",
        ("fp32", "fp16", "int8"),
        "open '{folder}' in Android Studio and run 'app' on a phone",
    ),
)
APPS.add(
    "ios",
    App(
        "ios",
        Path("ios_demo"),
        Path("FaceParsingDemo"),
        Path("FaceParsingDemo/Models"),
        Path("FaceParsingDemo/Clips"),
        "coreml",
        ("fp16", "fp32", "int8"),
        "open '{folder}/FaceParsingDemo.xcodeproj' in Xcode, choose your team and run on an iPhone",
    ),
)


class Delivery:
    """An export for an app: what is exported, and how it gets there.

    Args:
        name: of the app.
        folder: where the user has its checkout; None for the place beside the toolchain.
        formats: what was asked for; None for what the app runs.
        precisions: what was asked for; None for all that the app offers.

    Attributes:
        app: which one.
        formats: what to export.
        precisions: the same.
        next_step: what the user does with the app then.

    Raises:
        UsageError: there is no such app or no such checkout, or the app does not run such a format.
    """

    def __init__(
        self,
        name: str,
        folder: Path | None = None,
        formats: Sequence[str] | None = None,
        precisions: Sequence[str] | None = None,
    ) -> None:
        self.app = APPS.get(name)
        others = [one for one in formats or () if one != self.app.format]
        if others:
            raise UsageError(
                f"the {name} app does not run '{others[0]}'",
                f"leave -f out, or use -f {self.app.format}; export other formats without --app",
            )
        self._checkout = _checkout(self.app, folder)
        self.formats = (self.app.format,)
        self.precisions = tuple(precisions or self.app.precisions)
        self.next_step = self.app.next_step.format(folder=self._checkout)

    def check(self, spec: ModelSpec, head: str | None = None) -> None:
        """Raises UnsupportedError, before any work, for a network that the app cannot show."""
        if spec.task != SEGMENTATION or FACE_LABEL not in spec.labels:
            raise UnsupportedError(
                f"'{spec.name}' does not parse faces, and the {self.app.name} app shows nothing else",
                "export a face parser, such as mobile-hourglass, or leave --app out",
            )
        if head == "argmax":
            raise UnsupportedError(
                f"the {self.app.name} app needs probabilities, and --head argmax leaves labels alone",
                "leave --head out, or use --head softmax",
            )

    def deliver(self, artifacts: Sequence[Artifact]) -> list[Path]:
        """Copy files and sidecars, each whole or not at all, to where the app looks for them.

        Files of the same name are replaced, others stay.

        Args:
            artifacts: verified files of the app's format.

        Returns:
            Where the files are now, in the order of `artifacts`.

        Raises:
            UsageError: the folder cannot be written to.
            UnsupportedError: a file has another contract than the app can follow.
            ToolchainError: a file is not the one that was verified, or the disk is full.
        """
        for artifact in artifacts:
            contract_of(artifact)
        folder = self._checkout / self.app.models
        with _hint_at_checkout(), staging(folder) as stage:
            for artifact in artifacts:
                _copy(artifact, stage.path(artifact.path.name))
            for artifact in artifacts:
                stage.publish(artifact.path.name, replace(artifact, path=folder / artifact.path.name))
        return [folder / artifact.path.name for artifact in artifacts]

    def deliver_clip(self) -> Path | None:
        """Write the clip of the app's benchmark, unless the user has put one of their own there.

        Returns:
            The folder of its pictures; None where the user's own clip stays.

        Raises:
            UsageError: the folder cannot be written to.
            ToolchainError: the disk is full.
        """
        folder = self._checkout / self.app.clip
        with _hint_at_checkout():
            return folder if write_clip(folder) else None


@contextmanager
def _hint_at_checkout() -> Iterator[None]:
    try:
        yield
    except UsageError as error:
        raise UsageError(
            error.message, "make room there, or name another checkout with --app-folder"
        ) from error


def _checkout(app: App, folder: Path | None) -> Path:
    found = folder or app.folder
    hint = f"run it beside '{app.folder}', or give its folder with --app-folder"
    if not found.is_dir():
        raise UsageError(f"there is no checkout of the {app.name} app at '{found}'", hint)
    if not (found / app.part).is_dir():
        raise UsageError(f"'{found}' is not the {app.name} app: it has no '{app.part.as_posix()}'", hint)
    return found


def _copy(artifact: Artifact, target: Path) -> None:
    if artifact.path.is_dir():
        shutil.copytree(artifact.path, target)
    else:
        shutil.copyfile(artifact.path, target)
    if sha256_of(target) != artifact.sha256:
        raise ToolchainError(f"'{artifact.path}' is not the file that was verified", "export it again")
