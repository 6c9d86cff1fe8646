"""Optimal stopping over a set of prompts: how many completions each prompt gets, and when to stop."""
