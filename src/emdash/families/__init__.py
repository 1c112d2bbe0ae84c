"""Families of distributions: the law of one component or state."""
