"""Environment and labels from flags and files."""

from __future__ import annotations

import pytest

from engine.options.environment import environment, labels
from engine.options.errors import OptionError

OURS = {"TOKEN": "secret", "EMPTY": ""}


def test_flags():
    values = ["A=1", "B=", "C=x=y", "TOKEN", "EMPTY", "MISSING"]
    assert environment([], values, OURS) == ("A=1", "B=", "C=x=y", "TOKEN=secret", "EMPTY=")


def test_files_come_first(tmp_path):
    path = tmp_path / "env"
    path.write_bytes(b"\xef\xbb\xbf# comment\n\n  INDENTED= kept \r\nTOKEN\nMISSING\nA=file")
    found = environment([str(path)], ["A=flag"], OURS)
    assert found == ("INDENTED= kept ", "TOKEN=secret", "A=file", "A=flag")


@pytest.mark.parametrize("value", ["=x", ""])
def test_empty_names(value):
    with pytest.raises(OptionError, match="invalid environment variable"):
        environment([], [value], {})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"A B=1\n", "variable 'A B' contains whitespaces"),
        (b"=1\n", "no variable name on line '=1'"),
        (b"\xff\xfe", "invalid utf8"),
        (b"A=" + b"x" * (4 << 20), "longer than 4 MiB"),
    ],
)
def test_bad_files(tmp_path, content, words):
    path = tmp_path / "env"
    path.write_bytes(content)
    with pytest.raises(OptionError) as caught:
        environment([str(path)], [], {})
    assert words in caught.value.what


def test_missing_file():
    with pytest.raises(OptionError, match="open /none/env: no such file or directory"):
        environment(["/none/env"], [], {})


def test_labels(tmp_path):
    path = tmp_path / "labels"
    path.write_text("a=file\nb\n")
    assert labels([str(path)], ["a=flag", "c=1=2"]) == {"a": "flag", "b": "", "c": "1=2"}
    with pytest.raises(OptionError, match="empty name"):
        labels([], ["=x"])
