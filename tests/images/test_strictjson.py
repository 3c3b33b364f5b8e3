import pytest

from images import strictjson
from images.errors import InvalidManifestError, SizeLimitError


def loads(raw):
    return strictjson.loads(raw, what="thing")


def test_objects():
    assert loads(b'{"a": [1, {"b": null}]}') == {"a": [1, {"b": None}]}


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b'{"a":1,"a":2}', "duplicate key 'a'"),
        (b'{"x":{"a":1,"a":1}}', "duplicate key 'a'"),
        (b'{"a":NaN}', "NaN is not JSON"),
        (b'{"a":-Infinity}', "Infinity is not JSON"),
        (b"[]", "must be a JSON object"),
        (b'"x"', "must be a JSON object"),
        (b"{} {}", "not valid JSON"),
        (b"\xff\xfe{\x00}\x00", "not valid JSON"),
        (b"\xef\xbb\xbf{}", "not valid JSON"),
        (b'{"a":"\xff"}', "not valid JSON"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, "deeper than 32"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
    ],
)
def test_refused(raw, message):
    with pytest.raises(InvalidManifestError, match=f"thing.*{message}"):
        loads(raw)


def test_limit():
    with pytest.raises(SizeLimitError, match="limit of 3"):
        strictjson.loads(b"{   }", what="thing", limit=3)


def test_canonical():
    assert (
        strictjson.dumps({"b": 1, "a": {"d": "ü", "c": []}})
        == '{"a":{"c":[],"d":"ü"},"b":1}'.encode()
    )


@pytest.mark.parametrize(
    ("read", "empty", "good", "bad"),
    [
        (strictjson.string, "", "x", 1),
        (strictjson.sequence, [], [1], {}),
        (strictjson.string_map, {}, {"a": "b"}, {"a": 1}),
        (strictjson.string_map, {}, {}, []),
    ],
)
def test_typed_reads(read, empty, good, bad):
    assert read(None, what="field") == empty
    assert read(good, what="field") == good
    with pytest.raises(InvalidManifestError, match="field must"):
        read(bad, what="field")
