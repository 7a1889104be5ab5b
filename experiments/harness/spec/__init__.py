"""Arms, experiments, claims, runs and verdicts, as frozen data.

Standard library only: nothing here starts a backend.
"""

from experiments.harness.spec.arm import Arm, Config, Role, Scale, Variant, config
from experiments.harness.spec.claim import Bounds, Claim, Measure, Verdict
from experiments.harness.spec.errors import ProcessError, UserError, describe_error, nearest
from experiments.harness.spec.experiment import Experiment
from experiments.harness.spec.figures import Panel, ReportedValues
from experiments.harness.spec.run import History, Run, RunSpec, ScriptRun, ScriptSpec, Status
from experiments.harness.spec.search_space import Dimension

__all__ = [
    "Arm",
    "Bounds",
    "Claim",
    "Config",
    "Dimension",
    "Experiment",
    "History",
    "Measure",
    "Panel",
    "ProcessError",
    "ReportedValues",
    "Role",
    "Run",
    "RunSpec",
    "Scale",
    "ScriptRun",
    "ScriptSpec",
    "Status",
    "UserError",
    "Variant",
    "Verdict",
    "config",
    "describe_error",
    "nearest",
]
