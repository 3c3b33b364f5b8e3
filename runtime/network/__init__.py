"""Links, addresses, firewall and names for containers, by our own netlink messages.

``endpoint.attach`` and ``endpoint.detach`` are what a container's shim calls; ``files`` generates
the texts of resolv.conf, hosts and hostname. Standard library only, synchronous, nothing here
starts a thread. IPv6 subnets, user-defined networks, embedded DNS and the proxy for ``[::1]`` are
deliberately not here yet: they need a process that outlives one container.
"""
