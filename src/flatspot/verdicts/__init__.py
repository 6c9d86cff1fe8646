"""Numbers in, judgments out: which prompts a run can learn from, what to do about the set, and the sentences that say so."""
