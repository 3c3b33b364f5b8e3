"""lading: the command line over the packages that build, sign, serve and run container images."""

__version__ = "0.1.0"
