"""`python -m workflow VERB …`: the `lare` command."""

from workflow.lare import run_as_program

if __name__ == "__main__":
    run_as_program()
