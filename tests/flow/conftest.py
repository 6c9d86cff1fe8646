"""A whole run of a test file's own `draw`, and a copy of it for each test."""

import shutil

import pytest


@pytest.fixture(scope="module")
def whole(request, tmp_path_factory):
    return request.module.draw(tmp_path_factory.mktemp("whole") / "run").folder


@pytest.fixture
def run(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "run")
