// The verbs of the command line. Each add_… registers a subcommand whose
// callback does the whole job and throws the errors of core/error.h.
#pragma once

#include <CLI/App.hpp>

#include <string>
#include <vector>

namespace longlora::cli {

/// Thrown by a training verb that ended before its last step because a signal asked it to, its state saved:
/// the process then ends with 128 + signal, as a shell says of one that the signal ended.
struct StoppedBySignal {
  int signal;
};

/// All of them, in the order of --help.
void add_verbs(CLI::App& app);

/// Runs the verb that the words name: they are spelled as in Python's command lines or as in --help. Throws
/// CLI::ParseError, and the errors of the verb.
void parse(CLI::App& app, const std::vector<std::string>& words);

void add_tokenize_verb(CLI::App& app);
void add_fine_tune_verb(CLI::App& app);
void add_sft_verb(CLI::App& app);
void add_get_trainable_weights_verb(CLI::App& app);
void add_merge_verb(CLI::App& app);
void add_convert_verb(CLI::App& app);
void add_eval_verb(CLI::App& app);
void add_passkey_verb(CLI::App& app);
void add_inference_verb(CLI::App& app);
void add_answer_verb(CLI::App& app);
void add_score_verb(CLI::App& app);
void add_quantize_verb(CLI::App& app);
void add_plan_verb(CLI::App& app);
void add_report_verb(CLI::App& app);

}  // namespace longlora::cli
