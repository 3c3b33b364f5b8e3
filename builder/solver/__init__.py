"""From a plan to layers: cache, execution, packing."""
