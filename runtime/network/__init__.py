"""Links, addresses, firewall and names for containers."""
