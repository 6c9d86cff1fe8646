"""The engine on OpenAI-compatible servers (vLLM, SGLang, llama.cpp, …): one request per completion, with its own seed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING

from flatspot.core.errors import EngineError
from flatspot.core.plain import Json
from flatspot.core.protocols import OnTokens, tell_completed
from flatspot.core.records import Completion, PromptRequest, PromptText, Sampling
from flatspot.engines.notes import note_misfit
from flatspot.engines.prompts import encode, misfit, no_completion, no_template, to_completion
from flatspot.engines.server.check import CHATS, TEXTS, Probe
from flatspot.engines.server.connection import KEY, checked_key
from flatspot.engines.server.dispatch import Dispatch, Failure, Job, Outcome
from flatspot.engines.server.fleet import GIVE_UP_S, Asks, Fleet, ServerOptions
from flatspot.engines.server.same_model import why_another
from flatspot.engines.server.server import Forms
from flatspot.engines.verify import forward_log_probs

if TYPE_CHECKING:
    from flatspot.engines.policy import Policy


class ServerEngine:
    """Samples the model of one or several servers.

    A completion is a request of its own, with the row's seed folded to 31 bits and every setting said; it is asked for until it comes,
    by any server, so rows depend neither on how many there are nor on what fails. Which floats a server computes may depend on what else
    it computes at the time. `check` of the first server that passed.

    model    the servers' name of the model, or the policy's folder
    policy   its tokenizer and, for the check, its weights, where its files are at hand
    chat     whether prompts will be chat messages: the check asks for what the run will
    template_kwargs    values for the chat template, where a server applies it
    """

    name = "openai"
    rows_per_call = 1024  # whatever the number of servers: parts of a run hold the same rows

    def __init__(
        self,
        model: str,
        options: ServerOptions,
        sampling: Sampling,
        *,
        policy: Policy | None = None,
        chat: bool = False,
        template_kwargs: Mapping[str, Json] | None = None,
        give_up_s: float = GIVE_UP_S,
    ) -> None:
        self.model = model
        self.fleet = Fleet(
            options,
            model,
            checked_key(os.environ.get(KEY)),
            {False: _probes(policy, TEXTS), True: _probes(policy, CHATS)},
            None if policy is None else _text_of(policy),
            () if policy is None else policy.eos_ids,
            template_kwargs=template_kwargs,
            give_up_s=give_up_s,
        )
        # only tokenizer and config are needed from here on
        self.policy = None if policy is None else replace(policy, model=SimpleNamespace(config=policy.model.config))
        self._require([chat], sampling)

    @property
    def notes(self) -> list[str]:
        """Messages for the caller to print: a field that a server does not take, a server that is left out."""
        return self.fleet.notes

    def sample(self, requests: Sequence[PromptRequest], sampling: Sampling, on_tokens: OnTokens | None = None) -> list[list[Completion]]:
        """One completion per seed, in the order of the requests; one with an error for a prompt that the servers reject.

        Raises EngineError where no server is left, or one does not sample as asked.
        """
        self._require(dict.fromkeys(not isinstance(request.text, str) for request in requests), sampling)
        completions: dict[tuple[int, int], Completion] = {}
        jobs: list[Job] = []
        for i, request in enumerate(requests):
            forms, problem = self._forms(request.text, sampling)
            if problem is not None:
                note_misfit(self.notes, problem)
            for j, seed in enumerate(request.seeds):
                if problem is None:
                    jobs.append(Job((i, j), forms, seed))
                else:
                    completions[i, j] = no_completion(problem)

        def on_answer(job: Job, outcome: Outcome) -> None:
            completion = completions[job.place] = self._completion(outcome, sampling)
            tell_completed(on_tokens, 1)
            if on_tokens is not None:
                on_tokens(completion.n_tokens)

        Dispatch(self.fleet, sampling, jobs).run(on_answer)
        return [[completions[i, j] for j in range(len(request.seeds))] for i, request in enumerate(requests)]

    def describe(self) -> Mapping[str, Json]:
        """The model, the name that was asked for, and what it was compared with; not the servers, of which rows do not depend."""
        known: Mapping[str, Json] = {"policy": self.model} if self.policy is None else self.policy.describe()
        served = self.fleet.options.served_name
        asked: dict[str, Json] = {} if served is None else {"served_name": served}
        asked |= {"chat_template_kwargs": dict(values)} if (values := self.fleet.template_kwargs) else {}
        return {"engine": self.name, **known, **asked, "check": {"passed": True, "weights": self.policy is not None}}

    def model_signs(self) -> Mapping[str, Json]:
        """What tells the servers' model from another one under its name: its most probable first tokens after the prompts of the check."""
        return {"first_tokens": [dict(one) for one in self.fleet.first_tokens()]}

    def differs_from(self, signs: Mapping[str, Json]) -> str | None:
        """Why the servers have another model than the one that these signs are of; None where they do not.

        With the policy at hand its weights were compared, and are in the identity: tokens that are named otherwise say nothing then.
        """
        return why_another(signs["first_tokens"], self.model_signs()["first_tokens"], known_weights=self.policy is not None)

    def _require(self, chats: Iterable[bool], sampling: Sampling) -> None:
        """Check the servers for these kinds of prompts. Raises EngineError."""
        asked = list(chats)
        if self.policy is not None and any(asked) and getattr(self.policy.tokenizer, "chat_template", None) is None:
            raise EngineError(
                f"the prompts are chat messages, and {no_template(self.policy.name)}; or give the servers' name of the model as --model, "
                "for them to apply their own"
            )
        self.fleet.require([_asks(chat, sampling) for chat in asked])

    def _forms(self, text: PromptText, sampling: Sampling) -> tuple[Forms, str | None]:
        """A prompt as servers may take it, and why it cannot be answered."""
        if self.policy is None:
            return Forms(text), None
        ids = encode(self.policy, text)
        return Forms(text, tuple(ids)), misfit(self.policy, text, ids, sampling)

    def _completion(self, outcome: Outcome, sampling: Sampling) -> Completion:
        if isinstance(outcome, Failure):
            note_misfit(self.notes, outcome.reason)
            return no_completion(outcome.reason)
        truncated = outcome.finish == "length"
        if self.policy is not None and outcome.token_ids is not None:
            vocabulary = self.policy.vocabulary
            if vocabulary is not None and max(outcome.token_ids, default=0) >= vocabulary:
                beyond = (
                    f"its reply has the token {max(outcome.token_ids)}, and the vocabulary of {self.policy.name} ends at {vocabulary - 1}"
                )
                return self._completion(Failure(beyond), sampling)
            return replace(to_completion(self.policy, list(outcome.token_ids), sampling.max_new_tokens), truncated=truncated)
        return Completion(outcome.text, max(0, outcome.n_tokens - (not truncated)), truncated)  # an end token is not counted


def _asks(chat: bool, sampling: Sampling) -> Asks:
    """What the check depends on: not the length."""
    return Asks(chat, replace(sampling, max_new_tokens=1))


def _text_of(policy: Policy) -> Callable[[int], str]:
    tokenizer = policy.tokenizer
    return lambda i: str(tokenizer.decode([i], skip_special_tokens=True))


def _probes(policy: Policy | None, texts: Sequence[PromptText]) -> list[Probe]:
    """The prompts of the check; with their token ids and exact first tokens where the policy is at hand."""
    if policy is None:
        return [Probe(Forms(text)) for text in texts]
    if not isinstance(texts[0], str) and getattr(policy.tokenizer, "chat_template", None) is None:
        return []  # chat prompts are refused then
    probes = []
    for text in texts:
        ids = encode(policy, text)
        exact = forward_log_probs(policy, ids, ids[:1])[0].tolist()
        probes.append(Probe(Forms(text, tuple(ids)), exact))
    return probes
