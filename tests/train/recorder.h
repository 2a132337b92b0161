// An observer that keeps what a run reports.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "longlora/train/trainer.h"

namespace longlora::train {

class Recorder : public TrainObserver {
 public:
  void on_step(const StepReport& report) override {
    steps.push_back(report);
    if (after_step) after_step(report.step);
  }
  void on_eval(const results::TrainEvaluation& report) override { evals.push_back(report); }

  std::vector<StepReport> steps;
  std::vector<results::TrainEvaluation> evals;
  std::function<void(int64_t)> after_step;
};

}  // namespace longlora::train
