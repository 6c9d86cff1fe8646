"""The paper's PPO in one file, read from top to bottom: causal and encoder–decoder models, on accelerate.

A step of training (arXiv 2310.20703, section 4.1; defaults as its code has them for NarrativeQA):

    draw      prompts uniformly with replacement, completions until the buffer holds `buffer_tokens`; score each
    evaluate  log p of the policy, log p_ref of the policy as it was at the start, the value of each token's prefix
    credit    r_l = −β(log p − log p_ref), plus the task's reward at the last token; advantages A by GAE, returns A + value
    update    epochs × minibatches of shuffled tokens: −mean min(ρA, clip(ρ)A) + vf_coef · MSE(value) − entropy_coef · entropy
    adapt     β ← β(1 + 0.1 · clip((KL − target)/target, ±0.2))

log p is over all tokens, whatever the sampling leaves out; the temperature divides the logits of the policy wherever they are used, and
never those of the reference. The value network is a whole copy of the model with a linear head. No dropout.

Unlike the paper's code: a buffer's last completion is kept whole, a completion that cannot be scored is left out, the minibatches of an
epoch are equally large, and the value head starts at 0. With several processes each holds all the networks and a share of the
completions; sums run over all of them, so their number changes only the rounding.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flatspot.core.errors import TrainingError
from flatspot.core.protocols import Reward
from flatspot.core.records import Prompt
from flatspot.core.seeds import row_seed
from flatspot.engines.prompts import check_fits, encode, to_completion
from flatspot.engines.sequences import draw_batch
from flatspot.rewards import load_reward
from flatspot.tasks import load_prompts
from flatspot.training.ranks import gather
from flatspot_paper.ppo.networks import Networks, identity_of, prepare, read_policy, read_reference, read_value, resume, save
from flatspot_paper.ppo.settings import PPOSettings, StepMetrics, reward_metrics

Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Row:
    """One completion, `ids` with its end token; `number` is its place in the buffer of all processes."""

    number: int
    prompt: Prompt
    prompt_ids: list[int]
    ids: list[int]
    truncated: bool
    reward: float | None
    error: str | None


@dataclass(frozen=True)
class Credit:
    """What PPO knows of a row's tokens, as arrays [token]: log p when drawn, log p − log p_ref, value, advantage."""

    log_prob: Floats
    log_ratio: Floats
    value: Floats
    advantage: Floats


@dataclass(frozen=True)
class Tokens:
    """Some tokens: their rows' numbers in a list, their places in these, and the advantages to learn from: [token] each."""

    row: Any
    place: Any
    advantage: Floats

    def of_rows(self, some: Any) -> Tokens:
        """Those of the rows `some`, ascending, with the rows numbered as they stand there."""
        kept = np.isin(self.row, some)
        return Tokens(np.searchsorted(some, self.row[kept]), self.place[kept], self.advantage[kept])


def train_ppo(
    policy_model: Any,
    tokenizer: Any,
    prompts: Any,
    reward: Any,
    settings: PPOSettings | None = None,
    *,
    on_step: Callable[[StepMetrics], None] | None = None,
    checkpoints: str | Path | None = None,
) -> list[StepMetrics]:
    """Train `policy_model` in place; returns the metrics of every step, those before a resumption included.

    prompts, reward   as `flatspot.diagnose` takes them; the reward may also be an object with the `Reward` protocol
    on_step           called after each step, in the main process
    checkpoints       a folder for `ppo.pt`; where it holds one, training goes on from there. Pass the model it all started from

    Raises TrainingError where numbers stop being finite or no completion of a step can be scored, the last checkpoint left as it is;
    RunFolderError for a checkpoint of another training.
    """
    settings = settings or PPOSettings()
    asked = load_prompts(prompts)
    networks = prepare(policy_model, tokenizer, settings)
    encoded = [encode(networks.policy, prompt.text) for prompt in asked]
    for prompt, ids in zip(asked, encoded, strict=True):
        check_fits(networks.policy, prompt.text, ids, settings.sampling)
    file = Path(checkpoints) / "ppo.pt" if checkpoints is not None else None
    with nullcontext(reward) if isinstance(reward, Reward) else load_reward(reward) as scorer:
        identity = identity_of(networks.policy, asked, scorer, settings)
        found: dict[str, Any] = resume(file, networks, identity) if file and file.exists() else {"history": [], "kl_coef": settings.kl_coef}
        history, beta = [StepMetrics(**past) for past in found["history"]], float(found["kl_coef"])
        for step in range(len(history), settings.steps):
            try:
                rows = draw_buffer(networks, asked, encoded, scorer, settings, step)
                history.append(learn(networks, rows, beta, settings, step))
            except (FloatingPointError, TrainingError) as error:
                kept = f"the last checkpoint, {file}, is as it was" if file and file.exists() else "there is no checkpoint"
                raise TrainingError(f"step {step}: {error}; {kept}") from error
            beta = next_kl_coef(beta, history[-1].kl, settings.kl_target)
            if file and networks.accelerator.is_main_process and ((step + 1) % settings.save_every == 0 or step + 1 == settings.steps):
                save(file, networks, identity, {"kl_coef": beta, "history": [dataclasses.asdict(past) for past in history]})
            if on_step is not None and networks.accelerator.is_main_process:
                on_step(history[-1])
    return history


