"""What each component reads, calls and writes: its function, with Kubeflow's own artifacts on a real store."""

from __future__ import annotations

import inspect
import json
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from kfp import dsl

from components.drift.component import drift
from components.evaluate.component import evaluate
from components.featurize.component import featurize
from components.ingest.component import ingest
from components.predict.component import predict
from components.register.component import register
from components.train.component import train
from cryptosentinel.bundle import Bundle
from cryptosentinel.config import Settings, load_settings
from cryptosentinel.errors import BundleDamagedError, NotEnoughDataError, ServingError
from cryptosentinel.features import FeatureSpec
from cryptosentinel.forecasting.volatility import VOLATILITY_MODELS
from cryptosentinel.market.bars import Interval
from cryptosentinel.predicting import BundlePredictor
from cryptosentinel.storage import open_run_log
from cryptosentinel.storage.backup import back_up
from cryptosentinel.storage.restoring import restore
from cryptosentinel.workspace import Workspace, open_workspace
from tests.drift.concept_builders import register as register_version
from tests.drift.concept_builders import spoil
from tests.predicting.builders import counted

SPEC = FeatureSpec(Interval("5m"))
END = "2025-01-06T00:00:00+00:00"
SMALL = {
    "market.source": "simulated",
    "training.window_days": 1,
    "training.min_rows": 50,
    "training.folds": 2,
    "training.holdout_share": 0.3,  # 84 rows, worth 14 outcomes
    "training.candidates": "random_walk,ridge",
    "gate.min_independent_labels": 10,
}
PARTS = ["direction", "ridge", "random_walk", "regime", *VOLATILITY_MODELS]


@dataclass
class Run:
    """Components called by hand: parameters in, artifacts in a folder."""

    folder: Path
    settings: Settings
    as_of: str = END

    @property
    def workspace(self) -> Workspace:
        return open_workspace(self.settings, now=pd.Timestamp(self.as_of))

    def artifact(self, step: str, name: str, kind: type[dsl.Artifact] = dsl.Artifact) -> Any:
        path = self.folder / step / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return kind(name=name, uri=str(path))

    def call(self, component: Any, name: str = "", **given: Any) -> tuple[Any, dict[str, Any]]:
        """Returns what the component returned, and its output artifacts."""
        function = component.python_func
        step = name or function.__name__
        kinds = {
            output: kind.__origin__ if hasattr(kind, "__origin__") else kind
            for output, kind in function.__annotations__.items()
            if output not in given and output not in {"settings", "as_of", "kubeflow", "return"}
        }
        outputs = {output: self.artifact(step, output, kind) for output, kind in kinds.items()}
        shared = {"settings": self.settings.public_json(), "as_of": self.as_of}
        return function(**shared, **given, **outputs), outputs

    def data(self) -> None:
        touched, _ = self.call(ingest)[0]
        self.call(featurize, touched_from=touched)

    def parts(self, names: list[str]) -> list[Any]:
        snapshot, _ = self.call(drift)
        return [self.call(train, f"train-{part}", part=part, snapshot=snapshot)[1]["model"] for part in names]


def new_run(folder: Path, **overrides: object) -> Run:
    given = SMALL | {"home": str(folder / "home")} | overrides
    return Run(folder, load_settings(environ={}, overrides=given))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, list[Any]]:
    """Data, and one trained folder a part."""
    run = new_run(tmp_path_factory.mktemp("trained"))
    run.data()
    return run, run.parts(PARTS)


