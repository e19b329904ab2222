"""Tokens and places, as users write them."""

from __future__ import annotations

import os

import pytest

from synfire.base.errors import UserError
from synfire.cli.entrance import command_of, entrance_of
from synfire.deploy.join.place import parse_own_place, parse_place, reachable_place
from synfire.deploy.join.secret import credential_of, given_token, new_token, write_credential
from synfire.wire.links.tls import Credential

TOKEN = "0123456789abcdef" * 2


def test_key_and_certificate_follow_from_the_token_alone():
    assert credential_of(TOKEN) == credential_of(TOKEN)
    assert credential_of(TOKEN).fingerprint != credential_of(TOKEN + "x").fingerprint


def test_new_tokens_differ_and_are_long_enough():
    one, other = new_token(), new_token()
    assert one != other
    assert credential_of(one).fingerprint != credential_of(other).fingerprint


def test_a_token_comes_from_the_command_line_a_file_or_the_environment(tmp_path):
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    assert given_token(TOKEN, None, {}) == TOKEN
    assert given_token(None, file, {"SYNFIRE_JOIN_TOKEN": "other"}) == TOKEN
    assert given_token(None, None, {"SYNFIRE_JOIN_TOKEN": TOKEN}) == TOKEN
    assert given_token(None, None, {}) == ""


@pytest.mark.parametrize("token", ["", "short", " " * 40])
def test_a_token_that_could_be_guessed_is_refused(token):
    with pytest.raises(UserError, match="openssl rand -hex 32"):
        given_token(token, None, {})


def test_two_tokens_at_a_time_are_refused(tmp_path):
    with pytest.raises(UserError, match="leave one out"):
        given_token(TOKEN, tmp_path / "token", {})


def test_a_token_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere cannot be read.*openssl rand"):
        given_token(None, tmp_path / "nowhere", {})


def test_a_credential_is_written_for_nobody_else(tmp_path):
    file = write_credential(credential_of(TOKEN), tmp_path)
    assert os.stat(file).st_mode & 0o077 == 0
    assert Credential.read(file) == credential_of(TOKEN)


def test_a_credential_that_is_gone_is_named(tmp_path):
    with pytest.raises(UserError, match=r"join\.pem cannot be read"):
        Credential.read(tmp_path / "join.pem")


@pytest.mark.parametrize(
    ("text", "place"), [("h:1", ("h", 1)), ("10.0.0.1:7000", ("10.0.0.1", 7000)), ("[fd00::1]:7", ("fd00::1", 7))]
)
def test_a_place_is_a_host_and_a_port(text, place):
    assert parse_place(text, "--join") == place


@pytest.mark.parametrize("text", ["", "host", "host:", ":7", "h:99999", "h:x", "https://h:1", "h:1/x", "u@h:1"])
def test_what_is_no_place_is_refused(text):
    with pytest.raises(UserError, match="is not HOST:PORT"):
        parse_place(text, "--join")


def test_a_door_without_a_host_is_at_every_address_and_told_where_others_find_it():
    assert parse_own_place("7000", "--join") == "0.0.0.0:7000"
    assert parse_own_place("[::1]:0", "--join") == "[::1]:0"
    assert reachable_place("tls://10.1.2.3:7000") == "10.1.2.3:7000"
    assert not reachable_place("tls://0.0.0.0:7000").startswith("0.0.0.0")


def test_a_token_of_the_users_is_not_told(tmp_path, monkeypatch):
    monkeypatch.delenv("SYNFIRE_JOIN_TOKEN", raising=False)
    file = tmp_path / "token"
    file.write_text(TOKEN)
    own = entrance_of("10.0.0.1:7000", file).told("tls://10.0.0.1:7000")
    made = entrance_of("10.0.0.1:7000", None).told("tls://10.0.0.1:7000")
    assert TOKEN not in command_of(own)
    assert command_of(made) == f"synfire worker --join 10.0.0.1:7000 --token {made['token']}"
    assert len(made["token"]) >= 32


def test_a_door_and_emulated_hosts_are_not_had_together(tmp_path):
    with pytest.raises(UserError, match="leave one out"):
        entrance_of("7000", None, hosts=2)
    with pytest.raises(UserError, match="open one with --join"):
        entrance_of(None, tmp_path)
