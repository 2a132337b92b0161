// The verbs of the command line. Each add_… function declares a subcommand, whose callback does the whole job
// and throws the errors of core/error.h.
#pragma once

#include <CLI/App.hpp>

#include <string>
#include <vector>

namespace longlora::cli {

/// Thrown by a training verb that a signal stopped before its last step, after its state was saved. The exit
/// code is 128 + signal then, as a shell reports it for a process that a signal ended.
struct StoppedBySignal {
  int signal;
};

/// Declares all verbs in the order of --help.
void add_verbs(CLI::App& app);

/// Runs the verb that the words name. Flags may be spelled as in --help or as in Python's command lines.
/// Throws CLI::ParseError and the errors of the verb.
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
void add_bench_verb(CLI::App& app);
void add_quantize_verb(CLI::App& app);
void add_plan_verb(CLI::App& app);
void add_inspect_verb(CLI::App& app);
void add_report_verb(CLI::App& app);
/// Writes about all verbs of `app` that are there when it runs.
void add_completion_verb(CLI::App& app);

}  // namespace longlora::cli
