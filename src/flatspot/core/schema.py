"""The tables of a run folder, declared once: column, type, unit, meaning.

Writers, readers, checks and the reference page derive from these lists. Raise `SCHEMA_VERSION` when a column changes its
meaning or goes; adding one does not need it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow

SCHEMA_VERSION = 2


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: its name, Arrow type, unit (empty: none) and meaning."""

    name: str
    type: str
    unit: str
    meaning: str


ROLLOUTS: tuple[Column, ...] = (
    Column("prompt_id", "string", "", "content hash of the prompt, or the id its file gave"),
    Column("prompt", "string", "", "the prompt; chat messages as a JSON list"),
    Column("completion", "string", "", "the sampled answer"),
    Column("sample_idx", "int32", "", "which sample of its prompt this is, from 0"),
    Column("reward", "float64", "reward", "the weighted total; null where it was not scored, never 0 for that"),
    Column("rewards", "map<string, float64>", "reward", "each reward function's own value, before weights"),
    Column("error", "string", "", "why there is no reward; null where there is one"),
    Column("step", "int64", "updates", "the policy update that drew it; null outside training"),
    Column("policy", "string", "", "the policy that drew it"),
    Column("truncated", "bool", "", "whether the token limit cut it"),
    Column("n_tokens", "int32", "tokens", "length of the completion"),
    Column("split", "string", "", "train or eval, where the log says"),
    Column("kept", "bool", "", "whether the trainer kept its group, where the log says"),
    Column("source", "string", "", "the file it was read from, for imported rows"),
    Column(
        "fixed", "bool", "", "drawn whatever the rewards were: these rows of a prompt are a fair group; null where the log does not say"
    ),
    Column(
        "completion_is_chat", "bool", "", "the completion is chat messages, stored as a JSON list, from a log; otherwise it is plain text"
    ),
    Column(
        "logprob",
        "float64",
        "nats",
        "log-probability of its tokens under the law they were drawn from, the end token included; null where that is not known",
    ),
    Column("copied", "bool", "", "its reward is that of an equal completion drawn before, and was not asked for; null where it was"),
)

ROUNDS: tuple[Column, ...] = (
    Column("prompt", "int64", "", "row of the prompt in prompts.parquet, from 0"),
    Column("first", "int64", "", "index of its first completion in the round"),
    Column("samples", "int64", "completions", "how many of it the round draws; the same for all"),
    Column("fixed", "bool", "", "whether the round was decided on whatever the rewards were"),
)

PROMPTS: tuple[Column, ...] = (
    Column("prompt_id", "string", "", "content hash of the prompt, or the id its file gave"),
    Column("prompt", "string", "", "the prompt; chat messages as a JSON list"),
    Column("is_chat", "bool", "", "whether the prompt is chat messages"),
    Column("columns", "string", "", "the row's further columns, as a JSON object"),
    Column("answer_reward", "float64", "reward", "what the prompt's real answers earn, on average; null where nobody named any"),
)

