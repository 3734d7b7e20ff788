"""The alphabet of axes: every array axis in sgjax has one capital letter, here and nowhere else.

The letters stand in type annotations (`q: Float[Array, "T K G H"]`), in einsums, in the checkpoint
tables of `sgjax/models` (lower case there: `"(k g h) d -> d k g h"`), and in the sharding rules.
"""

AXES = {
    "T": "tokens of a step, all requests end to end",
    "S": "rows of a step: one request's share each",
    "R": "rows of a step whose logits are wanted",
    "P": "pages of the KV cache",
    "B": "tokens of a page",
    "C": "pages of one row's page table",
    "D": "model width",
    "F": "feed-forward width",
    "K": "key/value heads",
    "G": "query heads that share one key/value head",
    "N": "query heads: K times G",
    "H": "size of one head",
    "E": "experts",
    "X": "feed-forward width of an expert",
    "V": "vocabulary",
    "L": "layers",
    "Y": "labels of a classifier",
    "A": "latent of a token's keys and values",
    "Q": "latent of a token's queries",
    "U": "features of a head that do not turn with its position, where H are those that do",
    "J": "features of a head's values, where they are others than of its keys",
    "M": "entry of a cache of latents: A and H",
}