def test_ingest_brings_the_window_and_what_its_first_row_needs_to_warm_up(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    (touched, simulated), outputs = run.call(ingest)
    bars = run.workspace.storage.features.read_bars("bitcoin")
    assert len(bars) == 288 + SPEC.warm_up_bars
    assert (touched, simulated) == (bars["timestamp"].iloc[0].isoformat(), True)
    assert "SIMULATED" in Path(outputs["report"].path).read_text()
    assert outputs["metrics"].metadata["inserted"] == len(bars)
    assert json.loads(Path(outputs["bars"].path).read_text())["source"] == "simulated:0"


def test_every_step_notes_its_run_and_what_it_worked_on(trained: tuple[Run, list[Any]]) -> None:
    run, _ = trained
    noted = {each.name: each for each in open_run_log(run.settings.storage, run.workspace.storage.uri).read()}
    assert set(noted) == {"ingest", "featurize", "drift", *(f"train {part}" for part in PARTS)}
    assert all(each.succeeded for each in noted.values())
    end = pd.Timestamp(END)
    assert {each.newest for each in noted.values()} == {end}
    bars = len(run.workspace.storage.features.read_bars("bitcoin"))
    assert noted["ingest"].rows == noted["featurize"].rows == {"inserted": bars, "updated": 0}
    assert noted["drift"].rows["complete"] > noted["train ridge"].rows["trained"] > 0


def test_ingest_again_has_nothing_to_hand_on(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    run.call(ingest)
    (touched, _), outputs = run.call(ingest)
    assert touched == ""
    assert outputs["metrics"].metadata["inserted"] == 0
    assert run.call(featurize, touched_from=touched)[0] == "2025-01-05T23:55:00+00:00"


def test_of_two_runs_of_one_interval_one_works(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run = new_run(tmp_path, **{"leases.interval_s": 300})
    (touched, _), _ = run.call(ingest)
    assert run.call(featurize, touched_from=touched)[0] == "2025-01-05T23:55:00+00:00"
    capfd.readouterr()
    assert run.call(ingest)[0] == ("", True)
    assert run.call(featurize, touched_from="")[0] == ""
    said = capfd.readouterr().out
    assert said.count("nothing to do: another run") == 2
    later = Run(tmp_path, run.settings, "2025-01-06T00:05:00+00:00")
    touched, _ = later.call(ingest)[0]
    assert touched == "2025-01-06T00:00:00+00:00"
    assert later.call(featurize, touched_from=touched)[0] == touched


def test_of_two_trainings_of_one_interval_one_goes_on(tmp_path: Path) -> None:
    run = new_run(tmp_path, **{"leases.interval_s": 1800})
    run.data()
    assert run.call(drift)[0]
    assert run.call(drift)[0] == ""


def test_a_forecast_is_made_once_an_interval_and_tried_again_where_none_could_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = new_run(tmp_path, **{"leases.interval_s": 300})
    champion = BundlePredictor(Bundle.load(run.workspace.champion_bundle()), 0)
    with counted(champion) as asked:
        monkeypatch.setattr("serving.client.predictor_for", lambda _: nullcontext(champion))
        none, why = run.call(predict)[0]
        assert (none, "there are no features yet" in why) == ("", True)
        run.data()
        made, why = run.call(predict)[0]
        assert (bool(made), why) == (True, "")
        assert "another run" in run.call(predict)[0][1]
    assert len(asked) == 1


def test_featurize_without_bars_says_what_to_run_first(tmp_path: Path) -> None:
    with pytest.raises(NotEnoughDataError, match="cryptosentinel run feature"):
        new_run(tmp_path).call(featurize, touched_from="")


def test_a_window_before_the_market_opened_has_no_bars(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    run.as_of = "2009-06-01T00:00:00+00:00"
    (touched, _), outputs = run.call(ingest)
    assert touched == ""
    assert "has no usable bars" in Path(outputs["report"].path).read_text()


def test_drift_pins_what_to_train_on(trained: tuple[Run, list[Any]]) -> None:
    run, _ = trained
    snapshot, outputs = run.call(drift)
    store = run.workspace.storage.features
    assert json.loads(snapshot) == {
        "end": "2025-01-06T00:00:00Z",
        "window_days": 1.0,
        "bars_version": store.version(),
        "features_version": store.version(SPEC.hash),
    }
    assert outputs["metrics"].metadata["rows"] >= outputs["metrics"].metadata["rows_needed"]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"training.min_rows": 5_000}, "not training: 282 complete rows, 7,169 are needed"),
        ({"training.window_days": 0.1}, "not training: 22 complete rows, 155 are needed"),
    ],
    ids=["min_rows", "short window"],
)
def test_drift_pins_nothing_where_rows_are_too_few(tmp_path: Path, settings: dict[str, object], sentence: str) -> None:
    run = new_run(tmp_path, **settings)
    run.data()
    snapshot, outputs = run.call(drift)
    assert snapshot == ""
    report = Path(outputs["report"].path).read_text()
    assert sentence[1:] in report  # a page begins it with a capital
    assert "the champion stays (version 0)" in report


def test_a_part_carries_its_settings(tmp_path: Path) -> None:
    run = new_run(tmp_path, **{"training.preset": "classic", "training.candidates": "random_walk,random_forest"})
    run.data()
    (model,) = run.parts(["random_forest"])
    part = json.loads((Path(model.path) / "part.json").read_text())
    assert model.metadata["preset"] == "classic"
    assert (part["name"], part["model"]["target"]) == ("random_forest", "log_return")  # by default: standardised
    assert part["data"]["holdout_rows"] == 84


