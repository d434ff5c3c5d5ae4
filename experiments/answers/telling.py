"""A question's words, tables and charts as functions of its numbers: an answer that was kept can be told again."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from experiments.answers.answer import Answer, Chart, Picture, Table
from experiments.answers.groups import warn_of_groups
from experiments.answers.older import add_seeds, update_tables

Numbers = Mapping[str, Any]
"""`Answer.numbers` as JSON holds them: keys are strings, sequences are lists."""


@dataclass(frozen=True)
class Telling:
    """How the numbers of a question are told. The functions are named after the fields of an answer."""

    question: str
    limits: str
    """What the answer does not show."""
    headline: Callable[[Numbers], str]
    finding: Callable[[Numbers], str]
    tables: Callable[[Numbers], Iterable[Table]] | None = None
    """None: they need more than the numbers that are kept."""
    charts: Callable[[Numbers], Iterable[Chart]] | None = None

    def tell(
        self,
        name: str,
        numbers: Numbers,
        command: str,
        settings: Mapping[str, Any],
        pictures: Sequence[Picture] = (),
        tables: Sequence[Table] = (),
    ) -> Answer:
        """An answer from its numbers.

        Args:
            name: Of the question's command.
            numbers: As JSON can hold them.
            command: What makes the answer again.
            settings: What decided it.
            pictures: Beside the answer.
            tables: Where they are no function of the numbers.
        """
        untold = Answer(
            name=name,
            question=self.question,
            headline="",
            finding="",
            limits=self.limits,
            command=command,
            settings=settings,
            tables=tuple(tables),
            pictures=tuple(pictures),
            numbers=json.loads(json.dumps(numbers)),
        )
        return self.retell(untold)

    def retell(self, answer: Answer) -> Answer:
        """The answer in the words and by the rule of today; its figures, settings and pictures as they are."""
        found = add_seeds(answer.numbers, answer.settings.get("num_seeds"))
        limits = " ".join((self.limits, *warn_of_groups(found)))
        return replace(
            answer,
            numbers=found,
            question=self.question,
            limits=limits,
            headline=self.headline(found),
            finding=self.finding(found),
            tables=update_tables(answer.tables) if self.tables is None else tuple(self.tables(found)),
            charts=answer.charts if self.charts is None else tuple(self.charts(found)),
        )
