"""Call a function of a module, as the script of an audit.

    python run_function.py FILE MODULE FUNCTION PATHS

``PATHS`` is the ``sys.path`` of the process that asks, as JSON.
"""

import importlib.util
import json
import sys


def main(file: str, module: str, function: str, paths: str) -> None:
    """Import the module from its file, and call its function."""
    sys.path[:] = json.loads(paths)  # without this folder, whose modules have common names
    spec = importlib.util.spec_from_file_location(module, file)
    assert spec is not None
    assert spec.loader is not None
    loaded = sys.modules[module] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    getattr(loaded, function)()


if __name__ == "__main__":
    main(*sys.argv[1:])
