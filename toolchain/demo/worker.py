"""Parsing and drawing in a thread of its own, between the source and the screen."""

from __future__ import annotations

from threading import Thread

from toolchain.demo.capture import Frame
from toolchain.demo.look import Controls, Look
from toolchain.demo.mailbox import Mailbox
from toolchain.demo.scene import Drawn, Scene

# Seconds between two looks at the keys while there is no frame.
IDLE = 0.05


class Worker(Thread):
    """Takes frames, and leaves what becomes of them.

    Args:
        scene: belongs to this thread from now on, but for its pool and its `follower`.
        frames: where frames come from.
        drawn: where pictures go; closed at the end.
        controls: what is to be drawn. While paused, frames of a camera are not taken, and a change of the
            look draws the latest frame again.
        realtime: whether a picture that nobody took is replaced by the next one; else it waits.

    Attributes:
        unseen: frames whose picture nobody took.
        error: why it ended, None when the frames did.
    """

    def __init__(
        self,
        scene: Scene,
        frames: Mailbox[Frame],
        drawn: Mailbox[Drawn],
        controls: Controls,
        realtime: bool,
    ) -> None:
        super().__init__(name="inference", daemon=True)
        self.unseen = 0
        self.error: BaseException | None = None
        self._scene, self._frames, self._drawn = scene, frames, drawn
        self._controls, self._realtime = controls, realtime

    def run(self) -> None:
        """See `threading.Thread`."""
        try:
            self._work()
        except BaseException as error:
            self.error = error
        finally:
            # Whoever waits to leave a frame would wait for ever.
            self._frames.close()
            self._drawn.close()

    def _work(self) -> None:
        drawn_as: tuple[Look, bool] | None = None
        while not self._frames.finished:
            frame = self._frames.take(IDLE)
            look = self._controls.look
            wanted = look, self._scene.follower is not None
            if frame is not None:
                made: Drawn | None = self._scene.process(frame.picture, look, frame.first, frame.arrival)
            else:
                made = None if wanted == drawn_as else self._scene.redraw(look)
            drawn_as = wanted if made is not None else drawn_as
            if made is not None and not self._leave(made):
                return

    def _leave(self, made: Drawn) -> bool:
        if not self._realtime:
            return self._drawn.put(made)
        unseen = self._drawn.offer(made)
        if unseen is not None:
            self.unseen += unseen.arrival is not None
            self._scene.pool.give(unseen.picture)
        return True
