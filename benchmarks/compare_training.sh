#!/bin/bash
# compare_training.sh [--quick] [--help …]: training speed and memory of this program and of a peer
# (transformers + peft) on the same work in turn. One command measures the whole table; what an earlier
# call has measured is kept, so an interrupted one goes on where it stopped.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${PYTHON:-python3}
exec "$python" "$here/compare_training.py" --python "$python" "$@"
