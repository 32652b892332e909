"""Weights shared and coded: one small file that unpacks bit by bit."""
