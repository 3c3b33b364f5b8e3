"""How errors reach a person: what, where, how to fix it (design D11); errors become status here."""

from __future__ import annotations

import errno
import os
import sys

from images.errors import InputError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

FAILED_STATUS = 1
USAGE_STATUS = 125
INTERRUPTED_STATUS = 130
REPORT_HINT = "this is a bug in lading: run again with --debug and report what it prints"


class UsageError(InputError):
    """The command line is wrong; ``where`` is the flag."""

    code = "usage"
    exit_status = USAGE_STATUS


def status_of(command: Callable[[], int | None], *, debug: bool = False) -> int:
    """Run a command; every error becomes a message on stderr and an exit status."""
    try:
        status = command()
    except KeyboardInterrupt:
        return INTERRUPTED_STATUS
    except Exception as error:
        unread = [stream for stream in (sys.stdout, sys.stderr) if _unread(stream)]
        for stream in unread:
            _forget(stream)
        if unread and isinstance(error, BrokenPipeError):
            # The reader of our output went away (`lading images | head`): not an error of ours.
            return 0
        if debug:
            raise
        return render_error(error, sys.stderr)
    return status if isinstance(status, int) else 0


def _unread(stream: TextIO) -> bool:
    """Whether a stream is a pipe that nobody reads any more."""
    from select import POLLERR, poll

    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):
        return False
    waiting = poll()
    waiting.register(descriptor, 0)
    return any(events & POLLERR for _, events in waiting.poll(0))


def _forget(stream: TextIO) -> None:
    """Let what is left in its buffer go nowhere, or the interpreter would fail to write it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def render_error(error: BaseException, stream: TextIO, *, prefix: str = "lading") -> int:
    """Write one error as text and return the exit status for it.

    Errors of our packages carry ``what``, ``where`` and ``fix``; a Dockerfile error also has an
    excerpt.
    """
    what = getattr(error, "what", None)
    if what is None:
        what, where, fix = _foreign(error)
    else:
        where, fix = getattr(error, "where", None), getattr(error, "fix", None)
    place = f"{where}: " if where else ""
    excerpt = getattr(error, "excerpt", None)
    text = excerpt() if callable(excerpt) else ""
    if text:
        print(text.rstrip("\n"), file=stream)
    print(f"{prefix}: {place}{what}", file=stream)
    if fix:
        print(f"  {fix}", file=stream)
    for note in getattr(error, "__notes__", ()):
        print(f"  {note}", file=stream)
    status = getattr(error, "exit_status", FAILED_STATUS)
    return status if isinstance(status, int) else FAILED_STATUS


def _foreign(error: BaseException) -> tuple[str, str | None, str | None]:
    if isinstance(error, OSError) and error.errno is not None:
        names = [str(name) for name in (error.filename, error.filename2) if name is not None]
        return os.strerror(error.errno), " -> ".join(names) or None, _os_fix(error.errno)
    import traceback

    summary = traceback.format_exception_only(error)[-1].strip()
    return summary, None, REPORT_HINT


def _os_fix(number: int) -> str | None:
    if number == errno.ENOSPC:
        return "free some space: `lading system prune` removes what nothing refers to"
    if number in (errno.EACCES, errno.EPERM):
        return "run as root, or choose a state directory of your own with --root"
    return None
