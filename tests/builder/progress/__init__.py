"""The display of builds, on real terminals and as text."""
