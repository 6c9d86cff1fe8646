"""Watching a trainer: rewards are recorded, groups judged live, alarms raised."""
