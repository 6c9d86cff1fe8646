"""The paper's PPO in one file, read from top to bottom: causal and encoder–decoder models, on accelerate.

A step of training (arXiv 2310.20703, section 4.1; defaults as in its code for NarrativeQA):

    sample    prompts uniformly with replacement, completions until the buffer has `buffer_tokens`; score each
    evaluate  log p of the policy, log p_ref of the initial policy, the value of each token's prefix
    credit    r_l = −β(log p − log p_ref), plus the task's reward at the last token; advantages A by GAE, returns A + value
    update    epochs × minibatches of shuffled tokens: −mean min(ρA, clip(ρ)A) + vf_coef · MSE(value) − entropy_coef · entropy
    adapt     β ← β(1 + 0.1 · clip((KL − target)/target, ±0.2))

log p is over all tokens, including those that the sampling excludes; the temperature always divides the logits of the policy, and never
those of the reference. The value network is a full copy of the model with a linear head. There is no dropout. `advantages="group"` and
`"group-normalized"` take the credit from the prompt's other completions instead, and have no value network.

Unlike in the paper's code, a buffer's last completion is not truncated, a completion without a reward is left out, the minibatches of an
epoch have equal sizes, and the value head starts at 0. With several processes each has all networks and a share of the completions; sums
are over all processes, so that their number only changes the rounding.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from flatspot.core.errors import TrainingError
from flatspot.core.protocols import Reward
from flatspot.core.records import Prompt
from flatspot.core.seeds import row_seed
from flatspot.engines.prompts import check_fits, encode, to_completion
from flatspot.engines.sequences import Ints, draw_batch
from flatspot.rewards import load_reward
from flatspot.rewards.load import RewardSpec
from flatspot.tasks import Source, load_prompts
from flatspot.training.ranks import gather
from flatspot_paper.ppo.credit import Credit, Floats, Row, credit, group_levels, next_kl_coef, normalized
from flatspot_paper.ppo.networks import Networks, identity_of, prepare, read, read_reference, resume, save
from flatspot_paper.ppo.settings import Losses, Outcome, PPOSettings, StepMetrics, reward_metrics

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Tokens:
    """Some tokens: the indices of their rows in a list, their positions in these, and their advantages: [token] each."""

    row: Ints
    place: Ints
    advantage: Floats

    def of_rows(self, rows: Ints) -> Tokens:
        """The tokens of `rows`, ascending, with indices into `rows`."""
        own = np.isin(self.row, rows)
        return Tokens(np.searchsorted(rows, self.row[own]), self.place[own], self.advantage[own])


def train_ppo(
    policy_model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Source,
    reward: RewardSpec | Sequence[RewardSpec] | Reward,
    settings: PPOSettings | None = None,
    *,
    on_step: Callable[[StepMetrics], None] | None = None,
    checkpoints: str | Path | None = None,
) -> list[StepMetrics]:
    """Train `policy_model` in place; returns the metrics of all steps, including those before it was resumed.

    prompts, reward   as for `flatspot.diagnose`; the reward can also be an object with the `Reward` protocol
    on_step           called after each step, in the main process
    checkpoints       a folder for `ppo.pt`, from which an earlier training is resumed; pass the initial model then too

    Raises TrainingError if numbers are not finite or no completion of a step can be scored, in which case the last checkpoint does not
    change; RunFolderError for a checkpoint of another training.
    """
    settings = settings or PPOSettings()
    rows_of_prompts = load_prompts(prompts)
    networks = prepare(policy_model, tokenizer, settings)
    encoded = [encode(networks.policy, prompt.text) for prompt in rows_of_prompts]
    for prompt, ids in zip(rows_of_prompts, encoded, strict=True):
        check_fits(networks.policy, prompt.text, ids, settings.sampling)
    file = Path(checkpoints) / "ppo.pt" if checkpoints is not None else None
    with nullcontext(reward) if isinstance(reward, Reward) else load_reward(reward) as scorer:
        identity = identity_of(networks.policy, rows_of_prompts, scorer, settings)
        history, beta = list[StepMetrics](), settings.kl_coef
        if file and file.exists():
            state = resume(file, networks, identity)
            history, beta = [StepMetrics(**past) for past in state["history"]], float(state["kl_coef"])
        for step in range(len(history), settings.steps):
            try:
                rows = sample_buffer(networks, rows_of_prompts, encoded, scorer, settings, step)
                history.append(learn(networks, rows, beta, settings, step))
            except (FloatingPointError, TrainingError) as error:
                where = f"the last checkpoint, {file}, is unchanged" if file and file.exists() else "there is no checkpoint"
                raise TrainingError(f"step {step}: {error}; {where}") from error
            beta = next_kl_coef(beta, history[-1].kl, settings.kl_target)
            if file and networks.accelerator.is_main_process and ((step + 1) % settings.save_every == 0 or step + 1 == settings.steps):
                save(file, networks, identity, beta, [dataclasses.asdict(past) for past in history])
            if on_step is not None and networks.accelerator.is_main_process:
                on_step(history[-1])
    return history


def sample_buffer(
    networks: Networks, prompts: Sequence[Prompt], encoded: Sequence[list[int]], scorer: Reward, settings: PPOSettings, step: int
) -> list[Row]:
    """This process's scored completions of a step; those of all processes together have `buffer_tokens`. Each row has its own seed."""
    world, rank = networks.accelerator.num_processes, networks.accelerator.process_index
    chance = np.random.Generator(np.random.Philox(key=row_seed(settings.seed, "prompts", step)))
    rows: list[Row] = []
    number = tokens = 0
    while tokens < settings.buffer_tokens:
        indices = np.repeat(chance.integers(len(prompts), size=settings.prompts_per_round), settings.samples_per_prompt)
        own = [(number + i, int(indices[i])) for i in range(rank, len(indices), world)]
        seeds = [row_seed(settings.seed, f"{step}\x1f{prompts[p].id}", n) for n, p in own]
        runs = [(p, len(list(same))) for p, same in groupby(p for _, p in own)]  # a prompt's completions share its prefill
        texts, copies = [encoded[p] for p, _ in runs], [n for _, n in runs]
        drawn = draw_batch(networks.policy, texts, seeds, settings.sampling, networks.mode, copies=copies) if own else []
        completions = [to_completion(networks.policy, row.ids, settings.sampling.max_new_tokens) for row in drawn]
        scores = scorer.score([prompts[p] for _, p in own], completions)
        rows += [
            Row(n, prompts[p], encoded[p], ids, completion.truncated, score.reward, score.error)
            for (n, p), (ids, _), completion, score in zip(own, drawn, completions, scores, strict=True)
        ]
        number += len(indices)
        tokens += sum(gather(sum(len(row.ids) for row in drawn)))
    return rows


