"""What a build tells while it goes on: events, and the renderers that write them."""
