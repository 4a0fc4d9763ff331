"""Helpers that two or more rooms share, one topic a file."""
