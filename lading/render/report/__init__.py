"""The report of a build as one file of HTML."""
