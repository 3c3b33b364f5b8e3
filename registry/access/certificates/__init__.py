"""Client certificates: whom they name, and which of them still count."""
