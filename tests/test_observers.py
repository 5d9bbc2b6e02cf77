"""Observers: the order in which they are asked, what they are told, and how they end a run."""

import json
from types import SimpleNamespace

import pytest
from test_training import parameters_of, small

from deqzoo import catalog
from deqzoo.catalog import CatalogError
from deqzoo.storage.workdir import Workdir
from deqzoo.training import RunOptions, Training, TrainingError, train
from deqzoo.training.observer import Complaint, Observer
from deqzoo.training.observer_list import ObserverError, ObserverList
from deqzoo.training.observers.clock import Clock
from deqzoo.training.sink import Sink


class Told(Observer):
    """Notes down what it is told, and when."""

    def __init__(self):
        self.heard = []

    def at_start(self, start):
        self.heard.append(("start", start.step, start.last and start.last["step"]))
        return [f"begins after step {start.step}"]

    def each_step(self, step):
        self.heard.append(("step", step.number, step.numbers))

    def at_evaluation(self, evaluation):
        assert evaluation.report["test_loss"] > 0
        self.heard.append(("evaluation", evaluation.report["step"], int(evaluation.state.step)))
        return {"measured": evaluation.report["step"]}

    def at_report(self, report):
        assert "examples_per_second" in report  # of the clock, which is asked before
        self.heard.append(("report", report["step"], "measured" in report))
        return {"twice": 2 * report["loss"]}

    def summary(self, end):
        self.heard.append(("summary", end.summary["step"], len(end.lines)))
        return {"lines": len(end.lines)}

    def close(self):
        self.heard.append(("close",))


class Reading(Told):
    reads_every_step = True


def observe(config, *observers, stop=None, options=None):
    training = Training(config, options, observers)
    try:
        return list(training.reports(stop)), training
    finally:
        training.close()


