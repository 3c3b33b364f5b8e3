"""The Notary v1 service, on the registry's own address: docker's content trust without set-up.

``paths`` reads a request's path, ``handlers`` answers, ``service`` joins ``store`` (SQLite, a file
of its own), ``vault`` (the keys the server holds) and ``publishing`` (the rules of an upload, on
bytes). Several processes may serve one root.
"""
