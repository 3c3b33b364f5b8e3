"""Definitions: where values come from, what refers to what, and how mistakes are told."""

from __future__ import annotations

import pytest

from engine.bake.errors import BakeError, BakeLimitError
from tests.engine.bake.support import config, selection

DEFAULT = 'target "default" {{ args = {{ X = {} }} }}'


def given(variable: str, expression: str = "V", **environment: str) -> str | None:
    """The argument X of a definition with a variable V."""
    text = f'variable "V" {{ {variable} }}\n' + DEFAULT.format(expression)
    found = config(text, environment=environment).targets[0].args
    assert found is not None
    return found["X"]


@pytest.mark.parametrize(
    ("variable", "expression", "environment", "value"),
    [
        ('default = "a"', "V", {}, "a"),
        ('default = "a"', "V", {"V": "b"}, "b"),
        ('default = "a"', "V", {"V": ""}, ""),
        ("", "V", {}, ""),
        ("default = 2", "V + 1", {"V": "4"}, "5"),
        ("default = false", 'V ? "y" : "n"', {"V": "1"}, "y"),
        ("default = null", "V", {"V": "x"}, "x"),
        ('type = list(string)\ndefault = ["a"]', 'join("+", V)', {"V": "x,y"}, "x+y"),
        ("type = list(number)\ndefault = []", "V[0] + V[1]", {"V": "1,2"}, "3"),
        ("type = set(string)\ndefault = []", "length(V)", {"V": "x,x,y"}, "2"),
        ("type = map(number)\ndefault = {}", "V.a", {"V": "a:1,b:2"}, "1"),
        ("type = tuple([string, bool])\ndefault = null", "V[1]", {"V": "x,true"}, "true"),
        ("type = list(string)\ndefault = []", 'join("+", V)', {"V_JSON": '["p","q"]'}, "p+q"),
        ("type = object({ a = number })\ndefault = null", "V.a", {"V_JSON": '{"a": 7}'}, "7"),
        ("type = string\ndefault = null", 'V == null ? "none" : V', {}, "none"),
        ("type = number", "V == null", {}, "true"),
        ("type = bool\ndefault = true", "V", {"V": "F"}, "false"),
        ('default = "a"', "V", {"V_JSON": '"b"'}, '"b"'),
    ],
)
def test_variables_take_the_environment_by_their_type(
    variable: str, expression: str, environment: dict[str, str], value: str
) -> None:
    assert given(variable, expression, **environment) == value


@pytest.mark.parametrize(
    ("variable", "environment", "says"),
    [
        ("default = 2", {"V": "two"}, "given for the variable V is no number"),
        ("default = true", {"V": "maybe"}, "neither true nor false"),
        ('default = ["a"]', {"V": "b"}, "without a declared type"),
        ('type = number\ndefault = "x"', {}, "the default of V is of the wrong type"),
        ("type = nonsense", {}, "this is no type"),
        ("type = list(list(string))\ndefault = []", {"V": "a"}, "only JSON can say this"),
        ("type = list(string)\ndefault = []", {"V_JSON": "[1"}, "is no list of string"),
        ("type = map(string)\ndefault = {}", {"V": "a"}, "no key:value pair"),
    ],
)
def test_wrong_values_are_told_with_the_variable(
    variable: str, environment: dict[str, str], says: str
) -> None:
    with pytest.raises(BakeError, match=says) as caught:
        given(variable, **environment)
    assert caught.value.place is not None


def test_var_comes_before_the_environment_and_validation_sees_what_was_given() -> None:
    text = """
variable "V" {
  default = "a"
  validation {
    condition     = strlen(V) < 3 || can(int(V))
    error_message = "V is short, not ${V}."
  }
}
target "default" { args = { X = V } }
"""
    found = config(text, environment={"V": "b"}, variables={"V": "c"})
    assert found.targets[0].args == {"X": "c"}
    with pytest.raises(BakeError, match=r"V is short, not long\.") as caught:
        config(text, environment={"V": "long"})
    assert caught.value.where == "docker-bake.hcl:5"
    assert "^" in caught.value.excerpt()


