"""Completions that are not there: logged as empty, or never drawn because the call that should have failed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flatspot.importers.columns import ColumnMap
from flatspot.rollouts.notes import Caveat

if TYPE_CHECKING:
    import duckdb

_SAYS = "coalesce(m ->> '$.content', '') NOT IN ('', '[]') OR json_exists(m, '$.tool_calls')"
_SILENT = f"len(list_filter(TRY_CAST(TRY_CAST(completion AS JSON) AS JSON[]), lambda m: {_SAYS})) = 0"
_EMPTY = f"(blank OR trim(completion) = '' OR CASE WHEN completion_is_chat THEN {_SILENT} ELSE false END)"


@dataclass(frozen=True, slots=True)
class Blanks:
    """Which rows of the view `cells` have no completion.

    hidden  SQL: the completion is not one, and is left out
    failed  SQL: the completion was never drawn, so the reward says nothing
    why     the error of such a row; empty where there is none
    """

    hidden: str = "false"
    failed: str = "false"
    why: str = ""


def find_blanks(db: duckdb.DuckDBPyConnection, columns: ColumnMap, caveats: list[Caveat]) -> Blanks:
    """Tell completions that were never drawn from those that were not logged, and from a policy that says nothing.

    All are empty: with one reward for all they failed, with several they were not logged. Some are an empty list of messages: those with
    reward 0 failed. A text that is empty among others that are not is what the policy said.
    """
    if "completion" not in columns.names:
        return Blanks()
    column = columns.names["completion"][0]
    row = db.execute(
        f"""SELECT count(completion), count_if({_EMPTY}), count_if(blank), count(DISTINCT number_0) FILTER (number_0 IS NOT NULL),
                   count_if(blank AND coalesce(number_0, 0) = 0 AND error IS NULL), min(number_0) FROM cells"""
    ).fetchone()
    there, empty, blank, rewards, failed, reward = row or (0, 0, 0, 0, 0, None)
    if not there:
        caveats.append(f"`{column}` is null on all rows: the log has no completions, and only its rewards are judged.")
        return Blanks()
    if empty == there:
        if rewards > 1:
            caveats.append(f"`{column}` is empty on all rows: the log has no completions, and only its rewards are judged.")
            return Blanks(hidden="true")
        text = (
            f"`{column}` is empty on all rows, and every reward is {reward if reward is not None else 'missing'}: the calls that should "
            "have drawn the completions failed, and rows without one count as unscored."
        )
        caveats.append(("errors-not-zeros", text))
        return Blanks("true", "true", f"no completion: {column} is empty on all rows")
    if not blank:
        return Blanks()
    if failed:
        text = f"`{column}` is an empty list on {failed} rows with reward 0: no completion was drawn there, and they count as unscored."
        caveats.append(("errors-not-zeros", text))
    return Blanks("blank", "blank AND coalesce(number_0, 0) = 0", f"no completion: {column} is an empty list")
