"""The chat client: retries, refusals, cache, rate and budget, against a server whose faults the tests decide."""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from selm_runtime import phase
from selm_runtime.artifacts.store import Store, open_uri
from selm_runtime.errors import InvalidInput, PhaseFailure, TemporaryFailure
from selm_runtime.judge import client as client_module
from selm_runtime.judge.cache import ReplyCache
from selm_runtime.judge.chat import ChatReply, ChatRequest
from selm_runtime.judge.client import ChatClient, Dialect, Endpoint, learnt
from selm_runtime.judge.limits import RateLimit, TokenBudget
from support.chat_server import ChatServer, Fault, Messages

FIELD = "spec.scoring.scorers[0].judge"
HERE = re.escape(FIELD)


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELM_TIME_SCALE", "0.01")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_uri(f"file://{tmp_path}/store", field="spec.artifacts.uri")


def ask(text: str) -> ChatRequest:
    return ChatRequest(messages=(("user", text),), max_tokens=16)


def new_client(server: ChatServer | str, **more: object) -> ChatClient:
    url = server if isinstance(server, str) else server.url
    names = ("cache", "budget")
    rest = {name: value for name, value in more.items() if name in names}
    settings = {name: value for name, value in more.items() if name not in names}
    return ChatClient(Endpoint(url, "m", FIELD, **settings), **rest)  # type: ignore[arg-type]


def echo(messages: Messages) -> str:
    return f"you said {messages[-1]['content']}"


def fails_first(times: int, fault: Fault) -> Callable[[Messages], str | Fault]:
    """Answers only after so many faults."""
    left, lock = [times], threading.Lock()

    def answer(messages: Messages) -> str | Fault:
        with lock:
            left[0] -= 1
            return fault if left[0] >= 0 else echo(messages)

    return answer


def test_replies_come_in_the_requests_order_and_equal_ones_are_asked_once() -> None:
    with ChatServer(echo) as server:
        replies = new_client(server).complete([ask(f"{i % 7}") for i in range(20)])
        assert [reply and reply.text for reply in replies] == [f"you said {i % 7}" for i in range(20)]
        assert len(server.seen) == 7
        assert server.seen[0]["model"] == "m"
        assert (server.seen[0]["temperature"], server.seen[0]["max_tokens"]) == (0.0, 16)
        assert replies[0] is not None
        assert (replies[0].tokens, replies[0].finish_reason, replies[0].first_token) == (15, "stop", None)


def test_a_pods_log_has_no_line_for_each_request(caplog: pytest.LogCaptureFixture) -> None:
    levels = {name: logging.getLogger(name).level for name in phase.HTTP_CLIENTS}
    try:
        for name in levels:
            logging.getLogger(name).setLevel(logging.NOTSET)
        with caplog.at_level(logging.INFO), ChatServer(echo) as server:
            new_client(server).complete([ask("before")])
            assert [record for record in caplog.records if "/chat/completions" in record.getMessage()]
            caplog.clear()
            phase.log_to_stderr()
            new_client(server).complete([ask(f"{i}") for i in range(5)])
            assert len(server.seen) == 6
            assert [record.getMessage() for record in caplog.records] == []
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def test_the_first_tokens_alternatives_come_where_they_are_asked_for() -> None:
    with ChatServer(lambda _: "A is better") as server:
        (reply,) = new_client(server).complete([ChatRequest((("user", "?"),), 16, top_logprobs=5)])
        assert reply is not None
        assert reply.first_token == {"A": -0.1, "?": -2.5}
        assert server.seen[0]["top_logprobs"] == 5


PASSING = {
    "the server is overloaded": Fault(429, headers={"Retry-After": "1"}),
    "the server fails": Fault(503),
    "the connection breaks": Fault(0),
}


@pytest.mark.parametrize("case", PASSING)
def test_what_passes_is_tried_again(case: str) -> None:
    with ChatServer(fails_first(3, PASSING[case])) as server:
        (reply,) = new_client(server).complete([ask("x")])
        assert reply is not None
        assert reply.text == "you said x"
        assert len(server.seen) == 4


