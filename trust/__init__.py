"""Keys, signatures and policies: bytes in, verdict out."""