@pytest.mark.parametrize(
    ("text", "says", "where"),
    [
        ("a = b\nb = a\n", "a needs its own value: a -> b -> a", 2),
        ('variable "A" { default = B }\nvariable "B" { default = A }', "needs its own value", 2),
        ('function "f" {\n params = [x]\n result = f(x)\n}', "f calls itself", 3),
        (
            'function "f" {\n params = []\n result = g()\n}\n'
            'function "g" {\n params = []\n result = f()\n}',
            "calls itself",
            7,
        ),
        ('function "f" {\n params = [x]\n result = nosuch(x)\n}', "no function nosuch", 3),
        ('function "f" {\n params = [x]\n}', "needs params and result", 1),
        ('target "a" {\n tags = target.a.tags\n}', "target.a.tags needs its own value", 2),
        (
            'target "a" {\n tags = target.b.tags\n}\ntarget "b" {\n tags = target.a.tags\n}',
            "needs its own value",
            5,
        ),
        ('target "a" {\n tags = target.c.tags\n}', "there is no target c", 2),
        ('target "a" {\n tags = target.a.tgs\n}', "a target has no tgs", 2),
        ('target "a" {\n tags = "x"\n}', "tags: list of string required", 2),
        ('target "a" {\n tags = [null]\n}', "tags: an element is null", 2),
        ('target "a" {\n output = ["dest=x,a=b"]\n}', "an output needs a type", 2),
        ('target "a" {\n resources = { memry = "1g" }\n}', "'memry' is no resource", 2),
        ('target "a/b" {}', "is no name of a target", 1),
        ('target "a" "b" {}', "a target has one name", 1),
        ('target "a" {\n args {\n X = 1\n}\n}', "a target has no block args", 2),
        ('target "a" {\n name = "x"\n}', "computed for a matrix only", 2),
        ('group "g" {}', "a group needs targets", 1),
        ('group "g" {\n targets = []\n matrix = {}\n}', "neither matrix nor name", 3),
        ('target "a" {\n matrix = { x = ["1", "2"] }\n}', "two targets of this matrix", 2),
        ('target "a" {\n matrix = { x = "1" }\n}', "the matrix's x is no list", 2),
        ('target "a" {\n matrix = ["1"]\n}', "an object of lists", 2),
        ('target "a" {\n name = "${x}!"\n matrix = { x = ["1"] }\n}', "no name of a target", 2),
    ],
)
def test_mistakes_point_at_their_line(text: str, says: str, where: int) -> None:
    with pytest.raises(BakeError) as caught:
        config(text)
    assert says in caught.value.what
    assert caught.value.where == f"docker-bake.hcl:{where}"


def test_a_matrix_does_not_explode() -> None:
    with pytest.raises(BakeLimitError, match="more than 1000 targets"):
        config(
            'target "a" {\n name = "x-${a}-${b}-${c}"\n'
            " matrix = { a = range(100), b = range(100), c = range(100) }\n}"
        )


def test_what_looks_wrong_but_stops_nothing_is_a_warning() -> None:
    found = config('target "a" {\n tag = ["x"]\n}\ntraget "b" {}\n')
    assert found.warnings == (
        ("traget is no kind of block (did you mean target?)", "docker-bake.hcl:4"),
        ("target a: tag is no attribute of a target (did you mean tags?)", "docker-bake.hcl:2"),
    )


@pytest.mark.parametrize(
    ("text", "names", "says"),
    [
        ('target "a" {}', ("b",), "no target is called b"),
        ('target "app" {}', ("ap",), "no target is called ap"),
        ('target "a" {}', ("x*",), r"x\* matches no target"),
        ('target "a" { inherits = ["b"] }', ("a",), "a inherits: no target is called b"),
        ('target "a" { contexts = { x = "target:a" } }', ("a",), "lead back to it: a -> a"),
        (
            'target "a" { contexts = { x = "target:b" } }\n'
            'target "b" { contexts = { x = "target:a" } }',
            ("a",),
            "a -> b -> a",
        ),
        (
            'target "a" {\n contexts = { x = "target:b" }\n'
            ' platforms = ["linux/amd64", "linux/s390x"]\n}\n'
            'target "b" { platforms = ["linux/amd64", "linux/arm64"] }',
            ("a",),
            "only for linux/amd64, linux/arm64",
        ),
    ],
)
def test_what_cannot_be_selected(text: str, names: tuple[str, ...], says: str) -> None:
    with pytest.raises(BakeError, match=says):
        selection(text, *names)


def test_inheritance_in_a_circle_says_nothing_new() -> None:
    found = selection(
        'target "a" {\n inherits = ["b"]\n tags = ["a"]\n}\n'
        'target "b" {\n inherits = ["a"]\n args = { X = "1" }\n}',
        "a",
    ).targets["a"]
    assert (found.tags, found.args) == (("a",), {"X": "1"})


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("a.nope=1", "'nope' is no key of a target"),
        ("a.tgs=1", "'tgs' is no key of a target"),
        ("b.tags=1", "no target is called b"),
        ("tags=1", "no key of a target"),
        ("a.args=1", "args needs a name"),
        ("a.tags", "a value is missing"),
        ("a.no-cache=maybe", "neither true nor false"),
        ("a.secret.x=env=Y", "has no secret x"),
        ("a.resources.cpu-shares=many", "no whole number"),
        ("a.output=dest=x,a=b", "an output needs a type"),
    ],
)
def test_set_is_checked(setting: str, says: str) -> None:
    with pytest.raises(BakeError, match=says) as caught:
        selection('target "a" {}', "a", overrides=(setting,))
    assert (caught.value.where or "").startswith("--set")


def test_limits_of_files() -> None:
    with pytest.raises(BakeLimitError):
        config('{"target": ' * 200, name="x.json")
    chain = "\n".join(f'target "t{n}" {{ inherits = ["t{n + 1}"] }}' for n in range(200))
    with pytest.raises(BakeLimitError):
        selection(chain + '\ntarget "t200" {}', "t0")
