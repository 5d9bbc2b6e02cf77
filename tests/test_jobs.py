"""Job files: syntax, structure, real flags, and the same command again after exit code 75."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
JOBS = ROOT / "launch" / "jobs"
SCRIPTS = sorted(JOBS.glob("*.sh"))
PREEMPTED = 75


def text_of(path):
    """A job file without comments, which may name flags of other programs."""
    lines = path.read_text().splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith("#"))


def flags_of(path, command):
    """The flags that a job file gives to a command of launch, up to the end of that shell line."""
    text = text_of(path).replace("\\\n", " ")
    if path.suffix == ".yaml":
        text = " ".join(container(path)["command"])
    calls = re.findall(rf"-m launch\.{command}\b([^\n;]*)", text)
    return {flag for call in calls for flag in re.findall(r"--(\w+)", call)}


def container(path):
    [job] = yaml.safe_load(path.read_text())["spec"]["replicatedJobs"]
    [found] = job["template"]["spec"]["template"]["spec"]["containers"]
    return found


def real_flags(command):
    result = subprocess.run(
        [sys.executable, "-m", f"launch.{command}", "--help"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return set(re.findall(r"^\s+--(?:\[no\])?(\w+)", result.stdout, re.MULTILINE))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_valid_bash_that_users_can_run(path):
    assert subprocess.run(["bash", "-n", path], capture_output=True).stderr == b""
    assert os.access(path, os.X_OK)
    if shutil.which("shellcheck"):
        found = subprocess.run(["shellcheck", path], capture_output=True, text=True)
        assert found.stdout == ""


@pytest.mark.quick("train")
@pytest.mark.parametrize(
    ("command", "files"),
    [("train", ["slurm.sh", "jobset.yaml", "tpu_pod.sh"]), ("sweep", ["slurm_sweep.sh"])],
    ids=["train", "sweep"],
)
def test_every_flag_in_the_job_files_is_one_of_the_command(command, files):
    used = {file: flags_of(JOBS / file, command) for file in files}
    assert all(used.values()), used
    known = real_flags(command)
    assert {file: flags - known for file, flags in used.items()} == {file: set() for file in files}


def test_the_jobset_has_the_structure_that_kubernetes_asks_for():
    document = yaml.safe_load((JOBS / "jobset.yaml").read_text())
    assert (document["apiVersion"], document["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    name = document["metadata"]["name"]
    [rule] = document["spec"]["failurePolicy"]["rules"]
    assert rule["action"] == "RestartJobSetAndIgnoreMaxRestarts"
    assert rule["onJobFailureReasons"] == ["PodFailurePolicy"]
    [replicated] = document["spec"]["replicatedJobs"]
    job = replicated["template"]["spec"]
    assert job["completionMode"] == "Indexed"
    assert job["completions"] == job["parallelism"] > 1
    assert job["backoffLimit"] == 0
    pod = job["template"]["spec"]
    assert pod["restartPolicy"] == "Never"  # podFailurePolicy allows no other
    assert pod["terminationGracePeriodSeconds"] > 30
    [only] = pod["containers"]
    assert {mount["name"] for mount in only["volumeMounts"]} == {v["name"] for v in pod["volumes"]}
    for each in job["podFailurePolicy"]["rules"]:
        assert ("onExitCodes" in each) != ("onPodConditions" in each)  # never both
        assert each["action"] == "FailJob"
    codes, conditions = job["podFailurePolicy"]["rules"]
    assert codes["onExitCodes"] == {
        "containerName": only["name"],
        "operator": "In",
        "values": [PREEMPTED],
    }
    assert conditions["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
    line = only["command"][-1]
    host = f"{name}-{replicated['name']}-0-0.{name}"
    assert f"--coordinator={host}:{only['ports'][0]['containerPort']}" in line
    assert f"--num_processes={job['completions']} " in line
    assert f"--mesh=data:{job['completions']}" in line
    assert line.startswith("exec ")  # the signal reaches Python
    assert line.count("--workdir=" + only["volumeMounts"][0]["mountPath"] + "/") == 1


def stand_in(folder, name, body):
    path = folder / name
    path.write_text(f'#!/usr/bin/env bash\necho "{name} $*" >> "$LOG"\n{body}\n')
    path.chmod(0o755)


def run_script(script, tmp_path, *arguments, **variables):
    """Run a job file with the stand-ins of ``tmp_path`` first on the path; code and calls."""
    log = tmp_path / "log"
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "LOG": str(log),
        "HOME": str(tmp_path),
    }
    done = subprocess.run(
        ["bash", JOBS / script, *arguments],
        env={**environment, **variables},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    return done.returncode, log.read_text().splitlines()


@pytest.mark.parametrize("code", [0, 1, 2, PREEMPTED])
def test_slurm_requeues_what_was_saved_and_nothing_else(code, tmp_path):
    stand_in(tmp_path, "srun", f"exit {code}")
    stand_in(tmp_path, "scontrol", "")
    variables = {"SLURM_NTASKS": "8", "SLURM_JOB_ID": "17"}
    returned, calls = run_script("slurm.sh", tmp_path, "--activation=elu(alpha=0.5)", **variables)
    assert returned == code
    assert calls[0].endswith(
        "-m launch.train --distributed=on --mesh=data:8 --activation=elu(alpha=0.5)"
    )
    assert calls[1:] == (["scontrol requeue 17"] if code == PREEMPTED else [])


@pytest.mark.parametrize("code", [0, PREEMPTED])
def test_one_task_of_a_slurm_array_requeues_itself_alone(code, tmp_path):
    stand_in(tmp_path, "srun", f"exit {code}")
    stand_in(tmp_path, "scontrol", "")
    array = {"SLURM_ARRAY_JOB_ID": "17", "SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "8"}
    returned, calls = run_script("slurm_sweep.sh", tmp_path, "--x=1", SLURM_JOB_ID="17", **array)
    assert returned == code
    assert calls[0].endswith("-m launch.sweep --part=3/8 --x=1")
    assert calls[1:] == (["scontrol requeue 17_3"] if code == PREEMPTED else [])


def test_a_batch_shell_that_is_signalled_still_requeues(tmp_path):
    stand_in(tmp_path, "srun", f"kill -TERM $PPID; sleep 0.2; exit {PREEMPTED}")
    stand_in(tmp_path, "scontrol", "")
    returned, calls = run_script("slurm.sh", tmp_path, SLURM_NTASKS="1", SLURM_JOB_ID="5")
    assert (returned, calls[1:]) == (PREEMPTED, ["scontrol requeue 5"])


GCLOUD = r"""
case "$*" in
  *describe*) cat state 2>/dev/null ;;
  *create*) echo ACTIVE > state ;;
  *delete*) rm state ;;
  *launch.train*)
    remote=${!#}; remote=${remote#--command=}
    mkdir -p .venv/bin; cp python .venv/bin/python
    HOME=$PWD bash -c "$remote" ;;
esac
"""
TPU = {"TPU": "t", "ZONE": "z", "TYPE": "v4-16", "DEVICES": "8", "PAUSE": "0", "SETUP": "true"}


def python_that_ends_with(tmp_path, *lines):
    """A stand-in for Python on a worker: call k runs line k."""
    body = "\n".join(f"  {number}) {line} ;;" for number, line in enumerate(lines, 1))
    count = 'n=$(($(cat n 2>/dev/null || echo 0) + 1)); echo "$n" > n'
    stand_in(tmp_path, "python", f'{count}\ncase "$n" in\n{body}\nesac')


def test_a_tpu_worker_repeats_what_was_saved_until_it_is_finished(tmp_path):
    stand_in(tmp_path, "gcloud", GCLOUD)
    python_that_ends_with(tmp_path, "exit 75", "exit 75", "exit 0")
    returned, calls = run_script("tpu_pod.sh", tmp_path, "--task=npz:my data.npz", **TPU)
    workers = [call for call in calls if call.startswith("python ")]
    expected = "python -m launch.train --distributed=on --mesh=data:8 --workdir=/mnt/runs/t "
    assert (returned, workers) == (0, [expected + "--task=npz:my data.npz"] * 3)
    assert sum(" create " in call for call in calls) == 1


def test_a_preempted_tpu_is_asked_for_again(tmp_path):
    stand_in(tmp_path, "gcloud", GCLOUD)
    python_that_ends_with(tmp_path, "echo SUSPENDED > state; exit 255", "exit 0")
    returned, calls = run_script("tpu_pod.sh", tmp_path, **TPU)
    assert returned == 0
    assert sum(" create " in call for call in calls) == 2
    assert sum(" delete " in call for call in calls) == 1


def test_a_failed_run_on_a_tpu_that_is_still_there_is_not_repeated(tmp_path):
    stand_in(tmp_path, "gcloud", GCLOUD)
    python_that_ends_with(tmp_path, "exit 2")
    returned, calls = run_script("tpu_pod.sh", tmp_path, **TPU)
    assert (returned, sum(call.startswith("python ") for call in calls)) == (2, 1)


def test_job_files_are_in_the_wheel(tmp_path):
    hatchling = pytest.importorskip("hatchling.build")
    here = Path.cwd()
    os.chdir(ROOT)
    try:
        wheel = hatchling.build_wheel(str(tmp_path))
    finally:
        os.chdir(here)
    names = set(zipfile.ZipFile(tmp_path / wheel).namelist())
    assert {f"launch/jobs/{path.name}" for path in JOBS.iterdir()} <= names
