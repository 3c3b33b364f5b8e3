"""The three files that are bound into a container's /etc, written into its state directory."""

from __future__ import annotations

from typing import Final

from runtime.etc_files import hosts, names_only_resolved, resolv_conf
from runtime.network.endpoint import Endpoint
from runtime.request import ContainerRequest
from runtime.spec import Spec
from runtime.state import write_file

_RESOLV_CONF: Final = "/etc/resolv.conf"
_RESOLVED_CONF: Final = "/run/systemd/resolve/resolv.conf"


def write_hosts(
    folder: str, request: ContainerRequest, spec: Spec, endpoint: Endpoint | None
) -> None:
    """/etc/hosts, in place, so that a bind mount of it sees the change."""
    shares = spec.linux.namespace("network") is None
    text = hosts(
        hostname=request.hostname or spec.hostname,
        domainname=spec.domainname,
        address=None if endpoint is None else endpoint.address,
        extra=request.extra_hosts,
        gateway=endpoint.gateway if endpoint is not None else "127.0.0.1" if shares else None,
    )
    write_file(f"{folder}/hosts", text)


def write_etc_files(
    folder: str, request: ContainerRequest, spec: Spec, endpoint: Endpoint | None
) -> None:
    """All three; hosts stays empty where the address is not known yet.

    Raises:
        RuntimeFault: ``request-invalid``; a name or address is malformed.
    """
    hostname = request.hostname or spec.hostname
    write_file(f"{folder}/hostname", f"{hostname}\n" if hostname else "")
    if endpoint is not None or request.network in ("none", "host"):
        write_hosts(folder, request, spec, endpoint)
    else:
        write_file(f"{folder}/hosts", "")
    text = resolv_conf(
        _host_resolv_conf(),
        nameservers=request.dns,
        search=request.dns_search,
        options=request.dns_options,
        shares_host_network=spec.linux.namespace("network") is None,
    )
    write_file(f"{folder}/resolv.conf", text)


def _host_resolv_conf() -> str:
    text = _read_text(_RESOLV_CONF)
    return _read_text(_RESOLVED_CONF) or text if names_only_resolved(text) else text


def _read_text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(1 << 16)
    except OSError:
        return ""
