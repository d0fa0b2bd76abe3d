"""Measurements: each module prints figures of this machine."""
