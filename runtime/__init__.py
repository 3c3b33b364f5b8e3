"""An OCI runtime: bundle in, container out."""
