"""Modelfiles are read as Ollama reads them, written so that they are read again, and refused by the line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synfire.base.errors import UserError
from synfire.formats.modelfile import FOREIGN, PARAMETERS, ROLES, Instruction, Modelfile, parse_modelfile

WHOLE = '''# a bard
FROM ./shake.gguf
  parameter temperature 0.7
PARAMETER stop "<|im_end|>"
PARAMETER stop """ two words """
Parameter num_ctx 4096
PARAMETER use_mmap false
SYSTEM """
You speak as "Shakespeare".
# no comment here
"""
template "{{ .System }}
{{ .Prompt }}"
ADAPTER lora.gguf
LICENSE MIT
LICENSE Apache-2.0
MESSAGE user Speak, what news?
MESSAGE assistant   None good.
REQUIRES 0.14.0

'''


def test_every_instruction_is_read() -> None:
    found = parse_modelfile(WHOLE)
    assert found.base == Instruction("FROM", "./shake.gguf", "", 2)
    assert found.params == {
        "temperature": 0.7, "stop": ["<|im_end|>", " two words "], "num_ctx": 4096, "use_mmap": False,
    }  # fmt: skip
    assert found.last("SYSTEM") == '\nYou speak as "Shakespeare".\n# no comment here\n'
    assert found.last("TEMPLATE") == "{{ .System }}\n{{ .Prompt }}"
    assert [each.value for each in found.all("LICENSE")] == ["MIT", "Apache-2.0"]
    assert found.messages == [
        {"role": "user", "content": "Speak, what news?"},
        {"role": "assistant", "content": "None good."},
    ]
    assert found.last("REQUIRES") == "0.14.0"
    assert [each.line for each in found.all("ADAPTER")] == [14]


def test_it_is_written_as_it_was_read() -> None:
    found = parse_modelfile(WHOLE)
    again = parse_modelfile(str(found))
    assert _bare(again) == _bare(found)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('"FOO  BAR  "', "FOO  BAR  "),
        ("    FOOO BAR    ", "FOOO BAR"),
        ('"""a"""', "a"),
        ('""', ""),
        ('""""""', ""),
        ('"""\'\'"\'""\'""\'"\'\'\'\'\'""\'""\'"""', "''\"'\"\"'\"\"'\"'''''\"\"'\"\"'"),
        ('"a" b"', 'a" b'),
        ('"""one\n\n  two  \n"""', "one\n\n  two  \n"),
        ("a # b", "a # b"),
        ("it's", "it's"),
    ],
)
def test_values_are_read_as_ollama_reads_them(text: str, value: str) -> None:
    assert parse_modelfile(f"FROM x\nSYSTEM {text}\n").last("SYSTEM") == value
    assert parse_modelfile(f"FROM x\r\nSYSTEM {text}").last("SYSTEM") == value


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_file_may_be_of_any_of_these_encodings(encoding: str) -> None:
    assert parse_modelfile("FROM x\nSYSTEM Straße\n".encode(encoding)).last("SYSTEM") == "Straße"


VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=30) | st.text(' "\n\ta', max_size=12)
INSTRUCTIONS = st.one_of(
    st.builds(Instruction, st.sampled_from(["TEMPLATE", "SYSTEM", "LICENSE"]), VALUES),
    st.builds(Instruction, st.just("MESSAGE"), VALUES, st.sampled_from(ROLES)),
    st.builds(Instruction, st.just("PARAMETER"), VALUES, st.just("stop")),
    st.builds(
        Instruction, st.just("PARAMETER"), st.integers(-9, 9).map(str), st.sampled_from(["seed", "top_k", "min_p"])
    ),
    st.builds(Instruction, st.just("ADAPTER"), VALUES.filter(bool)),
)


@given(base=VALUES.filter(bool), rest=st.lists(INSTRUCTIONS, max_size=5))
def test_every_modelfile_that_can_be_written_is_read_again(base: str, rest: list[Instruction]) -> None:
    made = Modelfile((Instruction("FROM", base), *rest))
    try:
        text = str(made)
    except UserError:  # a line that ends with quotation marks
        assert any(line.rstrip(" \t").endswith('"') for each in made.instructions for line in each.value.split("\n"))
        return
    assert _bare(parse_modelfile(text)) == _bare(made)