def test_what_the_server_asks_to_wait_is_waited() -> None:
    with ChatServer(fails_first(1, Fault(429, headers={"Retry-After": "30"}))) as server:
        started = time.monotonic()
        new_client(server).complete([ask("x")])
        assert time.monotonic() - started >= 0.3  # 30 s at the tests' scale


ENDINGS: dict[str, tuple[Fault, type[PhaseFailure], str]] = {
    "it stays away": (Fault(503), TemporaryFailure, rf"{HERE}.endpoint: .* answers 503"),
    "the key is refused": (Fault(401), InvalidInput, rf"{HERE}.apiKeySecretRef: the key is refused"),
    "the key has no right": (Fault(403), InvalidInput, rf"{HERE}.apiKeySecretRef"),
    "the model does not exist": (Fault(404), InvalidInput, rf"{HERE}.model: found 'm'"),
    "a page instead of an answer": (Fault(200, "<html>hello</html>"), InvalidInput, "OpenAI-compatible API"),
    "JSON of another kind": (Fault(200, '{"hello": 1}'), InvalidInput, "OpenAI-compatible API"),
    "cut JSON": (Fault(200, '{"choices": ['), InvalidInput, "OpenAI-compatible API"),
    "a payment is due": (Fault(402), InvalidInput, rf"{HERE}.endpoint: .* answers 402"),
}


@pytest.mark.parametrize("case", ENDINGS)
def test_what_does_not_pass_ends_the_phase(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "RETRY_SECONDS", 20.0)
    fault, kind, message = ENDINGS[case]
    with ChatServer(lambda _: fault) as server, pytest.raises(kind, match=message):
        new_client(server).complete([ask("x"), ask("y")])


def test_nobody_there_is_temporary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "RETRY_SECONDS", 20.0)
    with ChatServer(echo) as server:
        url = server.url
    with pytest.raises(TemporaryFailure, match="does not answer"):
        new_client(url).complete([ask("x")])


def test_one_refused_request_is_told_apart_from_the_others() -> None:
    def picky(messages: Messages) -> str | Fault:
        return Fault(400) if messages[-1]["content"] == "bad" else "fine"

    with ChatServer(picky) as server:
        replies = new_client(server).complete([ask("good"), ask("bad"), ask("better")])
        assert [reply and reply.text for reply in replies] == ["fine", None, "fine"]


def error(message: str, param: str | None = None, code: str | None = None) -> Fault:
    return Fault(400, json.dumps({"error": {"message": message, "param": param, "code": code}}))


OLD_NAME = error(
    "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
    "max_tokens",
    "unsupported_parameter",
)
NO_TEMPERATURE = error(
    "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is supported.",
    "temperature",
    "unsupported_value",
)


class Particular(ChatServer):
    """Takes `max_completion_tokens` and no temperature."""

    def reply(self, path: str, authorization: str | None, body: dict[str, Any]) -> tuple[int, str, Mapping[str, str]]:
        for name, fault in (("max_tokens", OLD_NAME), ("temperature", NO_TEMPERATURE)):
            if name in body:
                self.seen.append(body)
                return fault.status, fault.body, {}
        return super().reply(path, authorization, body)


def test_an_endpoints_dialect_is_learnt_once_and_what_it_drew_itself_is_told(store: Store) -> None:
    with Particular(echo) as server:
        client = new_client(server, cache=ReplyCache(store, "team"), concurrency=1)
        replies = client.complete([ask("a"), ask("b")])
        assert [reply and (reply.text, reply.own_temperature) for reply in replies] == [
            ("you said a", True),
            ("you said b", True),
        ]
        asked = [{name: body[name] for name in body if name not in ("model", "messages")} for body in server.seen]
        assert asked == [
            {"max_tokens": 16, "temperature": 0.0},
            {"max_completion_tokens": 16, "temperature": 0.0},
            {"max_completion_tokens": 16},
            {"max_completion_tokens": 16},
        ]
        again = new_client(server, cache=ReplyCache(store, "team")).complete([ask("b")])
        assert (again, len(server.seen)) == ([replies[1]], 4)  # the kept reply says so, too