def draw_buffer(
    networks: Networks, prompts: Sequence[Prompt], encoded: Sequence[list[int]], scorer: Reward, settings: PPOSettings, step: int
) -> list[Row]:
    """This process's completions of a step, scored; all processes' together hold `buffer_tokens`. A row's seed is its own."""
    world, rank = networks.accelerator.num_processes, networks.accelerator.process_index
    chance = np.random.Generator(np.random.Philox(key=row_seed(settings.seed, "prompts", step)))
    rows: list[Row] = []
    number = tokens = 0
    while tokens < settings.buffer_tokens:
        chosen = np.repeat(chance.integers(len(prompts), size=settings.prompts_per_round), settings.samples_per_prompt)
        mine = [(number + i, int(chosen[i])) for i in range(rank, len(chosen), world)]
        seeds = [row_seed(settings.seed, f"{step}\x1f{prompts[p].id}", n) for n, p in mine]
        drawn = draw_batch(networks.policy, [encoded[p] for _, p in mine], seeds, settings.sampling, networks.mode) if mine else []
        completions = [to_completion(networks.policy, ids, settings.sampling.max_new_tokens) for ids in drawn]
        scores = scorer.score([prompts[p] for _, p in mine], completions)
        rows += [
            Row(n, prompts[p], encoded[p], ids, completion.truncated, score.reward, score.error)
            for (n, p), ids, completion, score in zip(mine, drawn, completions, scores, strict=True)
        ]
        number += len(chosen)
        tokens += sum(gather(sum(len(ids) for ids in drawn)))
    return rows


def learn(networks: Networks, rows: Sequence[Row], beta: float, settings: PPOSettings, step: int) -> StepMetrics:
    """Evaluate, credit and update on the rows of a step. Rows without a reward take no part; TrainingError where none has one."""
    import torch

    told = [(row.number, row.prompt.id, row.reward, row.truncated, len(row.ids), row.error) for row in rows]
    drawn = sorted(one for part in gather(told) for one in part)  # by number: all processes see one order
    if all(reward is None for _, _, reward, *_ in drawn):
        raise TrainingError(f"none of its {len(drawn)} completions could be scored ({drawn[0][-1]})")
    rows = [row for row in rows if row.reward is not None]
    size = settings.rows_per_forward
    credits = [one for i in range(0, len(rows), size) for one in evaluate(networks, rows[i : i + size], beta, settings)]
    shared = dict(pair for part in gather([(row.number, credit) for row, credit in zip(rows, credits, strict=True)]) for pair in part)
    everyones = {number: shared[number] for number in sorted(shared)}
    kl = float(np.concatenate([credit.log_ratio for credit in everyones.values()]).mean())
    losses = update(networks, rows, everyones, settings, step)
    with torch.no_grad():  # a last step can leave finite weights that give no finite numbers: such are not to be saved
        read = [terms_of(networks, rows[:1], shared, tokens_of(shared[row.number]), settings) for row in rows[:1]]
    if not all(gather(all(bool(terms.isfinite().all()) for terms in read))):
        raise FloatingPointError("after its updates the policy's or the value network's numbers are not finite. Lower learning_rate")
    return StepMetrics(step=step, **reward_metrics(drawn), kl=kl, kl_coef=beta, **losses)


