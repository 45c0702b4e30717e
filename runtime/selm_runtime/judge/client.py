"""The client of an OpenAI-compatible endpoint: several requests at a time, retried, within a rate and a budget.

Endpoints speak dialects. Some models take the bound on a reply as `max_completion_tokens` only: the same bound, and the
reasoning that is not shown counts into it, too. Some take no temperature: then the default of 0 is left out, the
endpoint draws at its own, and each such reply says so (`ChatReply.own_temperature`), since it may differ when it is
asked for again; any other temperature was asked for by somebody, and is refused with the field. What an endpoint
insists on is learnt from its refusal and remembered as long as the client lives.
"""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import Any

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

from selm_runtime.artifacts.upload import time_scale
from selm_runtime.errors import InvalidInput, PhaseFailure, TemporaryFailure
from selm_runtime.judge.cache import ReplyCache
from selm_runtime.judge.chat import ChatReply, ChatRequest
from selm_runtime.judge.limits import RateLimit, TokenBudget

UNAVAILABLE = "JudgeUnavailable"
RETRY_SECONDS = 300.0
"""How long one request is tried again while the endpoint is away or overloaded."""
TIMEOUT_SECONDS = 300.0
MAX_WAIT_SECONDS = 60.0
MAX_SAID = 400
"""Characters of a foreign answer that a message quotes."""
DEFAULT_TEMPERATURE = 0.0
STATUS_TRY_AGAIN = (408, 409, 425, 429)
STATUS_THIS_REQUEST = (400, 413, 422)
"""Refusals of one request (too long, its content filtered); the others may be answered."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Endpoint:
    """Who is asked. `field` is its group in the spec (`spec.scoring.scorers[0].judge`), for errors."""

    base_url: str
    model: str
    field: str
    api_key: str | None = None
    concurrency: int = 8
    requests_per_minute: float | None = None


@dataclass(frozen=True)
class Dialect:
    """How a request is written: under which name the bound on a reply's tokens goes, and whether a temperature does."""

    tokens: str = "max_tokens"
    temperature: bool = True


def learnt(dialect: Dialect, temperature: float, refusal: Mapping[str, Any]) -> Dialect | None:
    """The dialect that a refusal asks for; None where it asks for none. `refusal` is the endpoint's error object.

    The temperature is left out only where it is the default.
    """
    text, param = str(refusal.get("message") or ""), refusal.get("param")

    def about(name: str) -> bool:
        return param == name or (param is None and re.search(rf"\b{name}\b", text) is not None)

    newer = "max_completion_tokens"
    says_so = re.search(rf"(?i)\buse\W+{newer}\b", text) or refusal.get("code") == "unsupported_parameter"
    if dialect.tokens != newer and about("max_tokens") and says_so:
        return replace(dialect, tokens=newer)
    if dialect.temperature and temperature == DEFAULT_TEMPERATURE and about("temperature"):
        return replace(dialect, temperature=False)
    return None


