"""From the old service's rows to ours: `drafts` reads and checks, `tables` checks dates and tiers, `run` writes."""
