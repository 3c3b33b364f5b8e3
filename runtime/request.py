"""What a client asks the runtime to run; travels to the shim as JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping

from records import Record, field, field_names, values_of
from runtime.errors import RuntimeFault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from runtime.config import Spec

ETC_FILES: Final = ("hosts", "hostname", "resolv.conf")
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")


class Rootfs(Record):
    """The root directory: an overlay of ``lower`` (topmost first), or the plain directory ``path``.

    Without ``upper`` the overlay is read-only. ``volatile`` skips every sync, also those the
    container asks for with fsync(2): right for a root that is thrown away or turned into a layer
    after a normal exit, wrong for one that must survive a power cut. The runtime leaves no
    mount-point stubs in ``upper`` or ``path``. They are in a lowermost directory of their own: one
    below ``stubs`` that all containers with the usual mount points share, else ``.stubs-<id>``
    beside ``work`` while the container runs.
    """

    lower: tuple[str, ...] = ()
    upper: str | None = None
    work: str | None = None
    path: str | None = None
    volatile: bool = False
    stubs: str | None = None


class SecretFile(Record):
    """``content`` as one read-only file at ``destination``; it never touches a disk."""

    destination: str
    content: bytes = field(repr=False)
    mode: int = 0o400
    uid: int = 0
    gid: int = 0


class Port(Record):
    """A port to publish; ``host_port`` 0 lets the runtime choose, up to ``host_port_end`` the first
    free one is taken.
    """

    port: int
    protocol: str = "tcp"
    host_port: int = 0
    host_address: str = "0.0.0.0"
    host_port_end: int = 0


class ContainerRequest(Record):
    """One container.

    ``network`` is ``none``, ``host``, ``bridge`` or the name of another bridge; it must agree with
    the namespaces of ``spec``. ``user`` is Docker's ``user[:group]`` text, looked up inside the
    root, and takes precedence over the numbers in ``spec``; None keeps those. ``seccomp`` is
    ``default`` (Docker's profile for the capabilities of ``spec``), ``unconfined``, or ``spec``.
    ``exit_file`` is written with the exit code when the container ends, for a client that will not
    be there.
    """

    id: str
    spec: Spec | Mapping[str, Any]
    rootfs: Rootfs
    network: str = "none"
    user: str | None = None
    group_add: tuple[str, ...] = ()
    hostname: str = ""
    extra_hosts: tuple[tuple[str, str], ...] = ()
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    ports: tuple[Port, ...] = ()
    """Published on the host, on a bridge network only."""
    etc_files: bool = True
    """Provide /etc/hosts, /etc/hostname and /etc/resolv.conf."""
    hostname_file: bool = True
    """False leaves /etc/hostname to the image; what is written there stays."""
    secrets: tuple[SecretFile, ...] = ()
    seccomp: str = "default"
    cgroup_parent: str = "lading"
    kill_on_disconnect: bool = True
    exit_file: str | None = None

    def etc_names(self) -> tuple[str, ...]:
        """The names below /etc that are provided."""
        if not self.etc_files:
            return ()
        return ETC_FILES if self.hostname_file else tuple(n for n in ETC_FILES if n != "hostname")

    def to_json(self) -> dict[str, Any]:
        """For the wire."""
        document = _document(self)
        spec = self.spec
        document["spec"] = dict(spec) if isinstance(spec, Mapping) else spec.to_json()
        document["rootfs"] = _document(self.rootfs)
        document["ports"] = [_document(port) for port in self.ports]
        if self.secrets:
            import base64
        document["secrets"] = [
            {**_document(secret), "content": base64.b64encode(secret.content).decode()}
            for secret in self.secrets
        ]
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> ContainerRequest:
        """The reverse; ``spec`` stays JSON.

        Raises:
            RuntimeFault: ``request-invalid``; the id could leave its directory, or there is no
                root.
        """
        fields = dict(document)
        rootfs = dict(fields.pop("rootfs"))
        rootfs["lower"] = tuple(rootfs["lower"])
        if fields["secrets"]:
            import base64
        secrets = tuple(
            SecretFile(**{**secret, "content": base64.b64decode(secret["content"])})
            for secret in fields.pop("secrets")
        )
        hosts = tuple((name, address) for name, address in fields.pop("extra_hosts"))
        fields["ports"] = tuple(Port(**port) for port in fields["ports"])
        for name in ("group_add", "dns", "dns_search", "dns_options"):
            fields[name] = tuple(fields[name])
        request = cls(**fields, rootfs=Rootfs(**rootfs), secrets=secrets, extra_hosts=hosts)
        return request.checked()

    def checked(self) -> ContainerRequest:
        """This request, if its id and root are usable and no text smuggles lines into a file.

        Raises:
            RuntimeFault: ``request-invalid``.
        """
        words = [self.hostname, *self.dns, *self.dns_search, *self.dns_options]
        for word in (*words, *(part for pair in self.extra_hosts for part in pair)):
            if any(character.isspace() or character == "\0" for character in word):
                raise RuntimeFault(
                    f"{word!r} contains white space", where=self.id, code="request-invalid"
                )
        if not _ID.fullmatch(self.id):
            raise RuntimeFault(
                f"invalid container id {self.id!r}",
                fix="use letters, digits, '_', '.' and '-', at most 128 of them",
                code="request-invalid",
            )
        if not self.rootfs.lower and self.rootfs.path is None:
            raise RuntimeFault(
                "the container has no root file system", where=self.id, code="request-invalid"
            )
        if (self.rootfs.upper is None) != (self.rootfs.work is None):
            raise RuntimeFault(
                "an overlay needs both an upper and a work directory, or neither",
                where=self.id,
                code="request-invalid",
            )
        return self


def _document(record: Record) -> dict[str, Any]:
    return dict(zip(field_names(type(record)), values_of(record), strict=True))
