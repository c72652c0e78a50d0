"""Distillation: `Detections` -> `SecretKey`.

Sifting, parameter estimation, reconciliation, confirmation, privacy amplification, authentication. Sans-I/O:
two parties that consume and produce messages.
"""
