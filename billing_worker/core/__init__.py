"""Money, periods, rating and errors: pure code, no Django, no I/O."""
