"""Benchmarks, for asv; see README.rst beside this file."""
