"""--env, --env-file, --label and --label-file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from engine.options.errors import OptionError

_FILE_LIMIT = 4 << 20


def environment(
    files: Iterable[str], values: Iterable[str], environ: Mapping[str, str]
) -> tuple[str, ...]:
    """``NAME=value`` of every --env-file, then of every --env.

    A bare ``NAME`` takes the value of our own environment, and nothing if there is none.

    Raises:
        OptionError: a name is empty or holds blanks, or a file cannot be read.
    """
    found: list[str] = []
    for path in files:
        for number, line in enumerate(read_lines(path, "--env-file"), 1):
            name = line.partition("=")[0]
            if any(character.isspace() for character in name):
                raise OptionError(
                    f"variable '{name}' contains whitespaces", where=f"{path}:{number}"
                )
            if not name:
                raise OptionError(f"no variable name on line '{line}'", where=f"{path}:{number}")
            found += _entry(line, environ)
    for value in values:
        if not value.partition("=")[0]:
            raise OptionError(f"invalid environment variable: {value}", where="--env")
        found += _entry(value, environ)
    return tuple(found)


def labels(files: Iterable[str], values: Iterable[str]) -> dict[str, str]:
    """``key=value`` of every --label-file, then of every --label; a bare key has an empty value.

    Raises:
        OptionError: a key is empty, or a file cannot be read.
    """
    found: dict[str, str] = {}
    for text in [line for path in files for line in read_lines(path, "--label-file")] + [*values]:
        key, _, value = text.partition("=")
        if not key.strip():
            raise OptionError(f"invalid label '{text}': empty name", where="--label")
        found[key] = value
    return found


def read_lines(path: str, flag: str) -> list[str]:
    """The lines of a file that are not empty and no comments, without leading blanks.

    Raises:
        OptionError: it cannot be read, is too long, or is not UTF-8.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(_FILE_LIMIT + 1)
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise OptionError(
            f"open {path}: {(error.strerror or str(error)).lower()}", where=flag
        ) from error
    except UnicodeDecodeError as error:
        raise OptionError(f"env file {path} contains invalid utf8 bytes", where=flag) from error
    if len(content) > _FILE_LIMIT:
        raise OptionError(f"{path} is longer than 4 MiB", where=flag)
    lines = (line.lstrip().rstrip("\r") for line in text.split("\n"))
    return [line for line in lines if line and not line.startswith("#")]


def _entry(text: str, environ: Mapping[str, str]) -> list[str]:
    if "=" in text:
        return [text]
    return [f"{text}={environ[text]}"] if text in environ else []
