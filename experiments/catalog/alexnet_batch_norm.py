"""How much does batch normalisation help AlexNet on MNIST?

Document 002 ("AlexNet trained on MNIST"), experiment 6: experiment 2 with batch norm before every
ReLU and without LRN. Test accuracy is 97.9 % after the first epoch and 99.1 % after the last: the
effect is "very marked". The document evaluates with the test batch's own statistics. The diagnosis
arm evaluates with the moving averages, as a deployed network would.

    python -m experiments.reproduce alexnet_batch_norm
"""

from math import inf

from experiments.harness.spec import Claim, Experiment, ReportedValues, Variant
from experiments.harness.spec.measures import (
    at,
    difference,
    final,
    first_above_or_nan,
    nan_intervals,
)

BATCH_NORM = {"network.norm": "batch"}
SHORT = {"intervals": 60}

EXPERIMENT = Experiment(
    title="AlexNet on MNIST with batch norm",
    question="Does batch norm do away with plateau and explosion?",
    document='002 "AlexNet trained on MNIST", experiment 6',
    arms={
        "as_documented": Variant(
            "alexnet_small_init:as_documented",
            BATCH_NORM,
            SHORT,
            about="experiment 6: batch norm before every ReLU, batch statistics at evaluation",
        ),
        "moving_averages": Variant(
            "alexnet_small_init:as_documented",
            {**BATCH_NORM, "network.batch_statistics_at_evaluation": False},
            SHORT,
            role="diagnosis",
            about="the same, evaluated with batch norm's moving averages",
        ),
        "small_init": Variant(
            "alexnet_small_init:as_documented", about="experiment 2: LRN, no batch norm"
        ),
    },
    claims=(
        Claim(
            "it learns at once: test accuracy after the first interval",
            where="experiment 6, first line",
            measure=at("as_documented", "test_accuracy", 1),
            documented="0.979",
            bounds=(0.96, 1.0),
            mini_bounds=(0.6, 1.0),
        ),
        Claim(
            "sooner than experiment 2: how many intervals later that one passes 0.3",
            where="experiments 2 and 6",
            measure=difference(
                first_above_or_nan("small_init", "test_accuracy", 0.3),
                first_above_or_nan("as_documented", "test_accuracy", 0.3),
            ),
            documented="11",
            bounds=(1, inf),
            set_on="2026-11-26T08:27",
        ),
        Claim(
            "it converges: final test accuracy",
            where="experiment 6, last line",
            measure=final("as_documented", "test_accuracy"),
            documented="0.991",
            bounds=(0.98, 1.0),
            mini_bounds=(0.9, 1.0),
        ),
        Claim(
            "nothing explodes: intervals that turned NaN",
            where="experiment 6",
            measure=nan_intervals("as_documented"),
            documented="0",
            bounds=(0, 0),
        ),
        Claim(
            "moving averages evaluate as well in the end: final test accuracy with them, less "
            "the documented arm's",
            where="diagnosis",
            measure=difference(
                final("moving_averages", "test_accuracy"), final("as_documented", "test_accuracy")
            ),
            documented="-",
            bounds=(-0.01, 0.02),
            mini_bounds=(-0.03, 0.05),
            instead="they lag to the end",
        ),
        Claim(
            "but not in the beginning, at a decay of 0.999: the same after the first interval",
            where="diagnosis",
            measure=difference(
                at("moving_averages", "test_accuracy", 1),
                at("as_documented", "test_accuracy", 1),
            ),
            documented="-",
            bounds=(-1, -0.1),
        ),
    ),
    documented={
        "as_documented": ReportedValues(
            ("test_loss", "test_accuracy"),
            {
                1: (44.443394, 0.979),
                2: (34.873466, 0.988),
                49: (13.521537, 0.992),
                50: (10.757448, 0.991),
            },
        )
    },
    framework=(
        "Its batch norm has a decay of 0.999 and epsilon 0.001 (Keras's momentum: 0.99), and uses "
        "the batch's own statistics at evaluation, where Keras's uses the moving averages.",
    ),
    deviations=(
        "All of alexnet_small_init's.",
        "The document's evaluation moves the moving averages, too, which it never uses; here only "
        "training does.",
        'The printed lines all say "step 1"; they are drawn as epochs 1, 2, 49 and 50.',
        "mini: 60 intervals.",
    ),
    cost={
        "mini": "3 to 4 minutes on 2 CPU cores",
        "protocol": "an estimated 100 minutes on 2 CPU cores",
        "full": "days on a CPU; a GPU is needed",
    },
)
