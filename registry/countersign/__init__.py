"""The registry signs what it serves: that it received exactly this, then, from that account."""