VERDICTS: tuple[Column, ...] = (
    Column("prompt_id", "string", "", "as in prompts and rollouts"),
    Column("verdict", "string", "", "learnable, vanishing, solved, undecided or unscored"),
    Column("error_probability", "float64", "probability", "that the verdict is wrong, under the fitted model"),
    Column("p_learnable", "float64", "probability", "that the prompt is learnable"),
    Column("p_vanishing", "float64", "probability", "that the prompt is vanishing"),
    Column("p_solved", "float64", "probability", "that the prompt is solved"),
    Column("n_samples", "int32", "completions", "drawn for this prompt"),
    Column("n_scored", "int32", "completions", "of them with a reward"),
    Column(
        "mean",
        "float64",
        "reward",
        "mean of the scored rewards; where known_mass is there and no reward failed, the estimate from new draws; never outside what is "
        "proved",
    ),
    Column("mean_lo", "float64", "reward", "lower 95% limit of the mean under the policy"),
    Column("mean_hi", "float64", "reward", "upper 95% limit of the mean under the policy"),
    Column(
        "std",
        "float64",
        "reward",
        "within-prompt std, ddof 1; where known_mass is there and no reward failed, that of the estimated distribution, ddof 0; null under "
        "two scored completions",
    ),
    Column("std_lo", "float64", "reward", "lower 95% limit of the std under the policy"),
    Column("std_hi", "float64", "reward", "upper 95% limit of the std under the policy"),
    Column("reward_min", "float64", "reward", "smallest reward seen"),
    Column("reward_max", "float64", "reward", "largest reward seen"),
    Column(
        "r_star",
        "float64",
        "reward",
        "what is achievable: the top of the range under a verifier, or what real answers earn, and never less than the best seen; null "
        "where it is not known",
    ),
    Column("headroom", "float64", "reward", "r_star - mean: what is left to win; null where r_star is"),
    Column("reach", "float64", "stds", "(r_star - mean) / std: how many of its own stds the prompt must climb; null at std 0"),
    Column("relative_std", "float64", "", "std over the root mean square of the set's stds"),
    Column("p_mixed", "float64", "probability", "that a group of the planned size is not all equal"),
    Column("p_mixed_lo", "float64", "probability", "lower 95% limit of that"),
    Column("p_mixed_hi", "float64", "probability", "upper 95% limit of that"),
    Column(
        "best_of_k",
        "float64",
        "reward",
        "expected best reward of a group of the planned size: unbiased from the completions where no reward decided how many there are and "
        "they make a group; else mean + gain, at most the top of the range",
    ),
    Column("gain", "float64", "reward", "the expected best reward of a group of the planned size less the mean, under the fitted model"),
    Column("gain_lo", "float64", "reward", "lower 95% limit of the gain"),
    Column("gain_hi", "float64", "reward", "upper 95% limit of the gain"),
    Column("relative_gain", "float64", "", "gain over the root mean square of the set's gains"),
    Column("known_mass", "float64", "probability", "of the distinct completions drawn, together; null where the engine does not tell it"),
    Column("proved", "bool", "", "no place where the other completions' rewards may lie makes the verdict wrong; null where known_mass is"),
    Column("mean_proved_lo", "float64", "reward", "the least that the mean can be, for certain; null where known_mass is"),
    Column("mean_proved_hi", "float64", "reward", "the most that the mean can be, for certain; null where known_mass is"),
    Column("distinct_share", "float64", "share", "distinct completions among those drawn"),
    Column("truncated_share", "float64", "share", "completions cut by the token limit"),
    Column("mean_tokens", "float64", "tokens", "mean length of a completion"),
    Column("component_std", "map<string, float64>", "reward", "std of each reward function's own value"),
    Column("component_mean", "map<string, float64>", "reward", "mean of each reward function's own value"),
    Column("component_verdict", "map<string, string>", "", "the verdict that each reward function would get alone"),
    Column("why", "string", "", "the verdict in one sentence"),
)

PLAN: tuple[Column, ...] = (
    Column("prompt_id", "string", "", "as in prompts and rollouts"),
    Column("verdict", "string", "", "as in verdicts"),
    Column("action", "string", "", "label, train, drop (solved), defer (vanishing and not chosen, or undecided) or fix (no reward)"),
    Column("order", "int32", "", "which label to write first, from 1; null where none is asked for"),
    Column(
        "gain",
        "float64",
        "reward",
        "reward that the label covers beyond those before it, in the set's mean: to compare labels by, no forecast; null where nothing "
        "bounds what the prompts can earn",
    ),
    Column("gain_so_far", "float64", "reward", "the same of this label and all before it"),
    Column("nearest", "string", "", "prompt_id of the label a vanishing prompt is most like; null where it was not compared"),
    Column("similarity", "float64", "", "to that label, 0 to 1: half by the prompts' texts, half by what the policy answers"),
    Column(
        "samples",
        "int32",
        "completions",
        "smallest group, of 2 to 128, that is informative often enough; null where none is or none is needed",
    ),
    Column("reason", "string", "", "the action in one sentence"),
)

PATHS: tuple[Column, ...] = (
    Column("prompt_id", "string", "", "as in prompts and rollouts"),
    Column("stage", "string", "", "of a recipe: before, warmed, after or after-alone"),
    Column("verdict", "string", "", "as in verdicts, of the policy at that stage"),
    Column("mean", "float64", "reward", "as in verdicts"),
    Column("std", "float64", "reward", "as in verdicts"),
)

