"""The stable codes of caveats, and what each of them says: docs/reference/json.md lists them."""

from __future__ import annotations

from collections.abc import Mapping

# every code there is with what it is about, in the order in which caveats of a judgment come; a code never changes its meaning, nor its
# name: "sure" was the name of --worst-case
CODES: Mapping[str, str] = {
    "noisy-reward": "equal completions of a prompt got different rewards",
    "flat-component": "on some prompts one of several rewards vanishes though their total varies, or no completion earns it: there RL "
    "learns from the others alone",
    "component-range": "on some prompts one of several rewards always gives the most seen of it, and nobody states whether that is its top",
    "components-tie": "on some prompts the single rewards differ and their sum does not",
    "close-call": "the 95% limits of the share that decided lie on both sides of the rule's limit: another set of such prompts may get "
    "another verdict",
    "range-assumed": "nobody stated the reward range",
    "top-without-range": "`--top-reachable` has no effect, as nobody stated the range",
    "outside-range": "rewards beyond the stated range were seen",
    "all-low": "every reward is at the bottom of the range",
    "low-references": "real answers earn under half of the range, under a reward that should pay for them",
    "unscored-answers": "real answers have no reward, so what they earn is not known",
    "advantage-matters": "prompts are vanishing for centered advantages that are learnable for normalized ones",
    "few-prompts": "fewer than 30 prompts were scored",
    "few-tasks": "limits of shares and forecast are for prompts of other tasks, and there are under five",
    "same-tasks": "there are several tasks, and limits of shares and forecast are for further prompts of the same ones",
    "few-completions": "fewer than 4 scored completions per prompt",
    "provisional-model": "the reward has many values, and verdicts rest on a model of it",
    "model-misfit": "that model does not fit",
    "truncated-completions": "more than a fifth of the completions were cut by the token limit",
    "identical-completions": "on nearly all prompts all completions are one text",
    "worst-case-error": "more verdicts than predicted may be wrong in the worst case",
    "sure-without-limit": "`--worst-case` changes nothing where rewards are continuous",
    "sure-undecided": "`--worst-case` leaves most prompts undecided",
    "rescored-by-other-reward": "how many completions a prompt has was decided by another reward",
    "incomplete-run": "the run was stopped before its end",
    "survivors-only": "a log holds only groups whose rewards differ, so `verdict`, shares and forecasts are null",
    "several-policies": "rows of a log that several policies drew are judged together",
    "missing-steps": "a log has not the completions of every step",
    "repeated-rows": "a log holds rows more than once; each was counted once",
    "evaluation-rows": "a log of a training holds rows of evaluations, or may hold them; the sentence says whether they were left out",
    "evaluation-split": "all rows of a log are of evaluations",
    "errors-not-zeros": "a log shows failures as a reward of 0, or as none; they are errors here",
    "weights-assumed": "the weights of several rewards are not in the log",
    "missing-parts": "of several rewards of a log that are added up, some are missing on some rows",
    "counted-twice": "of several rewards of a log that are added up, one is a sum that holds another",
    "padding-rows": "rows of a log that only fill up a batch were left out",
    "several-outputs": "a log has several rows per completion, of which one was counted",
    "no-text": "a log holds ids of tokens, and no text",
    "rescaled-rewards": "a log holds rewards after the trainer scaled or shaped them",
    "length-penalty": "a penalty on the length is part of a log's rewards",
    "wrong-id": "an id of a log has several prompts, so rows are grouped by the prompt",
    "unnamed-prompts": "a recording of a reward's calls names prompts by their right answer alone: those with one answer count as one",
    "several-scorers": "a log has several scores per completion, and no total; one of them is judged",
    "greedy-copies": "completions of a log were decoded without sampling",
}
