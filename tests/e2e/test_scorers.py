"""PairRM, a judge behind vLLM's own server and rules, together by weights: what is counted, and that a key stays one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import pytest

from support.e2e_runs import make_run
from support.e2e_secrets import texts_left_by
from support.lab import Json, Lab, condition, phase_status
from support.tiny_model import make_tiny_model
from support.tiny_pair_rm import make_tiny_pair_rm
from support.vllm_server import serving_model

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(1500)]

KEY = "open-sesame-4711"
TEMPLATE = "{{ prompt }} A: {{ response_a }} B: {{ response_b }} Which?"
# A model of random weights ends with no verdict of the usual form. Most of its answers hold one of three letters, some
# do not: so there are verdicts of all kinds and missing ones.
VERDICT = "(?i)([abc])"
ANSWER_TOKENS = 48
JUDGE_SEED = 11


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("judge")
    with serving_model(make_tiny_model(folder / "model", seed=JUDGE_SEED), "tiny", KEY, folder / "log") as url:
        yield url


@pytest.fixture(scope="module")
def run(lab: Lab, inputs: dict[str, str], endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Json:
    folder: Path = tmp_path_factory.mktemp("scorers")
    make_tiny_pair_rm(folder / "pair-rm", seed=4)
    (folder / "judge.jinja").write_text(TEMPLATE)
    places = lab.upload(folder, f"inputs/{lab.namespace}/scorers")
    lab.kubectl("create", "secret", "generic", "judge-key", f"--from-literal=api={KEY}")
    judge = {
        "endpoint": endpoint,
        "model": "tiny",
        "template": f"{places}/judge.jinja",
        "verdictPattern": VERDICT,
        "maxTokens": ANSWER_TOKENS,
        "apiKeySecretRef": {"name": "judge-key", "key": "api"},
    }
    scorers = [
        {"name": "ranker", "weight": 0.5, "pairRM": {"uri": f"{places}/pair-rm"}},
        {"name": "judge", "weight": 0.3, "judge": judge},
        {"name": "rules", "weight": 0.2, "rules": [{"type": "Length", "target": 4}, {"type": "Repetition"}]},
    ]
    # Of the tiny model's prompts few have no missing verdict: a small batch, so that they make one.
    lab.apply(
        make_run(
            "scorers",
            inputs,
            scoring={"scorers": scorers, "shards": 2},
            training={"nodes": 1, "batchSize": 2},
            evaluation={"selectBy": {"metric": "WinRate"}},
        )
    )
    return lab.succeeded("scorers", 1200)


def test_the_scores_are_weighted_ranks_within_the_prompt(lab: Lab, run: Json) -> None:
    assert condition(run, "Succeeded")["status"] == "True"
    pairs = lab.rows(run, 1, "Scoring", "pairs.parquet")
    assert pairs
    scores = [c["score"] for pair in pairs for c in pair["candidates"] if c["score"] is not None]
    assert all(-1e-9 <= score <= 1 + 1e-9 for score in scores)
    # With ranks of 0, 1/2 and 1 of three candidates, or thirds of four, each weight leaves its mark.
    assert len({round(score, 6) for score in scores}) > 4
    assert all(pair["chosen_score"] > pair["rejected_score"] for pair in pairs)
    for iteration in (0, 1):
        evaluated = lab.manifest(run, iteration, "Evaluation")["facts"]["scorers"]
        assert evaluated.keys() >= {"ranker", "judge", "rules"}


def test_ties_missing_replies_and_both_orders_are_counted(lab: Lab, run: Json) -> None:
    manifest = lab.manifest(run, 1, "Scoring")
    sums, pairs = manifest["facts"]["sums"], lab.rows(run, 1, "Scoring", "pairs.parquet")
    asked = pairs_to_ask(lab, run)
    assert sums["scorer.judge.asked"] == 2 * asked, "each pair is asked about in both orders"
    missing, unreadable = sums["scorer.judge.missingPairs"], sums["scorer.judge.unreadable"]
    assert sums["scorer.judge.refused"] == 0
    assert 0 < missing <= unreadable <= 2 * missing < 2 * asked
    assert 0 < sums["scorer.judge.inconsistent"] <= asked - missing
    assert sums["scorer.judge.tokens"] > sums["scorer.judge.asked"]
    # The tiny ranker reads 20 tokens of a response, a letter each: the data's own are longer.
    assert sums["scorer.ranker.cut"] > 0
    dropped = {name: n for name, n in sums.items() if name.startswith("dropped.")}
    assert sums["prompts"] == sums["pairs"] + sum(dropped.values()) == phase_rows(lab, run)
    assert sums["pairs"] == len(pairs) == manifest["metrics"]["pairs"]
    assert manifest["metrics"]["tied"] == dropped["dropped.tied"]
    assert sums["tiedBest"] == sum(at_score(pair, "chosen") > 1 for pair in pairs)
    assert sums["tiedWorst"] == sum(at_score(pair, "rejected") > 1 for pair in pairs)
    unscored = sum(c["score"] is None for pair in pairs for c in pair["candidates"])
    assert unscored <= sums["unscoredCandidates"] <= sums["candidates"]
    shown = {metric["name"]: metric["value"] for metric in phase_status(run, 1, "Scoring")["metrics"]}
    assert shown["pairs"] == sums["pairs"]


def test_the_key_shows_nowhere(lab: Lab, run: Json, endpoint: str) -> None:
    texts = texts_left_by(lab, run)

    def places(words: str) -> set[str]:
        return {place for place, text in texts.items() if words in text}

    assert places(KEY) == set()
    # What is looked through holds what it should: objects, logs, tables and replies.
    assert places(endpoint) >= {"selmruns", "jobs", "pods"}
    assert any(place.startswith("log of ") for place in places('"selm": "progress"'))
    assert any(place.endswith("/pairs.parquet") for place in places("Thank you for asking about"))
    assert any("/judge-replies/" in place for place in places("finish_reason"))


def pairs_to_ask(lab: Lab, run: Json) -> int:
    """Pairs of different texts among each prompt's candidates."""
    texts: dict[int, set[str]] = defaultdict(set)
    for response in lab.rows(run, 1, "Generation", "responses.parquet"):
        texts[response["row"]].add(response["text"])
    for row in lab.rows(run, 0, "Preparation", "portion-0001.parquet"):
        texts[row["row"]] |= {row["chosen"], row["rejected"]}
    return sum(len(list(combinations(its, 2))) for its in texts.values())


def phase_rows(lab: Lab, run: Json) -> int:
    return len(lab.rows(run, 0, "Preparation", "portion-0001.parquet"))


def at_score(pair: Json, role: str) -> int:
    """Distinct candidates with the score of the chosen or the rejected one."""
    return len({tuple(c["ids"]) for c in pair["candidates"] if c["score"] == pair[f"{role}_score"]})
