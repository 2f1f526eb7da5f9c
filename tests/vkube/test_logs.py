"""What Pods log, on its way to the terminal of an administrator whom they may want to mislead."""

from __future__ import annotations

from vkube.commands.logs import for_terminal, whole_lines


def test_lines_are_whole_however_they_arrive() -> None:
    assert [*whole_lines(["a", "b\nc", "", "\nd\ne", "f"])] == ["ab\n", "c\nd\n", "ef\n"]


def test_attack_a_line_without_end_is_cut() -> None:
    """It would be kept, and copied again with each part."""
    found = [*whole_lines("x" * 1000 for _ in range(1000))]
    assert max(map(len, found)) < 70_000
    assert "".join(found).replace("\n", "") == "x" * 1_000_000


def test_attack_an_escape_sequence_in_a_log_does_not_reach_the_terminal() -> None:
    assert for_terminal("{}\ta\n\x1b]0;owned\x07\x9b2J\u202e\r") == "{}\ta\n�]0;owned��2J��"
