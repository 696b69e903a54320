"""Reading a model never runs what is in the file."""

from __future__ import annotations

import json
import operator
import re
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
import skops.io
from sklearn.preprocessing import FunctionTransformer

from cryptosentinel.bundle import load_native
from cryptosentinel.errors import BundleDamagedError


def schema_of(content: Any) -> dict[str, Any]:
    with ZipFile(BytesIO(skops.io.dumps(content))) as file:
        text = file.read("schema.json").decode()
    return json.loads(re.sub(r'"__id__": \d+', '"__id__": null', text))


def test_a_function_that_scikit_learn_happens_to_import_is_not_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`sklearn.utils._testing` imports subprocess.check_output: to trust scikit-learn's modules is to trust that."""
    monkeypatch.chdir(tmp_path)
    forged, arguments = tmp_path / "forged.skops", schema_of((["touch", "here"],))
    schema = {
        "__class__": "check_output",
        "__module__": "sklearn.utils._testing",
        "__loader__": "LossNode",
        "__reduce__": {"args": arguments},
        "content": schema_of({}),
        "protocol": arguments["protocol"],
        "_skops_version": arguments["_skops_version"],
    }
    with ZipFile(forged, "w") as target:
        target.writestr("schema.json", json.dumps(schema))
    untrusted = skops.io.get_untrusted_types(file=forged)
    assert untrusted == ["sklearn.utils._testing.check_output"]
    with pytest.raises(BundleDamagedError, match=r"forged\.skops holds types that no model of ours has.*check_output"):
        load_native(forged)
    assert not (tmp_path / "here").exists()
    skops.io.load(forged, trusted=untrusted)
    assert (tmp_path / "here").exists(), "the forged file does nothing, so this test proves nothing"


@pytest.mark.parametrize(
    "harmful",
    [
        FunctionTransformer(np.loadtxt),
        FunctionTransformer(partial(print, "code")),
        FunctionTransformer(operator.methodcaller("system")),
        FunctionTransformer("".join),
    ],
)
def test_estimators_with_functions_in_them_are_refused(harmful: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.skops"
    skops.io.dump(harmful, path)
    with pytest.raises(BundleDamagedError, match="holds types that no model of ours has"):
        load_native(path)
