"""Rows of a run: drawn (`collect`), kept (`store`), read back (`read`)."""
