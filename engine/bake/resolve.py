"""From a definition to the targets that were asked for: groups, inheritance, overrides, links."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.bake.entries import Output
from engine.bake.errors import BakeError, BakeLimitError, BakeValueError
from engine.bake.functions.paths import clean
from engine.bake.model import Group, Target
from engine.bake.overrides import overridden
from engine.bake.patterns import is_pattern, matching
from records import Record, replace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from engine.bake.model import Config
    from engine.bake.overrides import Override

DEPTH = 100
"""Targets that inherit from one another in a row."""

LINK = "target:"
"""What a context begins with that is another target's result."""


class Selection(Record):
    """What is to be built: targets by name, and the groups that led to them."""

    groups: Mapping[str, Group]
    targets: Mapping[str, Target]

    def json(self) -> dict[str, Any]:
        """The definition as ``--print`` shows it."""
        groups = {name: group.json() for name, group in sorted(self.groups.items())}
        targets = {name: target.json() for name, target in sorted(self.targets.items())}
        return {**({"group": groups} if groups else {}), "target": targets}


def select(
    config: Config, names: Sequence[str], overrides: Mapping[str, Sequence[Override]]
) -> Selection:
    """Resolve what was asked for; no names stand for ``default``.

    Raises:
        BakeError: an unknown target, a cycle, or an override that cannot be.
    """
    return _Selector(config, overrides).select(list(names) or ["default"])


class _Selector:
    def __init__(self, config: Config, overrides: Mapping[str, Sequence[Override]]) -> None:
        self._groups = {group.name: group for group in reversed(config.groups)}
        self._targets = {target.name: target for target in config.targets}
        self._overrides = overrides
        self._resolved: dict[str, Target] = {}

    def select(self, names: list[str]) -> Selection:
        everything = list(dict.fromkeys([*self._groups, *self._targets]))
        chosen: list[str] = []
        for name in (name.replace(".", "_") for name in names):
            chosen += matching(name, everything) if is_pattern(name) else [name]
        chosen = list(dict.fromkeys(chosen))
        groups: dict[str, Group] = {}
        targets: dict[str, Target] = {}
        for name in chosen:
            members = self._members(name, groups)
            for member in members:
                targets[member] = self.target(member)
        self._default(chosen, groups)
        for name in list(targets):
            self._link(name, targets, ())
        return Selection(groups, targets)

    def _members(self, name: str, groups: dict[str, Group]) -> list[str]:
        """The targets below a name, and into ``groups`` the groups on the way."""
        found: list[str] = []
        waiting = [name]
        while waiting:
            current = waiting.pop()
            group = self._groups.get(current)
            if group is None:
                found.append(current)
            elif current not in groups:
                groups[current] = group
                waiting += reversed(group.targets)
        return list(dict.fromkeys(found))

    @staticmethod
    def _default(chosen: list[str], groups: dict[str, Group]) -> None:
        """The group ``default`` stands for what was asked for, so that the answer can be built."""
        for name in chosen:
            if name == "default" and name in groups:
                continue
            group = groups.get("default", Group("default"))
            groups["default"] = replace(group, targets=(*group.targets, name))
        if "default" in groups:
            members = sorted(dict.fromkeys(groups["default"].targets))
            groups["default"] = replace(groups["default"], targets=tuple(members))

    def target(self, name: str) -> Target:
        """A target with all that it inherits and the defaults of its context; raises BakeError."""
        target = self._inherited(name, ())
        context = target.context if target.context is not None else "."
        dockerfile = target.dockerfile or "Dockerfile"
        return replace(target, inherits=None, context=context, dockerfile=dockerfile)

    def _inherited(self, name: str, path: tuple[str, ...]) -> Target:
        if name in self._resolved:
            return self._resolved[name]
        own = self._targets.get(name)
        if own is None:
            matching(name, list(dict.fromkeys([*self._groups, *self._targets])))
            raise BakeValueError(f"{name} is a group, and a target is needed")
        if len(path) > DEPTH:
            raise BakeLimitError(f"more than {DEPTH} targets inherit in a row", place=own.place)
        made = Target(name)
        for parent in own.inherits or ():
            # A target that leads back to itself has nothing new to say.
            if parent not in (*path, name):
                try:
                    made = made.merged(self._inherited(parent, (*path, name)))
                except BakeError as error:
                    if error.place is None:
                        raise BakeValueError(
                            f"{name} inherits: {error.what}", place=own.place, fix=error.fix
                        ) from error
                    raise
        made = replace(made.merged(own), inherits=None, place=own.place)
        made = overridden(made, self._overrides.get(name, ())).normalised()
        self._resolved[name] = made
        return made

    def _link(self, name: str, targets: dict[str, Target], path: tuple[str, ...]) -> None:
        """Bring in the targets whose results are contexts of this one."""
        path = (*path, name)
        for context in (targets[name].contexts or {}).values():
            if not context.startswith(LINK):
                continue
            other = context.removeprefix(LINK)
            if other in path:
                raise BakeValueError(
                    f"the contexts of {name} lead back to it: {' -> '.join((*path, other))}",
                    place=targets[name].place,
                )
            if other not in targets:
                linked = self.target(other)
                targets[other] = replace(linked, output=(Output("cacheonly"),), linked=True)
            self._link(other, targets, path)
            _agree(targets, name, other)


def _agree(targets: dict[str, Target], name: str, other: str) -> None:
    """Entitlements are inherited from linked targets, and platforms must be there."""
    user, used = targets[name], targets[other]
    wanted, offered = user.platforms or (), used.platforms or ()
    if len(wanted) > 1 and len(offered) > 1 and not set(wanted) <= set(offered):
        raise BakeValueError(
            f"{name} is built for {', '.join(wanted)}, but its context {other} only for "
            f"{', '.join(offered)}",
            place=user.place,
        )
    held = tuple(dict.fromkeys((*(user.entitlements or ()), *(used.entitlements or ()))))
    if held != (user.entitlements or ()):
        targets[name] = replace(user, entitlements=held)


def cleaned(selection: Selection) -> Selection:
    """Contexts as the shortest path to them, which is how ``--print`` shows them."""
    targets = {
        name: replace(target, context=clean_context(target.context or "."))
        for name, target in selection.targets.items()
    }
    return replace(selection, targets=targets)


def clean_context(context: str) -> str:
    """A directory without dots and doubled slashes; URLs and other special ones as they are."""
    if context.startswith("cwd://"):
        return clean(context.removeprefix("cwd://"))
    return context if is_remote(context) else clean(context)


def is_remote(text: str) -> bool:
    """Whether a context or file is somewhere else: http, git."""
    return "://" in text or text.startswith(("git@", "github.com/"))
