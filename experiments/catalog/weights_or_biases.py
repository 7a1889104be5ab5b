"""Do a network's weights learn if their distributions do not change in TensorBoard?

Document 003 ("Interpreting TensorBoard distributions: weights don't change, only biases"). A
valence regressor on video frames: its loss falls and the biases' distributions move, but the
weights' do not, "so the weights are not learning". An answer guesses how to read the lines. Here
the movement of each element, relative to the layer's mean initial size, shows what the picture
hides, and the arms with frozen weights or frozen biases show which of them learn.

    python -m experiments.reproduce weights_or_biases
"""

from math import inf

from experiments.harness.spec import Arm, Claim, Experiment, Measure, Panel, Variant, config
from experiments.harness.spec.measures import (
    difference,
    final,
    initial,
    largest_of,
    least_of,
    ratio,
    smallest,
)

# The percentiles that TensorBoard's distributions draw, from its source (a test compares them):
# those of a normal distribution at whole and half standard deviations.
LINES = (0.0, 6.68, 15.87, 30.85, 50.0, 69.15, 84.13, 93.32, 100.0)
HIDDEN = ("conv1", "conv2", "conv3", "conv4", "conv5", "local1", "local2")
LAYERS = (*HIDDEN, "softmax_linear")
SET_ON = "2026-11-27T15:53"  # of claims about each layer, where medians over layers stood before


def in_hidden_layers(name: str) -> list[Measure]:
    """Return what each hidden layer's column ``name`` has in the end."""
    return [final("as_documented", f"{layer}_{name}") for layer in HIDDEN]


as_documented = Arm(
    network=config(
        "valence_cnn",
        width=1.0,
        kernel_initializer="glorot_normal",
        bias_initializer=config("Constant", value=0.1),
        output_stddev=1 / 1024,
    ),
    loss=config("zoo>RootOfSquare"),
    optimizer=config("Adam", learning_rate=1e-4, epsilon=1e-8),
    batch_size=1024,
    steps=4,
    intervals=100,
    dataset="frames",
    test_examples=512,
    test_batch=512,
    evaluate_first=True,
    metrics=(),
    probes=("weight_movement", "distribution_shift"),
    about="all weights and biases are trained",
)

