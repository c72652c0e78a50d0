"""Events and records -> verdict: what is secure, against whom, on which assumptions."""
