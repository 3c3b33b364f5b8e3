"""Manifest lists put together by hand, from images that are at registries and stay there."""
