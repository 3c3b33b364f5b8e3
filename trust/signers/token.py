"""Keys in PKCS#11 tokens: smart cards, hardware security modules, SoftHSM.

A key is named by an RFC 7512 URI: ``pkcs11:token=LABEL;object=LABEL?module-path=/path/to/lib.so``,
with ``id`` (percent-encoded bytes) instead of or beside ``object``, and ``serial`` beside or
instead of ``token``. The PIN is asked for like a passphrase, or read from the file that
``pin-source`` names; a PIN in the URI itself would end up in shell histories and is refused. The
module may also be named in ``$PKCS11_MODULE_PATH``, as other tools do.

Each use logs in anew, since a login is shared by all of a process and must not outlive its purpose.

The library ``python-pkcs11`` comes with the extra ``lading[pkcs11]``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Self
from urllib.parse import unquote, unquote_to_bytes

from trust.errors import KeyFileError, KeyStoreFault, KeyUnknownError, PassphraseError, SigningError
from trust.keys import Algorithm, Passphrase, PublicKey
from trust.signers.command import checked

PREFIX: Final = "pkcs11:"
MODULE_VARIABLE: Final = "PKCS11_MODULE_PATH"
_PATH: Final = frozenset({"token", "serial", "object", "id", "type"})
_QUERY: Final = frozenset({"module-path", "pin-source"})


@dataclass(frozen=True, slots=True)
class TokenURI:
    """Where a key lies. Empty fields match anything; ``id`` is bytes."""

    module: str
    token: str = ""
    serial: str = ""
    label: str = ""
    id: bytes = b""
    pin_source: str = ""

    @classmethod
    def parse(cls, uri: str, *, environ: Mapping[str, str] = os.environ) -> Self:
        """Read an RFC 7512 URI.

        Raises:
            KeyFileError: an unknown or doubled attribute, a PIN in the open, no module or no key.
        """
        path, _, query = uri.removeprefix(PREFIX).partition("?")
        found = _attributes(path, ";", _PATH, uri) | _attributes(query, "&", _QUERY, uri)
        module = unquote(found.get("module-path", "")) or environ.get(MODULE_VARIABLE, "")
        if not module:
            raise KeyFileError(
                "no PKCS#11 module is named",
                where=uri,
                fix=f"add ?module-path=/path/to/module.so, or set ${MODULE_VARIABLE}",
            )
        if not found.keys() & {"object", "id"}:
            raise KeyFileError("no key is named", where=uri, fix="add object=LABEL or id=%NN")
        return cls(
            module=module,
            token=unquote(found.get("token", "")),
            serial=unquote(found.get("serial", "")),
            label=unquote(found.get("object", "")),
            id=unquote_to_bytes(found.get("id", "")),
            pin_source=unquote(found.get("pin-source", "")),
        )


@dataclass(frozen=True, slots=True)
class TokenSigner:
    """A private key in a token."""

    public: PublicKey
    _uri: str
    _place: TokenURI
    _pin: bytes = field(repr=False, compare=False)

    @classmethod
    def open(cls, uri: str, pin: Passphrase, *, environ: Mapping[str, str] = os.environ) -> Self:
        """Find the key that ``uri`` names; ``pin`` is asked unless a file has it.

        Raises:
            KeyFileError: the URI, or the kind of the key, is of no use.
            KeyUnknownError: no such token or key.
            PassphraseError: the PIN is wrong.
            KeyStoreFault: the module or the token does not work.
        """
        place = TokenURI.parse(uri, environ=environ)
        secret = _pin_file(place.pin_source) if place.pin_source else pin()
        library = _library()
        with _session(library, place, secret, uri) as session:
            _find(session, library.ObjectClass.PRIVATE_KEY, place)
            public = _find(session, library.ObjectClass.PUBLIC_KEY, place)
            der = _subject_public_key_info(library, public, uri)
        return cls(PublicKey.from_der(der, where=uri), uri, place, secret)

    def sign(self, message: bytes) -> bytes:
        """Let the token sign; raises ``SigningError``, or what ``open`` raises."""
        library = _library()
        with _session(library, self._place, self._pin, self._uri) as session:
            key = _find(session, library.ObjectClass.PRIVATE_KEY, self._place)
            signature = _sign(library, key, self.public.algorithm, message)
        return checked(signature, message, self.public, where=self._uri)


def _sign(library: ModuleType, key: Any, algorithm: Algorithm, message: bytes) -> bytes:
    from hashlib import sha256

    if algorithm is Algorithm.RSA:
        return bytes(key.sign(message, mechanism=library.Mechanism.SHA256_RSA_PKCS))
    if algorithm is Algorithm.ED25519:
        return bytes(key.sign(message, mechanism=library.Mechanism.EDDSA))
    from pkcs11.util.ec import encode_ecdsa_signature

    # Hashed here: not every token hashes for ECDSA.
    raw = key.sign(sha256(message).digest(), mechanism=library.Mechanism.ECDSA)
    return bytes(encode_ecdsa_signature(raw))


def _subject_public_key_info(library: ModuleType, key: Any, uri: str) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        PublicFormat,
        load_der_public_key,
    )
    from pkcs11.util import ec, rsa

    if key.key_type == library.KeyType.EC:
        return bytes(ec.encode_ec_public_key(key))
    loaded: Any
    if key.key_type == library.KeyType.RSA:
        # The encoder gives the bare RSAPublicKey (RFC 8017); the algorithm goes around it.
        loaded = load_der_public_key(rsa.encode_rsa_public_key(key))
    elif key.key_type == library.KeyType.EC_EDWARDS:
        # The point is an OCTET STRING around the 32 bytes of RFC 8032.
        loaded = Ed25519PublicKey.from_public_bytes(key[library.Attribute.EC_POINT][-32:])
    else:
        raise KeyFileError(f"a token key of type {key.key_type} does not sign images", where=uri)
    return bytes(loaded.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


@contextmanager
def _session(library: ModuleType, place: TokenURI, pin: bytes, uri: str) -> Iterator[Any]:
    """A session with the token, logged in; whatever fails inside becomes this package's error."""
    with _narrowed(library, uri):
        token = library.lib(place.module).get_token(
            token_label=place.token or None,
            token_serial=place.serial.encode() or None,
        )
        with token.open(user_pin=pin.decode("utf-8", "surrogateescape")) as session:
            yield session


