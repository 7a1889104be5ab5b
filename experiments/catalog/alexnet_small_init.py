"""What explodes when AlexNet on MNIST, after 46 good epochs, turns NaN?

Document 002 ("AlexNet trained on MNIST"), experiment 2. With small initial weights and plain SGD
AlexNet stays on a plateau for eleven epochs, converges to 99 %, and at epoch 47 of 50 its loss
turns NaN: "the gradient suddenly explodes".

The document's cross-entropy is a bare log of a softmax. The diagnosis arm changes only the loss: it
computes the same sum over the batch from the logits. If it does not turn NaN at the same rate, the
NaN is the log's: a probability underflowed to 0, and its log was multiplied by a label of 0.

    python -m experiments.reproduce alexnet_small_init
"""

from math import inf, nan

from experiments.harness.spec import Arm, Claim, Experiment, ReportedValues, Variant, config
from experiments.harness.spec.measures import (
    UNDERFLOW,
    at_first_nan,
    difference,
    final,
    first_above,
    first_nan,
    if_finite,
    largest,
    last_finite,
    nan_intervals,
)

as_documented = Arm(
    network=config(
        "alexnet",
        image_size=227,
        width=1.0,
        norm="lrn",
        groups=1,
        batch_statistics_at_evaluation=True,
        kernel_initializer=config("TruncatedNormal", mean=0.0, stddev=0.01),
        bias_initializer=config("TruncatedNormal", mean=0.005, stddev=0.1),
        full_size_gain=False,
    ),
    loss=config("zoo>BareLogCrossentropy", reduction="sum"),
    optimizer=config("SGD", learning_rate=1e-4),
    batch_size=200,
    steps=300,
    intervals=50,
    test_examples=1_000,
    result_file=("AlexNet.csv", "{test_loss},{test_accuracy}"),
    about="experiment 2: small initial weights, one rate throughout",
)
STABLE = config("SparseCategoricalCrossentropy", from_logits=True, reduction="sum")

EXPERIMENT = Experiment(
    title="AlexNet on MNIST, small initial weights",
    question="Does the gradient explode when AlexNet's loss suddenly turns NaN?",
    document='002 "AlexNet trained on MNIST", experiment 2',
    arms={
        "as_documented": as_documented,
        "stable_loss": Variant(
            "as_documented",
            {"loss": STABLE},
            role="diagnosis",
            about="the same sum over the batch, computed from logits",
        ),
    },
    mini={
        "network.image_size": 67,
        "network.width": 0.125,
        "network.forward_gain": True,
        "network.kernel_initializer.stddev": 0.015,
        "optimizer.learning_rate": 5e-4,
        "batch_size": 24,
        "steps": 66,
        "intervals": 90,
    },
    protocol={"network.image_size": 67, "network.width": 0.25, "network.forward_gain": True},
    claims=(
        Claim(
            "it leaves its plateau: first interval with test accuracy over 0.3",
            where="experiment 2, step 12",
            measure=first_above("as_documented", "test_accuracy", 0.3),
            documented="12",
            bounds=(8, 16),
            mini_bounds=(4, 24),
        ),
        Claim(
            "it converges: test accuracy before the NaN, or in the end",
            where="experiment 2, step 46",
            measure=last_finite("as_documented", "test_accuracy"),
            documented="0.99",
            bounds=(0.98, 1.0),
            mini_bounds=(0.85, 1.0),
        ),
        Claim(
            "then its loss turns NaN: first such interval, after 30 and before the end",
            where="experiment 2, step 47",
            measure=first_nan("as_documented"),
            documented="47",
            bounds=(31, 50),
            mini_bounds=(31, 90),
        ),
        Claim(
            "from there on everything is taken for a 0: final test accuracy",
            where="experiment 2, steps 47 to 50",
            measure=final("as_documented", "test_accuracy"),
            documented="0.085",
            bounds=(0.0849, 0.0851),
        ),
        Claim(
            "a softmax output underflows to 0: largest logit gap in the interval that turns NaN",
            where='diagnosis of "the gradient suddenly explodes"',
            measure=at_first_nan("as_documented", "logit_gap"),
            documented="-",
            bounds=(UNDERFLOW, inf),
            set_on="2026-11-26T08:27",
        ),
        Claim(
            "a stable loss at the same rate never turns NaN: intervals that did",
            where="diagnosis",
            measure=nan_intervals("stable_loss"),
            documented="-",
            bounds=(0, 0),
        ),
        Claim(
            "and its gap passes the same point: largest logit gap",
            where="diagnosis",
            measure=if_finite("stable_loss", largest("stable_loss", "logit_gap")),
            documented="-",
            bounds=(UNDERFLOW, inf),
            set_on="2026-11-26T19:28",
        ),
        Claim(
            "at the same accuracy: after the bare log's last interval before the NaN, or in the "
            "end, its accuracy less the bare log's",
            where="diagnosis",
            measure=difference(
                last_finite("stable_loss", "test_accuracy", until="as_documented"),
                last_finite("as_documented", "test_accuracy", until="stable_loss"),
            ),
            documented="-",
            bounds=(-0.01, 0.01),
            mini_bounds=(-0.05, 0.05),
            set_on="2026-11-26T22:33",
        ),
    ),
    documented={
        "as_documented": ReportedValues(
            ("test_loss", "test_accuracy"),
            {
                1: (2299.4792, 0.122),
                2: (2299.8113, 0.117),
                11: (2293.2812, 0.125),
                12: (1955.1497, 0.391),
                13: (353.29596, 0.866),
                14: (146.65419, 0.954),
                44: (36.49175, 0.99),
                45: (22.933325, 0.986),
                46: (35.3011, 0.99),
                47: (nan, 0.085),
                48: (nan, 0.085),
                49: (nan, 0.085),
                50: (nan, 0.085),
            },
        ),
    },
    framework=(
        "Its dropout is in the graph at evaluation too, at 0.5: Keras's would be off there.",
        "Its plain SGD on a sum over the batch: 1e-4 on the sum is 0.02 on Keras's mean.",
    ),
    deviations=(
        "The order of examples is this project's (a permutation an epoch), not the old loader's.",
        "Images are resized in the graph, bilinearly with half-pixel centres, as OpenCV does.",
        "Random numbers are Keras's; a truncated normal is cut at two standard deviations in both.",
        "The document evaluates loss and accuracy one after the other, with two dropout masks; "
        "here both have one.",
        "The training accuracy that it prints is measured after each step; here it is the mean "
        "over an interval, each before the step.",
        "protocol: 67 pixels, a quarter of the width; each layer's input is multiplied by "
        "sqrt(full fan-in / own fan-in), so that signals and gradients scale as at full size.",
        "mini: 67 pixels, an eighth of the width, scaled as at protocol.",
        "mini: std 0.015 (documented: 0.01), batch 24 at rate 5e-4 (200 at 1e-4), 90 intervals of "
        "66 steps (50 of 300). They were chosen on seeds from 100 on, so that plateau, convergence "
        "and NaN fit into two minutes an arm.",
        "mini: an interval is 1,584 images, the document's epoch 60,000. What the document prints "
        "for an epoch stands beside the interval of that number.",
    ),
    cost={
        "mini": "2 to 4 minutes on 2 CPU cores",
        "protocol": "an estimated 70 minutes on 2 CPU cores",
        "full": "days on a CPU; a GPU is needed",
    },
    seeds=(0,),
)
