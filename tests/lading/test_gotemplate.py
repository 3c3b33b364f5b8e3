"""``--format`` templates against what Go's text/template prints for the same input."""

from __future__ import annotations

import pytest

from lading.render.gotemplate import Template, TemplateError

DATA = {
    "Name": "web",
    "Config": {"Cmd": ["sh", "-c"], "Labels": {"b": "2", "a": "1"}, "User": ""},
    "Size": 3,
    "Ok": True,
    "Missing": None,
}


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("plain", "plain"),
        ("{{.Name}}", "web"),
        ("{{ .Config.Cmd }}", "[sh -c]"),
        ("{{.Config.Labels}}", "map[a:1 b:2]"),
        ("{{json .Config.Cmd}}", '["sh","-c"]'),
        ("{{.Missing}}", "<no value>"),
        ("{{.Ok}}", "true"),
        ("{{.Name | upper | printf `<%s>`}}", "<WEB>"),
        ('{{join .Config.Cmd " "}}', "sh -c"),
        ('{{index .Config.Labels "a"}}', "1"),
        ("{{(.Config).Cmd}}", "[sh -c]"),
        ('{{len (.Config).Labels}} {{join (.Config).Cmd "+"}}', "2 sh+-c"),
        ("{{index .Config.Cmd 1}}", "-c"),
        ("{{len .Config.Cmd}}", "2"),
        ("{{range .Config.Cmd}}<{{.}}>{{end}}", "<sh><-c>"),
        ("{{range .Config.Labels}}{{.}};{{end}}", "2;1;"),
        ("{{if .Config.User}}u{{else}}root{{end}}", "root"),
        ("{{if eq .Size 2}}two{{else if eq .Size 3}}three{{else}}many{{end}}", "three"),
        ("{{with .Config}}{{.Cmd}}{{end}}", "[sh -c]"),
        ("{{if and .Ok (not .Missing)}}yes{{end}}", "yes"),
        ("a {{- .Name -}} b", "awebb"),
        ("{{/* a comment */}}x", "x"),
        ("{{slice .Name 1}}", "eb"),
        (r"{{.Name}}\t{{.Size}}", "web\t3"),
    ],
)
def test_render(template: str, expected: str) -> None:
    assert Template.parse(template).render(DATA) == expected


@pytest.mark.parametrize(
    ("template", "message", "fix"),
    [
        ("{{.Nme}}", "template has no field .Nme", "did you mean .Name?"),
        ("{{.Name", "unclosed action", None),
        ("{{if .Ok}}x", "template ends before {{end}}", None),
        ("x{{end}}", "unexpected {{end}} in template", None),
        ("{{frobnicate .Name}}", 'function "frobnicate" not defined', "known functions: and"),
        ("{{index .Config.Cmd 9}}", "error calling index", None),
        ("{{.Name.Deeper}}", "can't evaluate field Deeper in str", None),
        ("{{(.Name}}", "missing ) in template", None),
        ("{{(.Config) .Cmd}}", "cannot read", None),
        ("{{(.Config).Cm}}", "template has no field .Cm", "did you mean .Cmd?"),
    ],
)
def test_errors_say_what_is_wrong(template: str, message: str, fix: str | None) -> None:
    with pytest.raises(TemplateError) as caught:
        Template.parse(template).render(DATA)
    assert caught.value.what.startswith(message)
    assert fix is None or (caught.value.fix or "").startswith(fix)
