"""Docker's content trust as a client: trust data fetched, believed, changed and published.

``settings`` reads the environment, ``server`` speaks to the trust server, ``updating`` believes
(the state machine is ``trust.tuf.trusted``), ``collection`` signs and publishes, ``report`` shows.
Keys and cache are docker's own, below ``~/.docker/trust``.
"""
