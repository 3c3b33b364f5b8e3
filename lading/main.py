"""The entry point. What can be answered without importing anything is answered here."""

from __future__ import annotations

import gc
import os
import sys


def main(argv: list[str] | None = None) -> int:
    """Run one command line and return its exit status."""
    arguments = sys.argv[1:] if argv is None else argv
    if arguments in (["--version"], ["-v"]):
        from lading import __version__

        print(f"lading version {__version__}")
        return 0
    if argv is None:
        # What a cold start makes is no garbage, so do not look for any before there is a lot.
        gc.set_threshold(100_000)
    from lading.direct import run_directly

    status = run_directly(arguments)
    if status is not None and argv is None:
        _leave(status)
    if status is not None:
        return status
    from lading.cli import run_command

    return run_command(arguments)


def _leave(status: int) -> None:
    """End the process without taking the interpreter down, which costs as much as its start did.

    Only where no other thread is left. What libraries have put off until now is done, and what is
    buffered is written; descriptors are the kernel's to close, the database's log is the next
    reader's to find.
    """
    threading = sys.modules.get("threading")
    if threading is not None:
        if threading.active_count() > 1:
            return
        import atexit

        atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        return
    os._exit(status)


if __name__ == "__main__":
    sys.exit(main())
