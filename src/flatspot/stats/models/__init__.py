"""The model of a set's rewards: `fitted.fit` gives it, `binary` and `graded` are its two kinds.

Binary rests on `npmle` (the mixing distribution), `profile` and `identified_set` (what the counts allow a mean over prompts to be) and
`worst_case` (how wrong the verdicts may be); graded on `families` (which values come again) and `dictionary` (the prior of their weights).
"""
