"""Blobs in S3 or a server that speaks its protocol; imported by registries that use it alone."""
