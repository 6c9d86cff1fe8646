"""The command line: one verb per stage, one file per verb."""
