"""Links, addresses, firewall and published ports of containers, by our own netlink messages.

``endpoint.attach`` and ``endpoint.detach`` are what a container's shim calls. Standard library,
synchronous, no thread is started. IPv6 subnets, user-defined networks, embedded DNS and the
proxy for ``[::1]`` are deliberately not here: they need a process that outlives one container.
"""
