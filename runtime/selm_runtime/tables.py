"""The declared schemas of every table that passes from one phase to the next (Parquet)."""

from __future__ import annotations

import pyarrow as pa

MESSAGE = pa.struct([pa.field("role", pa.string(), False), pa.field("content", pa.string(), False)])

PROMPTS = pa.schema(
    [
        pa.field("row", pa.int64(), False),  # index in the data's order: stable over the whole run
        pa.field("prompt", pa.list_(MESSAGE), False),  # the conversation up to the response
        pa.field("chosen", pa.string()),  # the offline pair's responses; null where the format has none
        pa.field("rejected", pa.string()),
        pa.field("chosen_turns", pa.list_(MESSAGE)),  # what of a response of several turns comes before its last text;
        pa.field("rejected_turns", pa.list_(MESSAGE)),  # null where the response is that one text
        pa.field("columns", pa.map_(pa.string(), pa.string()), False),  # the row's other scalar columns, for rules
    ]
)
"""Written by Preparation (one file a portion, one for the held-out rows), read by every phase."""

FIT = pa.schema(
    [
        pa.field("row", pa.int64(), False),
        pa.field("log_prob", pa.float64(), False),  # of what data.selection measures, by the base: nats a token
    ]
)
"""Written by Preparation where `data.selection` is given, for all rows for training, also those that are left out."""

RESPONSES = pa.schema(
    [
        pa.field("row", pa.int64(), False),
        pa.field("policy", pa.string(), False),  # Current or Reference
        pa.field("sample", pa.int32(), False),
        pa.field("prompt_ids", pa.list_(pa.int32()), False),
        pa.field("response_ids", pa.list_(pa.int32()), False),  # as the engine gave them, its EOS included
        pa.field("text", pa.string(), False),
        pa.field("finish_reason", pa.string(), False),  # stop or length
    ]
)
"""Written by Generation (by chunks) and Evaluation (the held-out responses)."""

CANDIDATE = pa.struct(
    [
        pa.field(
            "source", pa.string(), False
        ),  # offline:chosen, offline:rejected, Current:<sample>, Reference:<sample>
        pa.field("ids", pa.list_(pa.int32()), False),  # EOS included
        pa.field("text", pa.string(), False),
        pa.field("finish_reason", pa.string()),  # null for offline responses
        pa.field("score", pa.float64()),  # null where no scorer could say
    ]
)

PAIRS = pa.schema(
    [
        pa.field("row", pa.int64(), False),
        pa.field("prompt_ids", pa.list_(pa.int32()), False),
        pa.field("chosen_ids", pa.list_(pa.int32()), False),
        pa.field("rejected_ids", pa.list_(pa.int32()), False),
        pa.field("explored_ids", pa.list_(pa.int32()), False),  # the policy's first response
        pa.field("chosen_source", pa.string(), False),
        pa.field("rejected_source", pa.string(), False),
        pa.field("explored_source", pa.string(), False),
        pa.field("chosen_score", pa.float64(), False),
        pa.field("rejected_score", pa.float64(), False),
        pa.field("candidates", pa.list_(CANDIDATE), False),
    ]
)
"""Written by Scoring (by chunks): one row for each prompt that has a pair, read by Training and Evaluation."""

HELD_OUT_REWARDS = pa.schema(
    [
        pa.field("row", pa.int64(), False),
        pa.field("combined", pa.float64()),  # of all scorers by weight; null where one could not say
        pa.field("scores", pa.map_(pa.string(), pa.float64()), False),  # by scorer's name
    ]
)
"""Written by Evaluation: the scores of the held-out responses, in the order of its RESPONSES table."""

HELD_OUT_LOG_PROBS = pa.schema(
    [
        pa.field("row", pa.int64(), False),
        pa.field("response", pa.float64(), False),  # of the policy's own response, summed over its tokens, in nats
        pa.field("response_base", pa.float64(), False),  # of the same response by the run's base model
        pa.field("response_tokens", pa.int32(), False),
        pa.field("chosen", pa.float64()),  # of the data's responses by the policy; null where the row has no pair
        pa.field("rejected", pa.float64()),
    ]
)
"""Written by Evaluation; the base's own (iteration 0) spares later iterations its passes over the data's pairs."""
