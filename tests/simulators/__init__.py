"""In-memory stand-ins for the programs that lading talks to."""
