"""The models that come with synfire: `zoo/NAME/` is a bundle with its card."""

from synfire.zoo.digits import digits_are_here, held_out_digits
from synfire.zoo.find import Model, find, told_apart
from synfire.zoo.neighbourhoods import neighbourhood
from synfire.zoo.samples import PictureFile, digit_inputs, files, picture_file, picture_inputs, sample
from synfire.zoo.shipped import card, load, names

__all__ = [
    "Model",
    "PictureFile",
    "card",
    "digit_inputs",
    "digits_are_here",
    "files",
    "find",
    "held_out_digits",
    "load",
    "names",
    "neighbourhood",
    "picture_file",
    "picture_inputs",
    "sample",
    "told_apart",
]
