"""The report of a recipe: HTML and terminal."""
