"""Exact expected gradients of softmax policies small enough to enumerate, in float64.

A policy is the logits after every prefix shorter than the completion: an array [prefix, token], prefixes in order of length and then
of their tokens read as a number in base |X|. So L = 2 over 3 tokens has the rows (), 0, 1, 2. Its parameters enter by the Jacobian of
the logits, [prefix, token, parameter]; without one every logit is a parameter of its own (a *tabular* policy). That covers every
differentiable autoregressive policy; `recurrent_policy` builds one whose prefixes share their parameters.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flatspot.core.errors import SettingsError

Floats = NDArray[np.float64]
_MOST_COMPLETIONS = 4_000_000


@dataclass(frozen=True)
class Enumerated:
    """The exact quantities of one prompt under one policy.

    value                V = E[r]
    gradient             ∇V [parameter]
    std                  of the reward under the policy
    mad                  E|r − median|
    score_second_moment  E‖∇ log p(y|x)‖²
    collision            Σ_l E[1 − ‖p_l‖²]
    gamma                the largest spectral norm of the Jacobian of the logits, over all prefixes
    length, n_tokens     of a completion; of the vocabulary
    probability          [completion], in the order of the rewards
    """

    value: float
    gradient: Floats = field(repr=False)
    std: float
    mad: float
    score_second_moment: float
    collision: float
    gamma: float
    length: int
    n_tokens: int
    probability: Floats = field(repr=False)

    @property
    def norm(self) -> float:
        """‖∇V‖."""
        return float(np.linalg.norm(self.gradient))


def enumerate_policy(logits: ArrayLike, rewards: ArrayLike, *, jacobian: ArrayLike | None = None) -> Enumerated:
    """V, ∇V, std, E|r − median|, E‖s‖² and γ of a policy, by enumeration of its |X|^L completions.

    logits    [prefix, token], all prefixes shorter than the completion
    rewards   [completion], the completions read as numbers in base |X|
    jacobian  [prefix, token, parameter] of the logits; None: each logit is its own parameter

    Raises SettingsError if the shapes do not match, a number is not finite, or there are more than 4 million completions.

    >>> coin = enumerate_policy([[0.0, 0.0]], [0.0, 1.0])
    >>> coin.value, coin.std, coin.gradient.tolist()
    (0.5, 0.5, [-0.25, 0.25])
    """
    table, reward, length, jac = read_policy(logits, rewards, jacobian)
    p, reach = token_probabilities(table), prefix_probabilities(table)
    probability = reach[-1]
    # centered on the most probable reward: equal rewards have a std of exactly 0, and a small std loses no digits
    center = reward[int(probability.argmax())]
    centered = reward - center
    shift = float(probability @ centered)
    gradient = np.zeros(table.size if jac is None else jac.shape[2])
    second = collision = 0.0
    for level, advantage in token_advantages(table, reward):
        rows = level_rows(level, table.shape[1])
        here, at = p[rows], reach[level]
        gradient += _pushed(jac, rows, at[:, None] * here * advantage, table)
        collision += float(at @ (1 - (here**2).sum(1)))
        second += float(at @ _local_second_moment(jac, rows, here))
    return Enumerated(
        value=float(center) + shift,
        gradient=gradient,
        std=float(np.sqrt(probability @ (centered - shift) ** 2)),
        mad=float(probability @ np.abs(reward - _median(reward, probability))),
        score_second_moment=second,
        collision=collision,
        gamma=1.0 if jac is None else float(np.linalg.norm(jac, ord=2, axis=(1, 2)).max()),
        length=length,
        n_tokens=table.shape[1],
        probability=probability,
    )


def one_token_gradient(logits: ArrayLike, label: int, *, high: float = 1.0, low: float = 0.0) -> Floats:
    """∇_z V for one token and a reward of `high` at the label, `low` elsewhere: (high − low) · p · (e_label − softmax(z)), exactly.

    That is (high − low)·p times the gradient of log p(label), which supervised finetuning follows: same direction, p times the length.

    >>> one_token_gradient([0.0, 0.0], 1).tolist()
    [-0.25, 0.25]
    """
    z = np.asarray(logits, np.float64)
    if z.ndim != 1 or not 0 <= label < len(z):
        raise SettingsError(f"one_token_gradient expects logits [token] and a label among them, got shape {z.shape} and label {label}")
    p = token_probabilities(z[None])[0]
    direction = -p
    direction[label] = np.delete(p, label).sum()  # 1 − p(label), without its cancellation
    return np.asarray((high - low) * p[label] * direction)


def recurrent_policy(theta: ArrayLike, *, n_tokens: int, length: int, width: int) -> tuple[Floats, Floats]:
    """Logits and Jacobian of a small recurrent policy, whose every prefix uses the same parameters.

    h_0 = tanh(b), h_{l+1} = tanh(W h_l + E[:, y_l] + b), logits_l = U h_l + c; `theta` holds W, E, b, U, c in this order. The Jacobian
    is carried forward along the prefixes. Returns (logits [prefix, token], jacobian [prefix, token, parameter]) for `enumerate_policy`.

    >>> logits, jacobian = recurrent_policy(np.zeros(recurrent_size(2, 3)), n_tokens=2, length=2, width=3)
    >>> logits.shape, jacobian.shape
    ((3, 2), (3, 2, 26))
    """
    flat = np.asarray(theta, np.float64)
    if flat.shape != (recurrent_size(n_tokens, width),):
        raise SettingsError(f"theta must have {recurrent_size(n_tokens, width)} numbers, got shape {flat.shape}")
    shapes = ((width, width), (width, n_tokens), (width,), (n_tokens, width), (n_tokens,))
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
    at = [slice(int(a), int(b)) for a, b in zip([0, *ends[:-1]], ends, strict=True)]
    w, e, b, u, c = (flat[part].reshape(shape) for part, shape in zip(at, shapes, strict=True))
    eye = np.eye(width)

    def step(inner: Floats, d_inner: Floats) -> tuple[Floats, Floats]:
        h = np.tanh(inner)
        return h, (1 - h**2)[:, None] * d_inner

    d_bias = np.zeros((width, len(flat)))
    d_bias[:, at[2]] = eye
    states = [step(b, d_bias)]
    rows: list[tuple[Floats, Floats]] = []
    for _ in range(length):
        for h, dh in states:
            d_out = u @ dh
            d_out[:, at[3]] += np.kron(np.eye(n_tokens), h)
            d_out[:, at[4]] += np.eye(n_tokens)
            rows.append((u @ h + c, d_out))
        following = []
        for h, dh in states:
            for token in range(n_tokens):
                d_inner = d_bias + w @ dh
                d_inner[:, at[0]] += np.kron(eye, h)
                d_inner[:, at[1]] += np.kron(eye, np.eye(n_tokens)[token])
                following.append(step(w @ h + e[:, token] + b, d_inner))
        states = following
    return np.stack([z for z, _ in rows]), np.stack([j for _, j in rows])


def recurrent_size(n_tokens: int, width: int) -> int:
    """Number of parameters of `recurrent_policy`.

    >>> recurrent_size(2, 3)
    26
    """
    return width * width + 2 * width * n_tokens + width + n_tokens


def token_probabilities(table: Floats) -> Floats:
    """Softmax of each row: [prefix, token]."""
    weights = np.exp(table - table.max(1, keepdims=True))
    return np.asarray(weights / weights.sum(1, keepdims=True))


def prefix_probabilities(table: Floats) -> list[Floats]:
    """For each length 0 … L, the probability of each prefix of that length; the last holds the completions."""
    p, n = token_probabilities(table), table.shape[1]
    reach = [np.ones(1)]
    while len(reach[-1]) * n <= len(table) * (n - 1) + 1:
        reach.append((reach[-1][:, None] * p[level_rows(len(reach) - 1, n)]).reshape(-1))
    return reach


def level_rows(level: int, n_tokens: int) -> slice:
    """The rows of the prefixes with `level` tokens.

    >>> level_rows(2, 3)
    slice(4, 13, None)
    """
    first = sum(n_tokens**size for size in range(level))
    return slice(first, first + n_tokens**level)


def token_advantages(table: Floats, reward: Floats) -> Iterator[tuple[int, Floats]]:
    """(level, E[r | prefix, token] − E[r | prefix]) from the last position to the first, as arrays [prefix, token]."""
    p, n = token_probabilities(table), table.shape[1]
    after = reward
    for level in reversed(range(len(prefix_probabilities(table)) - 1)):
        q = after.reshape(-1, n)
        here = p[level_rows(level, n)]
        # centered on the most probable token: equal rewards give exactly 0, and a nearly deterministic step loses no digits
        center = np.take_along_axis(q, here.argmax(1)[:, None], 1)
        shifted = q - center
        mean = (here * shifted).sum(1, keepdims=True)
        yield level, shifted - mean
        after = (mean + center)[:, 0]


def _pushed(jac: Floats | None, rows: slice, weight: Floats, table: Floats) -> Floats:
    """Σ weight[prefix, token] · (gradient of that prefix's log p(token)); weights that sum to 0 over tokens need no more than J."""
    if jac is None:
        gradient = np.zeros_like(table)
        gradient[rows] = weight
        return gradient.reshape(-1)
    return np.asarray(np.einsum("xv,xvp->p", weight, jac[rows]))


def _local_second_moment(jac: Floats | None, rows: slice, p: Floats) -> Floats:
    """[prefix] Σ_v p_v ‖J ᵀ(e_v − p)‖²."""
    if jac is None:
        return np.asarray(1 - (p**2).sum(1))
    centered = jac[rows] - np.einsum("xv,xvp->xp", p, jac[rows])[:, None]
    return np.asarray((p * (centered**2).sum(2)).sum(1))


def _median(reward: Floats, probability: Floats) -> float:
    order = np.argsort(reward, kind="stable")
    above = np.cumsum(probability[order]) >= 0.5 * probability.sum()
    return float(reward[order][np.argmax(above)])


def read_policy(logits: ArrayLike, rewards: ArrayLike, jacobian: ArrayLike | None) -> tuple[Floats, Floats, int, Floats | None]:
    """(logits, rewards, length, Jacobian) as arrays; SettingsError if their shapes do not match."""
    table, reward = np.asarray(logits, np.float64), np.asarray(rewards, np.float64)
    if table.ndim != 2 or table.shape[1] < 2:
        raise SettingsError(f"logits must be [prefix, token] with 2 tokens or more, got shape {table.shape}")
    n, length, rows = table.shape[1], 0, 0
    while rows < len(table):
        rows += n**length
        length += 1
    if rows != len(table) or reward.shape != (n**length,):
        raise SettingsError(
            f"logits must have a row for every prefix and rewards one number per completion: over {n} tokens, length {length} needs "
            f"{rows} rows and {n**length} rewards; got {len(table)} and shape {reward.shape}"
        )
    if n**length > _MOST_COMPLETIONS:
        raise SettingsError(f"{n}^{length} completions are too many to enumerate (at most {_MOST_COMPLETIONS:,})")
    for name, values in (("logits", table), ("rewards", reward)):
        if not np.isfinite(values).all():
            raise SettingsError(f"{name} must be finite, got {int((~np.isfinite(values)).sum())} that are not")
    if jacobian is None:
        return table, reward, length, None
    jac = np.asarray(jacobian, np.float64)
    if jac.ndim != 3 or jac.shape[:2] != table.shape or not np.isfinite(jac).all():
        raise SettingsError(f"jacobian must be finite and [prefix, token, parameter] = {table.shape} + (n,), got shape {jac.shape}")
    return table, reward, length, jac
