"""The same thing done to many documents at a person's request: each once, with progress, whatever workers do."""