def test_a_temperature_that_somebody_asked_for_is_never_left_out() -> None:
    warm = ChatRequest((("user", "x"),), 16, temperature=0.7)
    with (
        Particular(echo) as server,
        pytest.raises(InvalidInput, match=rf"{HERE}\.temperature: found 0\.7; .* says .*Only the default"),
    ):
        new_client(server).complete([warm])
    assert all(body["temperature"] == 0.7 for body in server.seen)


def test_replies_are_written_as_they_were_before_there_were_dialects() -> None:
    plain, drawn = ChatReply("x", "stop"), ChatReply("x", "stop", own_temperature=True)
    assert b"own_temperature" not in plain.to_json()
    assert [ChatReply.from_json(reply.to_json()) for reply in (plain, drawn)] == [plain, drawn]


LEARNT: dict[str, tuple[Dialect, float, dict[str, str | None], Dialect | None]] = {
    "another name, in words alone": (
        Dialect(),
        0.0,
        {"message": "max_tokens is deprecated, please use max_completion_tokens"},
        Dialect("max_completion_tokens"),
    ),
    "another name, by its code": (
        Dialect(),
        0.7,
        {"message": "no", "param": "max_tokens", "code": "unsupported_parameter"},
        Dialect("max_completion_tokens"),
    ),
    "too many of them": (
        Dialect(),
        0.0,
        {"message": "'max_tokens' or 'max_completion_tokens' is too large: 16", "param": None},
        None,
    ),
    "no temperature, in words alone": (
        Dialect(),
        0.0,
        {"message": "`temperature` is deprecated for this model."},
        Dialect(temperature=False),
    ),
    "a prompt about temperature": (
        Dialect(),
        0.0,
        {"message": "filtered: what is the temperature?", "param": "prompt"},
        None,
    ),
    "no temperature where one was wanted": (Dialect(), 0.7, {"message": "temperature", "param": "temperature"}, None),
    "the same again": (Dialect("max_completion_tokens", False), 0.0, {"message": "use max_completion_tokens"}, None),
    "nothing": (Dialect(), 0.0, {}, None),
}


@pytest.mark.parametrize("case", LEARNT)
def test_what_is_learnt_from_a_refusal(case: str) -> None:
    dialect, temperature, refusal, expected = LEARNT[case]
    assert learnt(dialect, temperature, refusal) == expected


def test_a_refusals_words_are_kept_bounded_and_without_the_key() -> None:
    said = "the key sk-secret may not ask this " + "and so on " * 100
    with ChatServer(lambda _: error(said), key="sk-secret") as server:
        client = new_client(server, api_key="sk-secret")
        assert client.complete([ask("x")]) == [None]
        assert client.refusal.startswith("the key (the key) may not ask this and so on")
        assert len(client.refusal) <= client_module.MAX_SAID + 1


def test_the_key_is_sent() -> None:
    with ChatServer(echo, key="secret") as server:
        assert new_client(server, api_key="secret").complete([ask("x")])[0] is not None
        with pytest.raises(InvalidInput, match="JudgeKeyRefused"):
            new_client(server, api_key="other").complete([ask("x")])


def test_what_was_answered_is_never_asked_again(store: Store) -> None:
    cache = ReplyCache(store, "team")
    with ChatServer(echo) as server:
        first = new_client(server, cache=cache).complete([ask("a"), ask("b")])
        again = new_client(server, cache=cache).complete([ask("b"), ask("c"), ask("a")])
        assert [again[2], again[0]] == first
        assert [body["messages"][0]["content"] for body in server.seen].count("a") == 1
        assert len(server.seen) == 3
        new_client(server, cache=ReplyCache(store, "other")).complete([ask("a")])
        assert len(server.seen) == 4  # another namespace's replies are its own


