"""Signals that end a command: they become an exception, once, and what a command made meanwhile is cleaned up.

An exception out of a signal may come between any two steps. What must not be torn apart stands in a block of `held`;
folders that go with a block are `scratch_folder`s.

A signal raises between two steps of Python. One that comes just as the main thread blocks, after its last step, is seen
when that ends: so the main thread waits no longer than `LOOK_S` at a time.
"""

import os
import shutil
import signal
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from threading import Timer, current_thread, main_thread
from types import FrameType
from typing import Any, TypeVar

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
RETRY_S = 0.01
LOOK_S = 1.0

T = TypeVar("T")


class Interrupted(KeyboardInterrupt):
    """A signal came."""


class _State:
    number: int | None = None  # of the signal that came
    raised = False
    held = 0


def came() -> int | None:
    """The number of the signal that ends this command, if one came."""
    return _State.number


@contextmanager
def interruptible() -> Iterator[None]:
    """In the block, the first of SIGINT, SIGTERM and SIGHUP raises Interrupted; those that follow are ignored.

    So what is cleaned up on the way out is cleaned up whole. A signal that is ignored on entry, as under nohup, stays
    ignored. Only the main thread gets signals: elsewhere the block is as any other, and so is one within another.
    """
    if current_thread() is not main_thread() or signal.getsignal(signal.SIGTERM) is _came:
        yield
        return
    _State.number, _State.raised = None, False
    before = {number: signal.getsignal(number) for number in ENDING}
    hook = sys.unraisablehook
    sys.unraisablehook = _unraisable(hook)
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, _came)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        sys.unraisablehook = hook


def ignore_from_now_on() -> None:
    """For a program that only has to exit."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)


def _came(number: int, _frame: FrameType | None) -> None:
    if _State.number is None:
        _State.number = number
        _raise()


def _raise() -> None:
    if _State.number is not None and not _State.raised and not _State.held:
        _State.raised = True
        raise Interrupted


def _unraisable(hook: Any) -> Any:
    """A destructor, or whatever else cannot raise, loses the exception: the signal then comes again, a moment later."""

    def unraisable(found: Any) -> None:
        if not isinstance(found.exc_value, Interrupted):
            hook(found)
            return
        number, _State.number, _State.raised = _State.number, None, False
        Timer(RETRY_S, os.kill, [os.getpid(), number]).start()

    return unraisable


@contextmanager
def held() -> Iterator[None]:
    """A signal that comes in the block, which must be short, raises at its end."""
    if current_thread() is not main_thread():  # where no signal raises
        yield
        return
    _State.held += 1
    try:
        yield
    finally:
        _State.held -= 1
        _raise()


def finished(futures: Iterable[Future[T]]) -> tuple[set[Future[T]], set[Future[T]]]:
    """(those that are done, at least one; the others)"""
    while True:
        done, left = wait(futures, LOOK_S, FIRST_COMPLETED)
        if done:
            return done, left


@contextmanager
def scratch_folder(prefix: str = "nmgen-", beside: Path | None = None) -> Iterator[Path]:
    """A new folder for the block, in the folder beside or where temporary files go."""
    scratch: Path | None = None
    try:
        with held():
            scratch = Path(mkdtemp(prefix=prefix, dir=beside))
        yield scratch
    finally:
        if scratch is not None:
            with held():
                shutil.rmtree(scratch, ignore_errors=True)
