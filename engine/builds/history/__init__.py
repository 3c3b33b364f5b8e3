"""What was built here, when and how it ended: a bounded record of every build."""
