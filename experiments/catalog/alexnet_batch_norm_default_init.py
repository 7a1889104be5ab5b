"""Does AlexNet with batch norm fail because of the initialisation, or because of the bare log?

Document 002 ("AlexNet trained on MNIST"), experiment 7: experiment 6 with initial weights of
standard deviation 1. "Still cannot converge, which shows that even with batch norm a bad
initialisation does not train". But batch norm removes the scale of every layer except the output
layer, and a bare log fails on that layer's large logits. The diagnosis arm has a stable loss.

    python -m experiments.reproduce alexnet_batch_norm_default_init
"""

from math import inf

from experiments.harness.spec import Claim, Experiment, Variant, config
from experiments.harness.spec.measures import (
    UNDERFLOW,
    at_first_nan,
    final,
    first_above,
    first_nan,
    largest,
    nan_intervals,
)

CHANGES = {
    "network.norm": "batch",
    "network.kernel_initializer.stddev": 1.0,
    "network.bias_initializer": config("Constant", value=0.1),
}
MINI = {"network.width": 0.25, "intervals": 24}

EXPERIMENT = Experiment(
    title="AlexNet on MNIST with batch norm, initial weights of standard deviation 1",
    question="With batch norm, was it the initialisation that did not train, or the bare log?",
    document='002 "AlexNet trained on MNIST", experiment 7',
    arms={
        "as_documented": Variant(
            "alexnet_small_init:as_documented",
            CHANGES,
            MINI,
            about="experiment 7: batch norm, weights of standard deviation 1, biases 0.1",
        ),
        "stable_loss": Variant(
            "alexnet_small_init:stable_loss",
            CHANGES,
            MINI,
            role="diagnosis",
            about="the same sum over the batch, computed from logits",
        ),
    },
    claims=(
        Claim(
            "it cannot converge: first interval that turned NaN",
            where='experiment 7, "still cannot converge"',
            measure=first_nan("as_documented"),
            documented="1",
            bounds=(1, 1),
        ),
        Claim(
            "and learns nothing: best test accuracy",
            where='experiment 7, "still cannot converge"',
            measure=largest("as_documented", "test_accuracy"),
            documented="0.085",
            bounds=(0, 0.2),
        ),
        Claim(
            "a softmax output underflows to 0: largest logit gap of the interval that turns NaN",
            where="diagnosis",
            measure=at_first_nan("as_documented", "logit_gap"),
            documented="-",
            bounds=(UNDERFLOW, inf),
            set_on="2026-11-26T08:27",
        ),
        Claim(
            "with a stable loss the same initialisation trains: first interval with test "
            "accuracy over 0.5 (an epoch's 300 steps are 1 interval at full, 4.5 at mini)",
            where="diagnosis",
            measure=first_above("stable_loss", "test_accuracy", 0.5),
            documented="-",
            bounds=(1, 1),
            mini_bounds=(1, 5),
        ),
        Claim(
            "and never turns NaN: intervals that did",
            where="diagnosis",
            measure=nan_intervals("stable_loss"),
            documented="-",
            bounds=(0, 0),
        ),
        Claim(
            "to a good end: its final test accuracy",
            where="diagnosis",
            measure=final("stable_loss", "test_accuracy"),
            documented="-",
            bounds=(0.95, 1.0),
            mini_bounds=(0.7, 1.0),
        ),
    ),
    deviations=(
        "All of alexnet_small_init's.",
        "mini: a quarter of the width, as at protocol; 24 intervals.",
        "Biases are experiment 1's 0.1; the document describes the weights only.",
        "The document prints nothing of this experiment; 1 and 0.085 are experiment 1's numbers.",
    ),
    cost={
        "mini": "2 minutes on 2 CPU cores",
        "protocol": "an estimated 70 minutes on 2 CPU cores",
        "full": "days on a CPU; a GPU is needed",
    },
    seeds=(0,),
)
