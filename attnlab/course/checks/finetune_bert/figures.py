"""A single number compared with the right one."""

from attnlab.course.checks.examiner import CheckFailed, require


def same_figure(result: float, right: float, mistakes: dict[str, float], otherwise: str) -> None:
    """Fail unless a number is right; the mistake that gives this very number is named."""
    if abs(result - right) < 1e-4:
        return
    for diagnosis, mistaken in mistakes.items():
        require(abs(result - mistaken) >= 1e-4, diagnosis)
    raise CheckFailed(f"{otherwise}\nIt should be {right:.4f}; you return {result:.4f}.")
