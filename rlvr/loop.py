"""The training loop: ask, judge, weigh, learn, sync, measure, save."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rlvr.clock import Clock
from rlvr.errors import SafetyStop
from rlvr.job import Job
from rlvr.metrics import of_step


def train(job: Job, on_step: Callable[[dict[str, object]], None]) -> int:
    """Run the job to its last step; returns the step it ended at (earlier after a signal).

    Raises SafetyStop when a safety limit was reached; what had been learnt by then is saved.
    """
    if job.step == 0:
        job.measure()
    for step in steps(job):
        clock, boundary = Clock(), job.boundary()
        try:
            gathered = job.gather(step, clock)
            with clock("learn"):
                weighed = job.weigh(gathered, step)
                learned = job.learn(gathered, weighed, step)
            job.gather.finish(clock)
            with clock("sync"):
                job.sync(step)
        except SafetyStop:
            job.abandon(boundary)
            raise
        job.step = step
        metrics = of_step(job, gathered, weighed, learned, clock)
        job.observe(gathered, weighed, metrics)
        on_step(metrics)
        best = job.measure() if job.measures(step) else False
        if best or job.saves(step):
            job.save()
    return job.step


def steps(job: Job) -> Iterator[int]:
    """The steps still to do; ends early, with everything saved, once a signal asked for it."""
    for step in range(job.step + 1, job.settings.steps + 1):
        if job.stop_requested:
            if job.step:
                job.save()
            return
        yield step
