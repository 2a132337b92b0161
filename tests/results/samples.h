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

inline const std::string kInspection =
    R"({"verb":"inspect","tokenizer":"tok","prompt":"llama2","truncate":"middle","files":[{"path":"data.json","content":"questions and answers","bytes":1000,"samples":10,"broken":1,"empty":0,"uncertain":0,"unit":"tokens","encoding":"","problems":["[data.json, sample 3] expected <b>"],"forms":[{"name":"question and answer","count":10}],"fields":[{"name":"instruction","count":10},{"name":"id","count":4}],"unread":[{"name":"id","count":4}],"scripts":[{"name":"Latin","count":1000}],"lengths":[{"part":"whole sample","min":30,"p5":30,"median":70,"p95":120,"max":120,"mean":71.5,"sum":643},{"part":"answers","min":2,"p5":2,"median":9,"p95":40,"max":40,"mean":11.0,"sum":99}],"histogram":[{"from":1,"to":31,"samples":2,"answers":8},{"from":32,"to":127,"samples":7,"answers":1}],"fits":[{"model_max_length":64,"whole":4,"cut":3,"tokens_cut":90,"too_long":2,"without_answer":0,"rows":null,"tokens_left":null}]}],"compared":9,"exact":1,"same_question":0,"near":1,"same_material":0,"threshold":0.8,"shingle_words":5,"exact_pairs":[{"first":"data.json, sample 0","second":"data.json, sample 4","similarity":1.0,"answers":1.0}],"near_pairs":[{"first":"data.json, sample 1","second":"data.json, sample 2","similarity":0.9,"answers":null}],"overlaps":[{"path":"test.json","samples":4,"broken":0,"exact":1,"same_question":0,"ngram_words":13,"short":1,"any":2,"at_least_20_percent":2,"at_least_50_percent":2,"at_least_80_percent":1,"worst":[{"held_out":"test.json, sample 0","sample":"data.json, sample 5","exact":true,"contained":1.0,"in_sample":1.0,"answer":null,"quote":"a passage","quote_words":20}]}],"expectations":[{"expected":"12,000 samples","found":"10 samples","holds":false}]})";

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