def learn(networks: Networks, rows: Sequence[Row], beta: float, settings: PPOSettings, step: int) -> StepMetrics:
    """Evaluate, credit and update on the rows of a step. Rows without a reward are left out; TrainingError if none has one."""
    import torch

    own = [Outcome(row.number, row.prompt.id, row.reward, row.truncated, len(row.ids), row.error) for row in rows]
    outcomes = sorted((one for part in gather(own) for one in part), key=lambda one: one.number)  # the same order in all processes
    if all(one.reward is None for one in outcomes):
        raise TrainingError(f"none of its {len(outcomes)} completions could be scored ({outcomes[0].error})")
    rows = [row for row in rows if row.reward is not None]
    size, levels = settings.rows_per_forward, {} if settings.learns_value else group_levels(outcomes, settings)
    credits = [one for i in range(0, len(rows), size) for one in evaluate(networks, rows[i : i + size], beta, settings, levels)]
    shared = dict(pair for part in gather([(row.number, credit) for row, credit in zip(rows, credits, strict=True)]) for pair in part)
    ordered = {number: shared[number] for number in sorted(shared)}
    kl = None if networks.reference is None else float(np.concatenate([one.log_ratio for one in ordered.values()]).mean())
    losses = update(networks, rows, ordered, settings, step)
    with torch.no_grad():  # the last optimizer step may give finite weights with outputs that are not: these must not be saved
        sums = [terms_of(networks, rows[:1], shared, tokens_of(shared[row.number]), settings) for row in rows[:1]]
    if not all(gather(all(bool(terms.isfinite().all()) for terms in sums))):
        raise FloatingPointError("after its updates the outputs of the policy or the value network are not finite. Lower learning_rate")
    return StepMetrics(step=step, **reward_metrics(outcomes), kl=kl, kl_coef=beta, **losses)


def evaluate(
    networks: Networks, rows: Sequence[Row], beta: float, settings: PPOSettings, levels: Mapping[int, float] = MappingProxyType({})
) -> list[Credit]:
    """The outputs of the policy that sampled the rows, the reference and the value network for their tokens, and the resulting credit.

    levels  of rows by number, as of `group_levels`
    """
    import torch

    prompts, completions = [row.prompt_ids for row in rows], [row.ids for row in rows]
    lengths = [len(ids) for ids in completions]
    at = (np.repeat(np.arange(len(rows)), lengths), np.concatenate([np.arange(n) for n in lengths]))
    with torch.no_grad():
        log_prob, _, value = read(networks, prompts, completions, at, settings.sampling.temperature)
        outputs = (log_prob, log_prob if networks.reference is None else read_reference(networks, prompts, completions, at), value)
    by_row = zip(rows, *(np.split(x.double().cpu().numpy(), np.cumsum(lengths)[:-1]) for x in outputs), strict=True)
    return [credit(row, own, own - reference, value, beta, settings, levels.get(row.number)) for row, own, reference, value in by_row]


