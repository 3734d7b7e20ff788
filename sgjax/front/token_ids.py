"""Token ids as callers give them, brought to int32 once: from there to the device it is 4 bytes."""

from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np

from sgjax.errors import InvalidRequest

MAX_ID = 2**31 - 1


def int32(ids: Any) -> array | None:
    """A list as int32; None if something in it is no integer (a bool is none) or does not fit."""
    if isinstance(ids, array):
        return ids
    if not isinstance(ids, list) or set(map(type, ids)) - {int}:
        return None
    try:
        return array("i", ids)
    except OverflowError:
        return None


def typed(ids: array, types: Sequence[int], *, vocab_size: int, num_types: int) -> array:
    """Ids with the type of each in them: of type t, id + t * vocab_size. A model that has a single
    type does not tell tokens apart."""
    if num_types == 1:
        return ids
    if max(types) >= num_types:
        raise InvalidRequest(
            f"The tokenizer gives a token type {max(types)}, but this model has {num_types}. Is it "
            "another model's?"
        )
    return array("i", (token + kind * vocab_size for token, kind in zip(ids, types, strict=True)))


def extremes(ids: array) -> tuple[int, int]:
    """The smallest and the largest of some ids."""
    values = np.frombuffer(ids, np.int32)
    return int(values.min()), int(values.max())


def read_ids(ids: Sequence[int], vocab_size: int, *, param: str = "prompt") -> array:
    """Ids as int32. Raises InvalidRequest for none at all, or for ids that the model lacks."""
    if not ids:
        raise InvalidRequest("The prompt has no tokens. Send at least one.", param=param)
    found = int32(ids)
    if found is None:
        wrong = next((token for token in ids if type(token) is not int), None)
        if wrong is not None:
            raise InvalidRequest(f"A token id must be an integer, not {wrong!r}.", param=param)
    for token in (min(ids), max(ids)) if found is None else extremes(found):
        if not 0 <= token < vocab_size:
            raise InvalidRequest(
                f"Token id {token} is not in this model's vocabulary: ids are 0 to "
                f"{vocab_size - 1}. Were the ids made with another model's tokenizer?",
                param=param,
            )
    assert found is not None, "whatever does not fit in int32 is in no vocabulary"
    return found
