"""Why does AlexNet on MNIST not converge from initial weights of standard deviation 1?

Document 002 ("AlexNet trained on MNIST"), experiment 1. The default standard deviation of
``tf.truncated_normal`` is 1. The loss is NaN from the first epoch on, and the accuracy is 0.085:
it "cannot converge". The document blames the initialisation.

The logits are then 3e12 to 6e12 apart, so a bare log must fail. The diagnosis arm, with a stable
loss, shows whether anything else fails.

    python -m experiments.reproduce alexnet_default_init
"""

from math import inf, nan

from experiments.harness.spec import Claim, Experiment, ReportedValues, Variant, config
from experiments.harness.spec.measures import final, first_nan, largest, nan_intervals

DEFAULT = {
    "network.kernel_initializer.stddev": 1.0,
    "network.bias_initializer": config("Constant", value=0.1),
}
SHORT = {"intervals": 12}

EXPERIMENT = Experiment(
    title="AlexNet on MNIST, initial weights of standard deviation 1",
    question="Is it the initialisation that keeps AlexNet from converging?",
    document='002 "AlexNet trained on MNIST", experiment 1',
    arms={
        "as_documented": Variant(
            "alexnet_small_init:as_documented",
            DEFAULT,
            SHORT,
            about="experiment 1: weights of standard deviation 1, biases 0.1",
        ),
        "stable_loss": Variant(
            "alexnet_small_init:stable_loss",
            DEFAULT,
            SHORT,
            role="diagnosis",
            about="the same sum over the batch, computed from logits",
        ),
    },
    claims=(
        Claim(
            "the loss is NaN from the first interval on: first such interval",
            where="experiment 1, step 0",
            measure=first_nan("as_documented"),
            documented="1",
            bounds=(1, 1),
        ),
        Claim(
            "it cannot converge: final test accuracy",
            where="experiment 1, steps 0 to 3",
            measure=final("as_documented", "test_accuracy"),
            documented="0.085",
            bounds=(0.0849, 0.0851),
        ),
        Claim(
            "the logits are far beyond what a bare log bears: largest finite gap",
            where="diagnosis",
            measure=largest("stable_loss", "logit_gap"),
            documented="-",
            bounds=(1e4, inf),
        ),
        Claim(
            "with a stable loss nothing turns NaN: intervals that did",
            where="diagnosis",
            measure=nan_intervals("stable_loss"),
            documented="-",
            bounds=(0, 0),
            instead="the first update leaves no finite logit: here the gradients do explode",
        ),
        Claim(
            "with a stable loss it learns: best test accuracy",
            where="diagnosis",
            measure=largest("stable_loss", "test_accuracy"),
            documented="-",
            bounds=(0.5, 1.0),
            instead="with neither loss does it train",
        ),
    ),
    documented={
        "as_documented": ReportedValues(
            ("test_loss", "test_accuracy"), dict.fromkeys((1, 2, 3, 4), (nan, 0.085))
        )
    },
    framework=(
        "tf.truncated_normal's default standard deviation is 1; Keras's TruncatedNormal has 0.05.",
    ),
    deviations=(
        "All of alexnet_small_init's.",
        "The document's steps 0 to 3 stand at intervals 1 to 4.",
        "mini: 12 intervals.",
    ),
    cost={
        "mini": "1 minute on 2 CPU cores",
        "protocol": "an estimated 70 minutes on 2 CPU cores",
        "full": "days on a CPU; a GPU is needed",
    },
    seeds=(0,),
)
