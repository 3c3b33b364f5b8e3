"""Compose files to one project: variables, includes, merging, and what services extend."""

from __future__ import annotations

import posixpath
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from engine.bake.compose.document import read_document
from engine.bake.compose.dotenv import read_dotenv
from engine.bake.compose.interpolate import interpolate_all
from engine.bake.compose.merge import merged, resolved, service
from engine.bake.compose.targets import service_target
from engine.bake.errors import BakeError, BakeLimitError, BakeValueError
from engine.bake.model import Config, Group
from engine.bake.source import SourceFile
from records import Record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from engine.bake.variables import Surroundings

DEPTH: Final = 20
"""Files that include one another, and services that extend one another, in a row."""


class Project(Record):
    """Services and secrets, merged, with paths from the working directory."""

    services: Mapping[str, Any]
    secrets: Mapping[str, Any]


def is_compose(source: SourceFile) -> bool:
    """Whether a file without a telling name is a compose file."""
    try:
        return "services" in read_document(source)
    except BakeError:
        return False


def load_compose(
    sources: Sequence[SourceFile], surroundings: Surroundings, directory: Path
) -> Config:
    """The targets of the services that are built, and the group ``default`` of all of them.

    Raises:
        BakeError: with the file and the name of what is to blame.
    """
    environment = dict(surroundings.environment)
    dotenv = directory / ".env"
    if dotenv.is_file():
        environment = {**read_dotenv(dotenv, environment), **environment}
    environment |= surroundings.variables
    reader = _Reader(directory, environment)
    project = Project({}, {})
    for source in sources:
        project = _over(project, reader.project(source, Path(), 0))
    targets, warnings = [], []
    for name in sorted(project.services):
        described = resolved(project.services[name])
        if described.get("build") is None:
            continue
        variables = reader.service_environment(described, f"services.{name}")
        target, doubts = service_target(name, described, project.secrets, variables)
        targets.append(target)
        warnings += [(text, f"services.{name}.build") for text in doubts]
    if not project.services:
        raise BakeValueError("there are no services", where=sources[-1].name)
    group = Group("default", tuple(target.name for target in targets))
    return Config((group,), tuple(targets), (), tuple(warnings), tuple(reader.reads))


def _over(base: Project, over: Project) -> Project:
    services = dict(base.services)
    for name, described in over.services.items():
        # A service on nothing keeps its tags: they may be meant for a file below.
        known = name in services
        services[name] = merged(services[name], described) if known else described
    return Project(services, merged(dict(base.secrets), dict(over.secrets)))


