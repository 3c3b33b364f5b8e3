"""Layers in and out: entries, tar streams, overlay directories, compression.

Everything that moves through here is an ``Entry``; nothing reads a file or a layer whole into
memory.
"""
