"""Desks: widgets that move a model and show what happens."""
