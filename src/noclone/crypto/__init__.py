"""Cryptography below the protocols: universal hashing, one-time authentication, one-time pad."""
