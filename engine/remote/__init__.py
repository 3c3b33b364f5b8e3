"""Builds on other machines: nodes, a channel to each, and what travels over it.

The builder's client sends one build for one platform with the files it reads, sees its progress as
if it happened here, and takes over the blobs it lacks. The other end is ``lading`` as well.
"""
