"""Runs from beginning to end, on tiny models and drawn tissue."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import histoseek as hs
from histoseek.encoders import load_encoder
from histoseek.errors import EncoderError, HistoseekError, InputError
from histoseek.items import Manifest
from histoseek.training import Augmentation, TrainConfig, loop, train
from histoseek.training.augmentation import NONE
from histoseek.training.starting import open_base
from histoseek.training.towers import count_parameters, root_of
from tests.training.conftest import write_tissue

SMALL = {"epochs": 2, "batch": 6, "per_class": 2, "views": 2, "save_every": 2, "workers": 1}


def config(base: Path, **changes: object) -> TrainConfig:
    return TrainConfig(**({"base": str(base), "mode": "full", "rate": 1e-3} | SMALL | changes))  # type: ignore[arg-type]


def curve(run: Path) -> list[dict[str, float]]:
    return [line for line in map(json.loads, (run / "metrics.jsonl").read_text().splitlines()) if "loss" in line]


@pytest.mark.usefixtures("model_only")
def test_training_finds_tissue_better_than_its_base(tissue: Manifest, clip_model: Path, tmp_path: Path) -> None:
    done = train(tissue, tmp_path / "run", config(clip_model, epochs=12, batch=12, per_class=4, patience=12))
    scores = []
    for name, encoder in (("base", load_encoder(clip_model)), ("run", load_encoder(tmp_path / "run" / "model"))):
        index = hs.Index.build(tissue, encoder, tmp_path / f"{name}.index")
        report = hs.evaluate(index, "split = 'test'", protocol="leave-group-out", n_bootstrap=1)
        scores.append(report.scores["mAP@10"].value)
    assert scores[1] > scores[0] + 0.05, scores
    assert done.best_scores["mAP@10"] > done.base_scores["mAP@10"]


def test_a_run_leaves_an_encoder_folder_with_all_that_was_promised(
    tissue: Manifest, clip_model: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    train(tissue, run, config(clip_model))
    encoder = load_encoder(run)
    assert encoder.card.name == "run" and encoder.card.has_text
    assert encoder.embed_texts(["fat tissue"]).shape == (1, encoder.card.dim)
    facts = json.loads((run / "run.json").read_text())
    assert facts["config"]["seed"] == 0 and facts["manifest digest"] and facts["base"]["torch"]
    assert facts["state"] == "finished" and [line["epoch"] for line in facts["validation"]] == [-1, 0, 1]
    assert any((run / "tensorboard").iterdir())
    assert "never a diagnosis" in (run / "card.md").read_text()
    assert (run / "skipped.csv").read_text().strip() == "id,reason"
    hs.Index.build(tissue, encoder, tmp_path / "x.index")


@pytest.mark.parametrize(("mode", "kind"), [("head", "clip"), ("lora", "resnet"), ("full", "vit")])
def test_every_mode_changes_what_it_should_and_can_be_gone_on_from(
    mode: str, kind: str, tissue: Manifest, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    base: Path = request.getfixturevalue(f"{kind}_model")
    run = tmp_path / "run"
    train(tissue, run, config(base, mode=mode, epochs=1, rate=3e-3))
    trained, before = load_encoder(run), load_encoder(base)
    views = [np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8) for _ in range(4)]
    again = load_encoder(run / "model")
    assert (trained.embed_images(views) * again.embed_images(views)).sum(axis=1).min() > 0.9999
    if kind == "clip":
        assert (trained.embed_texts(["fat"]) @ again.embed_texts(["fat"]).T).min() > 0.9999
    assert np.abs(trained.embed_images(views) - before.embed_images(views)).max() > 1e-4
    assert (run / "model" / "heads.safetensors").is_file() == (mode == "head")
    if mode == "head":  # the network below it is as it was
        weights = [load_file(folder / "model.safetensors") for folder in (base, run / "model")]
        assert all((weights[0][name] == weights[1][name]).all() for name in weights[0] if name != "logit_scale")
        assert weights[0]["logit_scale"] != weights[1]["logit_scale"]  # learnt with the head, for the next run
    assert count_parameters(root_of(open_base(run, None).encoder.towers)) == count_parameters(
        root_of(load_encoder(run / "model").towers)  # type: ignore[attr-defined]
    )


@pytest.mark.usefixtures("model_only")
def test_batch_norms_keep_their_statistics(tissue: Manifest, resnet_model: Path, tmp_path: Path) -> None:
    train(tissue, tmp_path / "run", config(resnet_model, epochs=1))
    before = load_file(resnet_model / "model.safetensors")
    after = load_file(tmp_path / "run" / "model" / "model.safetensors")
    statistics = [name for name in before if "running" in name]
    assert statistics and all((before[name] == after[name]).all() for name in statistics)
    assert any((before[name] != after[name]).any() for name in before if name.endswith("weight"))


@pytest.mark.usefixtures("without_export")
@pytest.mark.parametrize(
    "objectives",
    [
        *({"clip": 1.0}, {"siglip": 1.0}, {"supcon": 1.0}, {"views": 1.0}),
        *({"multi-similarity": 1.0}, {"triplet": 1.0}, {"proxy-anchor": 1.0}),
        {"supcon": 1.0, "distill": 0.5},
    ],
    ids=lambda given: "+".join(given),
)
def test_every_objective_trains(
    objectives: dict[str, float], tissue: Manifest, clip_model: Path, tmp_path: Path
) -> None:
    teacher = "color" if "distill" in objectives else None
    train(tissue, tmp_path / "run", config(clip_model, epochs=1, objectives=objectives, teacher=teacher))
    lines = curve(tmp_path / "run")
    assert lines and all(np.isfinite(line[name]) for line in lines for name in ("loss", *objectives))


@pytest.mark.usefixtures("model_only")
def test_the_averaged_weights_are_the_ones_kept(tissue: Manifest, resnet_model: Path, tmp_path: Path) -> None:
    plain = config(resnet_model, epochs=1)
    train(tissue, tmp_path / "plain", plain)
    train(tissue, tmp_path / "slow", replace(plain, ema=0.99))
    views = [np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8) for _ in range(4)]
    moved = [
        1
        - (load_encoder(tmp_path / name / "model").embed_images(views) * load_encoder(resnet_model).embed_images(views))
        .sum(1)
        .min()
        for name in ("plain", "slow")
    ]
    assert 0 <= moved[1] < moved[0] / 2


@pytest.mark.usefixtures("without_export")
def test_a_killed_run_goes_on_as_if_nothing_had_happened(tissue: Manifest, clip_model: Path, tmp_path: Path) -> None:
    """A real process, killed between checkpoints; the curve after resuming is that of a run never killed."""
    manifest = tmp_path / "m.parquet"
    tissue.write(manifest)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    settings = config(clip_model, epochs=3, ema=0.9)
    train(tissue, whole, settings)
    process = run_train(manifest, cut, clip_model)
    while len(steps_of(cut)) < 7 and process.poll() is None:
        time.sleep(0.02)
    assert process.poll() is None, "the run ended before it could be killed"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (cut / "encoder.json").exists()
    train(tissue, cut, settings, resume=True)
    one, two = curve(whole), curve(cut)
    assert [line["step"] for line in one] == [line["step"] for line in two]
    np.testing.assert_allclose([line["loss"] for line in one], [line["loss"] for line in two], rtol=1e-4)
    one, two = (json.loads((run / "run.json").read_text())["validation"] for run in (whole, cut))
    assert [line["epoch"] for line in one] == [line["epoch"] for line in two]


def steps_of(run: Path) -> list[str]:
    path = run / "metrics.jsonl"
    return [line for line in path.read_text().splitlines() if '"loss"' in line] if path.exists() else []


def run_train(manifest: Path, out: Path, base: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "histoseek", "train", str(manifest), "--out", str(out), "--base", str(base)]
    options = "--mode full --rate 0.001 --epochs 3 --batch 6 --per-class 2 --save-every 2 --ema 0.9 --workers 1"
    return subprocess.Popen([*command, *options.split()], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.mark.usefixtures("without_export")
def test_two_processes_learn_what_one_does(tissue: Manifest, clip_model: Path, tmp_path: Path) -> None:
    """Two gloo processes with half the batch each give the curve of one with the whole batch."""
    train(tissue, tmp_path / "one", config(clip_model, epochs=1))
    code = (
        "import sys, json; from pathlib import Path; from histoseek.items import Manifest;"
        "from histoseek.training import TrainConfig, run, train; run.leave_encoder = lambda *_: None;"
        "train(Manifest.read(sys.argv[1]), sys.argv[2], TrainConfig(**json.loads(sys.argv[3])))"
    )
    tissue.write(tmp_path / "m.parquet")
    settings = json.dumps({"base": str(clip_model), "mode": "full", "rate": 1e-3} | SMALL | {"epochs": 1})
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "ACCELERATE_USE_CPU": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "m.parquet"), str(tmp_path / "two"), settings],
            env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"},
        )
        for rank in range(2)
    ]
    assert [process.wait() for process in processes] == [0, 0]
    one, two = curve(tmp_path / "one"), curve(tmp_path / "two")
    assert len(one) == len(two) > 2
    np.testing.assert_allclose([line["loss"] for line in one], [line["loss"] for line in two], rtol=2e-3)


def free_port() -> int:
    import socket

    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


def test_a_loss_that_is_no_number_stops_the_run_with_a_sentence(
    tissue: Manifest, clip_model: Path, tmp_path: Path
) -> None:
    with pytest.raises(HistoseekError, match=r"step \d+: the loss is (nan|inf); lower --rate"):
        train(tissue, tmp_path / "run", config(clip_model, rate=1e30, warmup=0.0, clip=1e30))
    assert not (tmp_path / "run" / "encoder.json").exists()


def test_lack_of_memory_names_the_flag(
    tissue: Manifest, clip_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_much(*_: object) -> None:
        torch.empty(2**50)

    monkeypatch.setattr(loop, "views_of", too_much)
    with pytest.raises(InputError, match="lower --batch"):
        train(tissue, tmp_path / "run", config(clip_model))


@pytest.mark.usefixtures("without_export")
def test_an_unreadable_image_is_skipped_with_its_reason(clip_model: Path, tmp_path: Path) -> None:
    tissue = write_tissue(tmp_path / "tissue")
    spoilt = [item for item in tissue if item.id.endswith("_gland_0.png") and item.split is None]
    for item in spoilt:  # of every patient, those to validate on too
        tissue.path_of(item).write_bytes(tissue.path_of(item).read_bytes()[:300])
    done = train(tissue, tmp_path / "run", config(clip_model))
    assert {one.id for one in done.skipped} == {item.id for item in spoilt}
    assert all(item.id in (tmp_path / "run" / "skipped.csv").read_text() for item in spoilt)


def test_a_patient_among_the_queries_is_refused(tissue: Manifest, clip_model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"1 groups.*p1.*trained on and asked"):
        train(tissue, tmp_path / "run", config(clip_model), queries=tissue.where(group="p1"))
    leaky = Manifest.from_items(
        [replace(item, split="val" if at == 1 else "train") for at, item in enumerate(tissue)], tissue.root
    )
    with pytest.raises(InputError, match="p0"):
        train(leaky, tmp_path / "run", config(clip_model))


@pytest.mark.usefixtures("model_only")
def test_a_finished_or_foreign_folder_is_not_written_into(tissue: Manifest, clip_model: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="is no training run"):
        train(tissue, tmp_path / "mine", config(clip_model))
    train(tissue, tmp_path / "run", config(clip_model, epochs=1))
    with pytest.raises(InputError, match="holds a finished run"):
        train(tissue, tmp_path / "run", config(clip_model, epochs=1), resume=True)


def stop_at(step: int) -> Callable[[int, int], None]:
    def stop(done: int, _: int) -> None:
        if done == step:
            raise KeyboardInterrupt

    return stop


@pytest.mark.usefixtures("without_export")
def test_resume_with_other_settings_is_refused(tissue: Manifest, clip_model: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(tissue, tmp_path / "run", config(clip_model, epochs=1), progress=stop_at(3))
    with pytest.raises(InputError, match="--resume"):
        train(tissue, tmp_path / "run", config(clip_model, epochs=1))
    with pytest.raises(InputError, match="other settings"):
        train(tissue, tmp_path / "run", config(clip_model, epochs=1, rate=2e-3), resume=True)
    train(tissue, tmp_path / "run", config(clip_model, epochs=1, workers=3), resume=True)
    assert [line["step"] for line in curve(tmp_path / "run")] == list(range(1, len(curve(tmp_path / "run")) + 1))


@pytest.mark.usefixtures("without_export")
@pytest.mark.parametrize("mode", ["head", "lora"])
def test_adapters_heads_and_proxies_go_on_from_a_checkpoint(
    mode: str, tissue: Manifest, resnet_model: Path, tmp_path: Path
) -> None:
    settings = config(resnet_model, mode=mode, objectives={"proxy-anchor": 1.0}, rate=1e-2)
    train(tissue, tmp_path / "whole", settings)
    with pytest.raises(KeyboardInterrupt):
        train(tissue, tmp_path / "cut", settings, progress=stop_at(7))
    train(tissue, tmp_path / "cut", settings, resume=True)
    whole, cut = curve(tmp_path / "whole"), curve(tmp_path / "cut")
    assert [line["loss"] for line in cut] == pytest.approx([line["loss"] for line in whole], rel=1e-5)


def scores_in_turn(monkeypatch: pytest.MonkeyPatch, *scores: float) -> None:
    """Validation says these, one after the other: that of the base, then those of the epochs."""
    left = iter(scores)
    monkeypatch.setattr(loop, "validate", lambda *_: ({"mAP@10": next(left)}, []))


@pytest.mark.usefixtures("without_export")
def test_training_stops_when_it_no_longer_gets_better(
    tissue: Manifest, resnet_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores_in_turn(monkeypatch, 0.1, 0.2, 0.5, 0.4, 0.5, 0.9)
    done = train(tissue, tmp_path / "run", config(resnet_model, epochs=9, patience=2))
    assert done.best_epoch == 1 and done.best_scores == {"mAP@10": 0.5} and done.is_better
    assert max(line["epoch"] for line in curve(tmp_path / "run")) == 3


@pytest.mark.usefixtures("model_only")
def test_the_best_weights_are_the_ones_left_behind(
    tissue: Manifest, resnet_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores_in_turn(monkeypatch, 0.1, 0.5, 0.2, 0.3)
    train(tissue, tmp_path / "run", config(resnet_model, epochs=3))
    left = load_file(tmp_path / "run" / "model" / "model.safetensors")
    best, last = (
        load_file(tmp_path / "run" / "checkpoints" / name) for name in ("best.safetensors", "last.safetensors")
    )
    name = next(name for name in best if name.endswith("embedder.embedder.convolution.weight"))
    kept = left[name.removeprefix("image.model.")]
    assert (kept == best[name]).all() and not (kept == last[f"weights/root.{name}"]).all()


@pytest.mark.slow
@pytest.mark.usefixtures("model_only")
def test_mini_can_be_trained_further(tissue: Manifest, tmp_path: Path) -> None:
    """What is left of it as an encoder folder is proven by the README's commands, which use one."""
    train(tissue, tmp_path / "run", TrainConfig(mode="head", epochs=1, batch=6, per_class=2, workers=1))
    assert load_encoder(tmp_path / "run" / "model").embed_texts(["gland"]).shape == (1, 256)


