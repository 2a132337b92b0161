#!/usr/bin/env python3
"""Reference values for the TensorBoard event writer, and proof that TensorBoard reads its files.

    python -m venv venv && venv/bin/pip install tensorboard
    venv/bin/python scripts/references/tensorboard_events.py write
    venv/bin/python scripts/references/tensorboard_events.py check build/release/tests/results/write_event_sample

`write` encodes events with TensorBoard's own protobuf classes and record writer into
tests/data/results/tensorboard_events.json. `check` runs the given program, which writes the event
files of a killed and resumed run, reads them with TensorBoard's EventAccumulator and compares values.
"""

import io
import json
import math
import pathlib
import subprocess
import sys
import tempfile

import numpy
import tensorboard
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

GOLDEN = pathlib.Path(__file__).parents[2] / "tests/data/results/tensorboard_events.json"
SCALARS = [
    (1700000000.25, 1, "train/loss", "3.25"),
    (1700000001.5, 127, "train/loss", "0.1"),
    (1700000002.0, 128, "train/learning_rate", "2e-05"),
    (1700000003.0, 3000000000, "train/tokens", "3.5e12"),
    (1700000004.0, -1, "eval/perplexity", "-1.5"),
    (1700000005.0, 7, "größe/λ", "nan"),
    (1700000006.0, 8, "train/grad_norm", "inf"),
    (1700000007.0, 9, "t" * 200, "0.0078125"),
]


def frame(payload: bytes) -> bytes:
    stream = io.BytesIO()
    RecordWriter(stream).write(payload)
    return stream.getvalue()


def write() -> None:
    scalars = []
    for wall_time, step, tag, value in SCALARS:
        summary = Summary(value=[Summary.Value(tag=tag, simple_value=float(value))])
        payload = Event(wall_time=wall_time, step=step, summary=summary).SerializeToString()
        scalars.append({
            "wall_time": wall_time, "step": step, "tag": tag, "value": value,
            "event_hex": payload.hex(), "frame_hex": frame(payload).hex(),
        })
    version = Event(wall_time=1700000000.5, file_version="brain.Event:2")
    start = Event(wall_time=1700000000.75, step=41, session_log=SessionLog(status=SessionLog.START))
    golden = {
        "source": f"scripts/references/tensorboard_events.py with tensorboard {tensorboard.__version__}",
        "file_version": {"wall_time": version.wall_time, "event_hex": version.SerializeToString().hex()},
        "session_start": {"wall_time": start.wall_time, "step": start.step,
                          "event_hex": start.SerializeToString().hex()},
        "scalars": scalars,
    }
    GOLDEN.parent.mkdir(parents=True, exist_ok=True)
    GOLDEN.write_text(json.dumps(golden, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"wrote {GOLDEN}")


def offset(step: int) -> float:
    return 0.0 if step <= 40 else 0.5


def check(program: str) -> None:
    expected = {
        "train/loss": {step: 4.0 / math.sqrt(step) + offset(step) for step in range(1, 101)},
        "train/learning_rate": {step: 2e-5 for step in range(1, 101)},
        "eval/perplexity": {step: 100.0 / step + offset(step) for step in range(20, 101, 20)},
    }
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([program, folder], check=True)
        accumulator = EventAccumulator(folder, size_guidance={"scalars": 0})
        accumulator.Reload()
        assert sorted(accumulator.Tags()["scalars"]) == sorted(expected), accumulator.Tags()
        for tag, values in expected.items():
            read = [(event.step, event.value) for event in accumulator.Scalars(tag)]
            wanted = [(step, float(numpy.float32(value))) for step, value in values.items()]
            assert read == wanted, f"{tag}: {read} != {wanted}"
            print(f"{tag}: {len(read)} values read back, all equal")
    print(f"TensorBoard {tensorboard.__version__} reads the files; the resumed run replaced steps 41-60")


if __name__ == "__main__":
    if sys.argv[1:] == ["write"]:
        write()
    elif len(sys.argv) == 3 and sys.argv[1] == "check":
        check(sys.argv[2])
    else:
        sys.exit(__doc__)
