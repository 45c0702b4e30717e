"""Judges that are real models: vLLM's own OpenAI-compatible server, and the policy on an engine in this process.

A tiny model of random weights judges at random and never in the asked form: what is tested is what passes between.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from selm_runtime.contract import JudgeConfig
from selm_runtime.errors import InvalidInput
from selm_runtime.judge.chat import ChatRequest
from selm_runtime.judge.client import ChatClient, Endpoint
from selm_runtime.judge.policy import PolicyJudge
from selm_runtime.score.interface import Scorable
from selm_runtime.score.judge import judge_of
from selm_runtime.score.judge_prompts import JudgePrompt
from support.tiny_model import make_tiny_model
from support.vllm_server import serving_model

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

FIELD = "spec.scoring.scorers[0].judge"
KEY = "secret"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def served(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of `vllm serve` with the model, named `tiny`."""
    with serving_model(model, "tiny", KEY, tmp_path_factory.mktemp("serve") / "log") as url:
        yield url


def ask(text: str, **more: object) -> ChatRequest:
    return ChatRequest((("user", text),), max_tokens=8, **more)  # type: ignore[arg-type]


def test_vllms_server_answers_refuses_and_counts(served: str) -> None:
    client = ChatClient(Endpoint(served, "tiny", FIELD, api_key=KEY))
    replies = client.complete([ask("Hi"), ask("x" * 2000), ask("Hello", top_logprobs=3), ask("Hi")])
    assert replies[1] is None  # longer than its context
    assert replies[0] is not None
    assert replies[0] == replies[3]
    assert replies[0].prompt_tokens is not None
    assert (replies[0].completion_tokens or 0) <= 8
    assert replies[2] is not None
    assert 1 <= len(replies[2].first_token or {}) <= 3  # of a byte-level tokenizer some texts are the same
    assert client.tokens > 0
    with pytest.raises(InvalidInput, match="JudgeKeyRefused"):
        ChatClient(Endpoint(served, "tiny", FIELD, api_key="other")).complete([ask("Hi")])
    with pytest.raises(InvalidInput, match="found 'huge'"):
        ChatClient(Endpoint(served, "huge", FIELD, api_key=KEY)).complete([ask("Hi")])


def test_a_judge_behind_vllms_server(served: str) -> None:
    config = JudgeConfig(endpoint=served, model="tiny", verdict_pattern=r"(?s)^(.)", max_tokens=8)
    prompt = JudgePrompt(config, "{{ prompt }} {{ response_a }} or {{ response_b }}?", FIELD)
    judge = judge_of("judge", ChatClient(Endpoint(served, "tiny", FIELD, api_key=KEY)), prompt, config, FIELD)
    texts = ["yes", "no", "maybe"]
    prompts = [[Scorable(0, [{"role": "user", "content": "Tea?"}], text, "stop") for text in texts]]
    (found,) = judge.compare(prompts)  # type: ignore[union-attr]
    assert len(found.margins) == 3
    counts = judge.counts()
    assert counts["asked"] == 6
    assert counts["tokens"] > 0


def test_the_policy_judges_itself(model: Path) -> None:
    judge = PolicyJudge(model, max_tokens=8, temperature=0.0)
    try:
        first = judge.complete([ask("Hi"), ask("x" * 2000), ask("Hello there")])
        again = judge.complete([ask("Hello there"), ask("Hi")])
        assert first[1] is None
        assert again == [first[2], first[0]]
        assert first[0] is not None
        assert (first[0].completion_tokens or 0) <= 8
        assert judge.complete([]) == []
    finally:
        judge.close()
