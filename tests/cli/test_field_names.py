"""Options of other tools name ours."""

import click
import pytest

from flatspot.cli import field_names
from flatspot.cli.field_names import with_our_name
from flatspot.cli.main import cli

GROUP_SIZES = (
    "--num-generations", "--num_generations", "--n", "-n", "--k", "-k", "--rollout.n", "--samples-per-prompt", "--n_samples_per_prompt",
)  # fmt: skip


@pytest.mark.parametrize(
    ("words", "ours"),
    [
        *((("diagnose", "x", option, "8"), "--group-size") for option in GROUP_SIZES),
        (("inspect", "x", "--num_generations=8"), "--group-size"),
        (("plan", "x", "--num-generations", "8"), "--group-size"),
        (("diagnose", "x", "--max_completion_length", "8"), "--max-new-tokens"),
        (("diagnose", "x", "--model_name_or_path", "m"), "--model"),
        (("diagnose", "x", "--reward_funcs", "r"), "--reward"),
        (("diagnose", "x", "--output_dir", "o"), "--out"),
        (("inspect", "x", "--reward_key", "r"), "--reward-col"),
        (("diagnose", "x", "--input_key", "r"), "--prompt-col"),
    ],
)
def test_an_option_of_another_tool_names_ours(words, ours):
    with pytest.raises(click.NoSuchOption) as found:
        cli.main(list(words), standalone_mode=False)
    text = with_our_name(found.value).format_message()
    assert f"It is called {ours} here" in text and "--max-generations" not in text


def test_what_no_tool_has_is_left_to_click():
    with pytest.raises(click.NoSuchOption) as found:
        cli.main(["diagnose", "x", "--max-generation", "8"], standalone_mode=False)
    assert with_our_name(found.value) is found.value
    with pytest.raises(click.NoSuchOption) as found:  # ours is no option of this verb
        cli.main(["export", "x", "--num-generations", "8"], standalone_mode=False)
    assert with_our_name(found.value) is found.value


@pytest.mark.parametrize(("verb", "option", "old"), [("diagnose", "--max-sample", "--max-samples"), ("demo", "--sample", "--samples")])
def test_an_old_name_is_not_suggested(verb, option, old):
    with pytest.raises(click.NoSuchOption) as found:
        cli.main([verb, "x", option, "8"], standalone_mode=False)
    assert old in found.value.format_message() and old not in with_our_name(found.value).format_message()
    with pytest.raises(click.NoSuchOption) as found:  # --fixed-completions is similar to this one, too
        cli.main(["diagnose", "x", "--fixed-sampletions"], standalone_mode=False)
    assert "--fixed-completions" in with_our_name(found.value).format_message()


def test_the_names_are_nobodys_option_and_ours_exist():
    context = click.Context(cli)
    verbs = [command for name in cli.list_commands(context) if (command := cli.get_command(context, name)) is not None]
    real = {name for verb in verbs for option in verb.params for name in option.opts}
    assert set(field_names._OURS) <= real
    # of verbs that have ours as well: a name that both understand is no mistake
    for verb in verbs:
        own = {name for option in verb.params for name in option.opts if not getattr(option, "hidden", False)}
        assert not {f"--{name}" for name, ours in field_names._NAMES.items() if ours in own} & own
