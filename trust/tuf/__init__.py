"""The Update Framework as Notary v1 and docker use it: signed tags of one repository.

Pure: bytes in, verdict out, the time as an argument. Not here: the network, the clock, the disk
(``keystore`` and ``cache`` alone touch files), and cosign's formats.
"""