class _Reader:
    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        self._directory = directory
        self._environment = environment
        self.reads: list[str] = []
        """Files that were read because a file names them."""

    def project(self, source: SourceFile, base: Path, depth: int) -> Project:
        """One file with what it includes; ``base`` is where its paths begin."""
        if depth > DEPTH:
            raise BakeLimitError(f"more than {DEPTH} files include one another", where=source.name)
        document = interpolate_all(read_document(source), self._environment, source.name)
        included = Project({}, {})
        for item in _listed(document.get("include")):
            for one in self._included(item, base, depth, source.name):
                included = _over(included, one)
        own = _services(document, source.name)
        made = {name: self._extended(name, own, base, source.name, ()) for name in own}
        services = {name: _rebased(described, base) for name, described in made.items()}
        described = resolved(document.get("secrets")) or {}
        if not isinstance(described, dict):
            raise BakeValueError("secrets are a mapping", where=source.name)
        secrets = {name: _rebased_secret(one, base) for name, one in described.items()}
        return _over(included, Project(services, secrets))

    def _included(self, item: object, base: Path, depth: int, where: str) -> list[Project]:
        options = {"path": item} if isinstance(item, str) else item
        if not isinstance(options, dict) or not options.get("path"):
            raise BakeValueError("an include names a path", where=where)
        made = []
        for path in _listed(options["path"]):
            place = base / str(path)
            folder = options.get("project_directory")
            inner = base / str(folder) if folder else place.parent
            made.append(self.project(self._source(place), inner, depth + 1))
        return made

    def _source(self, path: Path) -> SourceFile:
        from engine.bake.files import read_files

        self.reads.append(str(path))
        (file,) = read_files([str(path)], self._directory)
        try:
            return SourceFile(str(path), file.data.decode("utf-8-sig"))
        except UnicodeDecodeError as error:
            raise BakeValueError("this file is not UTF-8", where=str(path)) from error

    def _extended(
        self,
        name: str,
        services: Mapping[str, Any],
        base: Path,
        where: str,
        path: tuple[str, ...],
    ) -> Any:
        """A service upon the one that it extends, of this file or another."""
        described = services.get(name)
        if described is None:
            raise BakeValueError(f"there is no service {name} to extend", where=where)
        if (key := f"{where}:{name}") in path or len(path) > DEPTH:
            raise BakeValueError(f"the service {name} extends itself", where=where)
        extends = described.get("extends")
        if extends is None:
            return described
        options = {"service": extends} if isinstance(extends, str) else extends
        if not isinstance(options, dict):
            raise BakeValueError(f"{name} extends a service, or a file and one", where=where)
        other, file = str(options.get("service") or name), options.get("file")
        if file is None:
            parent = self._extended(other, services, base, where, (*path, key))
        else:
            source = self._source(base / str(file))
            document = interpolate_all(read_document(source), self._environment, source.name)
            own = _services(document, source.name)
            inner = (base / str(file)).parent
            parent = self._extended(other, own, inner, source.name, (*path, key))
            parent = _rebased(parent, Path(posixpath.relpath(inner, base or ".")))
        return {**merged(parent, described), "extends": None}

    def service_environment(self, described: Mapping[str, Any], where: str) -> dict[str, str]:
        """What arguments without a value may take: the service's variables, then the user's."""
        found: dict[str, str] = dict(self._environment)
        for item in _listed(described.get("env_file")):
            options = item if isinstance(item, dict) else {"path": item}
            path = self._directory / str(options.get("path"))
            if path.is_file() or options.get("required", True):
                self.reads.append(str(path))
                try:
                    found |= read_dotenv(path, self._environment)
                except BakeError as error:
                    raise BakeValueError(f"env_file: {error.what}", where=where) from error
        for name, value in (described.get("environment") or {}).items():
            if value is not None:
                found[name] = str(value)
        return found


def _services(document: Mapping[str, Any], where: str) -> dict[str, Any]:
    raw = document.get("services") or {}
    if not isinstance(raw, dict):
        raise BakeValueError("services are a mapping", where=where)
    return {str(name): service(one, f"{where}: {name}") for name, one in raw.items()}


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _rebased(described: Any, base: Path) -> Any:
    """A service of a file in another directory, with its paths from here."""
    build = described.get("build")
    if base == Path() or not isinstance(build, dict):
        return described
    changed = dict(build)
    if isinstance(build.get("context"), str) or "dockerfile_inline" not in build:
        changed["context"] = rebased_path(build.get("context") or ".", base)
    contexts = build.get("additional_contexts")
    if isinstance(contexts, dict):
        changed["additional_contexts"] = {
            name: rebased_path(text, base) if isinstance(text, str) else text
            for name, text in contexts.items()
        }
    return {**described, "build": changed}


def _rebased_secret(secret: Any, base: Path) -> Any:
    if isinstance(secret, dict) and isinstance(secret.get("file"), str):
        return {**secret, "file": rebased_path(secret["file"], base)}
    return secret


def rebased_path(text: str, base: Path) -> str:
    """A relative path below ``base``; URLs, ``service:`` and absolute paths as they are."""
    if text.startswith(("/", "~", "service:", "target:", "docker-image:")) or "://" in text:
        return text
    return posixpath.normpath(str(base / text))
