"""Why a step ended."""


class StepFailed(Exception):
    """A step did not reach its goal: what was wrong, and the next thing to try."""

    def __init__(self, step: str, problem: str, remedy: str = "", log: str = ""):
        self.step, self.problem, self.remedy, self.log = step, problem, remedy, log
        super().__init__(f"{step}: {problem}")


class NotYet(Exception):
    """The awaited condition does not hold yet; the text says what is there instead."""
