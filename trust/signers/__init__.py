"""Who signs: a key of the store, an external command, or a key in a PKCS#11 token."""
