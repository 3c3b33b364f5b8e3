"""A service's ``build`` section as a target."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from engine.bake.compose.merge import resolved
from engine.bake.decode import parse_entry
from engine.bake.entries import Agent, SecretSource, canonical_attestation
from engine.bake.errors import BakeError, BakeValueError
from engine.bake.expansion import check_name
from engine.bake.functions.paths import clean
from engine.bake.model import Target
from engine.bake.resolve import LINK, is_remote
from engine.options.numbers import parse_size
from records import replace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_IGNORED: Final = ("isolation", "privileged")
_KNOWN: Final = frozenset(
    ("context", "dockerfile", "dockerfile_inline", "args", "labels", "tags", "target", "network",
     "additional_contexts", "cache_from", "cache_to", "platforms", "ssh", "secrets", "shm_size",
     "ulimits", "extra_hosts", "no_cache", "no_cache_filter", "pull", "provenance", "sbom",
     "entitlements", *_IGNORED)
)  # fmt: skip
_EXTENSION_LISTS: Final = ("tags", "platforms", "no-cache-filter")
_EXTENSION_ENTRIES: Final = ("cache-from", "cache-to", "secret", "ssh", "output")


def service_target(
    name: str,
    described: Mapping[str, Any],
    secrets: Mapping[str, Any],
    variables: Mapping[str, str],
) -> tuple[Target, list[str]]:
    """The target, and what of the section has no meaning here.

    Raises:
        BakeValueError: a value of the wrong type.
    """
    where = f"services.{name}.build"
    build = resolved(described["build"])
    section = _Section(build, where)
    try:
        target = _target(check_name(name.replace(".", "_"), None), section, secrets, variables)
        target = _extended(target, section.mapping("x-bake"))
    except BakeError as error:
        raise BakeValueError(error.what, where=error.where or where, fix=error.fix) from error
    image = described.get("image")
    if not target.tags and isinstance(image, str):
        target = replace(target, tags=(image,))
    return target, [_doubt(key) for key in build if key not in _KNOWN and not _extension(key)] + [
        f"{key} has no meaning here" for key in _IGNORED if build.get(key)
    ]


def _extension(key: object) -> bool:
    return str(key).startswith("x-")


def _doubt(key: object) -> str:
    return f"{key} is no attribute of a build section"


class _Section:
    """A build section that is asked for values of a type."""

    def __init__(self, build: Mapping[str, Any], where: str) -> None:
        self._build = build
        self._where = where

    def _wrong(self, key: str, what: str) -> BakeValueError:
        return BakeValueError(f"{key} is {what}", where=f"{self._where}.{key}")

    def text(self, key: str) -> str | None:
        value = self._build.get(key)
        if value is None or value == "":
            return None
        if isinstance(value, list | dict):
            raise self._wrong(key, "text")
        return text_of(value)

    def texts(self, key: str) -> tuple[str, ...]:
        value = self._build.get(key)
        if value is None:
            return ()
        if isinstance(value, str):
            return (value,)
        if not isinstance(value, list) or any(isinstance(item, list | dict) for item in value):
            raise self._wrong(key, "a list of texts")
        return tuple(text_of(item) for item in value)

    def items(self, key: str) -> list[Any]:
        value = self._build.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self._wrong(key, "a list")
        return value

    def mapping(self, key: str) -> dict[str, Any]:
        value = self._build.get(key)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self._wrong(key, "a mapping")
        return {str(name): item for name, item in value.items()}

    def switch(self, key: str) -> bool | None:
        value = self._build.get(key)
        if value in (True, "true", "1"):
            return True
        if value in (None, False, "false", "0", ""):
            return None
        raise self._wrong(key, "neither true nor false")


def text_of(value: object) -> str:
    """A scalar as compose writes it into a variable."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value == int(value) and abs(value) < 1e21:
        return str(int(value))
    return "" if value is None else str(value)


def _target(
    name: str, section: _Section, secrets: Mapping[str, Any], variables: Mapping[str, str]
) -> Target:
    context = section.text("context")
    hosts = section.mapping("extra_hosts")
    return Target(
        name,
        context=context if context is None or is_remote(context) else clean(context),
        contexts=_contexts(section.mapping("additional_contexts"), plain=False),
        dockerfile=section.text("dockerfile"),
        dockerfile_inline=section.text("dockerfile_inline"),
        args=_args(section.mapping("args"), variables),
        labels={key: text_of(value) for key, value in section.mapping("labels").items()} or None,
        tags=section.texts("tags") or None,
        target=section.text("target"),
        network=section.text("network"),
        platforms=section.texts("platforms") or None,
        cache_from=_entries("cache-from", section.texts("cache_from")),
        cache_to=_entries("cache-to", section.texts("cache_to")),
        ssh=_agents(section.items("ssh")),
        secret=_secrets(section.items("secrets"), secrets),
        shm_size=_size(section.text("shm_size")),
        ulimits=_ulimits(section.mapping("ulimits")),
        extra_hosts={key: ",".join(value) for key, value in hosts.items()} or None,
        no_cache=section.switch("no_cache"),
        no_cache_filter=section.texts("no_cache_filter") or None,
        pull=section.switch("pull"),
        attest=_attestations(section),
        entitlements=section.texts("entitlements") or None,
    )


