"""Kernels that training drives to zero: the term, the callback, the history and its pictures."""
