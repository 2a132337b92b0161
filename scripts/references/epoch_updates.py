"""What transformers' Trainer does with rows that do not divide into updates: which rows each update takes, at which
rate and epoch, and loss and gradient norm of a run whose epochs end in smaller updates and batches.

The Trainer itself runs; rows are taken in their order.
"""

import json
import tempfile

import numpy
import torch
from torch.utils.data import Dataset
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments

from scripts.references.common import GOLDENS, load_model, save_json

FOLDER = GOLDENS / "training" / "uneven"
PEAK, WARMUP = 1e-3, 2


class Rows(Dataset):
    def __init__(self, ids):
        self.ids = torch.from_numpy(ids.astype("int64"))

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, index):
        return {"input_ids": self.ids[index], "labels": self.ids[index]}


class RecordingTrainer(Trainer):
    """Keeps the first id of every row that is computed since the last update."""

    first_ids = []

    def training_step(self, model, inputs, *others):
        self.first_ids = self.first_ids + inputs["input_ids"][:, 0].tolist()
        return super().training_step(model, inputs, *others)


class Recorder(TrainerCallback):
    """What every update took and came to."""

    def __init__(self):
        self.updates, self.trainer = [], None

    def on_step_end(self, args, state, control, **kwargs):
        self.updates.append({"first_ids": self.trainer.first_ids, "epoch": state.epoch})
        self.trainer.first_ids = []

    def on_log(self, args, state, control, logs=None, **kwargs):
        if "loss" in logs:
            self.updates[-1].update({key: logs[key] for key in ("loss", "grad_norm", "learning_rate")})


def run(model, ids, settings):
    recorder = Recorder()
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder, use_cpu=True, report_to="none", save_strategy="no", disable_tqdm=True, logging_steps=1,
            train_sampling_strategy="sequential", optim="adamw_torch", adam_beta2=0.95, max_grad_norm=1.0, learning_rate=PEAK,
            seed=1, **settings)
        recorder.trainer = RecordingTrainer(model=model, args=arguments, train_dataset=Rows(ids), callbacks=[recorder])
        recorder.trainer.train()
    return recorder.updates


def tiny():
    return LlamaForCausalLM(LlamaConfig(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1,
                                        vocab_size=64, max_position_embeddings=8))


def measure(shape, length):
    """[first row, one behind the last, learning rate, epoch] of every update; ids tell the rows."""
    rows, batch, accumulation, drop_last = shape
    settings = dict(per_device_train_batch_size=batch, gradient_accumulation_steps=accumulation, dataloader_drop_last=drop_last,
                    lr_scheduler_type="linear", warmup_steps=WARMUP, **length)
    ids = numpy.repeat(numpy.arange(rows), 3).reshape(rows, 3)
    updates = run(tiny(), ids, settings)
    for update in updates:
        first, last = update["first_ids"][0], update["first_ids"][-1]
        assert update["first_ids"] == list(range(first, last + 1))
    return dict(num_rows=rows, batch=batch, accumulation=accumulation, drop_last=drop_last, **length,
                updates=[[u["first_ids"][0], u["first_ids"][-1] + 1, u["learning_rate"], u["epoch"]] for u in updates])


def cases():
    shapes = [(10, 1, 8, False), (10, 4, 1, False), (10, 16, 1, False), (32, 3, 4, False), (32, 5, 1, False), (32, 40, 1, False),
              (12, 2, 3, False), (13, 2, 3, False), (7, 2, 8, False), (13, 2, 3, True), (32, 3, 4, True), (10, 4, 1, True)]
    lengths = [{"num_train_epochs": epochs} for epochs in (1, 3, 0.4, 2.5)] + [{"max_steps": 5}]
    return [measure(shape, length) for shape in shapes for length in lengths]


def curve():
    """Eleven rows in batches of two and updates of two batches: updates of 4, 4 and 3 rows, the last batch of one row."""
    tokens, rows = 32, 11
    ids = numpy.fromfile(GOLDENS / "training" / "full" / "train.bin", dtype="<u2")[:rows * tokens].reshape(rows, tokens)
    model = load_model(GOLDENS / "tiny_models" / "gqa_untied")
    settings = dict(per_device_train_batch_size=2, gradient_accumulation_steps=2, num_train_epochs=3, weight_decay=0.1,
                    lr_scheduler_type="cosine", warmup_steps=WARMUP)
    return dict(base="goldens/tiny_models/gqa_untied", data="goldens/training/full/train.bin", rows=rows, tokens=tokens,
                peak=PEAK, warmup_steps=WARMUP, weight_decay=0.1,
                updates=[{key: update[key] for key in ("loss", "grad_norm", "learning_rate", "epoch")}
                         for update in run(model, ids, settings)])


def main():
    save_json(FOLDER / "curve.json", curve())
    lines = ",\n".join(json.dumps(case) for case in cases())
    (FOLDER / "updates.json").write_text(f'{{"peak": {PEAK}, "warmup_steps": {WARMUP}, "cases": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
