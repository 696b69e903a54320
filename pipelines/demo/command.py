"""`cryptosentinel demo`: a simulated market with a past, and the dashboard over it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cryptosentinel.cli import ConfigOption, HomeOption, JsonOption, SetOption, err, out, print_json, read_settings
from cryptosentinel.config import Settings
from cryptosentinel.errors import UserInputError
from pipelines.stopping import Stopping

if TYPE_CHECKING:
    from pipelines.demo.history import History

HOME = Path(".cryptosentinel-demo")
# Of a week's seven trainings each is to be quick, and some are to pass the gate; --set takes others.
DEFAULTS = {"training.window_days": 24.0, "gate.refresh_days": 2.0}


@dataclass(frozen=True)
class Demo:
    """What was made of a folder.

    Attributes:
        said: whether it began or went on.
        market: the market's name.
        seconds: how long it took.
    """

    settings: Settings
    said: str
    market: str
    history: History
    seconds: float

    def sentence(self) -> str:
        """For people."""
        made = self.history
        return (
            f"forecasts {made.forecasts:,}, settled {made.settled:,}; versions {len(made.versions)}, promoted "
            f"{len(made.promoted)}; drift reports {made.drift_reports}; alerts {made.alerts}, open {made.open_alerts}"
        )

    def summary(self) -> dict[str, object]:
        """For machines."""
        seconds = round(self.seconds, 1)
        return {
            "home": str(self.settings.home),
            "market": self.market,
            "simulated": True,
            "said": self.said,
            "history": asdict(self.history),
            "seconds": seconds,
        }


def make_demo(
    settings: Settings,
    days: float,
    *,
    check: Callable[[], None] = lambda: None,
    jobs: int | None = None,
    now: datetime | None = None,
) -> Demo:
    """Makes a demo's past, or what it lacks to now.

    Args:
        settings: of a simulated market; `home` is the demo's folder.
        days: how long the past is.
        check: is called after each step; what it raises ends everything, and the next start begins anew.
        jobs: processes that fit models at the same time; by default one a core.
        now: where the past ends; by default now.

    Raises:
        UserInputError: the market is none that is simulated, or the folder holds something else.
        HomeInUseError: another process works in the folder.
        StorageError: the folder cannot be written.
    """
    from cryptosentinel.market.bars import Interval
    from cryptosentinel.workspace import open_workspace, remember
    from pipelines.demo import folder
    from pipelines.demo.history import make_history
    from pipelines.home import locked_home
    from pipelines.stopping import CheckedStages

    begun = time.perf_counter()
    if settings.market.source.partition(":")[0] != "simulated":
        raise UserInputError(
            f"A demo replays a simulated market, not {settings.market.source}.",
            remedy="Leave out market.source, or name another seed: --seed 7. A recording is replayed by"
            " `cryptosentinel up --source file:PATH`.",
        )
    stages = CheckedStages(2, err, check)
    with locked_home(settings.home):
        with stages.stage("Demo") as say:
            end = Interval(settings.market.interval).floor(now or datetime.now(UTC))
            found = folder.look(settings, days, end)
            if found.newest is None:
                folder.clear(settings)
                folder.begin(settings, days)
            workspace = open_workspace(settings)
            remember(workspace)
            say(found.said)
        stages.notice("SIMULATED market: its prices are invented.")
        with stages.stage(f"{days:g} days at once" if found.newest is None else "What was missed") as say:
            start = found.newest or end - timedelta(days=days)
            plan = folder.plan(start, end, resumed=found.newest is not None)
            history = make_history(
                settings, plan, jobs=jobs or os.cpu_count() or 1, progress=lambda text: stages.step(say, text)
            )
            folder.finish(settings, days)
            demo = Demo(settings, found.said, workspace.market, history, time.perf_counter() - begun)
            say(demo.sentence())
    return demo


def demo(
    days: Annotated[float, typer.Option(min=0.25, max=60, help="How long the past is.")] = 7.0,
    seed: Annotated[int, typer.Option(min=0, help="Of the simulated market: another seed is another market.")] = 0,
    dashboard: Annotated[
        bool, typer.Option("--dashboard/--no-dashboard", help="Show it, and go on by the schedules; or end then.")
    ] = True,
    config: ConfigOption = None,
    home: HomeOption = None,
    assignments: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a simulated market with a week of history: forecasts, trainings, drift, alerts; no network, no cluster."""
    from pipelines.commands import pass_on, stay

    pass_on(config)
    settings = demo_settings(config, assignments, home, seed)
    stopping = Stopping()
    signal.signal(signal.SIGTERM, stopping)
    try:
        made = make_demo(settings, days, check=stopping.check)
        if dashboard:
            from pipelines.up import bring_up

            with bring_up(settings, err, once=False, train=False, check=stopping.check) as running:
                if as_json:
                    print_json(made.summary() | running.summary())
                stay(running, stopping)
        elif as_json:
            print_json(made.summary())
        else:
            out.print(f"{made.sentence()}. It took {made.seconds:.0f} s.", highlight=False)
            err.print(f"To see it: cryptosentinel demo --home {settings.home}", highlight=False, soft_wrap=True)
    except KeyboardInterrupt:
        err.print("Stopped. What was stored stays; the next start goes on from it, or begins anew where it cannot.")
        raise typer.Exit(130) from None


def demo_settings(
    config: Path | None = None, assignments: list[str] | None = None, home: Path | None = None, seed: int = 0
) -> Settings:
    """Settings as of every command, but for what a demo needs."""
    defaults = [f"{name}={value}" for name, value in DEFAULTS.items()]
    flags = {"home": home or HOME, "market.source": f"simulated:{seed}"}
    return read_settings(config, [*defaults, *(assignments or [])], flags)
