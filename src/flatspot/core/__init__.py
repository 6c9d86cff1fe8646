"""The words everyone shares; this room imports nothing of ours."""
