"""Benchmarks: `python -m tests.bench.NAME [--quick] [--json FILE]`, us and the peer in turn."""
