"""An append-only Merkle log: what it is and how a client checks it; registries store it."""
