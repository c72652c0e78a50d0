"""Sites and demands -> scenario."""
