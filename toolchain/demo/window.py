"""The window: OpenCV's HighGUI, to be used in the main thread only."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from time import sleep

import cv2
import numpy as np

from toolchain.errors import MissingDependencyError, UsageError

# Seconds before each attempt to reach the X server, which is deaf for a moment while it starts anew.
WAITS = (0.0, 0.1, 0.3)
TITLE = "toolchain demo"
HINT = "show nothing with --no-window (and write with --output out.mp4), or open a browser with --web"


class Window:
    """A window that shows pictures and takes keys.

    Raises:
        UsageError: there is no display.
        MissingDependencyError: this OpenCV has no windows.
    """

    def __init__(self, title: str = TITLE) -> None:
        check_display()
        self.title = title
        self._size: tuple[int, ...] = ()
        try:
            cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
        except cv2.error as error:
            raise UsageError(f"no window can be opened: {error.err}", HINT) from error

    def show(self, picture: np.ndarray) -> int:
        """Show a picture at once.

        Args:
            picture: (height, width, 3) BGR uint8. The window gets its size whenever that changes.

        Returns:
            The code of a key that was pressed, -1 for none.
        """
        if picture.shape != self._size:
            self._size = picture.shape
            cv2.resizeWindow(self.title, picture.shape[1], picture.shape[0])
        cv2.imshow(self.title, picture)
        return self.poll()

    def poll(self) -> int:
        """Handle what happened to the window; returns the code of a key, -1 for none."""
        return int(cv2.pollKey())

    @property
    def is_closed(self) -> bool:
        """Whether the user closed it by its button."""
        try:
            return cv2.getWindowProperty(self.title, cv2.WND_PROP_VISIBLE) < 1
        except cv2.error:
            return True

    def close(self) -> None:
        """Take it away."""
        if not self.is_closed:
            cv2.destroyWindow(self.title)
            cv2.pollKey()


def check_display() -> None:
    """Raises an error where no window could be opened: Qt would end the process instead.

    Raises:
        UsageError: there is no display.
        MissingDependencyError: this OpenCV has no windows.
    """
    framework = cv2.currentUIFramework() if hasattr(cv2, "currentUIFramework") else "?"
    if not framework:
        raise MissingDependencyError(
            "this OpenCV was built without windows", f'pip install "opencv-python<5"; or {HINT}'
        )
    if sys.platform != "linux" or not framework.startswith("QT"):
        return
    if os.environ.get("QT_QPA_PLATFORM", "xcb").split(":")[0] != "xcb":
        return
    name = os.environ.get("DISPLAY", "")
    if not name:
        raise UsageError("there is no display: DISPLAY is not set", HINT)
    if not _connection(name):
        # A server may come later.
        _connection.cache_clear()
        raise UsageError(f"the display '{name}' cannot be opened", HINT)
    load_queue_owner()


@cache
def load_queue_owner(library: str = "libX11-xcb.so.1") -> None:
    """Let Qt find the system's XSetEventQueueOwner before the one in OpenCV's wheel.

    Qt calls it to keep Xlib from reading events. It is one write into a structure of libX11, which comes from
    the system; the wheel's copy writes to where an older libX11 had the field. Xlib then takes events away: a
    window whose MapNotify is lost (one in ten) is never painted.

    Raises:
        MissingDependencyError: the system has no such library.
    """
    try:
        ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
    except OSError as error:
        raise MissingDependencyError(
            f"windows need {library}, which is not installed", f"apt-get install libx11-xcb1; or {HINT}"
        ) from error


@cache
def _connection(display: str) -> int:
    """A connection that is kept: an X server may start anew when its last client leaves.

    Returns:
        0 where no server answers, or it does not let this user in, as Qt would find out.
    """
    try:
        xcb = ctypes.CDLL("libxcb.so.1")
    except OSError:
        # Qt needs it too.
        return 0
    xcb.xcb_connect.restype = ctypes.c_void_p
    xcb.xcb_connect.argtypes = [ctypes.c_char_p, ctypes.c_void_p]
    xcb.xcb_connection_has_error.argtypes = xcb.xcb_disconnect.argtypes = [ctypes.c_void_p]
    for wait in WAITS:
        sleep(wait)
        connection = xcb.xcb_connect(os.fsencode(display), None)
        if not xcb.xcb_connection_has_error(connection):
            return int(connection)
        xcb.xcb_disconnect(connection)
    return 0
