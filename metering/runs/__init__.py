"""What runs of the roll-up did: a row for each, written when it begins and when it ends."""
