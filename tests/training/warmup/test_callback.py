"""What `WarmupCallback` refuses before it reads anything."""

import pytest

pytest.importorskip("transformers")

from flatspot.core.errors import RunFolderError, SettingsError
from flatspot.training.warmup.callback import WarmupCallback

ROW = {"prompt": "2+2=", "completion": "4"}


def test_held_out_rows_by_their_old_name(tmp_path):
    with pytest.warns(DeprecationWarning, match="held_back is called held_out") as warnings, pytest.raises(RunFolderError):
        WarmupCallback(tmp_path / "no-run", "exact_match", out=tmp_path, held_back=[ROW])
    assert [w.filename for w in warnings] == [__file__]
    with pytest.raises(SettingsError, match="held_back is the old name of held_out"), pytest.warns(DeprecationWarning):
        WarmupCallback(tmp_path / "no-run", "exact_match", out=tmp_path, held_out=[ROW], held_back=[ROW])
