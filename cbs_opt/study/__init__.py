"""Studies that compare heuristics with exact solves: on the embedded network, on another one, or on block files."""

from cbs_opt.study.result import Accuracy, BlockRow, Failure, StudyResult, Summary
from cbs_opt.study.runner import SPARSITIES, TIME_LIMIT, run_study
from cbs_opt.study.subject import Subject, digits_subject, files_subject, model_subject, network_subject
from cbs_opt.study.write import write_study

__all__ = [
    "SPARSITIES",
    "TIME_LIMIT",
    "Accuracy",
    "BlockRow",
    "Failure",
    "StudyResult",
    "Subject",
    "Summary",
    "digits_subject",
    "files_subject",
    "model_subject",
    "network_subject",
    "run_study",
    "write_study",
]
