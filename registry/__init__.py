"""The OCI-distribution server."""
