"""The only writers of metering's tables."""
