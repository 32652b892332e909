"""Frames arrive newest first, wait where none may be lost, and a camera may go away and come back."""

from __future__ import annotations

from threading import Event, Thread

import numpy as np
import pytest

from toolchain.demo.capture import Capture
from toolchain.demo.look import Controls, Look
from toolchain.demo.mailbox import Mailbox
from toolchain.errors import UnsupportedError, UsageError


def picture(number):
    return np.full((4, 6, 3), number, np.uint8)


class Listed:
    """A source with so many frames; a camera that fails at a frame when it is live."""

    name = "listed"

    def __init__(self, count, live=False, rate=1000.0, fails=()):
        self.count, self.live, self.rate = count, live, rate
        self.fails = list(fails)
        self.next = 0
        self.closed = 0

    def frames(self):
        try:
            while self.next < self.count:
                if self.fails and self.next == self.fails[0]:
                    self.fails.pop(0)
                    raise UnsupportedError(f"camera went away after {self.next} frames")
                self.next += 1
                yield picture(self.next - 1)
        finally:
            self.closed += 1


def captured(source, realtime, retry=True):
    mailbox = Mailbox()
    capture = Capture(source, mailbox, Controls(Look()), realtime, retry)
    return capture, mailbox


def taken(mailbox):
    """Values of all frames until the end."""
    values = []
    while not mailbox.finished:
        frame = mailbox.take()
        if frame is not None:
            values.append(int(frame.picture[0, 0, 0]))
    return values


def test_an_offer_replaces_what_nobody_took():
    mailbox = Mailbox()
    assert mailbox.offer(1) is None
    assert mailbox.offer(2) == 1
    assert mailbox.take() == 2
    assert mailbox.dropped == 1
    assert mailbox.take(timeout=0.01) is None


def test_a_closed_mailbox_gives_what_is_there_and_lets_nobody_wait():
    mailbox = Mailbox()
    mailbox.offer(1)
    mailbox.close()
    assert not mailbox.finished
    assert mailbox.take() == 1
    assert mailbox.finished
    assert mailbox.take() is None
    assert not mailbox.put(2)


def test_put_waits_until_the_item_before_was_taken():
    mailbox, order = Mailbox(), []

    def give():
        for number in range(5):
            mailbox.put(number)
        mailbox.close()

    thread = Thread(target=give)
    thread.start()
    while not mailbox.finished:
        item = mailbox.take()
        if item is not None:
            order.append(item)
    thread.join()
    assert order == [0, 1, 2, 3, 4]
    assert mailbox.dropped == 0


def test_without_real_time_every_frame_arrives_in_order():
    capture, mailbox = captured(Listed(40), realtime=False)
    capture.start()
    assert taken(mailbox) == list(range(40))
    capture.join()
    assert (capture.count, capture.error, mailbox.dropped) == (40, None, 0)


def test_in_real_time_the_newest_frame_waits_and_the_others_are_dropped():
    source = Listed(40)
    capture, mailbox = captured(source, realtime=True)
    capture.start()
    capture.join()
    assert taken(mailbox) == [39]
    assert mailbox.dropped == 39
    assert source.closed == 1


def test_a_camera_that_goes_away_is_looked_for_again(monkeypatch):
    from toolchain.demo import capture as module

    monkeypatch.setattr(module, "RETRY", 0.01)
    source = Listed(6, live=True, rate=None, fails=[3, 3])
    messages, real = [], Event()

    class Watched(Capture):
        def __setattr__(self, name, value):
            if name == "message" and value:
                messages.append(value)
                real.set()
            super().__setattr__(name, value)

    mailbox = Mailbox()
    capture = Watched(source, mailbox, Controls(Look()), realtime=True)
    capture.start()
    capture.join()
    assert capture.count == 6
    assert capture.error is None
    assert messages == ["camera went away after 3 frames: trying again"] * 2
    assert capture.message == ""


def test_a_camera_that_never_gave_a_frame_is_an_error_at_once():
    class Missing(Listed):
        def frames(self):
            raise UsageError("there is no camera 7")
            yield

    capture, mailbox = captured(Missing(1, live=True, rate=None), realtime=True)
    capture.start()
    capture.join()
    assert mailbox.finished
    with pytest.raises(UsageError, match="camera 7"):
        raise capture.error


def test_without_retry_a_loss_is_an_error_after_the_frames():
    capture, mailbox = captured(Listed(6, live=True, rate=None, fails=[4]), realtime=True, retry=False)
    capture.start()
    capture.join()
    assert taken(mailbox) == [3]
    assert isinstance(capture.error, UnsupportedError)


def test_a_still_stays_until_the_next_is_asked_for():
    mailbox, controls = Mailbox(), Controls(Look())
    capture = Capture(Listed(3, rate=None), mailbox, controls, realtime=True)
    capture.start()
    for number in range(3):
        frame = mailbox.take()
        assert (int(frame.picture[0, 0, 0]), frame.first) == (number, True)
        assert capture.is_alive()
        controls.press(ord("n"))
    capture.join()
    assert mailbox.finished


def test_a_paused_clip_waits_and_stop_ends_it():
    mailbox, controls = Mailbox(), Controls(Look())
    controls.press(ord(" "))
    capture = Capture(Listed(3), mailbox, controls, realtime=True)
    capture.start()
    assert mailbox.take(timeout=0.1) is None
    capture.stop()
    capture.join()
    assert capture.count == 0
