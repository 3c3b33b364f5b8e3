"""What strangers send to prove who they are: tokens, scopes, credentials, and files of accounts."""

from __future__ import annotations

import base64
import json
import tempfile
import time
from functools import cache
from pathlib import Path

from registry.access.jwt import Expected, TokenError, decode_token, encode_token, key_of
from registry.access.keys import KeyRing, load_ring
from registry.access.passwords import parse_basic, parse_htpasswd
from registry.access.patterns import compile_pattern, pattern_problem
from registry.access.robots import load_robots, parse_permission
from registry.access.scopes import parse_scopes, scope_repository
from registry.access.sessions import granted_by
from registry.access.settings import TokenSettings
from registry.errors import ApiError, RegistryConfigError
from tests.fuzz.harness import Target

JSON_TOKENS = (b'{"alg":"none"}', b'"kid":', b'"jwk":', b"[" * 50, b"NaN", b"1e999", b'"\\ud800"')


@cache
def ring() -> KeyRing:
    with tempfile.TemporaryDirectory() as folder:
        return load_ring(Path(folder), TokenSettings(), now=0.0)


def _claims() -> dict[str, object]:
    now = time.time()
    access = [{"type": "repository", "name": "a/b", "actions": ["pull"]}]
    times = {"iat": now, "nbf": now, "exp": now + 1e9}
    return {"iss": "i", "aud": "a", "sub": "user:ada", "cred": "", "access": access, **times}


@cache
def tokens() -> list[bytes]:
    token = encode_token(_claims(), ring().signer).encode()
    return [token, b"a.b.c", token.rpartition(b".")[0] + b".", b"eyJhbGciOiJub25lIn0.e30."]


def _token(data: bytes) -> None:
    text = data.decode("latin-1")
    key_of(text)
    decode_token(text, ring().keys, Expected("i", "a"), now=time.time())


def _claims_of(data: bytes) -> None:
    """Claims that a key of ours did sign, whatever they are."""
    try:
        claims = json.loads(data)
    except (ValueError, RecursionError):
        return
    if isinstance(claims, dict):
        token = encode_token(claims, ring().signer)
        granted_by(decode_token(token, ring().keys, Expected("i", "a"), now=time.time()))


def _scopes(data: bytes) -> None:
    for scope in parse_scopes([data.decode("utf-8", "replace")]):
        scope_repository(scope.name, ("localhost:5000",))


def _basic(data: bytes) -> None:
    parse_basic(data.decode("latin-1"))
    parse_basic("Basic " + base64.b64encode(data).decode())


def _pattern(data: bytes) -> None:
    pattern, _, name = data.decode("latin-1").partition(" ")
    if pattern_problem(pattern) is None:
        compile_pattern(pattern, user=name)(name)
    parse_permission(data.decode("latin-1"))


def _htpasswd(data: bytes) -> None:
    parse_htpasswd(data, where="htpasswd")


def _robots(data: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(data)
        load_robots(Path(file.name))


TARGETS = (
    Target("jwt", _token, (TokenError,), tokens, tokens=(b".", b"=", b"-", b"_", b"eyJ")),
    Target(
        "claims",
        _claims_of,
        (TokenError,),
        lambda: [json.dumps(_claims()).encode()],
        tokens=JSON_TOKENS,
    ),
    Target(
        "scopes",
        _scopes,
        (ApiError,),
        lambda: [b"repository:localhost:5000/a/b:pull,push registry:catalog:*", b"a(b):c:*"],
        tokens=(b":", b"repository:", b"(", b")", b"*", b",", b" ", "é".encode()),
    ),
    Target(
        "credentials",
        _basic,
        (),
        lambda: [b"Basic YWRhOnNlY3JldA==", b"Bearer x", b"ada:secret", b"Basic \xe9"],
        tokens=(b"Basic ", b":", b"=", b"\0"),
    ),
    Target(
        "patterns",
        _pattern,
        (RegistryConfigError,),
        lambda: [b"team/**:pull,push", b"**/a*a*a*b/** " + b"a" * 200, b"{user}/** ada/x"],
        tokens=(b"**", b"*", b"/", b"{user}", b":pull"),
        size=600,
    ),
    Target(
        "htpasswd",
        _htpasswd,
        (RegistryConfigError,),
        lambda: [b"# people\nada:$2y$05$abc\nbob:$2b$10$x\n"],
        tokens=(b":", b"\n", b"$2y$", b"#", b"\0"),
    ),
    Target(
        "robots",
        _robots,
        (RegistryConfigError,),
        lambda: [
            b'{"robots":{"ci":{"secret":"x","created":1,"expires":null,"permissions":["a:pull"]}}}',
            b"[" * 4000,
        ],
        tokens=(b'"robots":', b"{}", b"null", b"[]", b'":"', b"1e999"),
    ),
)