def test_the_clock_counts_the_examples_since_the_line_before(monkeypatch):
    clock, now = Clock(batch_size=32), iter([10.0, 14.0, 14.5, 20.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(now))
    clock.at_start(SimpleNamespace(step=100))
    assert clock.at_report({"step": 110}) == {"examples_per_second": 80}
    assert clock.at_report({"step": 111}) == {"examples_per_second": 64}
    assert clock.summary(None) == {"seconds": 10}


def test_an_observer_is_told_everything_in_order_and_its_entries_are_written(tmp_path):
    config = small(tmp_path, steps=3, log_every=2, eval_every=3, checkpoint_every=3)
    told = Told()
    reports, training = observe(config, told)
    assert told.heard == [
        ("start", 0, None),
        ("step", 1, None),
        ("step", 2, None),
        ("step", 3, None),  # a line waits until the next step is under way
        ("report", 2, False),
        ("evaluation", 3, 3),
        ("report", 3, True),
        ("summary", 3, 2),
        ("close",),
    ]
    assert "begins after step 0" in training.notes
    rows = Workdir(config.workdir).read_metrics()
    assert rows == json.loads(json.dumps(reports[:-1]))
    assert [row["twice"] / row["loss"] for row in rows] == [2, 2]
    assert [row.get("measured") for row in rows] == [None, 3]
    assert (Workdir(config.workdir).read_summary() or {})["lines"] == 2


def test_the_numbers_of_every_step_come_to_the_host_only_where_an_observer_declares_it(tmp_path):
    quiet, reading = Told(), Reading()
    config = small(tmp_path, steps=3, log_every=3)
    observe(config, reading)
    losses = [event[2]["loss"] for event in reading.heard if event[0] == "step"]
    assert len({*losses}) == 3
    assert Workdir(config.workdir).read_metrics()[-1]["loss"] == losses[-1]
    observe(small(tmp_path / "quiet", steps=3, log_every=3), quiet)
    assert [event[2] for event in quiet.heard if event[0] == "step"] == [None] * 3


def test_a_resumed_run_tells_where_it_is_and_a_finished_one_nothing(tmp_path):
    config, again, finished = small(tmp_path, steps=4), Told(), Told()
    observe(config, stop=lambda step: step == 3)
    observe(config, again)
    assert again.heard[0] == ("start", 3, 3)
    observe(config, finished)
    assert finished.heard == []


@pytest.mark.quick("each_step-2")
@pytest.mark.parametrize(
    ("hook", "step"), [("each_step", 2), ("at_report", 2), ("at_evaluation", 3), ("summary", 6)]
)
def test_an_observer_that_raises_is_named_and_the_state_saved(hook, step, tmp_path):
    class Careless(Observer):
        pass

    def fail(self, told):
        now = getattr(told, "number", None) or (told["step"] if isinstance(told, dict) else step)
        if now == step:
            raise KeyError("lost")
        return {}

    setattr(Careless, hook, fail)
    fail.__name__ = hook
    config = small(tmp_path)
    message = rf"stopped after step \d: the observer Careless failed in {hook} \(KeyError: 'lost'\)"
    with pytest.raises(TrainingError, match=message) as caught:
        observe(config, Careless())
    assert f"is saved in {config.workdir}" in str(caught.value)
    saved = int(str(caught.value).split("after step ")[1][0])
    assert int(parameters_of(config.workdir, saved)["step"]) == saved in (step, step + 1)
    *_, summary = train(config)  # and goes on without it
    assert summary["step"] == 6


def test_a_complaint_ends_the_run_in_its_own_words(tmp_path):
    class Strict(Observer):
        def at_report(self, report):
            if report["step"] == 2:
                raise Complaint("two steps are plenty")
            return {}

    with pytest.raises(TrainingError, match=r"stopped after step 3: two steps are plenty\. The"):
        observe(small(tmp_path), Strict())


def test_the_words_of_an_observer_are_told_in_one_line(tmp_path):
    class Wordy(Observer):
        def at_report(self, report):
            raise TypeError("expected a\n\n   got b")

    with pytest.raises(TrainingError, match=r"failed in at_report \(TypeError: expected a got b\)"):
        observe(small(tmp_path), Wordy())


def test_an_observer_that_cannot_start_leaves_the_folder_free(tmp_path):
    class Unready(Observer):
        def at_start(self, start):
            raise OSError("no line")

    told = Told()
    with pytest.raises(TrainingError, match=r"Unready failed in at_start \(OSError: no line\)"):
        Training(small(tmp_path), None, [told, Unready()])
    assert told.heard[-1] == ("close",)
    Training(small(tmp_path)).close()


def test_entries_need_names_of_their_own_and_lists_are_joined():
    class Gives(Observer):
        def __init__(self, **entries):
            self.entries = entries

        def at_report(self, report):
            return self.entries

    both = ObserverList([Gives(alarms=["a"]), Gives(alarms=["b", "c"])])
    assert both.at_report({"step": 1}) == {"step": 1, "alarms": ["a", "b", "c"]}
    with pytest.raises(ObserverError, match="the observer Gives adds 'loss', which the report has"):
        ObserverList([Gives(loss=1.0)]).at_report({"loss": 2.0})


@pytest.fixture
def paper():
    """A sink of somebody else's."""

    class Paper(Sink):
        def __init__(self, name: str = "paper.txt"):
            self._name = name

        def at_start(self, start):
            self._folder, self._lines = start.folder, []
            return ()

        def at_report(self, report):
            written = Workdir(self._folder).read_metrics()[-1]["step"]
            self._lines.append(f"{report['step']} {report['twice']} {written}\n")
            return {}

        def close(self):
            (self._folder / self._name).write_text("".join(self._lines))

    catalog.sinks.register(Paper)
    yield Paper
    catalog.sinks._registered.pop("paper")


def test_a_registered_sink_takes_complete_lines_that_are_already_written(paper, tmp_path):
    config = small(tmp_path, steps=2)
    options = RunOptions(sink=("paper(name='a.txt')", "paper"))
    observe(config, Told(), options=options)
    rows = Workdir(config.workdir).read_metrics()
    expected = "".join(f"{row['step']} {row['twice']} {row['step']}\n" for row in rows)
    for name in ("a.txt", "paper.txt"):
        assert (tmp_path / "run" / name).read_text() == expected


def test_an_unknown_sink_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(CatalogError, match="no sink is called 'tensorbord'; did you mean"):
        Training(small(tmp_path), RunOptions(sink=("tensorbord",)))
    assert not (tmp_path / "run").exists()
