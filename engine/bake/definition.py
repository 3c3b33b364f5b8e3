"""HCL and JSON definitions: variables, functions and blocks, evaluated when they are asked for.

Files are read as one: a later definition of a variable or function stands for an earlier one, and
blocks of one name are merged in their order. A name that is being evaluated and asks for itself is
a cycle; whoever asks gets the chain.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from dockerfile_grammar.suggest import nearest
from engine.bake.decode import decode, encode
from engine.bake.errors import BakeSyntaxError, BakeValueError
from engine.bake.evaluate import SPECIAL_FUNCTIONS, Budget, Evaluator
from engine.bake.expansion import Expansion, expand
from engine.bake.functions.function import Function, Parameter
from engine.bake.functions.library import library
from engine.bake.hcl import nodes
from engine.bake.model import ATTRIBUTES, Config, Group, Target, Variable
from engine.bake.type_syntax import as_syntax, keyword, read_type
from engine.bake.values import value as make
from engine.bake.values.convert import ConversionError, convert
from engine.bake.values.types import ANY, Type
from engine.bake.values.value import Value
from engine.bake.variables import overridden, shown
from records import replace

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from engine.bake.hcl.nodes import Block, Body, Setting
    from engine.bake.source import Place
    from engine.bake.variables import Surroundings

_GROUP_ATTRIBUTES: Final = ("description", "targets")
_TARGET_EXTRAS: Final = ("matrix", "name")


def load(bodies: Sequence[Body], surroundings: Surroundings) -> Config:
    """What these files define.

    Raises:
        BakeError: with the place in the file that is to blame.
    """
    return _Definition(bodies, surroundings).config()


class _Definition:
    """The names of one definition, as ``evaluate.Names`` wants them, and how they come about."""

    def __init__(self, bodies: Sequence[Body], surroundings: Surroundings) -> None:
        self._surroundings = surroundings
        self._budget = Budget()
        self._library = library(surroundings.clock, surroundings.home)
        self._root = Evaluator(self, self._budget)
        self._values: dict[str, Value] = {}
        self._types: dict[str, Type] = {}
        self._own: dict[str, Function] = {}
        self._active: list[str] = []
        self._warnings: list[tuple[str, str]] = []
        self._parts: dict[tuple[str, str, str], Value] = {}
        self._settings = {one.name: one for body in bodies for one in body.settings}
        self._blocks = {
            kind: [block for body in bodies for block in body.blocks if block.type == kind]
            for kind in ("variable", "function", "group", "target")
        }
        self._variables = {_label(block): block for block in self._blocks["variable"]}
        self._functions = {_label(block): block for block in self._blocks["function"]}
        for body in bodies:
            self._warn_of_blocks(body)
        self._expansions: dict[str, list[Expansion]] = {}

    def config(self) -> Config:
        """Everything, evaluated and checked."""
        variables = [self._described(name) for name in sorted(self._variables)]
        for block in self._variables.values():
            self._validate(block)
        for name in self._functions:
            self._check_function(name)
        for kind in ("target", "group"):
            self._expansions[kind] = [
                expansion
                for block in self._blocks[kind]
                for expansion in expand(block, self._root, _label(block))
            ]
        targets = self._targets()
        groups = self._groups()
        for name, setting in self._settings.items():
            self.variable(name, setting.at)
        return Config(
            tuple(groups), tuple(targets), tuple(variables), tuple(dict.fromkeys(self._warnings))
        )

    # -- names that expressions ask for ------------------------------------------------------

    def known(self) -> list[str]:
        """All variables."""
        return [*self._settings, *self._variables, *self._surroundings.builtin]

    def functions(self) -> list[str]:
        """All functions."""
        return [*self._library, *self._functions, *SPECIAL_FUNCTIONS]

    def variable(self, name: str, place: Place) -> Value | None:
        """A variable or a top-level setting; raises BakeError."""
        if name in self._values:
            return self._values[name]
        if name in self._surroundings.builtin:
            value = make.string(self._surroundings.builtin[name])
        elif name in self._settings or name in self._variables:
            with self._evaluating(name, place):
                value = self._resolve(name)
        else:
            return None
        self._values[name] = value
        return value

    def path(self, names: Sequence[str], place: Place) -> tuple[Value, int] | None:
        """``target.name.attribute`` or ``group.name.targets``; raises BakeError."""
        if names[0] not in self._expansions or len(names) < 3:
            return None
        kind, name, attribute = names[:3]
        found = [one for one in self._expansions[kind] if one.name == name]
        if not found:
            near = nearest(name, [one.name for one in self._expansions[kind]])
            fix = f"did you mean {near}?" if near else None
            raise BakeValueError(f"there is no {kind} {name}", place=place, fix=fix)
        allowed = ("name", *ATTRIBUTES) if kind == "target" else ("name", *_GROUP_ATTRIBUTES)
        if attribute not in allowed:
            near = nearest(attribute, allowed)
            fix = f"did you mean {near}?" if near else None
            raise BakeValueError(f"a {kind} has no {attribute}", place=place, fix=fix)
        return self._part(kind, name, attribute, found, place), 3

    def function(self, name: str) -> Function | None:
        """A function of the library or of the files."""
        if name in self._library:
            return self._library[name]
        if name not in self._functions:
            return None
        if name not in self._own:
            self._own[name] = self._make_function(name)
        return self._own[name]

    @contextmanager
    def _evaluating(self, name: str, place: Place) -> Iterator[None]:
        if name in self._active:
            chain = " -> ".join([*self._active[self._active.index(name) :], name])
            raise BakeValueError(f"{name} needs its own value: {chain}", place=place)
        self._active.append(name)
        try:
            yield
        finally:
            self._active.pop()

    # -- variables ---------------------------------------------------------------------------

    def _resolve(self, name: str) -> Value:
        block = self._variables.get(name)
        setting = self._settings.get(name)
        wanted = None
        if setting is None and block is not None:
            setting, wanted = block.body.setting("default"), self._type_of(block)
        value = make.null(wanted) if wanted is not None else make.string("")
        if setting is not None:
            value = self._default(name, setting, wanted)
        if block is None:
            return value
        given = self._surroundings.override(
            name, typed=wanted is not None, taken=f"{name}_JSON" in self._variables
        )
        if given is None:
            return value
        if wanted is None and not given[1] and not value.type.primitive and value.type != ANY:
            kind = value.type.friendly()
            raise BakeValueError(
                f"the variable {name} is a {kind} without a declared type, which cannot be given "
                "from outside",
                place=block.at,
                fix="declare its type",
            )
        text, as_json = given
        meant = wanted if wanted is not None else value.type
        typed = wanted is not None or meant == ANY
        return overridden(name, text, meant, block.at, as_json=as_json and typed)

    def _default(self, name: str, setting: Setting, wanted: Type | None) -> Value:
        value = self._root.value(setting.value)
        try:
            return convert(value, wanted or ANY)
        except ConversionError as error:
            raise BakeValueError(
                f"the default of {name} is of the wrong type: {error}", place=setting.value.at
            ) from error

    def _type_of(self, block: Block) -> Type | None:
        setting = block.body.setting("type")
        if setting is None:
            return None
        if isinstance(setting.value, nodes.Literal) and setting.value.value is None:
            return None
        name = _label(block)
        if name not in self._types:
            self._types[name] = read_type(setting.value)
        return self._types[name]

    def _described(self, name: str) -> Variable:
        block = self._variables[name]
        value = self.variable(name, block.at)
        assert value is not None
        type = self._type_of(block)
        description = block.body.setting("description")
        text = self._root.text(description.value) if description is not None else ""
        return Variable(name, type.friendly() if type else "", shown(value, type), text)

    def _validate(self, block: Block) -> None:
        for rule in block.body.blocks:
            if rule.type != "validation":
                self._warnings.append((f"a variable has no block {rule.type}", rule.at.where))
                continue
            condition, message = (rule.body.setting(key) for key in ("condition", "error_message"))
            if condition is None or message is None:
                raise BakeSyntaxError(
                    "a validation needs a condition and an error_message", place=rule.at
                )
            if not self._holds(condition):
                raise BakeValueError(
                    self._root.text(message.value),
                    place=condition.value.at,
                    fix=f"the variable {_label(block)} is checked here",
                )

    def _holds(self, condition: Setting) -> bool:
        value = self._root.value(condition.value)
        try:
            data = convert(value, make.TRUE.type).data
        except ConversionError as error:
            raise BakeValueError(str(error), place=condition.value.at) from error
        if data is None:
            raise BakeValueError("a condition must not be null", place=condition.value.at)
        return bool(data)

    # -- functions of the files --------------------------------------------------------------

    def _make_function(self, name: str) -> Function:
        block = self._functions[name]
        params, result = block.body.setting("params"), block.body.setting("result")
        if params is None or result is None:
            raise BakeSyntaxError(f"the function {name} needs params and result", place=block.at)
        listed = as_syntax(params.value)
        if not isinstance(listed, nodes.Tuple):
            raise BakeSyntaxError("params are a list of names", place=params.value.at)
        names = [_name(item) for item in listed.items]
        last = block.body.setting("variadic_params")
        rest = None if last is None else _name(last.value)

        def implementation(*arguments: Value) -> Value:
            local = dict(zip(names, arguments, strict=False))
            if rest is not None:
                local[rest] = make.tuple_of(arguments[len(names) :])
            with self._evaluating(f"{name}()", block.at):
                return self._root.within(local).value(result.value)

        parameters = tuple(Parameter(one, ANY, nullable=True) for one in names)
        variadic = None if rest is None else Parameter(rest, ANY, nullable=True)
        return Function(name, parameters, implementation, variadic)

    def _check_function(self, name: str) -> None:
        """Find what would fail in any call: unknown functions, and one that leads to itself."""
        self.function(name)
        result = self._functions[name].body.setting("result")
        assert result is not None
        chain, waiting = {name}, [result.value]
        while waiting:
            for node in nodes.walk(waiting.pop()):
                if not isinstance(node, nodes.Call) or node.name in SPECIAL_FUNCTIONS:
                    continue
                if node.name == name:
                    raise BakeValueError(f"the function {name} calls itself", place=node.at)
                if self.function(node.name) is None:
                    raise BakeValueError(f"there is no function {node.name}", place=node.at)
                inner = self._functions.get(node.name)
                if inner is not None and node.name not in self._library and node.name not in chain:
                    chain.add(node.name)
                    waiting += [one.value for one in inner.body.settings if one.name == "result"]

    # -- targets and groups ------------------------------------------------------------------

    def _targets(self) -> list[Target]:
        made: dict[str, Target] = {}
        for expansion in self._expansions["target"]:
            target = self._target(expansion)
            name = expansion.name
            made[name] = made[name].merged(target) if name in made else target
        return list(made.values())

    def _target(self, expansion: Expansion) -> Target:
        said: dict[str, Any] = {}
        for setting in expansion.block.body.settings:
            if setting.name in ATTRIBUTES:
                with self._evaluating(_part_name("target", expansion, setting.name), setting.at):
                    said[setting.name.replace("-", "_")] = _decoded(expansion, setting)
            elif setting.name not in _TARGET_EXTRAS:
                self._warn("target", expansion, setting, (*ATTRIBUTES, *_TARGET_EXTRAS))
        for block in expansion.block.body.blocks:
            raise BakeSyntaxError(
                f"a target has no block {block.type}",
                place=block.at,
                fix=f"write {block.type} = ..." if block.type in ATTRIBUTES else None,
            )
        return replace(Target(expansion.name, expansion.block.at), **said)

    def _groups(self) -> list[Group]:
        made: dict[str, Group] = {}
        for expansion in self._expansions["group"]:
            body = expansion.block.body
            for setting in body.settings:
                if setting.name not in _GROUP_ATTRIBUTES:
                    self._warn("group", expansion, setting, _GROUP_ATTRIBUTES)
            targets = self._strings(expansion, "targets")
            description = self._strings(expansion, "description")
            made[expansion.name] = Group(
                expansion.name, tuple(dict.fromkeys(targets)), "".join(description)
            )
        for label, names in self._renamed().items():
            if label not in made:
                made[label] = Group(label, names)
        return list(made.values())

    def _strings(self, expansion: Expansion, name: str) -> tuple[str, ...]:
        setting = expansion.block.body.setting(name)
        if setting is None:
            if name == "targets":
                raise BakeSyntaxError("a group needs targets", place=expansion.block.at)
            return ()
        attribute = "tags" if name == "targets" else name
        with self._evaluating(_part_name("group", expansion, name), setting.at):
            found = decode(attribute, expansion.evaluator.value(setting.value), setting.value.at)
        return (found,) if isinstance(found, str) else found or ()

    def _renamed(self) -> dict[str, tuple[str, ...]]:
        """A matrix's label is a group of the targets that came of it."""
        found: dict[str, list[str]] = {}
        for expansion in self._expansions["target"]:
            found.setdefault(_label(expansion.block), []).append(expansion.name)
        return {
            label: tuple(dict.fromkeys(names))
            for label, names in found.items()
            if set(names) != {label}
        }

    def _part(
        self, kind: str, name: str, attribute: str, found: list[Expansion], place: Place
    ) -> Value:
        """An attribute as the last block of that name that has it says it."""
        if attribute == "name":
            return make.string(name)
        key = (kind, name, attribute)
        if key not in self._parts:
            decoded: Any = None
            for expansion in found:
                setting = expansion.block.body.setting(attribute)
                if setting is not None:
                    with self._evaluating(".".join(key), place):
                        decoded = _decoded(expansion, setting)
            kind_of = "tags" if attribute == "targets" else attribute
            self._parts[key] = encode(kind_of, decoded)
        return self._parts[key]

    def _warn(
        self, kind: str, expansion: Expansion, setting: Setting, known: Sequence[str]
    ) -> None:
        near = nearest(setting.name, known)
        hint = f" (did you mean {near}?)" if near else ""
        text = f"{kind} {expansion.name}: {setting.name} is no attribute of a {kind}{hint}"
        self._warnings.append((text, setting.at.where))

    def _warn_of_blocks(self, body: Body) -> None:
        for block in body.blocks:
            if block.type not in self._blocks:
                near = nearest(block.type, self._blocks)
                hint = f" (did you mean {near}?)" if near else ""
                self._warnings.append((f"{block.type} is no kind of block{hint}", block.at.where))


def _decoded(expansion: Expansion, setting: Setting) -> Any:
    attribute = "tags" if setting.name == "targets" else setting.name
    value = expansion.evaluator.value(setting.value)
    return decode(attribute, value, setting.value.at)


def _part_name(kind: str, expansion: Expansion, attribute: str) -> str:
    return f"{kind}.{expansion.name}.{attribute}"


def _label(block: Block) -> str:
    if len(block.labels) != 1:
        raise BakeSyntaxError(
            f"a {block.type} has one name", place=block.at, fix=f'write {block.type} "name" {{'
        )
    return block.labels[0]


def _name(node: nodes.Expression) -> str:
    name = keyword(node)
    if name is None:
        raise BakeSyntaxError("a parameter is a bare name", place=node.at)
    return name
