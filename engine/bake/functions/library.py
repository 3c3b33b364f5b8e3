"""All functions by name, for one definition."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.bake.functions import (
    collections,
    dates,
    encoding,
    format,
    networks,
    numbers,
    paths,
    patterns,
    strings,
    versions,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.bake.functions.function import Function


def library(clock: Callable[[], float], home: str) -> dict[str, Function]:
    """What docker's bake has, but for those that get expressions: ``try``, ``can``, ``convert``.

    Args:
        clock: seconds since the epoch.
        home: the user's home directory.
    """
    rooms = (
        collections, dates, encoding, format, networks, numbers, paths, patterns, strings, versions
    )  # fmt: skip
    found = [function for room in rooms for function in room.FUNCTIONS]
    found += [*dates.clock_functions(clock), *paths.home_functions(home)]
    return {function.name: function for function in found}