EXPERIMENT = Experiment(
    title="A valence regressor: do its weights learn?",
    question="Do the weights learn when only the biases' distributions change in TensorBoard?",
    document='003 "Interpreting TensorBoard distributions: weights don\'t change, only biases"',
    arms={
        "as_documented": as_documented,
        "weights_frozen": Variant(
            "as_documented",
            {"frozen": ["kernel"]},
            role="diagnosis",
            about="only the biases are trained",
        ),
        "biases_frozen": Variant(
            "as_documented",
            {"frozen": ["bias"]},
            role="diagnosis",
            about="only the weights are trained",
        ),
    },
    mini={
        "network.width": 0.125,
        "network.output_stddev": 1 / 362,
        "optimizer.learning_rate": 1e-3,
        "batch_size": 64,
        "steps": 20,
        "intervals": 16,
    },
    claims=(
        Claim(
            "the loss falls, so the network learns: final test loss by the one before any training",
            where="the question's loss picture",
            measure=ratio(
                final("as_documented", "test_loss"), initial("as_documented", "test_loss")
            ),
            documented="below 1",
            bounds=(0, 0.8),
        ),
        Claim(
            "the biases' distributions change: how far they move, relative to the mean initial "
            "size, in the hidden layer where that is least",
            where="the question",
            measure=least_of(*in_hidden_layers("bias_shift")),
            documented="visibly",
            bounds=(0.05, inf),
            set_on="2026-11-26T12:52",
        ),
        Claim(
            "the weights' distributions do not: the same, in the hidden layer where that is most",
            where="the question",
            measure=largest_of(*in_hidden_layers("kernel_shift")),
            documented="invisibly",
            bounds=(0, 0.05),
            set_on="2026-11-26T12:52",
            instead="where they move most, they move farther than biases where those move least",
        ),
        Claim(
            "so the weights are not learning: how far the loss falls, at its lowest, with weights "
            "frozen, by how far it falls with all trained",
            where="the question",
            measure=ratio(
                difference(
                    initial("weights_frozen", "test_loss"), smallest("weights_frozen", "test_loss")
                ),
                difference(
                    initial("as_documented", "test_loss"), smallest("as_documented", "test_loss")
                ),
            ),
            documented="1",
            bounds=(0.9, 1.1),
            instead="with frozen weights the loss hardly falls: the weights learn",
        ),
        Claim(
            "in TensorBoard's distributions the middle line is the maximum: its percentile",
            where="the answer",
            measure=LINES[len(LINES) // 2],
            documented="100",
            bounds=(100, 100),
            instead="the middle line is the median; the outermost lines are minimum and maximum",
        ),
        Claim(
            "and the lines are quartiles: lines at 25 and 75 %",
            where="the answer",
            measure=len({25, 75} & set(LINES)),
            documented="2",
            bounds=(2, 2),
            instead="the lines are a normal distribution's: 0, 6.68, 15.87, 30.85, 50, 69.15, "
            "84.13, 93.32 and 100 %",
        ),
        Claim(
            "each weight moves all the same: how many times as far as their distribution, in the "
            "hidden layer where that is least",
            where="diagnosis",
            measure=least_of(
                *map(ratio, in_hidden_layers("kernel_moved"), in_hidden_layers("kernel_shift"))
            ),
            documented="-",
            bounds=(3, inf),
            set_on=SET_ON,
            instead="they move farther in each layer, but not three times as far in all",
        ),
        Claim(
            "and is updated in every interval: the smallest relative update of any layer's weights",
            where="diagnosis",
            measure=least_of(
                *(smallest("as_documented", f"{name}_kernel_update") for name in LAYERS)
            ),
            documented="-",
            bounds=(1e-3, inf),
            set_on=SET_ON,
        ),
        Claim(
            "the biases are hardly needed: final test loss with biases frozen, by that with all "
            "trained",
            where="diagnosis",
            measure=ratio(final("biases_frozen", "test_loss"), final("as_documented", "test_loss")),
            documented="-",
            bounds=(0.8, 1.2),
        ),
    ),
    framework=(
        "tf.contrib's Xavier normal is a truncated normal, its variance corrected by 1.3: Keras's "
        "glorot_normal to 0.6 %.",
        "sqrt(square(x)) has the gradient inf * 0 = NaN at 0; Keras's mean absolute error has 0.",
        "Adam's epsilon is 1e-8 there, 1e-7 in Keras.",
        "The mean is over the samples, not over the confidences: Keras's sum_over_batch_size.",
    ),
    deviations=(
        "The document's video frames are not public: schematic faces stand in, 4,096 to train on "
        "and 512 to test; a user's folder of frames can take their place (--data).",
        "The frame size is not given; 112x112 gives the document's 1,024 flat values.",
        "TensorBoard shows a frame as the first layer receives it; the document's is a raw one.",
        "In the prose pool1 comes before the normalisation, and a pool follows conv3 and conv4. "
        "The code, which is rebuilt, normalises first and has no such pools.",
        "The claims about distributions leave out the output layer: its weights start near 0, so "
        "their distribution moves by a multiple of its initial size.",
        "TensorBoard's tags are those of this project's telemetry, not the document's.",
        "The number of steps is not given: 100 intervals of 4 (an epoch of the stand-in).",
        "mini: an eighth of the width, the initial outputs' spread kept; batch 64 at Adam "
        "1e-3 (documented: 1024 at 1e-4), 16 intervals of 20 steps.",
    ),
    cost={
        "mini": "1 minute on 2 CPU cores",
        "full": "an estimated 1 to 2 hours for each arm on 2 CPU cores",
    },
    panels=(
        Panel("test_loss", "test loss"),
        Panel("conv4_bias_shift", "conv4's biases moved, by their initial size", limits=(0, 0.3)),
        Panel("conv4_kernel_shift", "its weights' distribution, by theirs", limits=(0, 0.3)),
        Panel("conv4_kernel_moved", "each weight of conv4 moved, by their initial size"),
    ),
)
