"""Ctrl-C while worker processes are at it: what is done is kept, nobody stays behind."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from cbs_opt.kernel.problem import PruningProblem

SCRIPT = """
import sys
from cbs_opt.study import files_subject, run_study, write_study

if __name__ == "__main__":
    def progress(done, total, name):
        print("done", done, flush=True)

    result = run_study(files_subject([sys.argv[1]]), jobs=2, on_progress=progress)
    write_study(result, sys.argv[2])
    print(result.message())
    sys.exit(result.exit_code)
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="process groups are POSIX")
def test_ctrl_c_reaches_the_whole_process_group(tmp_path):
    (tmp_path / "study.py").write_text(SCRIPT)
    (tmp_path / "blocks").mkdir()
    rng = np.random.default_rng(0)
    for i in range(150):
        problem = PruningProblem.from_gradients(rng.normal(size=24), rng.normal(size=(30, 24)), damping=0.05)
        problem.save(tmp_path / "blocks" / f"{i}.npz")
    command = [sys.executable, str(tmp_path / "study.py"), str(tmp_path / "blocks"), str(tmp_path / "out")]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line == "done 5\n":
                break
        os.killpg(process.pid, signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert output.splitlines()[-1].startswith("interrupted after ")
    assert "Traceback" not in errors
    assert "Warning" not in errors
    data = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    assert data["complete"] is False
    assert len(data["rows"]) > 0
    assert (tmp_path / "out" / "index.html").is_file()
    assert not list((tmp_path / "out").glob("*.tmp"))
