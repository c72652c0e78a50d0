"""Applications: keys -> protected messages and files."""
