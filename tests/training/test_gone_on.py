"""Going on with a killed RL run: the right checkpoint, and no row twice."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flatspot.core.errors import RunFolderError
from flatspot.training.gone_on import drop_rows_from, last_checkpoint


def checkpoint(folder, name, text):
    (folder / name).mkdir(parents=True)
    if text is not None:
        (folder / name / "trainer_state.json").write_text(text)


def test_the_last_checkpoint_is_the_last_that_is_whole(tmp_path):
    assert last_checkpoint(tmp_path / "nowhere") is None
    checkpoint(tmp_path, "checkpoint-9", json.dumps({"global_step": 9}))
    checkpoint(tmp_path, "checkpoint-10", json.dumps({"global_step": 10}))
    checkpoint(tmp_path, "checkpoint-11", None)  # killed while it was written
    checkpoint(tmp_path, "checkpoint-12", '{"global_step": 1')
    assert last_checkpoint(tmp_path) == (tmp_path / "checkpoint-10", 10)


def test_rows_that_are_drawn_again_go(tmp_path):
    (tmp_path / "rollouts").mkdir()
    for number, steps in enumerate(([0, 0, 1], [1, 2, 2], [3, 4])):
        pq.write_table(
            pa.table({"step": pa.array(steps, pa.int64()), "row": steps}), tmp_path / "rollouts" / f"part-000-{number:06d}.parquet"
        )
    assert drop_rows_from(tmp_path, 2) == 4
    left = [pq.read_table(part)["step"].to_pylist() for part in sorted((tmp_path / "rollouts").iterdir())]
    assert left == [[0, 0, 1], [1]]
    assert drop_rows_from(tmp_path, 2) == 0
    (tmp_path / "rollouts" / "part-000-000009.parquet").write_bytes(b"cut")
    with pytest.raises(RunFolderError, match="cannot be read"):
        drop_rows_from(tmp_path, 2)
