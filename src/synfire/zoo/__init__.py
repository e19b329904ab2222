"""The models that come with synfire: `zoo/NAME/` is a bundle with its card."""

from synfire.zoo.find import Model, find
from synfire.zoo.neighbourhoods import neighbourhood
from synfire.zoo.samples import files, held_out_digits, inverts, picture_inputs, sample
from synfire.zoo.shipped import card, load, names

__all__ = [
    "Model",
    "card",
    "files",
    "find",
    "held_out_digits",
    "inverts",
    "load",
    "names",
    "neighbourhood",
    "picture_inputs",
    "sample",
]