def ppo_terms(
    log_prob: Tensor, entropy: Tensor, value: Tensor, old: Tensor, advantage: Tensor, returns: Tensor, settings: PPOSettings
) -> Tensor:
    """Sums over the tokens of a minibatch: surrogate loss, squared error of the value, entropy, tokens outside the clip range."""
    import torch

    ratio = (log_prob - old).exp()
    clipped = ratio.clamp(1 - settings.clip_range, 1 + settings.clip_range)
    surrogate = torch.minimum(ratio * advantage, clipped * advantage)
    bonus = entropy if settings.entropy == "analytic" else -log_prob
    return torch.stack([-surrogate.sum(), ((value - returns) ** 2).sum(), bonus.sum(), (ratio != clipped).to(ratio.dtype).sum()])


def tokens_of(credit: Credit) -> Tokens:
    """All tokens of one row."""
    return Tokens(np.zeros(len(credit.advantage), dtype=np.int64), np.arange(len(credit.advantage)), credit.advantage)


def update(networks: Networks, rows: Sequence[Row], credits: Mapping[int, Credit], settings: PPOSettings, step: int) -> Losses:
    """Epochs of optimizer steps on minibatches of shuffled tokens; returns means over them.

    credits  of all processes' rows, by number: they determine the tokens of a minibatch and its normalization
    """
    advantages = np.concatenate([credit.advantage for credit in credits.values()])
    place = np.concatenate([np.arange(len(credit.advantage)) for credit in credits.values()])
    here = {row.number: i for i, row in enumerate(rows)}
    # the row of each token, −1 if another process has it
    owner = np.concatenate([np.full(len(credit.advantage), here.get(number, -1)) for number, credit in credits.items()])
    measured = []
    for epoch in range(settings.epochs):
        order = np.random.Generator(np.random.Philox(key=row_seed(settings.seed, f"epoch {epoch}", step))).permutation(len(owner))
        for batch in np.array_split(order, -(-len(order) // settings.minibatch_tokens)):
            advantage = normalized(advantages[batch]) if settings.normalize_advantages else advantages[batch]
            own = owner[batch] >= 0
            tokens = Tokens(owner[batch][own], place[batch][own], advantage[own])
            measured.append(minibatch_step(networks, rows, credits, tokens, len(batch), settings))
    means = np.mean(measured, axis=0).tolist()
    policy_loss, value_loss, entropy, clipped, grad_norm = means
    return Losses(policy_loss=policy_loss, value_loss=value_loss, entropy=entropy, clipped=clipped, grad_norm=grad_norm)


def minibatch_step(
    networks: Networks, rows: Sequence[Row], credits: Mapping[int, Credit], tokens: Tokens, size: int, settings: PPOSettings
) -> list[float]:
    """One optimizer step on this process's tokens of a minibatch of `size`; FloatingPointError, before the step, if it is not finite."""
    import torch

    accelerator, optimizer = networks.accelerator, networks.optimizer
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    weights = torch.tensor([1.0, settings.vf_coef, -settings.entropy_coef, 0.0], device=accelerator.device)
    sums = torch.zeros(4, device=accelerator.device)
    optimizer.zero_grad()
    involved = np.unique(tokens.row)
    for i in range(0, len(involved), settings.rows_per_forward):
        part = involved[i : i + settings.rows_per_forward]
        terms = terms_of(networks, [rows[r] for r in part], credits, tokens.of_rows(part), settings)
        accelerator.backward((terms * weights).sum() / size)
        sums += terms.detach() / size
    if accelerator.num_processes > 1:
        sums = accelerator.reduce(sums, "sum")
        for p in parameters:
            p.grad = accelerator.reduce(torch.zeros_like(p) if p.grad is None else p.grad, "sum")
    norm = float(accelerator.clip_grad_norm_(parameters, settings.max_grad_norm))
    measured = [*sums.tolist(), norm]
    if not np.isfinite(measured).all():
        raise FloatingPointError(
            "the loss is not finite (surrogate {:g}, value {:g}, entropy {:g}, clipped {:g}, norm of the gradient {:g}). Lower "
            "learning_rate, or check the size of the rewards".format(*measured)
        )
    optimizer.step()
    return measured


def terms_of(networks: Networks, rows: Sequence[Row], credits: Mapping[int, Credit], tokens: Tokens, settings: PPOSettings) -> Tensor:
    """`ppo_terms` of some tokens of these rows, differentiable."""
    import torch

    prompts, completions, at = [row.prompt_ids for row in rows], [row.ids for row in rows], (tokens.row, tokens.place)
    log_prob, entropy, value = read(networks, prompts, completions, at, settings.sampling.temperature)
    credited = [(credits[rows[r].number], p) for r, p in zip(*at, strict=True)]
    targets = [
        [one.log_prob[p] for one, p in credited],
        tokens.advantage,
        [one.advantage[p] + one.value[p] if settings.learns_value else 0.0 for one, p in credited],
    ]
    old, advantage, returns = torch.tensor(np.array(targets), dtype=log_prob.dtype, device=log_prob.device)
    return ppo_terms(log_prob, entropy, value, old, advantage, returns, settings)
