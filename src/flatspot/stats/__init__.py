"""Arrays of rewards in, numbers out: no files, no models, no prompts' text.

`evidence` reduces the completions to counts and moments of each prompt. `models.fitted.fit` fits the model of the whole set, binary or
graded behind one protocol: the probability of each state of each prompt, how wrong each verdict would be, what groups of K completions
would show, and the limits of all that. `decide` gives verdicts by it, `forecast` plans a training by it, and `triage` is the loop that
samples until the verdicts are good enough. `zones` has the thresholds, `intervals` the limits that never collapse. Beside this line stand
`groups` and `discounted` (a training that is watched), `paired` (two runs), `gradients` and `signs`.
"""
