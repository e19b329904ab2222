"""What only the records of recoveries can excuse: whether they do."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from synfire.bench.soak.judgement import CORRUPTED, STOPPED, UNLIKE, Exchange, Excuse, Violation, excused
from synfire.wire.recovery import RecoveryRecord

SLACK_S = 0.25
"""By how much the clocks of a caller and of a record may differ: the one is the other's process's, and either was read a little later."""

CORRUPTION, RETURN, REBALANCE = "corruption", "return", "rebalance"
"""Causes of records: a known-answer test found a wrong bit; stopped models are served again; stages return to their device."""

_SERVED_NO_LONGER = "cannot be served: "


@dataclass(frozen=True)
class Claim:
    """An exchange that is as it should be if there is a record for `what` it is said to be."""

    exchange: Exchange
    what: str


def check_claims(
    claims: Iterable[Claim], excuses: Sequence[Excuse], records: Sequence[RecoveryRecord], shift_s: float
) -> None:
    """Raise `Violation` for a claim that no record supports. `shift_s` is from the monotonic clock to that of the records.

    - The reason for which a model was refused must be that of a record that stopped it, from its begin until the end of the record of
      its return.
    - Of a stage that a processor has answered for, or that a session or a stream could not follow, there must be a record that it runs
      there from before the answer came.
    - An answer may be wrong by a corrupted bit until the known-answer test has found that. One that ended before the bit was
      surely there has found another.
    """
    for each in claims:
        exchange = _shifted(each.exchange, shift_s)
        if each.what == CORRUPTED:
            found = any(excused(each.exchange, excuse) for excuse in _narrowed(excuses, records, shift_s))
        elif each.what == STOPPED:
            found = any(_stops(record, exchange, records) for record in records)
        elif each.what == UNLIKE:
            found = all(_substituted(exchange, stage, records) for stage in exchange.unlike)
        else:
            found = any(_changes(record, exchange) for record in records)
        if not found:
            sent = time.strftime("%H:%M:%S", time.gmtime(exchange.sent_s))
            raise Violation(
                f"{each.exchange}; it would be {each.what}, but no record says so (it was sent at {sent} UTC)"
            )


def _shifted(exchange: Exchange, shift_s: float) -> Exchange:
    """The exchange with its times as records have them."""
    session_s = None if exchange.session_s is None else exchange.session_s + shift_s
    return replace(exchange, sent_s=exchange.sent_s + shift_s, ended_s=exchange.ended_s + shift_s, session_s=session_s)


def _narrowed(excuses: Iterable[Excuse], records: Sequence[RecoveryRecord], shift_s: float) -> Iterator[Excuse]:
    """The corruptions, each over as soon as it was found."""
    for each in excuses:
        if each.corrupts:
            ends = [_end_s(record) - shift_s for record in records if _finds(record, each)]
            found_s = min((end_s for end_s in ends if end_s >= max(each.from_s, each.struck_s)), default=each.until_s)
            yield each.ended(min(each.until_s, found_s + SLACK_S))


def _finds(record: RecoveryRecord, excuse: Excuse) -> bool:
    """Whether the test of that very stage has found it, or the worker is lost for it: others there may be tested at other times."""
    whole = record.cause.target == excuse.worker
    of_it = record.worker == excuse.worker and (whole or record.cause.target.endswith(f" of {excuse.stage}"))
    return record.cause.kind == CORRUPTION and of_it


def _stops(record: RecoveryRecord, exchange: Exchange, records: Sequence[RecoveryRecord]) -> bool:
    """Whether the record tells of the model's stop for the reason that the caller read, and it was stopped then."""
    reason = exchange.text.partition(_SERVED_NO_LONGER)[2].split('"')[0]
    if f"{exchange.model}: {reason}" not in record.reason:
        return False
    back = (each for each in records if each.cause.kind == RETURN and each.began_s >= record.began_s)
    until_s = min((_end_s(each) for each in back if _touches(each, exchange.model)), default=exchange.sent_s)
    return record.began_s - SLACK_S <= exchange.ended_s and exchange.sent_s <= until_s + SLACK_S


def _substituted(exchange: Exchange, stage: str, records: Sequence[RecoveryRecord]) -> bool:
    return any(
        (each.model, each.stage) == (exchange.model, stage) and record.began_s <= exchange.ended_s + SLACK_S
        for record in records
        for each in record.substituted
    )


def _changes(record: RecoveryRecord, exchange: Exchange) -> bool:
    """Whether the record tells that stages of the model went to another device, while the session or the stream was there."""
    changes = any(each.model == exchange.model for each in record.substituted)
    changes = changes or (record.cause.kind == REBALANCE and _touches(record, exchange.model))
    begun_s = exchange.sent_s if exchange.session_s is None else exchange.session_s
    return changes and record.began_s <= exchange.ended_s + SLACK_S and begun_s <= _end_s(record) + SLACK_S


def _touches(record: RecoveryRecord, model: str) -> bool:
    return any(each.model == model for each in record.models)


def _end_s(record: RecoveryRecord) -> float:
    return record.began_s + record.duration_s
