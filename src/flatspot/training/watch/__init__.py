"""Watching a trainer: its rewards recorded, groups judged live, alarms raised."""
