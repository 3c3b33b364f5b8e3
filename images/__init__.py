"""Image content: digests, references, manifests, blobs, layers, snapshots, the registry client."""
