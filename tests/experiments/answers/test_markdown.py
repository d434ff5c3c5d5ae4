import re

from experiments.answers.markdown import as_document, as_section, escape, table
from tests.experiments.sample_answers import make_answer


def test_section_has_finding_limits_tables_and_origin() -> None:
    script = r"&lt;script>alert('\|')&lt;/script> & \*stars\*"
    assert as_section(make_answer()) == (
        "## What of timestep?\n\n"
        f"It was not found at t = 0.5. What was found: {script}.\n\n"
        "**Limits.** One model only.\n\n"
        f"**Table {script}**\n\n"
        "| image source | n | AUROC | why |\n"
        "| --- | --- | --- | --- |\n"
        "| toy-a | 1,234 | 0.750 | better |\n"
        "| toy-b | 5 | – | − |\n"
        f"| {script} | 0 | −0.500 | 0.71 (0.60 to 0.80) |\n\n"
        "What the figures are.\n\n"
        "**Small**\n\n"
        "| a |\n| --- |\n| 1 |\n\n"
        "Command: `python -m experiments timestep --config study.yaml`. Settings: preset quick; num_seeds 2; "
        "commit abc123 with changes.\n"
    )


def test_finding_has_a_paragraph_a_line() -> None:
    text = as_section(make_answer(finding="One *thing*.\nAnother."))
    assert text.startswith("## What of timestep?\n\nOne \\*thing\\*.\n\nAnother.\n\n**Limits.**")


def test_items_of_a_finding_are_a_list() -> None:
    answer = make_answer(finding="One.\n- a *b*.\n- c.\nTwo.\n- d.")
    assert answer.blocks == ["One.", ["a *b*.", "c."], "Two.", ["d."]]
    text = as_section(answer)
    assert text.startswith("## What of timestep?\n\nOne.\n\n- a \\*b\\*.\n- c.\n\nTwo.\n\n- d.\n\n**Limits.**")


def test_document_has_a_section_an_answer_and_names_what_is_missing() -> None:
    answers = [make_answer("timestep"), make_answer("cheap")]
    text = as_document(answers, {"egre": "python -m experiments egre --config FILE"})
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    assert headings == ["Results", "What of timestep?", "What of cheap?", "Not answered here"]
    line = r"Not found, but &lt;script>alert('\|')&lt;/script> & \*stars\*."
    assert (
        f"\n\n- **What of timestep?**\n    - {line}\n- **What of cheap?**\n    - {line}\n\n## What of timestep?" in text
    )
    assert text.endswith("\n\n- egre: `python -m experiments egre --config FILE`\n")
    assert "\n\n\n" not in text
    assert "Not answered" not in as_document(answers, {})


def test_a_cell_stays_one_cell() -> None:
    assert table(["a|b"], [["c\n|d"]]) == "| a\\|b |\n| --- |\n| c \\|d |"


def test_escaped_text_has_no_marks() -> None:
    assert escape("a `b` *c* [d](e) ~f~ <g> \\h map_only") == r"a \`b\` \*c\* \[d](e) \~f\~ &lt;g> \\h map_only"
