"""Conformance: answers that BuildKit's own packages gave, compared with ours."""
