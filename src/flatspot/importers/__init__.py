"""Foreign logs → the rows of a run folder, by SQL, without holding them in memory."""
