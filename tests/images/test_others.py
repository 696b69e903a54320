"""The dashboard, and the environment of the drift detector."""

from __future__ import annotations

import json

from tests.images.containers import docker, running, wait_for


def test_the_dashboard_is_healthy_and_ends_in_time(image):
    with running(image("dashboard")) as dashboard:
        ask = "from urllib.request import urlopen; print(urlopen('http://127.0.0.1:8501/{}').read().decode())"
        wait_for(
            "healthy",
            lambda: dashboard.python(f"try: {ask.format('_stcore/health')}\nexcept OSError: print('')") == "ok",
        )
        assert "<title>Streamlit</title>" in dashboard.python(ask.format(""))
        code, seconds = dashboard.end()
    assert (code, seconds < 15) == (0, True)


def test_a_page_of_the_dashboard_is_drawn(image):
    """By Streamlit's own test runner, in the image: nothing has run yet, and it says so."""
    code = (
        "from streamlit.testing.v1 import AppTest\n"
        "page = AppTest.from_file('/opt/app/dashboard/app.py', default_timeout=60).run()\n"
        "assert not page.exception, page.exception\n"
        "print([item.value for item in (*page.markdown, *page.info, *page.warning, *page.error)])"
    )
    said = docker(
        "run", "--rm", "--read-only", "--tmpfs", "/tmp", "--network", "none", image("dashboard"), "python", "-c", code
    )
    assert "Nothing has run" in said


def test_alibi_detect_tells_a_market_that_moved_from_one_that_did_not(image):
    code = (
        "import json, numpy as np, pandas as pd\n"
        "from alibi_detect.cd import TabularDrift\n"
        "rows = np.random.default_rng(0).normal(size=(600, 5))\n"
        "pd.DataFrame(rows).to_parquet('/tmp/rows.parquet')\n"
        "rows = pd.read_parquet('/tmp/rows.parquet').to_numpy()\n"
        "detector = TabularDrift(rows[:300], p_val=0.05)\n"
        "print(json.dumps([int(detector.predict(rows[300:] + by)['data']['is_drift']) for by in (0, 1)]))"
    )
    said = docker(
        "run", "--rm", "--read-only", "--tmpfs", "/tmp", "--network", "none", image("drift"), "python", "-c", code
    )
    assert json.loads(said.splitlines()[-1]) == [0, 1]
