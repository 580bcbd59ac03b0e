"""The virtual environments of the peers, created when a benchmark first needs them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TORCH = "torch>=2.9,<2.14"
REQUIREMENTS = {
    "onnx": [TORCH, "optimum-onnx[onnxruntime]"],
    "openvino": [TORCH, "optimum-intel[openvino,diffusers]"],
    "sentence-transformers": [TORCH, "sentence-transformers"],
}
REMOVED = {"openvino": ["torchvision"]}
"""What a requirement pulls in and what does not import beside the CPU build of torch."""


def interpreter(name: str) -> str:
    """Return the Python of a peer's environment; ``"own"`` is the one that runs this."""
    if name == "own":
        return sys.executable
    environment = Path(os.environ.get("PEERS", ROOT / ".peers")) / name
    python = environment / "bin" / "python"
    if not (environment / "ready").exists():
        print(f"creating the environment of {name} in {environment}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
        pip = [str(python), "-m", "pip", "--quiet"]
        subprocess.run([*pip, "install", "--upgrade", "pip"], check=True)
        subprocess.run([*pip, "install", *REQUIREMENTS[name]], check=True)
        if name in REMOVED:
            subprocess.run([*pip, "uninstall", "--yes", *REMOVED[name]], check=True)
        (environment / "ready").touch()
    return str(python)
