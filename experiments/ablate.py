"""All settings that caches alone can compare, in one table. No diffusion model is loaded."""

import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from cache_schema import Dataset, open_cache, write_json, write_text
from experiments.answers.answer import Answer
from experiments.answers.markdown import escape, table
from experiments.answers.readings import MEAN, METRICS, SPLITS
from experiments.passes import list_caches
from experiments.questions import FROM_CACHES, QUESTIONS, load_question, load_work
from experiments.study.config import StudyTask
from experiments.study.fits import Work
from experiments.study.study import Study
from experiments.tasks import begin
from train.scoring.matrix import format_cell
from workflow.code_hash import hash_code
from workflow.stages import CODE as STAGES_CODE
from workflow.steps import hash_files

CODE = ("experiments.ablate", *(QUESTIONS[name] for name in FROM_CACHES), *STAGES_CODE["readings"], *STAGES_CODE["fit"])


def run_task(study: Study, task: StudyTask) -> None:
    """Answer the questions that need caches alone, and print all settings in one table. Does nothing when done."""
    if begin(study, "ablate", Work.unite(load_work(name)(study) for name in FROM_CACHES), task):
        run(study)


def run(study: Study) -> None:
    """Answer the questions that need caches alone, and print all settings in one table. Does nothing when done."""
    outputs = [study.config.out / f"ablation.{ending}" for ending in ("json", "md")]
    answered: list[Answer] = []

    def work() -> None:
        for name in FROM_CACHES:
            answered.append(load_question(name)(study))
            study.write(answered[-1])
        ablation = {"settings": study.describe(), "rows": [row for each in answered for row in list_rows(each)]}
        write_json(outputs[0], ablation)
        write_text(outputs[1], as_markdown(ablation, study.command("ablate")))

    study.steps.run("ablate", outputs, describe_inputs(study), work)
    head = "" if answered else f"Nothing has changed since {outputs[1]} was written:\n\n"
    sys.stdout.write(f"{head}{outputs[1].read_text(encoding='utf-8')}")


def describe_inputs(study: Study) -> list[Any]:
    """All that decides the table: settings, code, recipes, images and those of its caches that are there."""
    config = study.config
    recipes = (config.recipe, config.map_only, config.image_only)
    datasets = [Dataset.open(data) for data in (config.data, config.mixed_data) if data]
    caches = [config.caches / name for name in list_caches(config)]
    return [
        asdict(config),
        hash_code(*CODE),
        hash_files(*recipes),
        [(each.dataset_id, hash_files(each.folder / "index.parquet")) for each in datasets],
        {each.name: open_cache(each).fingerprint for each in caches if (each / "cache.json").is_file()},
    ]


def list_rows(answer: Answer) -> list[dict[str, Any]]:
    """A row for each setting of an answer: question, setting, and for each split the mean over the image sources."""
    by_split: Mapping[str, Mapping[str, Any]] = answer.numbers["readings"]
    return [
        {
            "question": answer.name,
            "setting": setting,
            **{split: {metric: by_split[split][setting][MEAN][metric] for metric in METRICS} for split in SPLITS},
        }
        for setting in by_split[SPLITS[0]]
    ]


def as_markdown(ablation: Mapping[str, Any], command: str) -> str:
    """The table and what it was made with."""
    settings = ablation["settings"]
    heads = [f"{title}, {split}" for split in SPLITS for title in METRICS.values()]
    rows = [
        (row["question"], row["setting"], *(format_cell(row[split][metric]) for split in SPLITS for metric in METRICS))
        for row in ablation["rows"]
    ]
    note = (
        f"Preset {settings['preset']}: {settings['num_seeds']} seeds, {settings['num_epochs']} epochs. Mean over the "
        "image sources, those of validation and those of the test; ± standard deviation over seeds. Settings are "
        "chosen on validation; checkpoints and thresholds too. One detector stands in several rows where settings "
        f"coincide. Commit {settings['git_commit'] or 'unknown'}{' with changes' if settings['git_dirty'] else ''}."
    )
    return f"{table(('question', 'setting', *heads), rows)}\n\n{escape(note)}\n\nCommand: `{command}`\n"
