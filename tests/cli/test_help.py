"""The help answers at once and tells the truth about exit codes."""

import os
import subprocess
import sys

COMMANDS = ("generate", "analyze", "doctor", "bench", "models")


def test_help_costs_less_than_half_a_second() -> None:
    before = os.times()
    done = subprocess.run([sys.executable, "-m", "darius_cli", "--help"], capture_output=True, text=True)
    after = os.times()
    assert done.returncode == 0
    assert all(command in done.stdout for command in COMMANDS)
    # Processor time of the child: what a person waits for on an idle machine, and steady on a busy one.
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    assert spent < 0.5


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, darius, darius_cli.main;"
        "print([m for m in ('jax', 'scipy', 'tensorflow', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_every_command_explains_itself() -> None:
    for command in COMMANDS:
        done = subprocess.run([sys.executable, "-m", "darius_cli", command, "--help"], capture_output=True, text=True)
        assert done.returncode == 0 and "Usage" in done.stdout
