"""Magenta RealTime 2 as an engine: frame after frame, on the networks of the package `magenta-rt`."""
