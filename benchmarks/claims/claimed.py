"""Where errors and levels are stated, and what backs each statement: rows of this benchmark, by the start of their number, or a test.

tests/stats/test_claims_benchmark.py looks each statement up in its page, so that one that is reworded is read again.
"""

from __future__ import annotations

TRIAGE, VERDICTS, THEORY = (f"docs/explanation/{name}.md" for name in ("triage", "verdicts", "theory"))
REPORT, WARM_UP, COMPARE = (f"docs/how-to/{name}.md" for name in ("read-the-report", "warm-up", "compare"))

# (page, words in it, what backs them)
CLAIMED = (
    ("README.md", "states the error rate of its verdicts", "error"),
    ("README.md", "every verdict has an error probability, and every std and every share has an interval", "predicted error"),
    (TRIAGE, "labels every prompt as vanishing, learnable or solved, at a mean error that you set", "error"),
    (TRIAGE, "The price is the highest of 74 (1 … 0.0001) at which the expected error", "predicted error"),
    (TRIAGE, "The target then holds for every distribution of prompts", "error, 5% target, worst case"),
    (TRIAGE, "`predicted_error_limit` (`Triage.worst_case_error`) is the largest error under any distribution", "worst-case error"),
    (TRIAGE, "A forecast for groups of 32 from four completions per prompt is an extrapolation", "mixed groups of 32"),
    (VERDICTS, "For binary rewards, `std_lo` and `std_hi` are Clopper–Pearson limits", "tests/stats/test_intervals.py"),
    (VERDICTS, "the upper limit is the largest std that a reward in the range can have if all n completions agreed", "std of a prompt"),
    (VERDICTS, "The limits of `fractions` and `forecast` are then the smallest and the largest share", "share vanishing"),
    (VERDICTS, "With `--cluster-col C`, the column of each prompt's task, the limits are for prompts of other tasks", "share vanishing"),
    (VERDICTS, "These limits are about the very prompts of the set, not about others like them", "called vanishing"),
    (VERDICTS, "`predicted_error` is the mean over the given verdicts", "predicted error"),
    (VERDICTS, "`predicted_error_limit` is the worst-case error", "worst-case error"),
    (VERDICTS, "the largest set whose mean error is at most α has a Bayes false discovery rate of α", "error"),
    (REPORT, "are in this state, with a 95% interval", "share"),
    (REPORT, "at four group sizes, with 90% intervals", "mixed groups"),
    (REPORT, "has the mean, the std and the gain with their 95% intervals", "mean of a prompt"),
    (WARM_UP, "are means over the run's prompts with 95% limits", "share vanishing of a probe"),
    (COMPARE, "Its change has 95% limits for prompts like these", "tests/stats/test_paired.py"),
    (THEORY, "of the norm contained the true value for at least 91%", "tests/theory/test_unseen.py"),
    ("docs/reference/json.md", "the mean over these prompts, with 90% limits for `population`", "mixed groups"),
    ("docs/reference/glossary.md", "contain the true value with 95% probability (90% for forecasts)", "mean of a prompt"),
    ("src/flatspot/stats/intervals.py", "Coverage is at least 0.956 at n = 4, 8, 10, 16, 32, 64, 300", "tests/stats/test_intervals.py"),
    ("src/flatspot/stats/paired.py", "Coverage for shares: 0.90 at the least", "tests/stats/test_paired.py"),
    ("src/flatspot/stats/models/profile.py", "nominal 90% limits held in", "mixed groups"),
)
