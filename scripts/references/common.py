"""What the reference generators share: where the goldens lie and small tiny-model helpers."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "data"
GOLDENS = DATA / "goldens"


def save_tensors(path, tensors, metadata=None):
    """A .safetensors file that everybody may read (the library makes it private)."""
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.detach().contiguous() for k, v in tensors.items()}, str(path), metadata=metadata or {"format": "pt"})
    path.chmod(0o644)
