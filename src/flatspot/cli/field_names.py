"""What other tools call our options: TRL, verl, OpenRLHF and their kin, so that an unknown option names ours."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import click

_OURS = {
    "--group-size": (
        "n k num-generations num-generations-per-prompt rollout.n actor-rollout-ref.rollout.n samples-per-prompt n-samples-per-prompt "
        "num-samples-per-prompt num-return-sequences rollouts-per-prompt rollouts-per-example group-n"
    ),
    "--max-completions": "max-samples num-samples n-samples samples max-rollouts",
    "--max-new-tokens": (
        "max-completion-length max-response-length response-length generate-max-len max-tokens max-length max-gen-len "
        "data.max-response-length completion-length"
    ),
    "--temperature": "rollout.temperature actor-rollout-ref.rollout.temperature sampling-temperature",
    "--reward": (
        "reward-funcs reward-func reward-function reward-fn reward-path custom-reward-function.path remote-rm-url reward-model-path"
    ),
    "--reward-weight": "reward-weights",
    "--model": "model-name-or-path model-name model-path pretrain policy actor-rollout-ref.model.path",
    "--prompt-col": "prompt-key input-key prompt-column prompt-field data.prompt-key question-col",
    "--reward-col": "reward-key reward-column score-col score-key",
    "--id-col": "id-key id-column prompt-id-col",
    "--answer-col": "answer-key answer-column response-key response-col solution-col target-col label-key",
    "--out": "output-dir out-dir output save-path save-dir",
    "--dtype": "torch-dtype",
    "--labels": "n-labels num-labels",
}
_NAMES = {name: ours for ours, names in _OURS.items() for name in names.split()}


def with_our_name(error: click.NoSuchOption) -> click.NoSuchOption:
    """The error, with what the option is called here where another tool has a name for it; else with similar names, no old ones."""
    ours = _NAMES.get(error.option_name.lstrip("-").lower().replace("_", "-"))
    options = [option for option in (error.ctx.command.params if error.ctx else []) if isinstance(option, click.Option)]
    option = next((option for option in options if ours in option.opts), None)
    if option is None:
        return _without_hidden(error, options)
    what = f" ({(option.help or '').split('.  [')[0].rstrip('.')})" if option.help else ""
    return click.NoSuchOption(error.option_name, f"No such option: {error.option_name}. It is called {ours} here{what}.", ctx=error.ctx)


def _without_hidden(error: click.NoSuchOption, options: Sequence[click.Option]) -> click.NoSuchOption:
    """The error with similar names that the help page shows: of a renamed option, the new name."""
    hidden = {name for option in options if option.hidden for name in option.opts}
    if hidden.isdisjoint(error.possibilities or ()):
        return error
    names = [name for option in options if not option.hidden for name in option.opts if name.startswith("--")]
    return click.NoSuchOption(error.option_name, error.message, difflib.get_close_matches(error.option_name, names), error.ctx)