def test_what_was_answered_before_a_failure_is_kept(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "RETRY_SECONDS", 5.0)

    def half(messages: Messages) -> str | Fault:
        return Fault(500) if messages[-1]["content"] == "late" else "fine"

    with ChatServer(half) as server:
        broken = new_client(server, cache=ReplyCache(store, "team"), concurrency=1)
        with pytest.raises(TemporaryFailure):
            broken.complete([ask("early"), ask("late")])
    with ChatServer(echo) as other:
        assert ReplyCache(store, "team").get(ask("early").key(broken.asked)) == ChatReply("fine", "stop", 10, 5)
        assert other.seen == []


def test_an_unreadable_kept_reply_is_asked_for_again(store: Store) -> None:
    cache = ReplyCache(store, "team")
    with ChatServer(echo) as server:
        client = new_client(server, cache=cache)
        client.complete([ask("a")])
        (info,) = store.list("team/judge-replies/")
        store.put(info.key, b"{")
        (reply,) = new_client(server, cache=cache).complete([ask("a")])
        assert reply is not None
        assert cache.get(ask("a").key(client.asked)) == reply


def test_a_used_up_budget_ends_it_and_what_was_paid_for_counts_once(store: Store) -> None:
    with ChatServer(echo) as server:
        requests = [ask(f"{i}") for i in range(10)]
        cache = ReplyCache(store, "team")
        first = new_client(server, cache=cache, concurrency=1, budget=TokenBudget(60, f"{FIELD}.tokenBudget"))
        with pytest.raises(InvalidInput, match=r"tokenBudget: 60 tokens of 60 are used up"):
            first.complete(requests)
        assert len(server.seen) == 4
        again = new_client(server, cache=cache, concurrency=1, budget=TokenBudget(60, f"{FIELD}.tokenBudget"))
        with pytest.raises(InvalidInput, match="BudgetExhausted"):
            again.complete(requests)
        assert len(server.seen) == 4  # the restart asked for nothing
        rich = new_client(server, cache=cache, budget=TokenBudget(1000, f"{FIELD}.tokenBudget"))
        assert all(rich.complete(requests))
        assert (len(server.seen), rich.tokens) == (10, 150)


def test_a_budget_needs_an_endpoint_that_counts() -> None:
    with ChatServer(echo, usage=False) as server:
        assert new_client(server).complete([ask("x")])[0] is not None
        with pytest.raises(InvalidInput, match="reports no token usage"):
            new_client(server, budget=TokenBudget(100, FIELD)).complete([ask("x")])


def test_a_stop_is_heard_while_it_waits() -> None:
    def stop() -> None:
        raise TemporaryFailure("Preempted", "asked to go")

    busy = fails_first(1, Fault(429, headers={"Retry-After": "60"}))
    with ChatServer(busy) as server, pytest.raises(TemporaryFailure, match="asked to go"):
        new_client(server).complete([ask("x")], stop)


def test_the_rate_spreads_requests_evenly() -> None:
    now = [100.0]
    limit = RateLimit(30.0, lambda: now[0])
    assert [limit.wait_seconds() for _ in range(3)] == [0.0, 2.0, 4.0]
    now[0] = 120.0
    assert limit.wait_seconds() == 0.0
    assert [RateLimit(None).wait_seconds() for _ in range(3)] == [0.0] * 3


def test_who_is_asked_and_how_is_part_of_a_replys_key() -> None:
    keys = {
        ask("x").key("a m"),
        ask("x").key("b m"),
        ask("y").key("a m"),
        ChatRequest((("user", "x"),), 17).key("a m"),
        ChatRequest((("user", "x"),), 16, seed=1).key("a m"),
        ChatRequest((("system", "x"),), 16).key("a m"),
    }
    assert len(keys) == 6
