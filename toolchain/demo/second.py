"""The network at the other precision: opened beside a demo that runs, and what goes wrong ends nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Thread

from toolchain.demo.lanes import Follower, Network
from toolchain.demo.scene import Scene
from toolchain.errors import ToolchainError, UsageError

LOADING = "loading the second precision"


class Second:
    """Opens a second network for a scene, as soon as both precisions are wanted.

    Why there is none stays on the screen for as long as both are wanted; asking for them again tries again.

    Args:
        scene: gets the network as its follower.
        networks: those that are open, which the caller closes; the second is added and, when it fails on a
            frame, taken away.
        give: names its file; None where there is none.
        threads: of one operator.

    Attributes:
        error: why there is no second network; None while nothing went wrong.
    """

    def __init__(
        self,
        scene: Scene,
        networks: list[Network],
        give: Callable[[], Path] | None,
        threads: int | None = None,
    ) -> None:
        self.error: BaseException | None = None
        self._scene, self._networks, self._give, self._threads = scene, networks, give, threads
        self._network: Network | None = None
        self._opener: Thread | None = None
        self._wanted = False

    def open(self) -> None:
        """Open it here and now.

        Raises:
            UsageError: there is none, no sidecar beside it, or it has other classes.
            UnsupportedError: the file is damaged, or no face parser.
            MissingDependencyError: what runs it is not installed.
        """
        if self._give is None:
            raise UsageError("there is no second precision of this file", "give a file with --artifact")
        network = Network.open(self._give(), self._threads)
        try:
            follower = Follower(network, self._scene.leader.contract)
        except BaseException:
            network.close()
            raise
        self._network = network
        self._networks.append(network)
        self._scene.follower = follower

    def update(self, wanted: bool) -> None:
        """To be called again and again: open it in a thread when both are wanted from now on.

        Args:
            wanted: whether both precisions are to be shown.
        """
        self._collect()
        if wanted and not self._wanted and self._scene.follower is None and not self._is_loading:
            self.error = None
            # No daemon: Python aborts when it ends while a thread of it is in a network's code.
            self._opener = Thread(target=self._try, name="second")
            self._opener.start()
        self._wanted = wanted

    @property
    def message(self) -> str:
        """What the user should know now, "" for nothing."""
        if self._is_loading:
            return LOADING
        if self.error is None or not self._wanted:
            return ""
        return f"no second precision: {told(self.error)}"

    @property
    def _is_loading(self) -> bool:
        return self._opener is not None and self._opener.is_alive()

    def _try(self) -> None:
        try:
            self.open()
        except BaseException as error:
            self.error = error

    def _collect(self) -> None:
        """Take a network away that has failed on a frame: its thread has let go of it."""
        failure = self._scene.failure
        if failure is None:
            return
        self.error, self._scene.failure = failure, None
        if self._network is not None:
            self._networks.remove(self._network)
            self._network.close()
            self._network = None


def told(error: BaseException) -> str:
    """An error in one line; an unknown one with its kind."""
    if isinstance(error, ToolchainError):
        return error.message
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
