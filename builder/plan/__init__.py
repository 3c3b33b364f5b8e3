"""From a Dockerfile tree to a frozen plan; pure."""
