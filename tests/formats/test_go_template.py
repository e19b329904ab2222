"""Prompt templates in Go's language: what Ollama's models use of it, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synfire.base.errors import UserError
from synfire.formats.go_template import parse, render

USER, BOT = {"Role": "user", "Content": "Hi"}, {"Role": "assistant", "Content": "Ho"}

LLAMA3 = """{{ if .System }}<|start_header_id|>system<|end_header_id|>

{{ .System }}<|eot_id|>{{ end }}{{ if .Prompt }}<|start_header_id|>user<|end_header_id|>

{{ .Prompt }}<|eot_id|>{{ end }}<|start_header_id|>assistant<|end_header_id|>

{{ .Response }}<|eot_id|>"""

CHATML = """{{- range $i, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 -}}
<|im_start|>{{ .Role }}
{{ .Content }}{{ if not $last }}<|im_end|>
{{ end }}
{{- if and (ne .Role "assistant") $last }}<|im_end|>
<|im_start|>assistant
{{ end }}
{{- end }}"""


def made(template: str, until: str = "", **values: Any) -> str:
    return render(parse(template), values, until)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("plain", "plain"),
        ("{{ .A }}-{{.A}}", "x-x"),
        ("a {{- .A -}} b", "axb"),
        ("a {{- /* nothing */ -}} b", "ab"),
        ("{{ .Missing }}|{{ if .Missing }}a{{ else }}b{{ end }}", "<no value>|b"),
        ("{{ if .N }}0{{ else if eq .A `x` }}1{{ else }}2{{ end }}", "1"),
        ('{{ "a\\n\\"q\\"" }}{{ `raw\\n` }}', 'a\n"q"raw\\n'),
        ("{{ range .L }}{{ . }},{{ end }}", "1,2,3,"),
        ("{{ range $v := .L }}{{ $v }}{{ end }}{{ range $i, $v := .L }}{{ $i }}{{ $v }} {{ end }}", "12301 12 23 "),
        ("{{ range .None }}a{{ else }}none{{ end }}", "none"),
        ("{{ range .L }}{{ if eq . 2 }}{{ continue }}{{ end }}{{ . }}{{ end }}", "13"),
        ("{{ range .L }}{{ if eq . 2 }}{{ break }}{{ end }}{{ . }}{{ end }}", "1"),
        ("{{ with .D }}{{ .K }}{{ $.A }}{{ end }}{{ with .None }}a{{ else }}b{{ end }}", "vxb"),
        ("{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ $y := 3 }}{{ $y }}{{ end }}{{ $x }}", "32"),
        ("{{ .A | printf `%s-%v` 7 }}|{{ printf `%d%%|%q` 5 .A }}", "7-x|5%|\"x\""),
        ("{{ len .L }}{{ len .A }}{{ index .L 1 }}{{ index .D `K` }}{{ slice .L 1 }}{{ slice .A 0 1 }}", "312v[2 3]x"),
        ("{{ and .A .N }}{{ or .N .A }}{{ not .N }}{{ lt 1 2 }}{{ ge 1 2 }}", "0xtruetruefalse"),
        ("{{ and .N (index .None 5) }}", "0"),
        ("{{ eq .A `y` `x` }}{{ ne 1 2 }}", "truetrue"),
        ("{{ json .D }}{{ .D }}{{ (index .L 0) }}{{ (.D).K }}", '{"K":"v"}map[K:v]1v'),
        ("{{ print 1 `a` }}{{ -3 }}{{ 1.5 }}{{ nil }}", "1a-31.5<no value>"),
    ],
)  # fmt: skip
def test_what_is_written_in_go_is_rendered_as_in_go(template: str, text: str) -> None:
    assert made(template, A="x", N=0, L=[1, 2, 3], D={"K": "v"}) == text


def test_a_template_of_prompts_ends_behind_the_response() -> None:
    text = made(LLAMA3, "Response", System="Be brief.", Prompt="Hi", Response="")
    assert text.startswith("<|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>")
    assert text.endswith("<|start_header_id|>assistant<|end_header_id|>\n\n")
    assert made(LLAMA3, "Response", Prompt="Hi", Response="So").endswith("\n\nSo")
    assert made(LLAMA3, Prompt="Hi", Response="So").endswith("So<|eot_id|>")
    assert made("a{{ if .Response }}{{ .Response }}b{{ end }}c", "Response", Response="x") == "a"


def test_a_template_of_messages_has_the_whole_chat() -> None:
    assert "Messages" in parse(CHATML).fields
    assert made(CHATML, Messages=[USER, BOT, USER]) == (
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHo<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


@pytest.mark.parametrize(
    ("template", "what"),
    [
        ("a\n{{ .A", "line 2: an action that begins with {{ is not closed"),
        ("{{ if .A }}x", r"\{\{ if … \}\} has no \{\{ end \}\}"),
        ("{{ end }}", "ends nothing that has begun"),
        ("{{ if .A }}{{ else }}{{ else }}{{ end }}", "a second else"),
        ("{{ }}", "a value is missing"),
        ("{{ shout .A }}", "there is no function 'shout'; there are and, currentDate"),
        ("{{ .A .B }}", "no function is given arguments"),
        ("{{ ( .A }}", "a bracket is not closed"),
        ("{{ .A ) }}", r"'\)' stands where a value should"),
        ("{{ # }}", "'# ' cannot be read"),
        ("{{ break }}", "break stands in no range"),
        ('{{ template "x" }}', "template is not known here; write the template in one piece"),
        ("{{ $x }}", r"line 1: there is no variable \$x"),
        ("{{ $x = 1 }}", r"there is no variable \$x; declare it"),
        ("\n{{ .A.B }}", "line 2: 'x' has no field .B"),
        ("{{ range .A }}{{ end }}", "range cannot go over 'x'"),
        ("{{ len 1 }}", "1 has no length"),
        ("{{ len }}", "len does not take 0 values"),
        ("{{ index .L 9 }}", "index 9 is none of a value of 1"),
        ("{{ lt 1 .A }}", "1 and x cannot be compared"),
        ("{{ printf `%x` 1 }}", "%x is not known"),
        ("{{ if .A }}" * 70 + "{{ end }}" * 70, "more than 64 deep"),
        ("{{ " + "(" * 70 + ".A" + ")" * 70 + " }}", "more than 64 deep"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_line(template: str, what: str) -> None:
    with pytest.raises(UserError, match=rf"^the template, .*{what}"):
        made(template, A="x", L=[1])


def test_a_template_that_takes_too_long_or_makes_too_much_is_stopped() -> None:
    nested = "{{ range .L }}{{ range $.L }}{{ range $.L }}{{ end }}{{ end }}{{ end }}"
    with pytest.raises(UserError, match="takes more than 1000000 steps"):
        made(nested, L=list(range(1000)))
    with pytest.raises(UserError, match="makes more than 16777216 characters"):
        made("{{ range .L }}{{ $.A }}{{ end }}", L=list(range(1000)), A="x" * 100_000)


@given(st.text(alphabet='{}.-$ Aifend|:=()"`\n', max_size=60))
def test_any_text_is_rendered_or_refused_with_the_line(text: str) -> None:
    refusal = refused(text)
    assert not refusal or refusal.startswith("the template")


def refused(template: str) -> str:
    """Why a template is refused; empty for one that is rendered."""
    try:
        made(template, A="x")
    except UserError as error:
        return str(error)
    return ""