STEPS: tuple[Column, ...] = (
    Column("prompt_id", "string", "", "as in prompts.parquet"),
    Column("n_steps", "int64", "", "steps at which it was drawn, evaluations left out"),
    Column("last_step", "int64", "updates", "the last of them; null where it was never drawn"),
    Column("last_mean", "float64", "reward", "mean of its rewards at that step"),
    Column("last_std", "float64", "reward", "their std (ddof 1); null for one reward"),
    Column("stopped", "bool", "", "whether it is no longer drawn; at most 5% of these are expected to be chance"),
    Column(
        "first_state",
        "string",
        "",
        "its likelier state in the first third of the steps; null where it was not drawn, and in a log of survivors",
    ),
    Column("last_state", "string", "", "the same in the last third"),
    Column("p_value", "float64", "", 'of "its rewards are of one distribution in both"; null where it was drawn in one window only'),
    Column("changed", "bool", "", "whether they are not; at most 5% of these are expected to be chance"),
)

GRADIENTS: tuple[Column, ...] = (
    Column("prompt_id", "string", "", "as in prompts and rollouts"),
    Column("n_samples", "int32", "completions", "drawn for the gradient, beside those of the run"),
    Column("n_scored", "int32", "completions", "of them with a reward, and so used"),
    Column("std", "float64", "reward", "std of their rewards, ddof 1"),
    Column("std_hi", "float64", "reward", "upper 95% limit of the std under the policy, for any reward in the range"),
    Column("grad_norm", "float64", "reward", "norm of the gradient of the expected reward: root of grad_norm_sq, 0 where that is negative"),
    Column("grad_norm_lo", "float64", "reward", "lower 95% limit of the norm"),
    Column(
        "grad_norm_hi", "float64", "reward", "upper 95% limit of the norm, which counts rewards that were not seen: at most bound_score"
    ),
    Column("grad_norm_sq", "float64", "reward²", "unbiased estimate of the squared norm, from two independent halves; may be negative"),
    Column(
        "score_second_moment",
        "float64",
        "",
        "mean squared norm of the gradient of log p(completion), averaged over the token of each position",
    ),
    Column("score_second_moment_lo", "float64", "", "its lower 95% limit"),
    Column("score_second_moment_hi", "float64", "", "its upper 95% limit"),
    Column("collision", "float64", "tokens", "mean over completions of the sum over positions of 1 − ‖p‖², p the token's distribution"),
    Column("collision_lo", "float64", "tokens", "its lower 95% limit"),
    Column("collision_hi", "float64", "tokens", "its upper 95% limit"),
    Column("gamma", "float64", "", "largest spectral norm of the logits' Jacobian that was found: a lower estimate of γ"),
    Column("max_length", "int32", "tokens", "the longest of the completions, with its end token"),
    Column("bound_score", "float64", "reward", "std_hi · √score_second_moment_hi"),
    Column("bound_collision", "float64", "reward", "gamma · std_hi · √collision_hi; proven only for the true γ"),
    Column("bound_lipschitz", "float64", "reward", "√max_length · gamma · std_hi; proven only for the true γ"),
    Column(
        "bound_median", "float64", "reward", "√2 · max_length · gamma · the upper limit of E|reward − median|; proven only for the true γ"
    ),
    Column("bound_theorem_1", "float64", "reward", "Theorem 1 at std_hi and half the reward's range; proven only for the true γ"),
    Column("seconds", "float64", "seconds", "spent on the prompt"),
    Column("error", "string", "", "why the prompt has no numbers; null where it has"),
)


def arrow_schema(columns: tuple[Column, ...]) -> pyarrow.Schema:
    """The Arrow schema of a table, its columns' meanings and the schema version in the metadata."""
    import pyarrow as pa

    types = {
        "string": pa.string(),
        "int32": pa.int32(),
        "int64": pa.int64(),
        "float64": pa.float64(),
        "bool": pa.bool_(),
        "map<string, float64>": pa.map_(pa.string(), pa.float64()),
        "map<string, string>": pa.map_(pa.string(), pa.string()),
    }
    fields = [pa.field(c.name, types[c.type], metadata={"unit": c.unit, "meaning": c.meaning}) for c in columns]
    return pa.schema(fields, metadata={"flatspot_schema_version": str(SCHEMA_VERSION)})
