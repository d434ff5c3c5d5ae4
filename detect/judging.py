"""Prepared pictures to answers: maps, then scores, then verdicts, each batch while the next is computed."""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cache_schema import Status, is_ok
from detect.decide import Rule
from detect.domain import Domain
from detect.mapping import Item, Mapped, map_batches
from detect.prepare import Prepared
from detect.scorers import Scorer, Started
from detect.verdict import Answer, Note, Verdict
from extract import LoadedProbe


class _Scoring(NamedTuple):
    """A list of items whose scores are being computed."""

    mapped: Mapped
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
        for mapped in map_batches(self._probes, batches):
            scoring.append(self._score(mapped))
            if len(scoring) > 1:
                yield self._answer(scoring.popleft())
        while scoring:
            yield self._answer(scoring.popleft())

    def _score(self, mapped: Mapped) -> _Scoring:
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