class ChatClient:
    """Answers come from the cache where it has them, else from the endpoint.

    Raises, from `complete`: TemporaryFailure where the endpoint stays away for `RETRY_SECONDS` or the caller is to
    stop; InvalidInput where the key is refused, endpoint or model do not exist, what answers is no such API, or the
    budget is used up.
    """

    def __init__(self, endpoint: Endpoint, cache: ReplyCache | None = None, budget: TokenBudget | None = None) -> None:
        import openai  # imported here: a second that only judges pay for

        self._openai = openai
        self._endpoint = endpoint
        self._cache = cache
        self._budget = budget or TokenBudget(None, endpoint.field)
        self._rate = RateLimit(endpoint.requests_per_minute)
        self._dialect = Dialect()
        self._refusal = ""
        self._scale = time_scale()
        self._stopped = threading.Event()
        self._client = openai.OpenAI(
            api_key=endpoint.api_key or "none", base_url=endpoint.base_url, timeout=TIMEOUT_SECONDS, max_retries=0
        )

    @property
    def asked(self) -> str:
        return f"{self._endpoint.base_url.rstrip('/')} {self._endpoint.model}"

    @property
    def refusal(self) -> str:
        """What the endpoint last said of a request that it refused."""
        return self._refusal

    @property
    def tokens(self) -> int:
        """Of all replies so far, cached ones included."""
        return self._budget.spent

    def close(self) -> None:
        self._stopped.set()
        self._client.close()

    def complete(
        self, requests: Sequence[ChatRequest], between: Callable[[], None] = lambda: None
    ) -> list[ChatReply | None]:
        """A reply to each request, in order; equal requests are asked once. See `ChatModel.complete`."""
        keys = [request.key(self.asked) for request in requests]
        replies: dict[str, ChatReply | None] = {}
        pool = ThreadPoolExecutor(self._endpoint.concurrency, thread_name_prefix="judge")
        try:
            by_key = dict(zip(keys, requests, strict=True))
            running: dict[Future[ChatReply | None], str] = {
                pool.submit(self._one, key, request): key for key, request in by_key.items()
            }
            pending = set(running)
            while pending:
                done, pending = wait(pending, timeout=1.0, return_when=FIRST_COMPLETED)
                for future in done:
                    replies[running[future]] = future.result()
                between()
        except BaseException:
            self._stopped.set()  # wakes what waits for a retry or its turn
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        return [replies[key] for key in keys]

    def _one(self, key: str, request: ChatRequest) -> ChatReply | None:
        kept = None if self._cache is None else self._cache.get(key)
        if kept is None:
            self._budget.check()
            kept = self._ask(request)
            if kept is not None and self._cache is not None:
                kept = self._cache.put(key, kept)
        if kept is not None:
            self._budget.spend(kept.tokens)
        return kept

    def _ask(self, request: ChatRequest) -> ChatReply | None:
        try:
            for attempt in Retrying(
                retry=retry_if_exception(self._try_again),
                wait=self._wait,
                stop=stop_after_delay(RETRY_SECONDS * self._scale),
                sleep=self._sleep,
                reraise=True,
            ):
                with attempt:
                    return self._send(request)
        except self._openai.APIStatusError as error:
            if error.status_code in STATUS_THIS_REQUEST:
                self._refusal = self._excerpt(_said(error))
                if _object(error).get("param") == "temperature":
                    raise InvalidInput(
                        "JudgeRefuses",
                        f"{self._endpoint.field}.temperature: found {request.temperature:g}; {self._endpoint.base_url} says "
                        f"{self._refusal!r}",
                    ) from error
                _log.warning("the judge refused a request: %s", self._refusal)
                return None
            raise self._failure(error) from error
        except self._openai.APIConnectionError as error:
            raise TemporaryFailure(
                UNAVAILABLE, f"{self._endpoint.field}.endpoint: {self._endpoint.base_url} does not answer: {error}"
            ) from error
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _send(self, request: ChatRequest) -> ChatReply:
        """Asks, once more for each peculiarity that the endpoint's refusals teach."""
        dialect = self._dialect
        while True:
            self._sleep(self._rate.wait_seconds())
            try:
                reply = self._reply(self._create(request, dialect))
            except self._openai.APIStatusError as error:
                taught = None
                if error.status_code in STATUS_THIS_REQUEST:
                    taught = learnt(dialect, request.temperature, _object(error))
                if taught is None:
                    raise
                dialect = taught
                continue
            if dialect != self._dialect:
                _log.warning("%s takes %s", self.asked, dialect)
                self._dialect = dialect
            return reply if dialect.temperature else replace(reply, own_temperature=True)

    def _create(self, request: ChatRequest, dialect: Dialect) -> Any:
        optional: dict[str, Any] = {dialect.tokens: request.max_tokens}
        if dialect.temperature:
            optional["temperature"] = request.temperature
        if request.seed is not None:
            optional["seed"] = request.seed
        if request.top_logprobs:
            optional |= {"logprobs": True, "top_logprobs": request.top_logprobs}
        try:
            return self._client.chat.completions.create(
                model=self._endpoint.model,
                messages=[{"role": role, "content": content} for role, content in request.messages],  # type: ignore[misc]
                **optional,
            )
        except json.JSONDecodeError as error:
            raise self._no_api(str(error)) from error

    def _reply(self, answer: Any) -> ChatReply:
        choices = getattr(answer, "choices", None)
        if not choices or getattr(choices[0], "message", None) is None:
            raise self._no_api(str(answer))
        choice, usage = choices[0], getattr(answer, "usage", None)
        tokens = getattr(getattr(choice, "logprobs", None), "content", None)
        return ChatReply(
            text=choice.message.content or "",
            finish_reason=choice.finish_reason or "",
            prompt_tokens=getattr(usage, "prompt_tokens", None),
            completion_tokens=getattr(usage, "completion_tokens", None),
            first_token={top.token: top.logprob for top in tokens[0].top_logprobs} if tokens else None,
        )

    def _no_api(self, found: str) -> InvalidInput:
        return InvalidInput(
            "NoChatAPI",
            f"{self._endpoint.field}.endpoint: {self._endpoint.base_url} answers {self._excerpt(found)!r}; allowed is the base "
            "URL of an OpenAI-compatible API (often ends with /v1)",
        )

    def _failure(self, error: Any) -> PhaseFailure:
        endpoint, status = self._endpoint, int(error.status_code)
        said = f"{endpoint.base_url} answers {status}: {self._excerpt(error.message)}"
        if status in (401, 403):
            return InvalidInput("JudgeKeyRefused", f"{endpoint.field}.apiKeySecretRef: the key is refused; {said}")
        if status == 404:
            return InvalidInput(
                "JudgeNotFound",
                f"{endpoint.field}.model: found {endpoint.model!r}; it or {endpoint.field}.endpoint does not exist; {said}",
            )
        if self._try_again(error):
            return TemporaryFailure(UNAVAILABLE, f"{endpoint.field}.endpoint: {said}")
        return InvalidInput("JudgeRefuses", f"{endpoint.field}.endpoint: {said}")

    def _excerpt(self, text: str) -> str:
        """Enough of a foreign answer to see what it is, without the key."""
        flat = " ".join(text.split())
        if self._endpoint.api_key:
            flat = flat.replace(self._endpoint.api_key, "(the key)")
        return flat if len(flat) <= MAX_SAID else f"{flat[:MAX_SAID]}…"

    def _try_again(self, error: BaseException) -> bool:
        if isinstance(error, self._openai.APIStatusError):
            return error.status_code in STATUS_TRY_AGAIN or error.status_code >= 500
        return isinstance(error, self._openai.APIConnectionError)

    def _wait(self, state: RetryCallState) -> float:
        """What the endpoint asks for (`Retry-After`, in seconds), else a random wait that grows."""
        error = state.outcome.exception() if state.outcome is not None else None
        response = getattr(error, "response", None)
        asked_for = response.headers.get("retry-after", "") if response is not None else ""
        if asked_for.isdigit():
            return min(float(asked_for), MAX_WAIT_SECONDS) * self._scale
        return wait_random_exponential(multiplier=self._scale, min=self._scale, max=30 * self._scale)(state)

    def _sleep(self, seconds: float) -> None:
        """Raises TemporaryFailure where the caller stops meanwhile."""
        if self._stopped.wait(seconds):
            raise TemporaryFailure("Preempted", "the pod was asked to end; what was answered is kept")


def _object(error: Any) -> Mapping[str, Any]:
    """The error object of an answer, empty where there is none."""
    return error.body if isinstance(error.body, Mapping) else {}


def _said(error: Any) -> str:
    """The endpoint's own words, where it has some."""
    message = _object(error).get("message")
    return message if isinstance(message, str) and message else str(error.message)
