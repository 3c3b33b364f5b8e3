"""Sources from elsewhere: git repositories and archives as directories that a build can read."""
