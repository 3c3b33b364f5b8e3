"""What replicas of one registry share besides rows of the index: offices, presence, small files."""
