"""A run: its rows as numbers, over steps, before and after."""
