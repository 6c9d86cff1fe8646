"""The paper's controlled experiments: classification as RL with one token, where the expected gradient is exact.

    data → labels → models → objectives → train (measured by metrics, kept by store) → summary → words, figures

A network is pretrained to spread its probability over a few plausible labels of each input. Then a tenth of the inputs get a label the
network holds for impossible: their reward std is near 0. Finetuning (SFT) and RL with exact expected gradients (RFT) start from there.
Small reward std is then the only thing that can stop RFT: there is no sampling, hence nothing to explore.
"""
