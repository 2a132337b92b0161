#include "longlora/cli/verbs.h"

#include <CLI/CLI.hpp>
#include <algorithm>

#include "longlora/cli/flags.h"
#include "longlora/cli/foreign_flags.h"

namespace longlora::cli {

void add_verbs(CLI::App& app) {
  add_tokenize_verb(app);
  add_fine_tune_verb(app);
  add_sft_verb(app);
  add_get_trainable_weights_verb(app);
  add_merge_verb(app);
  add_convert_verb(app);
  add_quantize_verb(app);
  add_eval_verb(app);
  add_passkey_verb(app);
  add_inference_verb(app);
  add_answer_verb(app);
  add_score_verb(app);
  add_bench_verb(app);
  add_plan_verb(app);
  add_inspect_verb(app);
  add_report_verb(app);
  add_completion_verb(app);
  for (CLI::App* verb : app.get_subcommands([](const CLI::App*) { return true; })) {
    add_foreign_flags(*verb);
    check_numbers(*verb);
  }
}

void parse(CLI::App& app, const std::vector<std::string>& words) {
  std::vector<std::string> last_first = with_own_spelling(app, words);
  std::reverse(last_first.begin(), last_first.end());
  app.parse(last_first);
}

}  // namespace longlora::cli
