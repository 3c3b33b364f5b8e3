"""The registry's transparency log: what happened to tags, signatures and manifests, provably."""
