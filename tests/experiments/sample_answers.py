"""An answer with everything that an answer can have, and texts that no page may take for its own."""

from typing import Any

from experiments.answers.answer import Answer, Chart, Curve, Picture, Table

HOSTILE = "<script>alert('|')</script> & *stars*"


def make_answer(name: str = "timestep", **changes: Any) -> Answer:
    """Two tables, two charts and a picture, `<name>.png`."""
    table = Table(
        f"Table {HOSTILE}",
        ("image source", "n", "AUROC", "why"),
        (("toy-a", 1234, 0.75, "better"), ("toy-b", 5, None, "−"), (HOSTILE, 0, -0.5, "0.71 (0.60 to 0.80)")),
        "What the figures are.",
    )
    line = Curve(f"curve {HOSTILE}", (50.0, 200.0, 500.0), (0.5, 0.7, 0.6), (0.4, 0.6, 0.5), (0.6, 0.8, 0.7))
    points = Curve("settings", (1.0, 4.0), (0.5, 0.6), labels=("e = 1", "e = 4"))
    content: dict[str, Any] = {
        "name": name,
        "question": f"What of {name}?",
        "headline": f"Not found, but {HOSTILE}.",
        "finding": f"It was not found at t = 0.5. What was found: {HOSTILE}.",
        "limits": "One model only.",
        "command": f"python -m experiments {name} --config study.yaml",
        "settings": {
            "preset": "quick",
            "num_seeds": 2,
            "git_commit": "abc123",
            "git_dirty": True,
            "versions": {"a": "1"},
        },
        "tables": (table, Table("Small", ("a",), ((1,),))),
        "charts": (
            Chart("Over t", "timestep", "AUROC", (line,), log_x=True, reference=0.5),
            Chart("Cost", "GMAC", "AUROC", (points,), lines=False),
        ),
        "pictures": (Picture("Maps", f"{name}.png", "One scale."),),
        "numbers": {"best": 200},
    }
    return Answer(**content | changes)
