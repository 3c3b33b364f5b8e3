"""``--ssh ID=KEY[,KEY]``: an ssh agent of the build's own, which holds the keys of these files.

It speaks what clients need of the agent protocol (draft-ietf-sshm-ssh-agent): list the keys, sign
with one (RFC 4253, RFC 5656, RFC 8332, RFC 8709). Keys stay in this process; who has the socket can
sign and cannot read them.
"""

from __future__ import annotations

import base64
import os
import socket
import stat
import struct
import tempfile
import threading
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from builder.errors import BuildInputError
from records import Record, replace

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from engine.builds.order import BuildOrder

    PrivateKey = ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

FAILURE, IDENTITIES, IDENTITIES_ANSWER, SIGN, SIGN_ANSWER = 5, 11, 12, 13, 14
LIMIT: Final = 256 << 10
"""Bytes of a message; OpenSSH's own limit."""
KEY_LIMIT: Final = 64 << 10
RSA_SHA256, RSA_SHA512 = 2, 4
"""Flags of a request for a signature, RFC 8332."""
_CURVES: Final = {
    "nistp256": hashes.SHA256(),
    "nistp384": hashes.SHA384(),
    "nistp521": hashes.SHA512(),
}


class KeyFileError(BuildInputError):
    """A file of ``--ssh`` holds no key that can be used."""

    code = "ssh-key"


class Identity(Record):
    """One key: its public half as it travels, and what it is called."""

    blob: bytes
    comment: str
    key: PrivateKey

    def sign(self, data: bytes, flags: int) -> bytes:
        """The signature's blob: an algorithm's name and what that makes of the data."""
        if isinstance(self.key, ed25519.Ed25519PrivateKey):
            return _string(b"ssh-ed25519") + _string(self.key.sign(data))
        if isinstance(self.key, rsa.RSAPrivateKey):
            name, digest = _rsa(flags)
            return _string(name) + _string(self.key.sign(data, padding.PKCS1v15(), digest))
        curve = self.blob[4 : 4 + struct.unpack(">I", self.blob[:4])[0]].decode().rpartition("-")[2]
        r, s = decode_dss_signature(self.key.sign(data, ec.ECDSA(_CURVES[curve])))
        name = f"ecdsa-sha2-{curve}".encode()
        return _string(name) + _string(_integer(r) + _integer(s))


def read_identity(path: Path) -> Identity:
    """A private key from a file.

    Raises:
        KeyFileError: it cannot be read, holds no such key, or is locked with a passphrase.
    """
    where = f"--ssh {path}"
    try:
        with path.open("rb") as file:
            raw = file.read(KEY_LIMIT)
    except OSError as error:
        raise KeyFileError(f"cannot be read: {error.strerror}", where=where) from error
    load = (
        serialization.load_ssh_private_key
        if b"OPENSSH PRIVATE KEY" in raw
        else serialization.load_pem_private_key
    )
    try:
        key = load(raw, password=None)
    except TypeError as error:
        raise KeyFileError(
            "the key is locked with a passphrase",
            where=where,
            fix="add it to an agent with ssh-add, and pass --ssh default",
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyFileError(
            "not a private key", where=where, fix="name the file without .pub"
        ) from error
    if not isinstance(
        key, ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
    ):
        raise KeyFileError("a key of this kind is not used", where=where, fix="use ed25519")
    public = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return Identity(base64.b64decode(public.split()[1]), path.name, key)


@contextmanager
def with_agents(order: BuildOrder) -> Iterator[BuildOrder]:
    """The order with a socket in place of the files of keys, while the block lasts.

    Raises:
        KeyFileError: as ``read_identity``.
    """
    with ExitStack() as stack:
        sockets = {
            name: stack.enter_context(key_agent([read_identity(Path(path)) for path in paths]))
            for name, paths in order.keys.items()
        }
        request = replace(order.request, ssh={**order.request.ssh, **sockets})
        yield replace(order, request=request, keys={})


@contextmanager
def key_agent(identities: Sequence[Identity]) -> Iterator[Path]:
    """The socket of an agent with these keys, while the block lasts."""
    with tempfile.TemporaryDirectory(prefix="lading-ssh-") as folder, ExitStack() as stack:
        path = Path(folder) / "agent"
        listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        listener.bind(str(path))
        listener.listen(16)
        known = {identity.blob: identity for identity in identities}
        thread = threading.Thread(target=_listen, args=(listener, known), daemon=True)
        thread.start()
        try:
            yield path
        finally:
            # What is accepted already ends with its client; nobody else comes.
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def _listen(listener: socket.socket, known: Mapping[bytes, Identity]) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_serve, args=(client, known), daemon=True).start()


def _serve(client: socket.socket, known: Mapping[bytes, Identity]) -> None:
    with client, client.makefile("rwb") as stream, suppress(OSError):
        while True:
            head = stream.read(4)
            if len(head) < 4 or (size := struct.unpack(">I", head)[0]) > LIMIT:
                return
            stream.write(_string(answer(stream.read(size), known)))
            stream.flush()


def answer(message: bytes, known: Mapping[bytes, Identity]) -> bytes:
    """What the agent says to a message; what it does not understand it refuses."""
    kind, rest = message[:1], message[1:]
    if kind == bytes([IDENTITIES]):
        listed = b"".join(
            _string(identity.blob) + _string(identity.comment.encode("utf-8", "replace"))
            for identity in known.values()
        )
        return struct.pack(">BI", IDENTITIES_ANSWER, len(known)) + listed
    if kind == bytes([SIGN]):
        try:
            blob, rest = _take(rest)
            data, rest = _take(rest)
            (flags,) = struct.unpack(">I", rest)
        except (struct.error, ValueError):
            return bytes([FAILURE])
        identity = known.get(blob)
        if identity is not None:
            return bytes([SIGN_ANSWER]) + _string(identity.sign(data, flags))
    return bytes([FAILURE])


def _rsa(flags: int) -> tuple[bytes, hashes.HashAlgorithm]:
    if flags & RSA_SHA512:
        return b"rsa-sha2-512", hashes.SHA512()
    if flags & RSA_SHA256:
        return b"rsa-sha2-256", hashes.SHA256()
    # RFC 4253's only one; servers that want better ask for it with a flag.
    return b"ssh-rsa", hashes.SHA1()


def _take(data: bytes) -> tuple[bytes, bytes]:
    (size,) = struct.unpack(">I", data[:4])
    if len(data) < 4 + size:
        raise ValueError
    return data[4 : 4 + size], data[4 + size :]


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def _integer(number: int) -> bytes:
    """An mpint, RFC 4251: positive, so with a zero in front of a first bit that is set."""
    return _string(number.to_bytes(number.bit_length() // 8 + 1, "big"))


def is_socket(path: str) -> bool:
    """Whether an agent listens at a path, rather than a key being in the file."""
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False
