"""Learning rates of transformers' schedules, step by step."""

import torch
from transformers import get_scheduler

from scripts.references.common import GOLDENS, save_json

NAMES = ["constant_with_warmup", "constant", "linear", "cosine", "cosine_with_restarts", "polynomial", "inverse_sqrt"]
PEAK, STEPS = 2e-5, 20
WARMUPS = [0, 1, 6, 20, 30]


def rates(name, warmup):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=PEAK)
    schedule = get_scheduler(name, optimizer, num_warmup_steps=warmup, num_training_steps=STEPS)
    result = []
    for _ in range(STEPS):
        result.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return result


def main():
    cases = [dict(name=name, warmup_steps=warmup, learning_rates=rates(name, warmup))
             for name in NAMES for warmup in WARMUPS
             if (name, warmup) != ("polynomial", STEPS)]  # transformers divides by zero there
    save_json(GOLDENS / "schedules.json", dict(peak_learning_rate=PEAK, max_steps=STEPS, cases=cases))


if __name__ == "__main__":
    main()