def test_evaluate_chooses_and_measures(trained: tuple[Run, list[Any]]) -> None:
    run, models = trained
    weight, outputs = run.call(evaluate, models=models, snapshot=run.call(drift)[0])
    measured = json.loads(Path(outputs["evaluation"].path).read_text())
    assert weight == measured["choices"]["shrinkage"]
    assert {"random_walk", "ridge", "blend", "shrunk", "continued"} <= set(measured["candidates"])
    figures = outputs["metrics"].metadata
    assert figures["pinball_bp"] == measured["spread"]["blend"]["pinball_bp"]
    assert figures["direction_brier"] == measured["direction"]["brier"]
    matrix = outputs["direction"].metadata["confusionMatrix"]
    assert sum(sum(row["row"]) for row in matrix["rows"]) == 84
    report = Path(outputs["report"].path).read_text()
    assert "ridge" in report
    assert "random_walk" in report


def test_evaluate_holds_the_field_against_the_champion(trained: tuple[Run, list[Any]]) -> None:
    run, models = trained
    _, outputs = run.call(evaluate, models=models, snapshot=run.call(drift)[0])
    evidence = json.loads(Path(outputs["evaluation"].path).read_text())["evidence"]
    them = evidence["served"]["blend"]["champion"]
    assert (them["name"], them["rows"]) == ("version 0", 84)
    assert evidence["data_age_s"] == 35 * 60, "the newest outcome is that of the bar 35 minutes ago"


def test_a_champion_of_another_format_gives_way_to_the_random_walk(
    tmp_path: Path, trained: tuple[Run, list[Any]]
) -> None:
    _, models = trained
    run = new_run(tmp_path)
    run.data()
    champion = run.workspace.champion_bundle()
    old = json.loads((champion / "manifest.json").read_text()) | {"format_version": 1}
    registry = run.workspace.storage.registry
    (champion / "manifest.json").write_text(json.dumps(old))
    registered = registry.register(champion, metrics={}, verdict="of an older release")
    registry.promote(registered.version, expected=0)
    assert run.call(drift)[0], "rows are pinned"
    _, measured = run.call(evaluate, models=models, snapshot=run.call(drift)[0])
    evidence = json.loads(Path(measured["evaluation"].path).read_text())["evidence"]
    assert not evidence["served"]["random_walk"]["champion"]["trained"]
    (version, promoted), _ = run.call(register, models=models, evaluation=measured["evaluation"])
    assert promoted
    assert run.workspace.champion().version == version


def test_register_makes_a_version_and_moves_the_champion_if_the_gate_says_so(
    trained: tuple[Run, list[Any]], capfd: pytest.CaptureFixture[str]
) -> None:
    run, models = trained
    _, measured = run.call(evaluate, models=models, snapshot=run.call(drift)[0])
    (version, promoted), outputs = run.call(register, models=models, evaluation=measured["evaluation"])
    assert (version, promoted) == (1, True)
    assert run.workspace.champion().version == 1
    assert "bitcoin, 30 minutes ahead" in Path(outputs["card"].path).read_text()
    figures = outputs["metrics"].metadata
    assert (figures["version"], figures["promoted"]) == (1, 1.0)
    assert (figures["pruned"], figures["pruned_bytes"]) == (0, 0), "it has cleared up"
    assert figures["gate_rows"] == 84
    assert "version 1 promoted" in capfd.readouterr().out


