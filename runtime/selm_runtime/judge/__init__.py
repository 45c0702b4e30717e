"""Asking language models for judgements: chat requests to any OpenAI-compatible endpoint, with a cache and a budget.

`chat` has the requests and replies, `client.ChatClient` sends them, `cache.ReplyCache` keeps what was answered in the
store, so that no reply is paid for twice. What is asked and how an answer is read is the caller's matter: Scoring's
judge (`selm_runtime.score.judge`), AlpacaEval, MT-Bench.
"""
