import subprocess
import sys

import keras
import numpy as np
import pytest

import zoo


def test_there_are_networks_and_importing_zoo_does_not_import_keras():
    code = "import sys, zoo; assert zoo.names(); assert 'keras' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", zoo.names())
def test_every_card_tells_the_truth(name):
    card, model = zoo.card(name), zoo.build(name)
    assert model.input_shape[1:] == card.input_shape
    assert sum(np.prod(v.shape) for v in model.trainable_variables) == card.parameters
    assert card.source
    keras.backend.clear_session()


def test_an_unknown_name_is_told_with_the_known_ones():
    with pytest.raises(ValueError, match="alexnet"):
        zoo.build("alexnot")