def test_a_useless_champion_gives_way_to_the_random_walk_and_that_to_what_passes_the_gate(
    tmp_path: Path, trained: tuple[Run, list[Any]], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    _, models = trained
    run = new_run(tmp_path, **{"drift.concept.follows": "random_walk"})
    run.data()
    registry, log = run.workspace.storage.registry, run.workspace.storage.log
    useless = BundlePredictor(register_version(run.workspace, 0.001), 1)
    spoil(run.workspace.storage)
    monkeypatch.setattr("serving.client.predictor_for", lambda _: nullcontext(useless))

    def alerting() -> bool:
        return "concept_drift" in set(log.read_alerts("bitcoin", open_only=True)["kind"])

    run.call(predict)
    assert "served and logged; version 0, the random walk, serves in the place of version 1" in capfd.readouterr().out
    assert run.workspace.champion().version == 0
    assert alerting()
    run.call(predict)
    assert not alerting()
    _, measured = run.call(evaluate, models=models, snapshot=run.call(drift)[0])
    assert run.call(register, models=models, evaluation=measured["evaluation"])[0] == (2, True)
    run.call(predict)
    assert run.workspace.champion().version == 2
    assert [each.verdict.split(":")[0] for each in registry.versions()[1:]] == ["fell back", "promoted"]
    assert not alerting()


def test_a_refused_bundle_is_registered_and_the_champion_stays(tmp_path: Path, trained: tuple[Run, list[Any]]) -> None:
    _, models = trained
    run = new_run(tmp_path, **{"gate.min_independent_labels": 15})
    run.data()
    snapshot, _ = run.call(drift)
    _, measured = run.call(evaluate, models=models, snapshot=snapshot)
    (version, promoted), outputs = run.call(register, models=models, evaluation=measured["evaluation"])
    assert (version, promoted) == (1, False)
    assert run.workspace.champion().version == 0
    card = Path(outputs["card"].path).read_text()
    assert "**Verdict: refused.**" in card
    assert "only 14 unseen outcomes" in card


def test_a_restored_store_is_trained_on(tmp_path: Path, trained: tuple[Run, list[Any]]) -> None:
    first, models = trained
    storage, settings = first.workspace.storage, first.settings
    back_up(storage.uri, str(tmp_path / "backup"), {}, market=first.workspace.market, settings={})
    run = Run(tmp_path, settings.model_copy(update={"home": tmp_path / "home"}))
    restore(str(tmp_path / "backup"), str(tmp_path / "home" / first.workspace.market / "store"), {})
    before = run.workspace.storage.registry.versions()
    snapshot, _ = run.call(drift)
    assert json.loads(snapshot)["features_version"] == storage.features.version(SPEC.hash), "pinned by the same number"
    _, measured = run.call(evaluate, models=models, snapshot=snapshot)
    (version, _), _ = run.call(register, models=models, evaluation=measured["evaluation"])
    assert version == max((model.version for model in before), default=0) + 1


def test_drift_refuses_a_champion_that_is_damaged(tmp_path: Path, trained: tuple[Run, list[Any]]) -> None:
    _, models = trained
    other = new_run(tmp_path)
    other.data()
    _, measured = other.call(evaluate, models=models, snapshot=other.call(drift)[0])
    other.call(register, models=models, evaluation=measured["evaluation"])
    champion = other.workspace.storage.registry.champion()
    assert champion is not None
    uri = Path(champion.uri)
    (uri / "reference.parquet").write_bytes(b"PAR1 damaged")
    with pytest.raises(BundleDamagedError, match=r"reference\.parquet"):
        other.call(drift)


def test_drift_raises_an_alert_that_ends_once_the_market_looks_as_before(
    tmp_path: Path, trained: tuple[Run, list[Any]]
) -> None:
    _, models = trained
    run = new_run(tmp_path)
    run.data()
    _, measured = run.call(evaluate, models=models, snapshot=run.call(drift)[0])
    run.call(register, models=models, evaluation=measured["evaluation"])
    log = run.workspace.storage.log
    nervous = new_run(
        tmp_path, **{"drift.false_discovery_rate": 0.999, "drift.least_distance": 0, "drift.threshold": 0.01}
    )
    for _ in range(2):
        nervous.call(drift)
        assert log.read_alerts("bitcoin", open_only=True)["kind"].tolist() == ["drift"]
    (report,) = [log.read_drift("bitcoin")]
    assert report[["bundle_version", "drifted"]].to_numpy().tolist() == [[1, True]]
    _, outputs = new_run(tmp_path, **{"drift.threshold": 1}).call(drift)
    assert log.read_alerts("bitcoin")["resolved_at"].notna().tolist() == [True]
    assert log.read_drift("bitcoin")["drifted"].tolist() == [False], "the same rows, checked again"
    assert outputs["metrics"].metadata["drifted"] == 0
    assert "<svg" in Path(outputs["report"].path).read_text()


def test_predict_without_a_predictor_says_how_to_start_one(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    run.data()
    with pytest.raises(ServingError, match="cryptosentinel up"):
        run.call(predict)


@pytest.mark.parametrize(
    "component", [ingest, featurize, drift, train, evaluate, register, predict], ids=lambda c: c.name
)
def test_a_component_takes_settings_and_a_clock_and_shows_figures(component: Any) -> None:
    parameters = inspect.signature(component.python_func).parameters
    assert {"settings", "as_of", "metrics"} <= set(parameters)
