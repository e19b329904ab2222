"""What only records excuse in a soak: models that are stopped, corrupted bits, processors in place of chips. Each can fail to be excused."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synfire.bench.soak import Violation, random_schedule
from synfire.bench.soak.arrangement import CHIPS, Arrangement
from synfire.bench.soak.asking import Asked, exchanged
from synfire.bench.soak.claims import SLACK_S, Claim, check_claims
from synfire.bench.soak.connection import Connection, Reply
from synfire.bench.soak.judgement import (
    CORRUPTED,
    DEVICE_CHANGED,
    STOPPED,
    UNLIKE,
    Exchange,
    Excuse,
    Outcome,
    judged,
)
from synfire.bench.soak.ledger import Ledger
from synfire.bench.soak.questions import Question, Repertoire
from synfire.bench.soak.recoveries import check_records
from synfire.bench.soak.schedule import LATE
from synfire.bench.soak.served import Done
from synfire.bench.soak.striking import Striking
from synfire.bench.soak.strokes import KNOWN, SHORTAGE, Sight, Stroke
from synfire.bench.soak.traces import Traces
from synfire.wire.recovery import Cause, RecoveryRecord, Step, Substituted, Touched
from synfire.wire.recovery import Outcome as Ended

MODELS = ("scnn-digits", "srnn-digits")
FOR_ANOTHER = "it is stopped to make room for model 'b', whose priority 5 is above its own, 0; it comes back by itself"


def exchange(outcome: Outcome, **known: Any) -> Exchange:
    return replace(Exchange("plain", "a", 10.0, 10.5, outcome), **known)


def record(
    cause: str, began_s: float, outcome: Ended = "recovered", target: str = "w0", **known: Any
) -> RecoveryRecord:
    values: dict[str, Any] = {"models": (Touched("a", 0, 1),), "worker": "w0", "steps": (Step("detect", began_s, 0.5),)}
    return RecoveryRecord(id="x", cause=Cause(cause, target), outcome=outcome, **{**values, **known})


def claimed(seen: Exchange, what: str, excuses: list[Excuse], *records: RecoveryRecord) -> None:
    """The claim is made by the exchange, and the records are asked."""
    assert judged(seen, excuses) == what
    check_claims([Claim(seen, what)], excuses, records, 0.0)


# Models that are stopped

REFUSED = exchange("refused", status=503, text=f'{{"error":"model \'a\' cannot be served: {FOR_ANOTHER}"}}')
SHORT = [Excuse(SHORTAGE, 9.0, 12.0)]
STOP = record("exit", 9.5, "degraded", reason=f"a: {FOR_ANOTHER}")


def test_a_model_that_is_stopped_may_be_refused_until_it_returns() -> None:
    claimed(REFUSED, STOPPED, SHORT, STOP)
    claimed(REFUSED, STOPPED, SHORT, STOP, record("return", 9.8))
    later = replace(REFUSED, sent_s=10.3 + SLACK_S + 0.1, ended_s=10.9)
    with pytest.raises(Violation, match="but no record says so"):
        claimed(later, STOPPED, SHORT, STOP, record("return", 9.8))


def test_no_other_model_may_be_refused_and_for_no_other_reason_or_earlier() -> None:
    for seen in (
        replace(REFUSED, model="b"),
        replace(REFUSED, text="model 'a' cannot be served: nobody knows why"),
        replace(REFUSED, sent_s=8.9, ended_s=9.1),
    ):
        with pytest.raises(Violation, match="but no record says so"):
            claimed(seen, STOPPED, SHORT, STOP)
    with pytest.raises(Violation, match="nothing that happened excuses it"):
        judged(REFUSED, [Excuse(SHORTAGE, 11.0, 12.0)])
    with pytest.raises(Violation, match="nothing that happened excuses it"):
        judged(replace(REFUSED, text="no worker is left"), SHORT)


def test_models_are_stopped_in_the_order_of_their_priorities() -> None:
    check_records([STOP], [], [(9.0, 12.0)], {"b": 5})
    for priorities in ({"b": 4}, {"a": 5, "b": 5}, {"a": 6, "b": 5}):
        with pytest.raises(Violation, match="stops a, whose priority is"):
            check_records([STOP], [], [(9.0, 12.0)], priorities)
    with pytest.raises(Violation, match="is degraded: a: it is stopped"):
        check_records([STOP], [], [(10.0, 12.0)], {"b": 5})


def test_room_is_scarce_in_some_soaks_only_and_always_where_nothing_else_comes() -> None:
    kinds = ("worker-kill", SHORTAGE, "core-dead")
    drawn = [random_schedule(seed, 60.0, MODELS, kinds).arrangement for seed in range(30)]
    assert {(each.scarce, bool(each.device)) for each in drawn} == {(True, False), (False, True), (False, False)}
    scarce = next(each for each in drawn if each.scarce)
    assert "--most-workers" in scarce.arguments
    assert sum(word == "--priority" for word in scarce.arguments) == len(MODELS)
    assert all(random_schedule(seed, 60.0, MODELS, [SHORTAGE]).arrangement.scarce for seed in range(5))
    assert not random_schedule(1, 60.0, MODELS[:1], [SHORTAGE]).arrangement.scarce


def test_all_but_one_or_two_workers_are_hit_by_a_shortage() -> None:
    workers = [f"w{i}" for i in range(5)]
    hit = {len((KNOWN[SHORTAGE].target(Stroke(0.0, SHORTAGE, n), Sight(workers)) or "").split(",")) for n in range(30)}
    assert hit == {3, 4}


# Corrupted bits

WRONG = exchange("wrong", text="output 'y' has the wrong bits: [1.0] instead of [2.0]")
FLIPPED = [Excuse("bit-flip", 9.0, 50.0, model="a", worker="w0", stage="a.head")]


def test_a_corrupted_bit_excuses_wrong_answers_until_it_is_found_and_not_one_longer() -> None:
    claimed(WRONG, CORRUPTED, FLIPPED)
    claimed(WRONG, CORRUPTED, FLIPPED, record("corruption", 10.0))
    claimed(WRONG, CORRUPTED, FLIPPED, record("corruption", 8.0))
    claimed(WRONG, CORRUPTED, FLIPPED, record("corruption", 9.0, worker="w1"))
    for other in ("core 1,2 of b.head", "core 1,2 of a.tail"):
        claimed(WRONG, CORRUPTED, FLIPPED, record("corruption", 9.1, target=other))
    for found in ("w0", "core 1,2 of a.head"):
        with pytest.raises(Violation, match="but no record says so"):
            claimed(WRONG, CORRUPTED, FLIPPED, record("corruption", 9.1, target=found))
    with pytest.raises(Violation, match="nothing that happened excuses it"):
        judged(replace(WRONG, sent_s=50.1, ended_s=51.0), FLIPPED)


def test_a_test_that_ended_before_the_bit_was_surely_there_has_found_another() -> None:
    struck = [replace(FLIPPED[0], struck_s=9.7)]
    claimed(WRONG, CORRUPTED, struck, record("corruption", 9.1, target="w0"))
    with pytest.raises(Violation, match="no record says so"):
        claimed(WRONG, CORRUPTED, struck, record("corruption", 9.22, target="w0"))


def test_a_session_from_before_a_bit_was_found_may_stay_wrong() -> None:
    late = replace(WRONG, sent_s=60.0, ended_s=61.0)
    claimed(replace(late, session_s=40.0), CORRUPTED, FLIPPED)
    with pytest.raises(Violation):
        judged(replace(late, session_s=51.0), FLIPPED)


@pytest.mark.parametrize(
    "seen",
    [
        replace(WRONG, model="b"),
        replace(WRONG, text="it ends after 3 of 4 steps"),
        replace(WRONG, text="2 answers that nobody asked for"),
        replace(WRONG, sent_s=8.0, ended_s=8.9),
        replace(WRONG, outcome="broken"),
        replace(WRONG, outcome="refused", status=503),
    ],
)
def test_a_corrupted_bit_excuses_nothing_but_wrong_bits_of_its_model(seen: Exchange) -> None:
    with pytest.raises(Violation, match="nothing that happened excuses it"):
        judged(seen, FLIPPED)


# Processors in place of chips

PROCESSED = exchange("right", unlike=("head",))
SUBSTITUTION = Substituted("a", "head", "darwin3", "cpu", 0.99)
IN_PLACE = "a.head runs on cpu in place of darwin3, whose spikes agree to 99 %"
REPLACED = record("chip dead", 9.0, "degraded", reason=IN_PLACE, substituted=(SUBSTITUTION,))


def test_a_processor_may_answer_where_the_record_says_that_it_has_taken_over() -> None:
    claimed(PROCESSED, UNLIKE, [], REPLACED)
    check_records([REPLACED], [])
    for seen, told in (
        (PROCESSED, ()),
        (replace(PROCESSED, unlike=("head", "tail")), (REPLACED,)),
        (replace(PROCESSED, model="b"), (REPLACED,)),
        (replace(PROCESSED, sent_s=8.0, ended_s=8.5), (REPLACED,)),
    ):
        with pytest.raises(Violation, match="but no record says so"):
            claimed(seen, UNLIKE, [], *told)


def test_a_take_over_that_does_not_say_how_far_devices_agree_is_a_violation() -> None:
    untold = Substituted("a", "head", "darwin3", "cpu", None)
    for reason, substituted in (
        ("a.head runs on cpu in place of darwin3", untold),
        (f"{IN_PLACE}; b: no worker is left that can host b.s0", SUBSTITUTION),
    ):
        with pytest.raises(Violation, match="is degraded"):
            check_records([record("chip dead", 9.0, "degraded", reason=reason, substituted=(substituted,))], [])


def test_a_session_that_cannot_follow_to_another_device_has_a_record_of_that() -> None:
    text = (
        "session 's' of model 'a' cannot go on: stage head has moved to another device, which cannot take up its state"
    )
    seen = exchange("refused", status=503, text=text, session_s=8.0)
    claimed(seen, DEVICE_CHANGED, [], REPLACED)
    claimed(seen, DEVICE_CHANGED, [], record("rebalance", 9.0))
    for told in ([], [record("chip dead", 9.0)], [record("rebalance", 9.0, models=())], [record("rebalance", 11.0)]):
        with pytest.raises(Violation, match="but no record says so"):
            claimed(seen, DEVICE_CHANGED, [], *told)


def test_ledger_asks_the_records_for_what_it_has_let_pass() -> None:
    ledger = Ledger()
    now_s = time.monotonic()
    ledger.note(replace(PROCESSED, sent_s=now_s - 0.1, ended_s=now_s))
    with pytest.raises(Violation, match="but no record says so"):
        ledger.settle([])
    began_s = time.time() - 1.0
    ledger.settle([record("chip dead", began_s, "degraded", reason=IN_PLACE, substituted=(SUBSTITUTION,))])
    ledger.settle([])


@pytest.mark.slow
def test_answers_of_chips_and_of_processors_in_their_place_are_known_and_told_apart() -> None:
    repertoire, plain = Repertoire.of("srnn-digits", CHIPS), Repertoire.of("srnn-digits")
    question = repertoire.together(repertoire.samples[:3])
    ((stages, processed),) = question.unlike.items()
    uncut = plain.together(plain.samples[:3])
    assert stages == ("recurrent.rc.input..head",)
    for name, array in uncut.answer.items():
        assert processed.answer[name].tobytes() == array.tobytes()
        assert question.answer[name].tobytes() != array.tobytes()
    assert not plain.samples[0].unlike


def test_an_answer_by_the_bits_of_a_processor_is_told_as_such() -> None:
    class Answers(Connection):
        async def ask(self, request: bytes) -> Reply:
            return Reply(200, {}, request)

    def wrong(question: Any, reply: Reply) -> str:
        return "" if question.answer["y"] == float(reply.body) else "output 'y' has the wrong bits"

    question = Question({}, {"y": np.array(1)}, {("head",): Question({}, {"y": np.array(2)})})
    found = [
        asyncio.run(exchanged(Answers(), Asked("a", bits, question, wrong), exchange("right")))
        for bits in (b"1", b"2", b"3")
    ]
    assert [(each.outcome, each.unlike) for each in found] == [("right", ()), ("right", ("head",)), ("wrong", ())]


# Strokes on chips


def test_chips_die_late_and_everything_else_on_them_breaks_throughout() -> None:
    schedule = random_schedule(3, 600.0, MODELS, [name for name, kind in KNOWN.items() if kind.needs == "chips"])
    assert schedule.arrangement.device == CHIPS
    assert "--device" in schedule.arrangement.arguments
    strokes = [each for each in schedule.acts if isinstance(each, Stroke)]
    assert {each.kind for each in strokes} == {name for name, kind in KNOWN.items() if kind.needs == "chips"}
    assert min(each.at_s for each in strokes if each.kind == "chip-dead") > LATE * 600.0
    assert min(each.at_s for each in strokes) < 60.0


def test_what_is_hit_of_chips_is_drawn_by_a_seed() -> None:
    stroke = Stroke(0.0, "bit-stuck", 77)
    assert KNOWN["bit-stuck"].target(stroke, Sight()) == ""
    assert KNOWN["bit-stuck"].command(stroke, "") == ("fault", "weight-bit", "--stuck", "--seed", "77")


class Told:
    """A deployment that answers every command with this exit code and these words."""

    def __init__(self, code: int, said: dict[str, Any]) -> None:
        self.starts = 1
        self._done = Done(("fault",), code, said, "")

    async def sight(self, aim: str) -> Sight:
        return Sight(("w0",))

    async def command(self, *words: str, lasts_s: float = 0.0) -> Done:
        return self._done


def struck(told: Any, kind: str) -> tuple[Striking, Ledger]:
    ledger = Ledger()
    striking = Striking(told, ledger)
    asyncio.run(striking.strike(Stroke(1.0, kind)))
    return striking, ledger


HIT = {"acts": [{"did": "bit 1 is flipped", "target": "w1/a.head..tail", "at_s": 5.0, "pid": 7}]}


def test_a_corrupted_bit_is_an_excuse_for_the_model_that_was_hit() -> None:
    (excuse,) = struck(Told(0, HIT), "bit-flip")[1].excuses
    assert (excuse.worker, excuse.model, excuse.stage) == ("w1", "a", "a.head..tail")
    gone = {"error": "no worker of this deployment runs a stage on an emulated chip; serve with --device darwin3"}
    (excuse,) = struck(Told(2, gone), "bit-flip")[1].excuses
    assert excuse.until_s < time.monotonic()


def test_a_flipped_membrane_is_an_excuse_for_nothing() -> None:
    assert not struck(Told(0, HIT), "membrane-bit")[1].excuses


def test_a_dead_core_must_leave_a_record_and_a_fault_that_fails_is_a_violation() -> None:
    striking, ledger = struck(Told(0, HIT), "core-dead")
    assert [each.worker for each in striking.kills] == ["w1"]
    assert not ledger.excuses
    with pytest.raises(Violation, match="w1 was hit while it held stages"):
        check_records([], striking.kills)
    with pytest.raises(Violation, match="exit code 2 there is no fault"):
        struck(Told(2, {"error": "there is no fault named 'core-dead'"}), "core-dead")


def test_an_arrangement_without_chips_and_scarcity_has_no_such_options() -> None:
    words = Arrangement(("a",), workers=2, spares=1).arguments
    assert not {"--device", "--memory", "--most-workers", "--priority"} & set(words)


class Short(Told):
    """A deployment with real processes for workers: one more is started whenever a command comes."""

    def __init__(self, home: Path, serves: Sequence[int]) -> None:
        super().__init__(0, {"acts": []})
        self.traces = Traces(home, home)
        self.workers = [self._worker()]
        self._serves = iter(serves)

    @property
    def pid(self) -> int:
        return next(self._serves)

    @property
    def url(self) -> str:
        return ""

    async def complete(self) -> bool:
        return True

    async def ready(self) -> bool:
        return True

    async def command(self, *words: str, lasts_s: float = 0.0) -> Done:
        self.workers.append(self._worker())
        return self._done

    def _worker(self) -> subprocess.Popen[bytes]:
        program = "import sys, time; print(flush=True); time.sleep(60)"
        environment = {**os.environ, "SYNFIRE_HOME": str(self.traces.home)}
        command = [sys.executable, "-c", program, "-m", "synfire.worker"]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        return process


@pytest.mark.parametrize(("serves", "killed"), [([1, 1, 2], True), ([1, 2], False)])
def test_a_shortage_kills_who_is_started_meanwhile_and_nobody_of_another_deployment(
    tmp_path: Path, serves: list[int], killed: bool
) -> None:
    short: Any = Short(tmp_path, serves)
    asyncio.run(Striking(short, Ledger()).strike(Stroke(1.0, SHORTAGE, for_s=60.0)))
    spared, newborn = short.workers
    assert spared.poll() is None
    if not killed:
        assert newborn.poll() is None
        newborn.kill()
    assert newborn.wait() == -signal.SIGKILL
    spared.kill()
    spared.wait()
