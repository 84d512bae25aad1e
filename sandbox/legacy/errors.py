"""What can go wrong, as one line that says what to do."""


class LegacyError(Exception):
    """The command can't go on; the message is one line that tells the reader what to do."""


class LegacyDataError(LegacyError):
    """The stored data contradicts the old rules of billing; the message names the account to mend."""
