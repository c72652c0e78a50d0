"""Quantum repeaters: memories that share entangled pairs over fibre and join them, until two far ends share one."""
