"""Recipes, runs and tables that compare the ways of making a network smaller."""