def evaluate(networks: Networks, rows: Sequence[Row], beta: float, settings: PPOSettings) -> list[Credit]:
    """What the policy that drew the rows, the reference and the value network say of their tokens, and the credit that follows."""
    import torch

    prompts, completions = [row.prompt_ids for row in rows], [row.ids for row in rows]
    lengths = [len(ids) for ids in completions]
    at = (np.repeat(np.arange(len(rows)), lengths), np.concatenate([np.arange(n) for n in lengths]))
    with torch.no_grad():
        said = (
            read_policy(networks, prompts, completions, at, settings.sampling.temperature)[0],
            read_reference(networks, prompts, completions, at),
            read_value(networks, prompts, completions, at),
        )
    by_row = zip(rows, *(np.split(x.double().cpu().numpy(), np.cumsum(lengths)[:-1]) for x in said), strict=True)
    return [credit(row, log_prob, log_prob - reference, value, beta, settings) for row, log_prob, reference, value in by_row]


def credit(row: Row, log_prob: Floats, log_ratio: Floats, value: Floats, beta: float, settings: PPOSettings) -> Credit:
    """The token rewards, −β(log p − log p_ref) and at the end the task's, as advantages."""
    rewards = -beta * log_ratio
    rewards[-1] += row.reward
    return Credit(log_prob, log_ratio, value, gae(rewards, value, settings.gamma, settings.gae_lambda))


def gae(rewards: Floats, values: Floats, gamma: float, gae_lambda: float) -> Floats:
    """Advantages Σ_k (γλ)^k δ_{l+k}, δ_l = r_l + γ V_{l+1} − V_l, of an episode that ends with its last token: [token].

    >>> gae(np.array([0.0, 1.0]), np.array([0.5, 0.25]), 1.0, 1.0).tolist()  # 1 − V_l
    [0.5, 0.75]
    """
    advantages = np.zeros(len(rewards))
    ahead = following = 0.0
    for place in reversed(range(len(rewards))):
        ahead = rewards[place] + gamma * following - values[place] + gamma * gae_lambda * ahead
        advantages[place], following = ahead, values[place]
    return advantages


def next_kl_coef(beta: float, kl: float, target: float | None) -> float:
    """β(1 + 0.1 · clip((KL − target)/target, −0.2, 0.2)); β itself without a target.

    >>> round(next_kl_coef(0.001, 2.0, 1.0), 6), round(next_kl_coef(0.001, 0.9, 1.0), 6), next_kl_coef(0.001, 2.0, None)
    (0.00102, 0.00099, 0.001)
    """
    return beta if target is None else beta * (1 + 0.1 * min(0.2, max(-0.2, (kl - target) / target)))


def ppo_terms(log_prob: Any, entropy: Any, value: Any, old: Any, advantage: Any, returns: Any, settings: PPOSettings) -> Any:
    """Sums over the tokens of a minibatch: surrogate loss, squared error of the value, entropy, tokens beyond the clip range."""
    import torch

    ratio = (log_prob - old).exp()
    clipped = ratio.clamp(1 - settings.clip_range, 1 + settings.clip_range)
    surrogate = torch.minimum(ratio * advantage, clipped * advantage)
    bonus = entropy if settings.entropy == "analytic" else -log_prob
    return torch.stack([-surrogate.sum(), ((value - returns) ** 2).sum(), bonus.sum(), (ratio != clipped).to(ratio.dtype).sum()])


def tokens_of(credit: Credit) -> Tokens:
    """All tokens of one row."""
    return Tokens(np.zeros(len(credit.advantage), dtype=np.int64), np.arange(len(credit.advantage)), credit.advantage)


