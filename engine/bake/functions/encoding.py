"""Encodings and digests."""

from __future__ import annotations

import base64
import binascii
import csv
import hashlib
import io
import uuid
from typing import TYPE_CHECKING, Final
from urllib.parse import quote_plus

from engine.bake.functions.function import Function, FunctionError, Parameter
from engine.bake.values import json
from engine.bake.values import value as make
from engine.bake.values.types import ANY, NUMBER, STRING, object_type

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.bake.values.value import Value

COST: Final = 12
"""Most rounds of bcrypt, as a power of two; go's own limit would take hours."""

_STR: Final = Parameter("str", STRING)


def _text(name: str, compute: Callable[[str], str], parameter: str = "str") -> Function:
    parameters = (Parameter(parameter, STRING),)
    return Function(name, parameters, lambda text: make.string(compute(text.data)))


def _digest(name: str) -> Function:
    return _text(
        name, lambda text: hashlib.new(name, text.encode(), usedforsecurity=False).hexdigest()
    )


def _base64_decode(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise FunctionError("this is no text in base64", 0) from error


def _bcrypt(text: Value, *cost: Value) -> Value:
    import bcrypt

    rounds = int(cost[0].data) if cost else 10
    if len(cost) > 1 or not 4 <= rounds <= COST:
        raise FunctionError(f"the cost is one number from 4 to {COST}", 1)
    salt = bcrypt.gensalt(rounds, prefix=b"2a")
    return make.string(bcrypt.hashpw(text.data.encode(), salt).decode())


def _csv_decode(text: Value) -> Value:
    rows = list(csv.reader(io.StringIO(text.data), strict=True))
    if not rows:
        raise FunctionError("a header line is required", 0)
    names, kinds = rows[0], {}
    for name in names:
        if name in kinds:
            raise FunctionError(f"two columns are called {name!r}", 0)
        kinds[name] = STRING
    made = []
    for row in filter(None, rows[1:]):
        if len(row) != len(names):
            raise FunctionError(f"a row has {len(row)} fields, not {len(names)}", 0)
        pairs = zip(names, row, strict=True)
        made.append(make.object_of({name: make.string(field) for name, field in pairs}))
    return make.list_of(made, object_type(kinds))


def _checked_csv(text: Value) -> Value:
    try:
        return _csv_decode(text)
    except csv.Error as error:
        raise FunctionError(f"this is no CSV: {error}", 0) from error


def _json_decode(text: Value) -> Value:
    try:
        return json.decode(text.data)
    except (ValueError, RecursionError) as error:
        raise FunctionError(f"this is no JSON: {error}", 0) from error


def _rsa_decrypt(ciphertext: Value, key: Value) -> Value:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import padding, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        loaded = load_pem_private_key(key.data.encode(), None)
        if not isinstance(loaded, rsa.RSAPrivateKey):
            raise FunctionError("this is no RSA key", 1)
        data = base64.b64decode(ciphertext.data, validate=True)
        return make.string(loaded.decrypt(data, padding.PKCS1v15()).decode())
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise FunctionError("this cannot be decrypted with this key") from error


_NAMESPACES: Final = {
    "dns": uuid.NAMESPACE_DNS,
    "oid": uuid.NAMESPACE_OID,
    "url": uuid.NAMESPACE_URL,
    "x500": uuid.NAMESPACE_X500,
}


def _uuid5(namespace: Value, name: Value) -> Value:
    text = namespace.data
    try:
        space = _NAMESPACES.get(text) or uuid.UUID(text)
    except ValueError as error:
        raise FunctionError("the namespace is dns, oid, url, x500 or a UUID", 0) from error
    return make.string(str(uuid.uuid5(space, name.data)))


FUNCTIONS: Final = (
    _text("base64decode", _base64_decode),
    _text("base64encode", lambda text: base64.b64encode(text.encode()).decode()),
    Function("bcrypt", (_STR,), _bcrypt, variadic=Parameter("cost", NUMBER)),
    Function("csvdecode", (_STR,), _checked_csv),
    Function("jsondecode", (_STR,), _json_decode),
    Function(
        "jsonencode",
        (Parameter("val", ANY, nullable=True),),
        lambda value: make.string(json.encode(value)),
    ),
    _digest("md5"),
    Function(
        "rsadecrypt",
        (Parameter("ciphertext", STRING), Parameter("privatekey", STRING)),
        _rsa_decrypt,
    ),
    _digest("sha1"),
    _digest("sha256"),
    _digest("sha512"),
    _text("urlencode", lambda text: quote_plus(text, safe="~").replace("%7E", "~")),
    Function("uuidv4", (), lambda: make.string(str(uuid.uuid4()))),
    Function("uuidv5", (Parameter("namespace", STRING), Parameter("name", STRING)), _uuid5),
)
