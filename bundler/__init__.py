"""Carry a whole platform across an air gap: lock, mirror, sign, verify, install, serve."""

__version__ = "0.1.0"
