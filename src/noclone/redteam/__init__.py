"""Attacks, one module each. They hand plain data down to the layer that they attack."""
