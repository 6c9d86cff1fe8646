"""The prompts of `flatspot demo`: short reasoning-gym tasks that a 135M-parameter model finds anything from trivial to impossible."""

from __future__ import annotations

from flatspot.core.records import Prompt
from flatspot.tasks.gym import PREFIX, gym_prompts

# COUNTS
DEMO_TASKS = (
    "palindrome_generation[min_length=1,max_length=1,size=7,shots=4]",
    "word_sequence_reversal[min_words=1,max_words=1,size=7,shots=8]",
    "word_sequence_reversal[min_words=2,max_words=2,size=6,shots=8]",
    "letter_counting[min_words=1,max_words=2,size=6,shots=6]",
    "needle_haystack[min_num_statements=2,max_num_statements=2,size=6,shots=6]",
    "gcd[min_value=1,max_value=6,size=5,shots=6]",
    "basic_arithmetic[min_terms=2,max_terms=2,min_digits=1,max_digits=1,size=4,shots=6]",
    "products[min_digits=4,max_digits=4,size=5,shots=4]",
    "chain_sum[min_terms=4,max_terms=4,min_digits=4,max_digits=4,size=5,shots=4]",
    "caesar_cipher[min_words=2,max_words=2,min_rotation=3,max_rotation=20,size=4,shots=4]",
)


def demo_prompts() -> list[Prompt]:
    """The 55 prompts of the demo, in the order of `DEMO_TASKS`; score them with the reward `reasoning_gym`.

    Answers are short: 16 new tokens are enough, and most completions end after 2 to 6.

    >>> len(demo_prompts())
    55
    """
    return gym_prompts(PREFIX + "+".join(DEMO_TASKS))
