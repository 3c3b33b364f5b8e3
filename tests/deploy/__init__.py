"""What lies in deploy/: manifests, units, the image's lock."""
