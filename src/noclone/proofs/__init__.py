"""How long may the key be? Observed counts -> secret length, for a stated epsilon.

Each function cites its paper and equation. `distill` calls them on what was observed, `plan` on what is expected."""
