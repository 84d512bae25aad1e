"""Usage that is fetched instead of sent: from the warehouse, or from a file. It goes in like any other statement."""
