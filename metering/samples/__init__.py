"""Samples: ticks of meters that are integrals over time, stored as told, folded into buckets, closed into events."""
