"""A model of our own as a judge: the policy that judges its own responses, on vLLM in this process."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from selm_runtime.data.tokens import encode_prompt, load_tokenizer
from selm_runtime.engine import Engine, EngineSettings, Request, Sampling, stop_token_ids
from selm_runtime.judge.chat import ChatReply, ChatRequest

MAX_CONTEXT = 16_384
"""Tokens of a question and its answer at most: a judge's prompt holds two responses, not a book."""


class PolicyJudge:
    """Answers chat requests with a local model; the engine starts with the first question.

    All requests of one call share `max_tokens` and `temperature`: those of the first.
    """

    def __init__(
        self,
        model: Path,
        max_tokens: int,
        temperature: float,
        *,
        trust_remote_code: bool = False,
        tensor_parallel_size: int = 1,
        engine_args: dict[str, object] | None = None,
    ) -> None:
        """`model` is a local folder of a causal language model with a chat template."""
        self._tokenizer = load_tokenizer(model, trust_remote_code=trust_remote_code)
        context = json.loads((model / "config.json").read_text()).get("max_position_embeddings")
        most = min(context if isinstance(context, int) else MAX_CONTEXT, MAX_CONTEXT)
        self._max_tokens = min(max_tokens, most // 2)
        self._most_prompt = most - self._max_tokens
        self._settings = EngineSettings(
            model=model,
            max_prompt_tokens=self._most_prompt,
            max_new_tokens=self._max_tokens,
            tensor_parallel_size=tensor_parallel_size,
            trust_remote_code=trust_remote_code,
            engine_args=engine_args or {},
        )
        self._sampling = Sampling(
            temperature, 1.0, self._max_tokens, stop_token_ids(model, self._tokenizer.eos_token_id)
        )
        self._model = model
        self._engine: Engine | None = None

    @property
    def asked(self) -> str:
        return f"policy {self._model}"

    @property
    def refusal(self) -> str:
        return f"the question has more than the {self._most_prompt} tokens that maxTokens leaves of the model's context"

    def complete(
        self, requests: Sequence[ChatRequest], between: Callable[[], None] = lambda: None
    ) -> list[ChatReply | None]:
        """A reply to each request, in order; None for one that is longer than the model's context leaves room for."""
        if not requests:
            return []
        if self._engine is None:
            self._engine = Engine(self._settings, self._sampling)
        self._engine.forget()
        prompts = [
            encode_prompt(self._tokenizer, [{"role": role, "content": content} for role, content in request.messages])
            for request in requests
        ]
        for index, ids in enumerate(prompts):
            if len(ids) <= self._most_prompt:
                seed = int(requests[index].key("policy").removeprefix("sha256:")[:15], 16)
                self._engine.submit(Request(str(index), ids, seed))
        replies: list[ChatReply | None] = [None] * len(requests)
        while self._engine.unfinished:
            for done in self._engine.step():
                index = int(done.key)
                (text,) = self._tokenizer.batch_decode([list(done.ids)], skip_special_tokens=True)
                replies[index] = ChatReply(text, done.finish_reason, len(prompts[index]), len(done.ids))
            between()
        return replies

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()
            self._engine = None
