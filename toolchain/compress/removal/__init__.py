"""Filters that are zero, taken out of a network with all that depends on them."""
