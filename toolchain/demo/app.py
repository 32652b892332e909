"""The demo: a source, one or two networks, a window or none, and perhaps a file that is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from time import monotonic, perf_counter, sleep
from typing import Any

import cv2

from toolchain.demo.capture import Capture, Frame
from toolchain.demo.figures import Figures, rounded
from toolchain.demo.lanes import Follower, Leader, Network, distinct_names
from toolchain.demo.look import Controls, Look
from toolchain.demo.mailbox import Mailbox
from toolchain.demo.output import Output, kept_if_complete, open_output
from toolchain.demo.scene import Drawn, Scene
from toolchain.demo.screen import Screen, annotate
from toolchain.demo.second import Second, told
from toolchain.demo.window import Window, check_display
from toolchain.demo.worker import Worker
from toolchain.errors import ToolchainError, UsageError
from toolchain.face.picture import write_picture
from toolchain.face.source import Folder, Source

# Seconds: between two looks at the window while no picture comes; between two drawings of it then; how long a
# message stays; how long a source may take to end.
POLL, REFRESH, MESSAGE, PATIENCE = 0.005, 0.2, 4.0, 5.0
SHIFTED = {"fp32": "int8", "fp16": "int8", "w8": "int8", "int8": "fp32"}


@dataclass(frozen=True)
class DemoOptions:
    """What to show, and where.

    Attributes:
        source: where frames come from.
        artifacts: one face parser's file, or two to compare; each with its sidecar.
        look: what is drawn at first.
        output: file or folder to write to; None for none.
        window: whether to show a window.
        every_frame: drop no frame of a clip although there is a window, and hurry.
        max_frames: end after so many frames; None for no limit.
        threads: of one operator; None for the runtime's default.
        detector: model file, as for `open_detector`; None for OpenCV's cascade.
        faces: how many faces are followed at most.
        second: gives the same network at the other precision, for the line between two; None where there is
            none. With a window it is called in a thread of its own, and what goes wrong with the second
            network ends nothing: it is shown, and `second_error` of the figures has it.
        pictures: folder of the pictures that the key saves.
        progress: told what goes on before the first frame.
    """

    source: Source
    artifacts: tuple[Path, ...]
    look: Look = field(default_factory=Look)
    output: Path | None = None
    window: bool = True
    every_frame: bool = False
    max_frames: int | None = None
    threads: int | None = None
    detector: Path | None = None
    faces: int = 4
    second: Callable[[], Path] | None = None
    pictures: Path = Path()
    progress: Callable[[str], None] = field(default=lambda _stage: None)


def run_demo(options: DemoOptions) -> dict[str, Any]:
    """Show or process the frames of a source until they end, or the user leaves.

    With a window and no output, the newest frame is always the one that is parsed next, and a clip runs at
    its own rate; otherwise every frame of a clip is processed. A camera always is in real time.

    Args:
        options: what to show, and where.

    Returns:
        Figures, as `demo --json` prints them.

    Raises:
        UsageError: a file or camera is not there, the output cannot be written, or there is no display.
        UnsupportedError: a file is no face parser, or the source ends too early.
        Exception: an unknown error of the second network, after the output was written.
    """
    return _Demo(options).run()


def other_precision(path: Path, precision: str) -> Path:
    """The file of the same network at the other precision, beside it: int8 beside a float one, or fp32.

    Raises:
        UsageError: there is none.
    """
    other = SHIFTED.get(precision, "int8")
    found = path.with_name(path.name.replace(f"-{precision}", f"-{other}"))
    if found == path or not found.exists():
        raise UsageError(
            f"there is no {other} file beside '{path}'", f"`toolchain export NAME -p {other}` writes one"
        )
    return found


class _Demo:
    def __init__(self, options: DemoOptions) -> None:
        self.options = options
        source = options.source
        if options.max_frames is not None and options.max_frames < 1:
            raise UsageError(f"max_frames must be at least 1, not {options.max_frames}")
        if len(options.artifacts) not in (1, 2):
            raise UsageError(f"{len(options.artifacts)} files are given", "give one, or two to compare")
        self.realtime = source.live or (options.window and options.output is None and not options.every_frame)
        self.controls = Controls(options.look)
        self.figures = Figures()
        self.networks: list[Network] = []
        self._busy = False
        self._message, self._until = "", 0.0
        self._wrote: list[str] = []

    def run(self) -> dict[str, Any]:
        options = self.options
        if options.window:
            check_display()
        output = None if options.output is None else open_output(options.output, options.source)
        with ExitStack() as stack:
            stack.callback(self._close_networks)
            scene = self._scene()
            screen = Screen()
            second = Second(scene, self.networks, options.second, options.threads)
            if not options.window and options.look.split:
                second.open()
            window = Window() if options.window else None
            if window is not None:
                stack.callback(window.close)
            frames: Mailbox[Frame] = Mailbox()
            drawn: Mailbox[Drawn] = Mailbox()
            capture = Capture(options.source, frames, self.controls, self.realtime, retry=options.window)
            worker = Worker(scene, frames, drawn, self.controls, self.realtime)
            stack.enter_context(kept_if_complete(output, keep_anyway=options.source.live))
            with self._running(capture, worker, drawn):
                self._loop(capture, scene, drawn, screen, window, output, second)
            for thread in (capture, worker):
                if thread.error is not None:
                    raise thread.error
            self.figures.captured, self.figures.dropped = capture.count, frames.dropped + worker.unseen
            # The last frame may be the one on which it failed.
            second.update(wanted=False)
        if second.error is not None and not isinstance(second.error, ToolchainError):
            raise second.error
        return self._summary(scene, output, second.error)

    def _scene(self) -> Scene:
        options = self.options
        still = isinstance(options.source, Folder)
        options.progress("loading the network")
        self.networks = [
            Network.open(path, options.threads, label)
            for path, label in zip(options.artifacts, distinct_names(options.artifacts), strict=True)
        ]
        first, *others = self.networks
        leader = Leader(first, options.detector, options.faces, options.threads, thorough=still)
        scene = Scene(leader, compare=bool(others), optional=options.window and not others)
        if others:
            scene.follower = Follower(others[0], leader.contract)
        return scene

    @contextmanager
    def _running(self, capture: Capture, worker: Worker, drawn: Mailbox[Drawn]) -> Iterator[None]:
        threads_before = cv2.getNumThreads()
        if self.options.threads is not None:
            cv2.setNumThreads(self.options.threads)
        capture.start()
        worker.start()
        try:
            yield
        except KeyboardInterrupt:
            # There is no other way to end the recording of a camera without a window.
            if not self.options.source.live:
                raise
        finally:
            capture.stop()
            drawn.close()
            # It ends after its frame, however long that takes: Python cannot end while a network computes.
            self._busy = True
            worker.join()
            self._busy = False
            capture.join(PATIENCE)
            cv2.setNumThreads(threads_before)

    def _loop(
        self,
        capture: Capture,
        scene: Scene,
        drawn: Mailbox[Drawn],
        screen: Screen,
        window: Window | None,
        output: Output | None,
        second: Second,
    ) -> None:
        latest: Drawn | None = None
        shown_at = 0.0
        while not drawn.finished:
            made = self._next(drawn)
            if window is not None:
                key = -1
                if made is not None or perf_counter() - shown_at > REFRESH:
                    shown = made if made is not None else latest
                    names = [network.name for network in self.networks]
                    message = self._current(capture) or second.message
                    key = window.show(screen.compose(shown, self.figures, self.controls, names, message))
                    shown_at = perf_counter()
                self.controls.press(key if key >= 0 else window.poll())
            if made is not None:
                self._count(made)
                if output is not None and made.arrival is not None:
                    output.write(annotate(made) if scene.compare else made.picture)
                if latest is not None:
                    scene.pool.give(latest.picture)
                latest = made
            if window is not None:
                second.update(self.controls.look.split and not scene.compare)
                if not self._goes_on(window, latest):
                    return
            if self.options.max_frames is not None and self.figures.shown >= self.options.max_frames:
                return

    def _next(self, drawn: Mailbox[Drawn]) -> Drawn | None:
        """The next picture; with a window none is waited for."""
        if not self.options.window:
            return drawn.take()
        if self.controls.paused and not self.realtime:
            sleep(POLL)
            return None
        return drawn.take(POLL)

    def _goes_on(self, window: Window, latest: Drawn | None) -> bool:
        """Do what the keys asked for; False when the user wants to leave."""
        controls = self.controls
        if controls.save:
            controls.save = False
            self._save(latest)
        return not (controls.quit or window.is_closed)

    def _count(self, made: Drawn) -> None:
        if made.arrival is None:
            return
        self.figures.add_stages(made.stages, made.second, made.faces)
        self.figures.add_shown(perf_counter(), made.arrival if self.options.window else None)

    def _save(self, latest: Drawn | None) -> None:
        if latest is None:
            return
        name = f"demo-{datetime.now():%Y%m%d-%H%M%S-%f}"[:-3]
        path = self.options.pictures / f"{name}.png"
        try:
            write_picture(path, latest.picture)
        except ToolchainError as error:
            self._say(error.message)
            return
        self._wrote.append(str(path))
        self._say(f"saved {path.name}")

    def _say(self, message: str) -> None:
        self._message, self._until = message, monotonic() + MESSAGE

    def _current(self, capture: Capture) -> str:
        if capture.message:
            return capture.message
        return self._message if monotonic() < self._until else ""

    def _close_networks(self) -> None:
        # A network that still computes must not be taken away: the user did not want to wait for it.
        for network in () if self._busy else self.networks:
            network.close()

    def _summary(self, scene: Scene, output: Output | None, error: ToolchainError | None) -> dict[str, Any]:
        compared = scene.agreement if scene.agreement.pixels else None
        return {
            "source": self.options.source.name,
            "artifacts": [network.as_json() for network in self.networks],
            "effect": self.controls.look.effect,
            "color": None if self.controls.look.color is None else list(self.controls.look.color),
            **self.figures.as_json(),
            "steadiness": rounded(scene.steadiness.share),
            "agreement": None if compared is None else compared.as_json(),
            "output": None if output is None else str(output.path),
            "pictures": self._wrote,
            "second_error": None if error is None else told(error),
        }
