"""The console's page about an account's month: what was used, what became of it, and why the bill is what it is."""
