// Writes an event file for scripts/references/tensorboard_events.py to read
// back: three curves of a run that was killed after step 60 and resumed at 41.
#include <cmath>
#include <cstdio>
#include <exception>

#include "longlora/results/tensorboard.h"

namespace {

void log_steps(longlora::results::TensorBoardWriter& writer, int first, int last, double offset) {
  for (int step = first; step <= last; ++step) {
    writer.scalar("train/loss", 4.0 / std::sqrt(step) + offset, step);
    writer.scalar("train/learning_rate", 2e-5, step);
    if (step % 20 == 0) writer.scalar("eval/perplexity", 100.0 / step + offset, step);
  }
  writer.flush();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
    return 2;
  }
  try {
    longlora::results::TensorBoardWriter killed(argv[1]);
    log_steps(killed, 1, 60, 0.0);
    longlora::results::TensorBoardWriter resumed(argv[1], 41);
    log_steps(resumed, 41, 100, 0.5);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
  return 0;
}
