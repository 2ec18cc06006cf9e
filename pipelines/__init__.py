"""Beam programs that make data, as thin transforms over pure functions."""