def test_words_are_refused_where_there_is_no_text_tower(tissue: Manifest, resnet_model: Path, tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="no text tower"):
        train(tissue, tmp_path / "run", config(resnet_model, objectives={"clip": 1.0}))


def test_color_cannot_be_trained(tissue: Manifest, tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="cannot be trained"):
        train(tissue, tmp_path / "run", TrainConfig(base="color"))


@pytest.mark.usefixtures("without_export")
def test_views_alone_need_no_labels_to_learn_from(tissue: Manifest, resnet_model: Path, tmp_path: Path) -> None:
    """Two thirds of the items unlabelled; they are seen all the same."""
    some = Manifest.from_items(
        [item if int(item.group[1:]) % 3 == 0 else replace(item, label=None, caption=None) for item in tissue],
        tissue.root,
    )
    settings = config(resnet_model, objectives={"views": 1.0}, epochs=1, augmentation=Augmentation())
    train(some, tmp_path / "run", replace(settings, validation=0.5))
    first = curve(tmp_path / "run")[0]
    assert first["views"] > 0


@pytest.mark.usefixtures("without_export")
def test_without_augmentation_two_runs_are_alike(tissue: Manifest, resnet_model: Path, tmp_path: Path) -> None:
    settings = config(resnet_model, epochs=1, augmentation=NONE)
    for name in ("one", "two"):
        train(tissue, tmp_path / name, settings)
    one, two = curve(tmp_path / "one"), curve(tmp_path / "two")
    assert [line["loss"] for line in one] == pytest.approx([line["loss"] for line in two], rel=1e-5)
