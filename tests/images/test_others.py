"""The dashboard, and the environment of the drift detector."""

from __future__ import annotations

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


def test_the_drift_step_asks_alibi_detect(image):
    """Its environment is where the library looks for it, and bounded as in a pod."""
    code = (
        "import numpy as np, pandas as pd\n"
        "from cryptosentinel.config import DriftSettings\n"
        "from cryptosentinel.drift import Pair, ask_detector, scipy_ks\n"
        "rows = pd.DataFrame(np.random.default_rng(0).normal(size=(600, 5)), columns=list('abcde'))\n"
        "pairs = [Pair(rows[:300], rows[300:] + by) for by in (0, 1)]\n"
        "answer = ask_detector(pairs, DriftSettings())\n"
        "same = all(a.equals(b) for a, b in zip(answer.tables, scipy_ks(pairs).tables))\n"
        "print(answer.detector, same, answer.note)"
    )
    said = docker(
        "run", "--rm", "--read-only", "--tmpfs", "/tmp", "--network", "none", image("drift"), "python", "-c", code
    )
    assert said.splitlines()[-1].strip() == "alibi-detect 0.13.0 TabularDrift True"
