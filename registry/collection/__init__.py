"""Collection of content that nobody needs, beside clients that push and pull.

``leases`` is the promise to clients, ``marking`` decides what a repository still needs, ``rows``
removes the rest from the index, ``files`` removes bytes that no row holds, ``collector`` runs all
of it in steps that can stop and go on, ``schedule`` runs it within the server.
"""