def _find(session: Any, kind: Any, place: TokenURI) -> Any:
    return session.get_key(object_class=kind, label=place.label or None, id=place.id or None)


def _attributes(text: str, separator: str, known: frozenset[str], uri: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in text.split(separator) if text else ():
        name, equals, value = part.partition("=")
        if name == "pin-value":
            raise KeyFileError(
                "a PIN in the URI would be seen by others",
                where=uri.partition("pin-value")[0],
                fix="leave it out to be asked, or name a file with pin-source",
            )
        if name not in known or not equals or name in found:
            raise KeyFileError(
                f"{name[:40]!r} is unknown or doubled in the URI",
                where=uri,
                fix=f"use each of {', '.join(sorted(known))} once at most",
            )
        found[name] = value
    return found


def _pin_file(source: str) -> bytes:
    path = Path(source.removeprefix("file:"))
    try:
        return path.read_bytes()[:4096].split(b"\n", 1)[0]
    except OSError as error:
        raise KeyStoreFault(f"cannot read the PIN: {error.strerror}", where=str(path)) from error


def _library() -> ModuleType:
    try:
        import pkcs11
    except ImportError as error:
        raise KeyStoreFault(
            "keys in tokens need the library python-pkcs11",
            fix="install lading with the extra pkcs11: lading[pkcs11]",
        ) from error
    return pkcs11


@contextmanager
def _narrowed(library: ModuleType, where: str) -> Iterator[None]:
    """Turn the library's errors into this package's."""
    try:
        yield
    except (library.PinIncorrect, library.PinInvalid, library.PinLenRange) as error:
        raise PassphraseError("the token refuses this PIN", where=where) from error
    except library.PinLocked as error:
        raise PassphraseError("the token's PIN is locked", where=where) from error
    except (library.NoSuchToken, library.MultipleTokensReturned) as error:
        raise KeyUnknownError(
            "there is no such token, or several",
            where=where,
            fix="plug it in, or name one with token= or serial=",
        ) from error
    except (library.NoSuchKey, library.MultipleObjectsReturned) as error:
        raise KeyUnknownError(
            "the token has no such key, or several",
            where=where,
            fix="name one pair of public and private key with object= or id=",
        ) from error
    except (library.MechanismInvalid, library.FunctionNotSupported) as error:
        raise SigningError("the token cannot sign with this key", where=where) from error
    except library.PKCS11Error as error:
        raise KeyStoreFault(
            f"the token does not work: {type(error).__name__} {error}", where=where
        ) from error
