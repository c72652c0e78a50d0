"""Doors to the outside: the public channel (memory, TCP), recordings (HDF5), TLS."""
