"""Runs a pipeline with its steps as containers: `python -m tests.images.run_in_docker NAME ROOT NETWORK PARAMETERS`.

A process of its own, since Kubeflow's local runner keeps global state. What a step reads and writes is inside ROOT.
"""

from __future__ import annotations

import json
import os
import sys

from kfp import local

from pipelines.definitions import PIPELINES

name, root, network, parameters = sys.argv[1:]
restricted = {"read_only": True, "tmpfs": {"/tmp": ""}, "cap_drop": ["ALL"], "security_opt": ["no-new-privileges"]}
user = str(os.getuid() or 10001)  # so that its files can be read and removed by whoever runs this
local.init(
    runner=local.DockerRunner(network=network, user=user, **restricted),
    pipeline_root=f"{root}/runs",
    workspace_root=f"{root}/workspace",
)
PIPELINES[name](**json.loads(parameters))
