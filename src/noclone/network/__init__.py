"""Many links -> one system: the scenario file, and running it all."""
