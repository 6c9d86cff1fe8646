"""The model of a set's rewards: `fitted.fit` gives it, `binary` and `graded` are its two kinds.

Binary rests on `npmle` (the mixing distribution), `profile` and `identified_set` (what the counts allow a mean over prompts to be) and
`worst_case` (how wrong the verdicts may be); graded on `parts` (which values come again, and where the others
are cut), `dictionary` (the prior of their weights), `rest` and `shapes` (the continuous parts), `vectors` and `mean_limits` (what the
counts allow a mean over prompts to be).
"""
