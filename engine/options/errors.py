"""The one error of flag values; Docker's number for a command line it cannot use."""

from __future__ import annotations

from images.errors import InputError


class OptionError(InputError):
    """A flag's value is malformed; ``where`` names the flag."""

    code = "option-invalid"
    exit_status = 125


def invalid(value: str, flag: str, why: str, *, fix: str | None = None) -> OptionError:
    """The error in Docker's words: ``invalid argument "x" for "--flag" flag: why``."""
    return OptionError(f'invalid argument "{value}" for "{flag}" flag: {why}', fix=fix)
