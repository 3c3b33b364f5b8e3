"""The entry point. What can be answered without importing anything is answered here."""

from __future__ import annotations

import sys


def main(argv: list[str] | None = None) -> int:
    """Run one command line and return its exit status."""
    arguments = sys.argv[1:] if argv is None else argv
    if arguments in (["--version"], ["-v"]):
        from lading import __version__

        print(f"lading version {__version__}")
        return 0
    from lading.direct import run_directly

    status = run_directly(arguments)
    if status is not None:
        return status
    from lading.cli import run_command

    return run_command(arguments)


if __name__ == "__main__":
    sys.exit(main())
