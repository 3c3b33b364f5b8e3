"""``--set target.key=value``: patterns of targets, keys of attributes, replacing or adding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from dockerfile_grammar.suggest import nearest
from engine.bake.decode import parse_entry
from engine.bake.entries import Output, SecretSource, parse_bool
from engine.bake.errors import BakeError, BakeValueError
from engine.bake.patterns import matching
from records import Record, replace

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from engine.bake.model import Target

_TEXTS: Final = ("context", "dockerfile", "target", "call", "network", "shm-size")
_SWITCHES: Final = ("pull", "no-cache")
_LISTS: Final = {
    "tags": "tags", "platform": "platforms", "platforms": "platforms",
    "no-cache-filter": "no-cache-filter", "ulimits": "ulimits",
}  # fmt: skip
_ADDING: Final = ("annotations", "entitlements")
_MAPS: Final = ("args", "contexts", "labels", "extra-hosts")
_ENTRIES: Final = {
    "cache-from": "cache-from", "cache-to": "cache-to", "output": "output", "secrets": "secret",
    "ssh": "ssh", "attest": "attest", "policy": "policy",
}  # fmt: skip
_NAMED: Final = (*_MAPS, "secret", "resources")
_NUMBERS: Final = ("cpu-shares", "cpu-period", "cpu-quota")
_KEYS: Final = (*_TEXTS, *_SWITCHES, *_LISTS, *_ADDING, *_NAMED, *_ENTRIES, "push", "load")


class Override(Record):
    """What is said of one key: all its values, the last of which counts for single ones."""

    key: str
    name: str
    """After the key, for those that have parts: ``args.NAME``."""
    values: tuple[str, ...]
    append: bool


def parse_overrides(
    settings: Sequence[str], targets: Sequence[str], environment: Mapping[str, str]
) -> dict[str, list[Override]]:
    """What ``--set`` says, by target.

    ``target.args.NAME`` without a value takes the environment's.

    Raises:
        BakeValueError: malformed, an unknown key, or a pattern that matches no target.
    """
    found: dict[str, dict[tuple[str, str], Override]] = {}
    for setting in settings:
        path, equals, value = setting.partition("=")
        append = path.endswith("+")
        pattern, _, rest = path.removesuffix("+").partition(".")
        key, _, name = rest.partition(".")
        try:
            _check(key, name, equals, append=append)
            names = matching(pattern, targets)
        except BakeError as error:
            raise BakeValueError(error.what, where=f"--set {setting}", fix=error.fix) from error
        if not equals:
            if name not in environment:
                continue
            value = environment[name]
        for target in names:
            keys = found.setdefault(target, {})
            before = keys.get((key, name))
            values = (*(before.values if before else ()), value)
            keys[(key, name)] = Override(key, name, values, append)
    return {target: list(keys.values()) for target, keys in found.items()}


def _check(key: str, name: str, equals: str, *, append: bool) -> None:
    if key not in _KEYS:
        near = nearest(key, _KEYS)
        fix = f"did you mean {near}?" if near else "write --set TARGET.KEY=VALUE"
        raise BakeValueError(f"{key!r} is no key of a target", fix=fix)
    if key in _NAMED and not name:
        raise BakeValueError(f"{key} needs a name", fix=f"write --set TARGET.{key}.NAME=VALUE")
    if key not in _NAMED and name:
        raise BakeValueError(f"{key} has no parts")
    if not equals and key != "args":
        raise BakeValueError("a value is missing", fix=f"write --set TARGET.{key}=VALUE")
    if append and key in ("secret", "resources"):
        raise BakeValueError(f"nothing can be added to {key}")


def overridden(target: Target, overrides: Sequence[Override]) -> Target:
    """The target with what the command line says.

    Raises:
        BakeError: a value is malformed.
    """
    ordered = sorted(overrides, key=lambda one: one.key == "secret")
    for override in ordered:
        try:
            target = replace(target, **_change(target, override))
        except BakeError as error:
            where = f"--set {target.name}.{override.key}"
            raise BakeValueError(error.what, where=where, fix=error.fix) from error
    return target


def _change(target: Target, override: Override) -> dict[str, Any]:
    key, last = override.key, override.values[-1]
    field = key.replace("-", "_")
    if key in _TEXTS:
        return {field: last}
    if key in _SWITCHES:
        return {field: parse_bool(last, key)}
    if key in _MAPS:
        return {field: {**(target.get(key) or {}), override.name: last}}
    if key in _ADDING:
        return {field: (*(target.get(key) or ()), *override.values)}
    if key in _LISTS:
        return _listed(target, _LISTS[key], override.values, append=override.append)
    if key in _ENTRIES:
        attribute = _ENTRIES[key]
        entries = tuple(one for text in override.values for one in parse_entry(attribute, text))
        append = override.append or attribute == "attest"
        return _listed(target, attribute, entries, append=append)
    return _SPECIAL[key](target, override)


def _listed(
    target: Target, attribute: str, items: tuple[Any, ...], *, append: bool
) -> dict[str, Any]:
    before = (target.get(attribute) or ()) if append else ()
    return {attribute.replace("-", "_"): (*before, *items)}


def _secret(target: Target, override: Override) -> dict[str, Any]:
    """Where a secret that the definition knows comes from."""
    secrets = list(target.secret or ())
    for index, secret in enumerate(secrets):
        if secret.id == override.name:
            (said,) = SecretSource.parse(override.values[-1]) or [SecretSource()]
            if said.id not in ("", secret.id):
                raise BakeValueError(f"the secret is called {secret.id}, not {said.id}")
            secrets[index] = replace(secret, source=said.source, variable=said.variable)
            return {"secret": tuple(secrets)}
    raise BakeValueError(
        f"the target has no secret {override.name}", fix="--set TARGET.secrets=id=... adds one"
    )


def _resources(target: Target, override: Override) -> dict[str, Any]:
    from engine.bake.model import RESOURCES

    name, text = override.name, override.values[-1]
    if name not in RESOURCES:
        raise BakeValueError(f"{name!r} is no resource", fix=f"use {', '.join(RESOURCES)}")
    if name in _NUMBERS and not text.lstrip("-").isdigit():
        raise BakeValueError(f"{text!r} is no whole number")
    value = int(text) if name in _NUMBERS else text
    return {"resources": {**(target.resources or {}), name: value}}


def _push(target: Target, override: Override) -> dict[str, Any]:
    """``push=true`` makes image outputs push, and adds one where there is none but docker's."""
    outputs = list(target.output or ())
    if not parse_bool(override.values[-1], "push"):
        kept = [one for one in outputs if one.type != "registry"]
        return {"output": tuple(_pushing(one, push="false") for one in kept)}
    made = [_pushing(one, push="true") for one in outputs]
    if all(one.type == "docker" for one in outputs):
        made.append(Output("image", options={"push": "true"}))
    return {"output": tuple(made)}


def _pushing(output: Output, *, push: str) -> Output:
    if output.type != "image":
        return output
    return replace(output, options={**output.options, "push": push})


def _load(target: Target, override: Override) -> dict[str, Any]:
    """``load=true`` adds the local store, unless files are wanted."""
    outputs = target.output or ()
    if not parse_bool(override.values[-1], "load"):
        return {}
    if any(one.type == "docker" and not one.destination for one in outputs):
        return {}
    if any(one.type not in ("docker", "image", "registry", "oci") for one in outputs):
        return {}
    return {"output": (*outputs, Output("docker"))}


_SPECIAL: Final[Mapping[str, Callable[[Target, Override], dict[str, Any]]]] = {
    "secret": _secret,
    "resources": _resources,
    "push": _push,
    "load": _load,
}
