#include "longlora/cli/verbs.h"

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
  add_plan_verb(app);
  add_report_verb(app);
}

}  // namespace longlora::cli
