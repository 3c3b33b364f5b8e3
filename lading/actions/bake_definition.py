"""Where a definition comes from: files here, or a git repository or archive elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from engine.bake.files import DefinitionFile, load_files, read_files
from engine.bake.remote import HERE, Origin
from engine.builds.sources.wanted import STDIN, Sources, is_elsewhere
from lading.actions.bake_surroundings import surroundings
from records import Record

if TYPE_CHECKING:
    from builder.progress.tracker import Tracker
    from builder.secrets import Secret
    from engine.bake.model import Config
    from engine.builds.building import Yard

TOKEN, HEADER = "BUILDX_BAKE_GIT_AUTH_TOKEN", "BUILDX_BAKE_GIT_AUTH_HEADER"
_SECRETS = {TOKEN: "GIT_AUTH_TOKEN", HEADER: "GIT_AUTH_HEADER"}
_LONE = (".hcl", ".json", ".yaml", ".yml")
"""How the URL of a definition without files around it ends."""


class Defined(Record):
    """A definition, what is asked of it, and where it is; ``origin`` is None for here."""

    config: Config
    names: tuple[str, ...]
    origin: Origin | None = None


@contextmanager
def defined(
    files: tuple[str, ...],
    names: tuple[str, ...],
    variables: tuple[str, ...],
    yard: Yard,
    tracker: Tracker,
) -> Iterator[Defined]:
    """The definition, which stays on this machine for the block.

    The first of ``names`` may be the URL of the definition, a second URL its BAKE_CMD_CONTEXT.

    Raises:
        BakeError: there is none, or it is malformed.
        BuildInputError, ImagesError: it cannot be had.
    """
    if not names or names[0] == STDIN or not is_elsewhere(names[0]):
        read = read_files([name.removeprefix(HERE) for name in files], Path())
        yield Defined(load_files(read, surroundings(variables, HERE), Path()), names)
        return
    url, *rest = names
    context = rest.pop(0) if rest and is_elsewhere(rest[0]) else HERE
    here = [name.removeprefix(HERE) for name in files if name.startswith(HERE)]
    there = [name for name in files if not name.startswith(HERE)]
    with _brought(url, yard, tracker, os.environ) as (directory, lone):
        around = surroundings(variables, context)
        read = [lone] if lone is not None else read_files(there, directory or Path())
        read += read_files(here, Path()) if here else []
        config = load_files(read, around, directory or Path())
        origin = None
        if directory is not None:
            from builder.sources.git_url import parse_git_url

            repository = parse_git_url(url, local=True) is not None
            origin = Origin(url, str(directory), repository=repository)
        yield Defined(config, tuple(rest), origin)


@contextmanager
def _brought(
    url: str, yard: Yard, tracker: Tracker, environment: Mapping[str, str]
) -> Iterator[tuple[Path | None, DefinitionFile | None]]:
    """The directory that a repository or archive is in now, or the one file that the URL is."""
    from builder.request import BuildRequest
    from engine.builds.sources.station import bring_in

    alone = url.partition("?")[0].endswith(_LONE)
    agent = environment.get("SSH_AUTH_SOCK")
    request = BuildRequest(
        None,
        # A Dockerfile is not looked for, because one is given.
        dockerfile=None if alone else b"",
        secrets=tuple(_secrets(environment)),
        ssh={"default": Path(agent)} if agent else {},
    )
    with bring_in(request, Sources(url), yard.store, tracker.labelled("bake")) as brought:
        text = brought.dockerfile
        if alone and isinstance(text, bytes):
            name = url.partition("?")[0].rpartition("/")[2]
            yield None, DefinitionFile(name, text)
        else:
            yield Path(str(brought.context)), None


def _secrets(environment: Mapping[str, str]) -> Iterator[Secret]:
    from builder.secrets import Secret

    for variable, id in _SECRETS.items():
        if environment.get(variable):
            yield Secret(id, environment[variable].encode())