@given(text=st.text(st.characters(codec="utf-8", exclude_characters='"\r'), max_size=200))
def test_text_without_quotation_marks_can_always_be_written(text: str) -> None:
    made = Modelfile((Instruction("FROM", "x"), Instruction("SYSTEM", text)))
    assert parse_modelfile(str(made)).last("SYSTEM") == text


@given(text=st.text() | st.text('FROMSYTE \n"#x'))
def test_any_text_is_read_or_refused_and_nothing_else(text: str) -> None:
    try:
        said = parse_modelfile(text).base.value
    except UserError as error:
        said = str(error)
    assert said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no FROM; begin it with FROM"),
        ("SYSTEM x", "has no FROM"),
        ("FROM x\nFORM y", r"line 2: 'FORM' is no instruction \(did you mean FROM\?\)"),
        ("FROM x\n\n# comment\nPARAMETRE seed 1", r"line 4: 'PARAMETRE'.*did you mean PARAMETER"),
        ("FROM x\nPARAMETER temprature 1", r"line 2: 'temprature' is no parameter \(did you mean temperature\?\)"),
        ("FROM x\nPARAMETER qqq 1", "line 2: 'qqq' is no parameter; there are"),
        ("FROM x\nPARAMETER seed", "line 2: PARAMETER needs a value"),
        ("FROM x\nPARAMETER seed 1.5", "line 2: PARAMETER seed is a whole number, and '1.5' is none"),
        ("FROM x\nPARAMETER temperature warm", "line 2: PARAMETER temperature is a number"),
        ("FROM x\nPARAMETER temperature nan", "line 2: PARAMETER temperature is a number"),
        ("FROM x\nPARAMETER use_mmap perhaps", "line 2: PARAMETER use_mmap is a true or false"),
        ("FROM x\nMESSAGE assistent hi", r"line 2: 'assistent' is no role \(did you mean assistant\?\)"),
        ("FROM x\nMESSAGE user", "line 2: MESSAGE needs a value"),
        ('FROM x\nSYSTEM """\nnever\nclosed', 'line 2: the """ that begins here is never closed'),
        ('FROM x\nSYSTEM "', 'line 2: the " that begins here is never closed'),
        ("FROM", "line 1: FROM needs a value"),
        ('FROM ""', "line 1: FROM names nothing"),
        ("FROM x\nFROM y", "line 2: a second FROM; one model is made from one, that of line 1"),
        ("FROM x\nREQUIRES soon", "line 2: REQUIRES soon is no version; write one as 0.14.0"),
        (b"FROM \xff\xff", "is no text in UTF-8"),
    ],
)
def test_a_wrong_line_is_named_with_the_nearest_word(text: str | bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_modelfile(text)


@pytest.mark.parametrize("word", FOREIGN)
def test_what_only_ollamas_program_has_is_refused(word: str) -> None:
    with pytest.raises(UserError, match=f"line 2: {word} names a part of Ollama's program.*leave the line out"):
        parse_modelfile(f"FROM x\n{word} y")


def test_parameters_of_the_past_are_told_and_left_out() -> None:
    found = parse_modelfile("FROM x\nPARAMETER mirostat 1\nPARAMETER seed 3\n")
    assert (found.past, found.params) == (("mirostat",), {"seed": 3})


def test_every_parameter_has_a_type_that_is_checked() -> None:
    values = {int: "3", float: "0.5", bool: "true", list: "x"}
    text = "FROM x\n" + "".join(f"PARAMETER {name} {values[kind]}\n" for name, kind in PARAMETERS.items())
    assert {name: type(value) for name, value in parse_modelfile(text).params.items()} == dict(PARAMETERS)


def _bare(found: Modelfile) -> list[tuple[str, str, str]]:
    return [(each.word, each.argument, each.value) for each in found.instructions]
