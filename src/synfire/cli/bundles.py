"""`synfire bundle` and `synfire unbundle`: models to machines that see no network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from synfire.cli.output import AsJson, counted, print_json, say
from synfire.cli.progress import watching
from synfire.hub.bundles import Bundled
from synfire.hub.bundles import bundle as write_bundle
from synfire.hub.bundles import unbundle as read_bundle
from synfire.hub.source import Into
from synfire.plan.costs import format_bytes


def bundle(
    models: Annotated[
        list[str],
        typer.Argument(metavar="MODEL...", help="Models of the store or the zoo, of weights and graphs alike."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="The file to write: NAME.tar.zst.")],
    key: Annotated[
        Path | None,
        typer.Option("--key", metavar="FILE", help="Sign it with this Ed25519 private key, of ssh-keygen's or in PEM."),
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Take the place of a file that is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write models, with all that they need, into one file for machines that see no network.

    \b
    Examples:
      synfire bundle bard svgg-digits -o models.tar.zst
      synfire bundle bard -o bard.tar.zst --key bundle-key --json
    """
    with watching(as_json) as watcher:
        made = write_bundle(models, out, Into(watcher=watcher), key, replace)
    if as_json:
        print_json({"file": str(out), "file_bytes": out.stat().st_size, **_plain(made)})
        return
    say(
        f"{out}: {counted(len(made.names), 'model')} of {format_bytes(made.size)}, {format_bytes(out.stat().st_size)} packed"
    )
    say(f"signed by {made.signer}" if made.signer else "not signed; --key signs it")


def unbundle(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that `bundle` wrote.")],
    trust: Annotated[
        Path | None,
        typer.Option("--trust", metavar="FILE", help="Take it only if signed by the key of this public one."),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Take the place of other models of the same names.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Take all models of a bundle into the store. Every byte is checked first, and of a damaged bundle nothing is taken.

    \b
    Examples:
      synfire unbundle models.tar.zst
      synfire unbundle bard.tar.zst --trust bundle-key.pub --json
    """
    with watching(as_json) as watcher:
        found = read_bundle(file, Into(watcher=watcher), trust, replace)
    if as_json:
        print_json({"file": str(file), **_plain(found)})
        return
    for name in found.names:
        say(f"{name} was here already" if name in found.there else f"{name} is in the store")
    if not found.signer:
        say("the bundle is not signed: its files are what was bundled, whoever that was")
    else:
        say(f"signed by {found.signer}" + ("" if trust else "; name the key that you trust with --trust"))


def _plain(found: Bundled) -> dict[str, object]:
    return {
        "models": list(found.names),
        "bytes": found.size,
        "signer": found.signer,
        "already_there": list(found.there),
    }
