// Small logs and result files.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "longlora/core/error.h"
#include "longlora/core/file.h"
#include "tests/support/temporary_directory.h"

namespace longlora::test {

inline std::filesystem::path write_sample(const TemporaryDirectory& folder, const std::string& name,
                                          const std::string& text) {
  const std::filesystem::path path = folder.path() / name;
  make_directories(path.parent_path());
  write_file_atomic(path, text);
  return path;
}

inline const std::string kTrainLog =
    R"({"step":1,"loss":4.0,"learning_rate":1e-05,"grad_norm":2.0,"tokens_per_second":1000,"tokens":4096,"peak_memory_bytes":1048576,"seconds":4.0}
{"step":2,"loss":3.5,"learning_rate":2e-05,"grad_norm":1.5,"tokens_per_second":1024,"tokens":8192,"peak_memory_bytes":2097152,"seconds":8.0}
{"step":2,"eval_loss":3.0,"eval_perplexity":20.0855}
{"step":3,"loss":3.0,"learning_rate":2e-05,"grad_norm":1.0,"tokens_per_second":1024,"tokens":12288,"peak_memory_bytes":2097152,"seconds":12.0}
)";

inline const std::string kEvalBefore =
    R"({"verb":"eval","label":"before","model":"tiny","window":"same-targets","command":"longlora eval --seq_len 512",
"results":[{"seq_len":512,"val_loss":3.689,"val_perplexity":40.0,"val_acc":0.3,"windows":8},
{"seq_len":4096,"val_loss":7.313,"val_perplexity":1500.0,"val_acc":0.05,"windows":8}]})";

inline const std::string kEvalAfter =
    R"({"verb":"eval","label":"after <1>","model":"tuned","window":"same-targets",
"results":[{"seq_len":512,"val_loss":3.701,"val_perplexity":40.5,"val_acc":0.3,"windows":8},
{"seq_len":4096,"val_loss":3.595,"val_perplexity":36.4,"val_acc":0.33,"windows":8}]})";

inline const std::string kPasskeyBefore =
    R"({"verb":"passkey","label":"before","results":[
{"tokens":423.0,"garbage_chars":1024,"accuracy":1.0,"trials":[{"seed":0,"depth":0.1,"correct":true},{"seed":1,"depth":1.0,"correct":true}]},
{"tokens":4001.5,"garbage_chars":14336,"accuracy":0.0,"trials":[{"seed":0,"depth":0.1,"correct":false},{"seed":1,"depth":0.9,"correct":false}]}]})";

inline const std::string kPasskeyAfter =
    R"({"verb":"passkey","label":"after <1>","results":[
{"tokens":423.0,"garbage_chars":1024,"accuracy":1.0,"trials":[{"seed":0,"depth":0.1,"correct":true},{"seed":1,"depth":1.0,"correct":true}]},
{"tokens":4001.5,"garbage_chars":14336,"accuracy":0.5,"trials":[{"seed":0,"depth":0.1,"correct":true},{"seed":1,"depth":0.9,"correct":false}]}]})";

inline const std::string kAnswersBefore =
    R"({"verb":"answer","label":"before","prompt":"llama2","exact":0.1,"skipped":2,"results":[
{"task":"copy","questions":20,"exact":0.1,"mean_tokens":700.0},{"task":"find","questions":10,"exact":0.1,"mean_tokens":700.0},
{"task":"all","questions":30,"exact":0.1,"mean_tokens":700.0}],"answers":[]})";

inline const std::string kAnswersAfter =
    R"({"verb":"answer","label":"after <1>","prompt":"llama2","exact":0.9,"skipped":2,"results":[
{"task":"copy","questions":20,"exact":0.85,"mean_tokens":700.0},{"task":"find","questions":10,"exact":1.0,"mean_tokens":700.0},
{"task":"all","questions":30,"exact":0.9,"mean_tokens":700.0}],"answers":[]})";

inline const std::string kScore =
    R"({"verb":"score","model":"runs/tuned","ids":[1,403,407],"logprobs":[-2.0,-1.0],"sum":-3.0,"mean":-1.5})";

/// The message of the InputError that `action` throws; fails the test when it throws none.
template <typename Action>
std::string input_error_of(const Action& action) {
  try {
    action();
  } catch (const InputError& error) {
    return error.what();
  }
  ADD_FAILURE() << "no InputError";
  return "";
}

}  // namespace longlora::test
