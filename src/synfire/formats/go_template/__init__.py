"""Go's template language, as far as prompt templates of Ollama's models use it: read once, rendered for each prompt."""

from synfire.formats.go_template.parsing import parse
from synfire.formats.go_template.rendering import render

__all__ = ["parse", "render"]
