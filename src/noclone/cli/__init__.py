"""The command line. It holds no rules: what it can do, Python can do."""
