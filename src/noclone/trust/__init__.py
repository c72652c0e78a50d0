"""Provenance -> trust formula: who could read this key, and on what assumptions."""
