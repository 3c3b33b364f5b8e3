"""What can go wrong with manifest lists, in docker's words where it has some."""

from __future__ import annotations

from images.errors import InputError


class ManifestListError(InputError):
    """What was asked for does not make a list."""

    code = "manifest-list"


class ListUnknownError(ManifestListError):
    """No list of this name was begun here."""

    code = "manifest-list-unknown"
