"""What is kept of a recovery: one record each, in the catalog, from which `synfire events` and others read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from synfire.base.errors import Bug, PermanentError
from synfire.control.state import Recovery, Substitution
from synfire.store import Catalog
from synfire.wire.recovery import STEPS, Cause, Moved, Outcome, RecoveryRecord, Step, Substituted, Touched

_AFTER = {
    "detect": (),
    "fence": ("detect",),
    "adopt": ("detect",),
    "restore": ("fence", "adopt", "relink", "verify"),
    "relink": ("detect",),
    "replay": ("fence", "adopt", "relink", "verify"),
    "verify": ("adopt",),
}
"""Which steps must have ended before one begins. Fencing, adopting and relinking are begun in this order and go on at the same
time; what was adopted is verified before anything is replayed: no wrong answer shall leave. Restoring and replaying are one
order to the gateways."""

KIND = "recovery"
"""The catalog's journal that holds recovery records."""


class RecoveryLog:
    """The recovery records in a catalog, that of SYNFIRE_HOME unless another is given. Safe for several processes."""

    def __init__(self, catalog: Catalog | None = None) -> None:
        self._catalog = catalog or Catalog()

    def append(self, record: RecoveryRecord) -> None:
        """Keep the record; the same one again changes nothing. Raises `Bug` for an id that another one has."""
        self._catalog.append(KIND, record.id, msgspec.json.encode(record).decode())

    def recent(self, count: int) -> tuple[RecoveryRecord, ...]:
        """The newest records, at most `count`, the newest last. Raises `PermanentError` for one that cannot be read."""
        if not self._catalog.path.exists():  # a look must not leave a catalog behind
            return ()
        return tuple(self._read(content) for content in self._catalog.recent(KIND, count))

    def kept_of(self, deployment: str) -> tuple[RecoveryRecord, ...]:
        """All records of one deployment, the newest last. Raises as `recent` does."""
        if not self._catalog.path.exists():
            return ()
        return tuple(self._read(content) for content in self._catalog.begun(KIND, f"{deployment}-"))

    def _read(self, content: str) -> RecoveryRecord:
        try:
            return msgspec.json.decode(content, type=RecoveryRecord)
        except (msgspec.MsgspecError, Bug) as error:
            raise PermanentError(
                f"a recovery record in {self._catalog.path} cannot be read ({error}); it is damaged, or of another version "
                "of synfire: use that one, or move the file away"
            ) from error


def numbers(records: Iterable[RecoveryRecord], deployment: str) -> frozenset[int]:
    """Which recoveries of a deployment are on record already, as its controller counts them; others count otherwise."""
    ids = (record.id.rpartition("-") for record in records)
    return frozenset(int(number) for whose, _, number in ids if whose == deployment)


def record_of(recovery: Recovery, deployment: str, began_1970_s: float) -> RecoveryRecord:
    """What is kept of a finished recovery; `began_1970_s` is when it began, in seconds since 1970."""
    shift_s = began_1970_s - recovery.began_s
    substituted = tuple(map(_substituted, recovery.substitutions))
    return RecoveryRecord(
        id=f"{deployment}-{recovery.id}",
        deployment=deployment,
        cause=Cause(recovery.cause, recovery.target or recovery.lost, recovery.detail),
        models=tuple(
            Touched(model, epoch if recovery.spans else epoch - 1, epoch)
            for model, epoch in zip(recovery.models, recovery.epochs, strict=True)
        ),
        worker=recovery.lost,
        spare=recovery.spare,
        steps=tuple(
            Step(name, begin_s + shift_s, end_s - begin_s)
            for name, begin_s, end_s in _spans(recovery)
            if end_s >= begin_s
        ),
        requests_replayed=recovery.replayed,
        sessions_restored=recovery.restored,
        bytes_moved=recovery.bytes_written,
        outcome=_outcome(recovery),
        reason="; ".join([*recovery.failures, *map(str, substituted)]),
        moved=tuple(Moved(each.model, each.what, each.source, each.target) for each in recovery.moved),
        substituted=substituted,
    )


def _outcome(recovery: Recovery) -> Outcome:
    if len(recovery.failures) == len(recovery.models) > 0:
        return "failed"
    if recovery.failures or recovery.substitutions:
        return "degraded"
    return "moved" if recovery.moved else "recovered"


def _substituted(each: Substitution) -> Substituted:
    return Substituted(each.model, each.stage, each.planned, each.engine, each.agreement)


def _spans(recovery: Recovery) -> Iterator[tuple[str, float, float]]:
    """Each step that was taken, with its begin and end: a step begins when those that it waits for have ended."""
    if recovery.spans:
        yield from sorted(recovery.spans, key=lambda span: STEPS.index(span[0]))
        return
    ended = recovery.ended_s
    for name in STEPS:
        if name in ended:
            before = (ended[each] for each in _AFTER[name] if each in ended)
            yield name, max(before, default=recovery.began_s), ended[name]
