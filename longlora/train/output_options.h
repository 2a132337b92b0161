// What a run writes, and when it does.
#pragma once

#include <cstdint>
#include <filesystem>

#include "longlora/train/option_fields.h"

namespace longlora::train {

struct OutputOptions {
  std::filesystem::path output_dir;
  bool resume = false;
  bool overwrite_output_dir = false;
  int64_t save_steps = 500;      // 0: only at the end and when a signal stops the run
  int64_t save_total_limit = 0;  // 0: all are kept
  int64_t eval_steps = 0;        // 0: no evaluation
  int64_t logging_steps = 1;

  template <typename Options, typename Fields>
  static void list_fields(Options& options, Fields& fields) {
    const FieldRule recorded = {.kept = Kept::kInRecord};
    fields.add("--output_dir", options.output_dir,
               "Where checkpoints, logs and the result go: a new or empty folder, or that of a run to go on "
               "with (needed)",
               recorded);
    fields.check(options.only_planned || !options.output_dir.empty(), "--output_dir is needed");
    fields.add(
        "--resume", options.resume,
        "Go on from the newest checkpoint of --output_dir, if there is one; a finished run stays as it is",
        recorded);
    fields.add("--overwrite_output_dir", options.overwrite_output_dir,
               "Replace an earlier run in --output_dir: it is kept in replaced-run-N until the new result is "
               "complete. "
               "Files that no run wrote there are never touched",
               recorded);
    fields.add("--save_steps", options.save_steps, "Updates between checkpoints; 0: none", recorded);
    fields.add("--save_total_limit", options.save_total_limit, "Checkpoints to keep; 0 or -1: all", recorded);
    fields.add(
        "--eval_steps", options.eval_steps,
        "Updates between evaluations on --eval_data_path, which come at the end too (default: 500); 0: "
        "none",
        {.kept = Kept::kInRecord, .shows_default = false});
    fields.check(options.eval_steps == 0 || !options.eval_data_path.empty(),
                 "--eval_steps needs --eval_data_path, held-out data");
    fields.add("--logging_steps", options.logging_steps, "Updates between progress lines", recorded);
    fields.check(options.save_steps >= 0 && options.save_total_limit >= 0 && options.eval_steps >= 0 &&
                     options.logging_steps > 0,
                 "--save_steps, --save_total_limit and --eval_steps must not be negative, --logging_steps "
                 "positive");
  }
};

}  // namespace longlora::train
