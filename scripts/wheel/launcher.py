"""Starts longlora, the program of this package, with the libtorch that the package torch brings."""

import importlib.metadata
import os
import sys

TORCH_REQUIREMENT = "@TORCH_REQUIREMENT@"  # the program was compiled for this version and no other
PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "bin", "longlora")


def torch_libraries():
    """The folder of libtorch. Torch itself is not imported, which would take seconds."""
    try:
        torch = importlib.metadata.distribution("torch")
        version = torch.version
    except importlib.metadata.PackageNotFoundError:
        version = "none"
    # What stands behind a plus says for which GPU: the CPU's libraries have one interface.
    if version.split("+")[0] != TORCH_REQUIREMENT.split("==")[1]:
        sys.exit(f"error: [torch] expected the package {TORCH_REQUIREMENT}, found {version}; "
                 f"install it with: {sys.executable} -m pip install {TORCH_REQUIREMENT}")
    return str(torch.locate_file("torch/lib"))


def main():
    """Takes the place of this process."""
    environment = dict(os.environ)
    folders = [torch_libraries(), *filter(None, [environment.get("LD_LIBRARY_PATH")])]
    environment["LD_LIBRARY_PATH"] = ":".join(folders)
    os.execve(PROGRAM, ["longlora", *sys.argv[1:]], environment)
