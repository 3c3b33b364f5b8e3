"""Notary Project signatures (notation): JWS envelopes, X.509 chains, trust stores and policies."""
