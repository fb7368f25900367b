"""Slow truths in plain loops: what the fast paths must equal."""
