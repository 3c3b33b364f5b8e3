"""Which proxy a request takes: HTTP_PROXY, HTTPS_PROXY and NO_PROXY as Go programs read them.

golang.org/x/net/http/httpproxy documents the rules; loopback is never proxied.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

from images.client.hosts import bare_host, is_loopback


def proxy_for(scheme: str, host: str, port: int, environ: Mapping[str, str]) -> str | None:
    """The proxy's URL for a request to ``host`` (bare, no brackets), or None to go directly."""
    if is_loopback(host):
        return None
    proxy = environ.get(f"{scheme}_proxy") or environ.get(f"{scheme.upper()}_PROXY")
    if not proxy or _excluded(host, port, environ.get("no_proxy") or environ.get("NO_PROXY") or ""):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def through_tls(environ: Mapping[str, str]) -> bool:
    """Whether a proxy is spoken to in TLS, which not every wire can."""
    names = ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY")
    return any(environ.get(name, "").lower().startswith("https:") for name in names)


def _excluded(host: str, port: int, rules: str) -> bool:
    return any(
        _matches(host, port, rule.strip().lower()) for rule in rules.split(",") if rule.strip()
    )


def _matches(host: str, port: int, rule: str) -> bool:
    if rule == "*":
        return True
    name = bare_host(rule)
    wanted_port = rule.removeprefix(f"[{name}]").removeprefix(name).removeprefix(":")
    if wanted_port and wanted_port.isdigit() and int(wanted_port) != port:
        return False
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(
            rule if "/" in rule else name, strict=False
        )
    except ValueError:
        name = name.removeprefix("*")
        return host == name or host.endswith(name if name.startswith(".") else f".{name}")