def _args(args: Mapping[str, Any], variables: Mapping[str, str]) -> dict[str, str | None] | None:
    """An argument without a value takes a variable's, and is left out where there is none."""
    made: dict[str, str | None] = {}
    for name, value in args.items():
        if value is not None:
            made[name] = text_of(value)
        elif name in variables:
            made[name] = variables[name]
    return made or None


def _contexts(contexts: Mapping[str, Any], *, plain: bool) -> dict[str, str] | None:
    made = {}
    for name, value in contexts.items():
        text = text_of(value)
        if text.startswith(("service:", LINK)):
            text = LINK + text.partition(":")[2].replace(".", "_")
        elif not plain and not is_remote(text) and not text.startswith("docker-image:"):
            text = clean(text)
        made[name] = text
    return made or None


def _entries(attribute: str, texts: Sequence[str]) -> Any:
    return tuple(one for text in texts for one in parse_entry(attribute, text)) or None


def _agents(items: Sequence[Any]) -> tuple[Agent, ...] | None:
    found = []
    for item in items:
        text = "=".join(map(str, *item.items())) if isinstance(item, dict) else str(item)
        id, _, path = text.partition("=")
        found.append(Agent(id, tuple(path.split(",")) if path else ()))
    return tuple(sorted(found, key=lambda agent: (agent.id, agent.paths))) or None


def _secrets(items: Sequence[Any], known: Mapping[str, Any]) -> tuple[SecretSource, ...] | None:
    found = []
    for item in items:
        name = str(item.get("source") if isinstance(item, dict) else item)
        secret = known.get(name)
        if not isinstance(secret, dict):
            raise BakeValueError(f"the secret {name} is not defined", where=f"secrets.{name}")
        if secret.get("external"):
            raise BakeValueError(
                f"the secret {name} is external, and only compose could get it",
                where=f"secrets.{name}",
                fix="use file or environment",
            )
        path, variable = (text_of(secret.get(key)) for key in ("file", "environment"))
        found.append(SecretSource(name, clean(path) if path else "", variable))
    return tuple(found) or None


def _size(text: str | None) -> str | None:
    """Bytes in the largest unit that gives at most four digits, as docker shows sizes."""
    if text is None:
        return None
    size = float(parse_size(text, "shm_size"))
    units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]
    while size >= 1024 and len(units) > 1:
        size /= 1024
        units.pop(0)
    return f"{size:.4g}{units[0]}"


def _ulimits(limits: Mapping[str, Any]) -> tuple[str, ...] | None:
    made = []
    for name, value in limits.items():
        both = value if isinstance(value, dict) else {"soft": value, "hard": value}
        made.append(f"{name}={both.get('soft', 0)}:{both.get('hard', 0)}")
    return tuple(made) or None


def _attestations(section: _Section) -> Any:
    said = [(kind, section.text(kind)) for kind in ("sbom", "provenance")]
    texts = [canonical_attestation(kind, text) for kind, text in said if text is not None]
    return _entries("attest", texts)


def _extended(target: Target, extension: Mapping[str, Any]) -> Target:
    """What ``x-bake`` adds; https://docs.docker.com/build/bake/compose-file/."""
    changes: dict[str, Any] = {}
    for key, value in extension.items():
        field = key.replace("-", "_")
        if key in _EXTENSION_LISTS:
            changes[field] = tuple(dict.fromkeys((*(target.get(key) or ()), *_words(value))))
        elif key in _EXTENSION_ENTRIES:
            added = _entries(key, _words(value)) or ()
            changes[field] = (*(target.get(key) or ()), *added)
        elif key in ("pull", "no-cache") and isinstance(value, bool):
            changes[field] = value
        elif key == "contexts" and isinstance(value, dict):
            changes[field] = {**(_contexts(value, plain=True) or {}), **(target.contexts or {})}
        else:
            raise BakeValueError(f"x-bake has no {key}, or not of this type")
    return replace(target, **changes)


def _words(value: Any) -> list[str]:
    return [text_of(item) for item in value] if isinstance(value, list) else str(value).split()
