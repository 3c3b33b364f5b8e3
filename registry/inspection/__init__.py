"""Proof that a store is whole (``check``), that its bytes are (``scrub``), and its index made
anew from them (``rebuild``).
"""
