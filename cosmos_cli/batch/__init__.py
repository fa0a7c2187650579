"""Many requests in one run: a manifest of rows, a ledger of what became of them, and an engine that works them off."""