def update(networks: Networks, rows: Sequence[Row], credits: Mapping[int, Credit], settings: PPOSettings, step: int) -> dict[str, Any]:
    """Epochs of optimizer steps on minibatches of shuffled tokens; the means of what was measured over them.

    credits  of all processes' rows, by number: they say which tokens a minibatch has and how it is normalized
    """
    advantages = np.concatenate([credit.advantage for credit in credits.values()])
    place = np.concatenate([np.arange(len(credit.advantage)) for credit in credits.values()])
    here = {row.number: i for i, row in enumerate(rows)}
    # the row of each token, −1 where another process has it
    owner = np.concatenate([np.full(len(credit.advantage), here.get(number, -1)) for number, credit in credits.items()])
    measured = []
    for epoch in range(settings.epochs):
        order = np.random.Generator(np.random.Philox(key=row_seed(settings.seed, f"epoch {epoch}", step))).permutation(len(owner))
        for batch in np.array_split(order, -(-len(order) // settings.minibatch_tokens)):
            advantage = normalized(advantages[batch]) if settings.normalize_advantages else advantages[batch]
            mine = owner[batch] >= 0
            tokens = Tokens(owner[batch][mine], place[batch][mine], advantage[mine])
            measured.append(minibatch_step(networks, rows, credits, tokens, len(batch), settings))
    means = np.mean(measured, axis=0).tolist()
    return dict(zip(("policy_loss", "value_loss", "entropy", "clipped", "grad_norm"), means, strict=True))


def normalized(advantages: Floats) -> Floats:
    """(A − mean)/(std + 1e-8) with ddof 1; one token alone stays as it is."""
    return (advantages - advantages.mean()) / (advantages.std(ddof=1) + 1e-8) if len(advantages) > 1 else advantages


def minibatch_step(
    networks: Networks, rows: Sequence[Row], credits: Mapping[int, Credit], tokens: Tokens, size: int, settings: PPOSettings
) -> list[float]:
    """One optimizer step on this process's tokens of a minibatch of `size`; FloatingPointError, and no step, where it is not finite."""
    import torch

    accelerator, optimizer = networks.accelerator, networks.optimizer
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    weights = torch.tensor([1.0, settings.vf_coef, -settings.entropy_coef, 0.0], device=accelerator.device)
    sums = torch.zeros(4, device=accelerator.device)
    optimizer.zero_grad()
    involved = np.unique(tokens.row)
    for i in range(0, len(involved), settings.rows_per_forward):
        some = involved[i : i + settings.rows_per_forward]
        terms = terms_of(networks, [rows[r] for r in some], credits, tokens.of_rows(some), settings)
        accelerator.backward((terms * weights).sum() / size)
        sums += terms.detach() / size
    if accelerator.num_processes > 1:
        sums = accelerator.reduce(sums, "sum")
        for p in trained:
            p.grad = accelerator.reduce(torch.zeros_like(p) if p.grad is None else p.grad, "sum")
    norm = float(accelerator.clip_grad_norm_(trained, settings.max_grad_norm))
    measured = [*sums.tolist(), norm]
    if not np.isfinite(measured).all():
        raise FloatingPointError(
            "the loss is not finite (surrogate {:g}, value {:g}, entropy {:g}, clipped {:g}, norm of the gradient {:g}). Lower "
            "learning_rate, or look at the size of the rewards".format(*measured)
        )
    optimizer.step()
    return measured


def terms_of(networks: Networks, rows: Sequence[Row], credits: Mapping[int, Credit], tokens: Tokens, settings: PPOSettings) -> Any:
    """`ppo_terms` of some tokens of these rows, differentiable."""
    import torch

    prompts, completions, at = [row.prompt_ids for row in rows], [row.ids for row in rows], (tokens.row, tokens.place)
    log_prob, entropy = read_policy(networks, prompts, completions, at, settings.sampling.temperature)
    value = read_value(networks, prompts, completions, at)
    whole = [(credits[rows[r].number], p) for r, p in zip(*at, strict=True)]
    then = [[credit.log_prob[p] for credit, p in whole], tokens.advantage, [credit.advantage[p] + credit.value[p] for credit, p in whole]]
    old, advantage, returns = torch.tensor(np.array(then), dtype=log_prob.dtype, device=log_prob.device)
    return ppo_terms(log_prob, entropy, value, old, advantage, returns, settings)
