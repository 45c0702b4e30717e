"""Pushing a model: to a hub that answers as the real one does, to a store, and the card that goes with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import yaml

from selm_runtime.artifacts.file_store import FileStore
from selm_runtime.artifacts.manifest import FileEntry, Manifest
from selm_runtime.contract import Phase, RunRef
from selm_runtime.errors import InvalidInput, TemporaryFailure
from selm_runtime.push.card import CardFacts, model_card
from selm_runtime.push.targets import LIST, Pushed, check_target, push_to_hub, push_to_store
from support.fake_hub_uploads import TOKEN, Repository, UploadHub, upload_hub

URI = "hf://team/aligned"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[UploadHub]:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    with upload_hub() as running:
        yield running


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * 40)
    (folder / "README.md").write_text("---\nlibrary_name: transformers\n---\n# x\n")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def to_hub(hub: UploadHub, folder: Path, **options: Any) -> Pushed:
    return push_to_hub(folder, URI, field="spec.push.uri", message="m", endpoint=hub.endpoint, **options)


# The hub


def test_a_repository_is_made_private_and_gets_one_commit(hub: UploadHub, model: Path) -> None:
    pushed = to_hub(hub, model)
    repository = hub.repositories["team/aligned"]
    assert repository.private
    assert repository.branches["main"] == contents(model)
    assert repository.commits[1:] == ["m"]
    assert pushed == Pushed(URI, repository.head, changed=True)
    assert any(request.startswith("PUT lfs/") for request in hub.requests)


def test_again_changes_nothing_and_sends_no_weights(hub: UploadHub, model: Path) -> None:
    first = to_hub(hub, model)
    hub.requests.clear()
    again = to_hub(hub, model)
    assert (again.revision, again.changed) == (first.revision, False)
    assert not [line for line in hub.requests if line.startswith("PUT") or "/commit/" in line]


def test_a_push_that_was_killed_before_its_commit_sends_the_weights_once(hub: UploadHub, model: Path) -> None:
    hub.fails["/commit/"] = 400
    with pytest.raises(InvalidInput, match=r"spec\.push\.uri: the hub refuses the push to hf://team/aligned \(400\)"):
        to_hub(hub, model)
    assert hub.repositories["team/aligned"].branches["main"] == {}
    hub.fails.clear()
    hub.requests.clear()
    to_hub(hub, model)
    assert hub.repositories["team/aligned"].branches["main"] == contents(model)
    assert not [line for line in hub.requests if line.startswith("PUT")]


def test_weights_in_other_parts_replace_the_old_ones_and_leave_other_files(hub: UploadHub, model: Path) -> None:
    to_hub(hub, model)
    hub.repositories["team/aligned"].branches["main"]["LICENSE"] = b"mine"
    (model / "model.safetensors").rename(model / "model-00001-of-00001.safetensors")
    to_hub(hub, model)
    assert hub.repositories["team/aligned"].branches["main"] == {**contents(model), "LICENSE": b"mine"}


def test_a_branch_and_a_public_repository_where_they_are_asked_for(hub: UploadHub, model: Path) -> None:
    to_hub(hub, model, private=False, revision="alpha-0")
    repository = hub.repositories["team/aligned"]
    assert not repository.private
    assert (repository.branches["main"], repository.branches["alpha-0"]) == ({}, contents(model))


def test_a_public_repository_gets_nothing_that_is_to_be_private(hub: UploadHub, model: Path) -> None:
    hub.repositories["team/aligned"] = Repository(private=False)
    with pytest.raises(InvalidInput, match="is public, but a private repository is asked for"):
        to_hub(hub, model)
    assert hub.repositories["team/aligned"].branches["main"] == {}


def test_a_token_that_may_not_write_is_told(hub: UploadHub, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_of_somebody")
    with pytest.raises(InvalidInput, match=r"HF_TOKEN write to hf://team/aligned \(401\)") as caught:
        to_hub(hub, model)
    assert "hf_of_somebody" not in str(caught.value)


def test_a_hub_that_is_away_is_temporary(hub: UploadHub, model: Path) -> None:
    hub.fails["repos/create"] = 500
    with pytest.raises(TemporaryFailure, match="the hub answers 500"):
        to_hub(hub, model)
    with pytest.raises(TemporaryFailure, match="the hub does not answer"):
        push_to_hub(model, URI, field="x", message="m", endpoint="http://127.0.0.1:9")


@pytest.mark.parametrize("uri", ["hf://alone", "hf://a/b/c", "ftp://x/y", "s3:/x"])
def test_targets_that_no_push_can_reach(uri: str) -> None:
    with pytest.raises(InvalidInput, match=r"spec\.push\.uri: found .* allowed (is|are) hf://"):
        check_target(uri, "spec.push.uri")


# A store


def to_store(tmp_path: Path, folder: Path) -> Pushed:
    return push_to_store(folder, f"file://{tmp_path}/pushed", field="spec.push.uri")


def test_a_store_gets_the_files_and_their_list_last(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    upload, put = FileStore.upload, FileStore.put
    monkeypatch.setattr(FileStore, "upload", lambda s, path, key: (written.append(key), upload(s, path, key))[1])
    monkeypatch.setattr(FileStore, "put", lambda s, key, data, **o: (written.append(key), put(s, key, data, **o))[1])
    assert to_store(tmp_path, model).changed
    assert written == [*sorted(contents(model)), LIST]
    there = contents(tmp_path / "pushed")
    assert {name: there[name] for name in contents(model)} == contents(model)
    written.clear()
    assert not to_store(tmp_path, model).changed
    assert written == []
    (model / "config.json").write_text('{"a": 1}')
    (model / "README.md").unlink()
    assert to_store(tmp_path, model).changed
    assert written == ["config.json", LIST]
    assert set(contents(tmp_path / "pushed")) == {*contents(model), LIST}


def test_a_push_that_is_killed_leaves_no_list_and_the_next_one_is_whole(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to_store(tmp_path, model)
    (model / "model.safetensors").write_bytes(b"new")
    with monkeypatch.context() as patch:

        def killed(*_: Any) -> None:
            raise KeyboardInterrupt

        patch.setattr(FileStore, "upload", killed)
        with pytest.raises(KeyboardInterrupt):
            to_store(tmp_path, model)
    assert not (tmp_path / "pushed" / LIST).exists()
    assert to_store(tmp_path, model).changed
    assert (tmp_path / "pushed" / "model.safetensors").read_bytes() == b"new"


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, model: Path) -> None:
    (tmp_path / "pushed").mkdir()
    (tmp_path / "pushed" / LIST).write_text("[]")
    with pytest.raises(InvalidInput, match="is no list of a push"):
        to_store(tmp_path, model)


# The card


def manifest(phase: Phase, iteration: int, names: tuple[str, ...] = (), **more: Any) -> Manifest:
    files = tuple(FileEntry(name=name, path=name, size=1, sha256="1" * 64) for name in names)
    digest = "sha256:" + "2" * 64
    return Manifest(
        phase=phase, iteration=iteration, input_digest=digest, content_digest=digest, rows=40, files=files, **more
    )


MEASURED = {
    "meanReward": 0.75,
    "meanRewardCI95": 0.0312,
    "winRateBase": 0.625,
    "winRateBaseLow": 0.51,
    "winRateBaseHigh": 0.74,
    "kl": 1.23456,
}


def facts(iteration: int = 1, **spec: Any) -> CardFacts:
    preparation = manifest(
        Phase.PREPARATION,
        0,
        ("model/config.json",),
        facts={
            "model": {"uri": "hf://own/base", "pinned": "c0ffee"},
            "data": {"uri": "s3://secret-bucket/data", "pinned": "sha256:77", "format": "UltraFeedback"},
            "heldOutRows": 5,
            "evaluationOverlap": 2,
        },
    )
    manifests = {
        (Phase.PREPARATION, 0): preparation,
        (Phase.TRAINING, 1): manifest(Phase.TRAINING, 1, ("model/config.json", "model/model.safetensors")),
        (Phase.EVALUATION, 0): manifest(Phase.EVALUATION, 0, metrics={"meanReward": 0.25, "winRateBase": 0.5}),
        (Phase.EVALUATION, 1): manifest(Phase.EVALUATION, 1, metrics=MEASURED),
    }
    given = {
        "iterations": 1,
        "model": {"uri": "hf://own/base", "tokenSecretRef": {"name": "hub-token"}},
        "data": {
            "uri": "s3://secret-bucket/data",
            "split": "train_prefs",
            "portions": 3,
            "heldOut": {"split": "test_prefs", "limit": 500},
            "selection": {"of": "Chosen", "keep": 0.5, "resources": {"limits": {"nvidia.com/gpu": 1}}},
        },
        "generation": {"engineArgs": {"tokenizer": "/mnt/secret-volume/tokenizer", "hf_overrides": {"a": ["/mnt/b"]}}},
        "scoring": {
            "scorers": [
                {"name": "rm", "rewardModel": {"uri": "s3://secret-bucket/rm"}},
                {
                    "name": "judge",
                    "judge": {
                        "endpoint": "http://judge.secret-namespace.svc:8000/v1",
                        "model": "judge-8b",
                        "template": "s3://secret-bucket/ask.txt",
                        "apiKeySecretRef": {"name": "judge-key"},
                    },
                },
            ],
            "shards": 3,
        },
        "evaluation": {"alpacaEval": {"template": "file:///mnt/secret-volume/alpaca.txt"}},
        "training": {"objective": {"type": "SELM", "alpha": 0.001}, "resources": {"limits": {"nvidia.com/gpu": 8}}},
        "artifacts": {"uri": "s3://secret-bucket/runs", "credentialsSecretRef": {"name": "s3-keys"}},
        **spec,
    }
    return CardFacts(RunRef(namespace="team", name="zephyr", uid="u1"), given, iteration, 1, manifests)


def test_a_card_holds_recipe_data_metrics_and_digests() -> None:
    card = model_card(facts())
    header = yaml.safe_load(card.split("---")[1])
    assert (header["base_model"], header["library_name"]) == ("own/base", "transformers")
    assert "datasets" not in header
    assert "# zephyr, iteration 1" in card
    assert "picks iteration 1" in card
    assert "| base | 0.25 | 0.5 |  |  |\n| 1 | 0.75 ± 0.031 | 0.625 [0.51, 0.74] |  | 1.235 |" in card
    recipe = yaml.safe_load(card.split("```yaml")[1].split("```")[0])
    assert recipe["training"] == {"objective": {"type": "SELM", "alpha": 0.001}}
    assert recipe["model"] == {"uri": "hf://own/base"}
    assert recipe["data"] == {
        "uri": "s3://… (not public)",
        "split": "train_prefs",
        "portions": 3,
        "heldOut": {"split": "test_prefs", "limit": 500},
        "selection": {"of": "Chosen", "keep": 0.5},
    }
    assert "40 rows for training, 5 held out" in card
    assert "2 rows whose prompts are evaluated on were left out" in card
    trained = facts().manifests[Phase.TRAINING, 1]
    assert f"- model: `{trained.content_under('model/')}`" in card
    assert f"- Training of iteration 1: `{trained.digest}`" in card


def test_a_card_tells_no_secret_and_no_place_in_a_store() -> None:
    card = model_card(facts())
    for private in ("secret-", "/mnt/", "hub-token", "s3-keys", "judge-key", "nvidia", "shards"):
        assert private not in card
    scorers = yaml.safe_load(card.split("```yaml")[1].split("```")[0])["scoring"]["scorers"]
    hidden = "… (not public)"
    assert scorers[1]["judge"] == {"endpoint": f"http://{hidden}", "model": "judge-8b", "template": f"s3://{hidden}"}


def test_a_card_shows_the_suites_that_were_run() -> None:
    told = facts()
    evaluation = told.manifests[Phase.EVALUATION, 1]
    task = {"metric": "acc", "value": 0.512345}
    measured = evaluation.model_copy(
        update={
            "metrics": {**evaluation.metrics, "lmEval": 0.5123},
            "facts": {"suites": {"lmEval": {"mean": 0.512345, "tasks": {"arc_easy": task}}}},
        }
    )
    card = model_card(replace(told, manifests={**told.manifests, (Phase.EVALUATION, 1): measured}))
    assert "KL to the base | lm-evaluation-harness |" in card
    assert "| base | 0.25 | 0.5 |  |  |  |\n| 1 | 0.75 ± 0.031 | 0.625 [0.51, 0.74] |  | 1.235 | 0.5123 |" in card
    assert "Tasks of lm-evaluation-harness, of this model: arc_easy acc 0.5123.\n\n## Recipe" in card
    assert "lm-evaluation-harness" not in model_card(told)


def test_equal_facts_make_equal_cards() -> None:
    assert model_card(facts()) == model_card(facts())
    assert model_card(facts()) != model_card(facts(iterations=2))
