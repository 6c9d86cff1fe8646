"""Training runs, watched and started: what changes a policy lives here, and what looks on while it changes."""
