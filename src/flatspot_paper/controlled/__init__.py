"""The paper's controlled experiments: classification as RL with one token, where the expected gradient is exact.

    data → labels → models → objectives → train (measured by metrics, stored by store) → results → words, figures

A network is pretrained to spread its probability over a few plausible labels of each input. Then a tenth of the inputs get a label the
network considers impossible: their reward std is near 0. Finetuning (SFT) and RL with exact expected gradients (RFT) start from there.
Then only a small reward std can prevent RFT from learning: nothing is sampled, so there is nothing to explore.
"""
