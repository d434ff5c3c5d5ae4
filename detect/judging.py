"""Prepared pictures to answers: maps, then scores, then verdicts, each batch while the next is computed."""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import tee
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cache_schema import Status, is_ok
from detect.decide import Rule
from detect.domain import Domain
from detect.prepare import Prepared
from detect.scorers import Scorer, Started
from detect.verdict import Answer, Note, Verdict
from extract import Batch, LoadedProbe, collate

Item = Prepared | Answer
"""A picture that waits for the networks, or one that cannot be used."""


class _Mapped(NamedTuple):
    """A list of items whose maps are there; of the usable pictures among them, in their order."""

    items: list[Item]
    lare: NDArray[np.float32]
    """(usable, channels, h, w); NaN where a map is not finite."""
    status: NDArray[np.uint8]
    reasons: list[str]


class _Scoring(NamedTuple):
    """A list of items whose scores are being computed."""

    mapped: _Mapped
    started: Started | None
    """Of the pictures with a map; None without any."""


class Judge:
    """The networks in a row, and what follows from their numbers.

    Args:
        probes: Make the maps.
        scorer: Scores pictures and maps.
        rule: From scores to verdicts.
        domain: What the training images are like.
        notes: What every verdict says.
        explain: Whether verdicts have the attention.
    """

    def __init__(
        self,
        probes: Sequence[LoadedProbe],
        scorer: Scorer,
        rule: Rule,
        domain: Domain,
        notes: tuple[Note, ...],
        *,
        explain: bool,
    ) -> None:
        """Keep the parts."""
        self._probes, self._scorer, self._rule = probes, scorer, rule
        self._domain, self._notes, self._explain = domain, notes, explain
        self._detector = rule.description.identity

    def run(self, batches: Iterator[list[Item]]) -> Iterator[list[Answer]]:
        """Answers to each list of items. On a GPU a list is answered while the networks work on the next ones."""
        scoring: deque[_Scoring] = deque()
        for mapped in self._map(batches):
            scoring.append(self._score(mapped))
            if len(scoring) > 1:
                yield self._answer(scoring.popleft())
        while scoring:
            yield self._answer(scoring.popleft())

    def _map(self, batches: Iterator[list[Item]]) -> Iterator[_Mapped]:
        """Maps of the usable pictures; a list without any passes through in its turn."""
        waiting: deque[list[Item]] = deque()

        def usable() -> Iterator[list[Prepared]]:
            for items in batches:
                waiting.append(items)
                prepared = [item for item in items if isinstance(item, Prepared)]
                if prepared:
                    yield prepared

        def batches_of(number: int, copy: Iterator[list[Prepared]]) -> Iterator[Batch]:
            return (self._collate(number, prepared) for prepared in copy)

        copies = tee(usable(), len(self._probes))
        computed = [p.compute(batches_of(n, c)) for n, (p, c) in enumerate(zip(self._probes, copies, strict=True))]
        for results in zip(*computed, strict=True):
            yield from _without_pictures(waiting)
            settled = [result for _, result in results]
            status = np.max([one.status for one in settled], axis=0)
            reasons = [next(filter(None, texts), "") for texts in zip(*(one.reasons for one in settled), strict=True)]
            yield _Mapped(waiting.popleft(), np.concatenate([one.maps for one in settled], axis=1), status, reasons)
        yield from _without_pictures(waiting)

    def _collate(self, probe: int, prepared: Sequence[Prepared]) -> Batch:
        batch: Batch = collate([item.rows[probe] for item in prepared], len(prepared))
        if not self._probes[probe].pin_memory:
            return batch
        pinned = {name: getattr(batch, name).pin_memory() for name in ("images", "posterior_noise", "noise")}
        return batch._replace(**pinned)

    def _score(self, mapped: _Mapped) -> _Scoring:
        ok = is_ok(mapped.status)
        pictures = [item for item in mapped.items if isinstance(item, Prepared)]
        scored = [picture for picture, good in zip(pictures, ok, strict=True) if good]
        started = self._scorer.start(scored, mapped.lare[ok], explain=self._explain) if scored else None
        return _Scoring(mapped, started)

    def _answer(self, scoring: _Scoring) -> list[Answer]:
        mapped, answers = scoring.mapped, list[Answer]()
        scores, attention = scoring.started.finish() if scoring.started is not None else (None, None)
        number = scored = 0
        for item in mapped.items:
            if isinstance(item, Answer):
                answers.append(item)
                continue
            status = Status(int(mapped.status[number]))
            if is_ok(status):
                assert scores is not None
                seen = None if attention is None else attention[scored]
                verdict = self._decide(item, mapped.lare[number], float(scores[scored]), seen)
                answers.append(Answer(item.name, verdict))
                scored += 1
            else:
                answers.append(Answer(item.name, None, mapped.reasons[number], status.name.lower()))
            number += 1
        return answers

    def _decide(self, item: Prepared, lare: NDArray[np.float32], score: float, attention: Any) -> Verdict:
        unlike = self._domain.check(item.image, float(lare.mean(dtype=np.float64)), item.gradient_energy)
        decision = self._rule.decide(score, unlike)
        return Verdict(
            verdict=decision.verdict,
            probability=decision.probability,
            score=score,
            p_real=decision.p_real,
            false_alarm_rate=self._rule.rate,
            notes=(*decision.notes, *item.notes, *self._rule.notes, *self._notes),
            lare=lare.copy(),
            attention=attention,
            image=item.image,
            detector=self._detector,
            seconds=time.perf_counter() - item.start,
        )


def _without_pictures(waiting: deque[list[Item]]) -> Iterator[_Mapped]:
    """The lists at the front that hold no usable picture."""
    while waiting and not any(isinstance(item, Prepared) for item in waiting[0]):
        yield _Mapped(waiting.popleft(), np.empty((0, 0, 0, 0), np.float32), np.empty(0, np.uint8), [])
