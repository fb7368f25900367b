"""Readers of foreign zoos: what they bring in computes what the source's own order of axes computes."""
