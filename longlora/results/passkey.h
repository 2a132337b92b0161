// The result of `passkey`: how often a model finds a number in a long text, by the text's length and the
// number's depth in it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "longlora/core/json_fwd.h"
#include "longlora/results/evaluated_model.h"

namespace longlora::results {

/// One question and its answer.
struct PasskeyTrial {
  int64_t seed = -1;   // the seed of the prompt
  double depth = 0.0;  // where the key stands in the text: 0 is the start, 1 the end
  bool correct = false;
  int64_t tokens = -1;  // the length of the prompt
  int64_t pass_key = -1;
  std::string answer = {};  // the text that was generated

  template <typename Trial, typename Fields>
  static void list_fields(Trial& trial, Fields& fields) {
    fields.optional("seed", trial.seed);
    fields.share("depth", trial.depth);
    fields.required("correct", trial.correct);
    fields.optional("tokens", trial.tokens);
    fields.optional("pass_key", trial.pass_key);
    fields.optional("answer", trial.answer);
  }
};

/// The trials with texts of one length.
struct PasskeyLength {
  double mean_tokens = 0.0;    // the mean length of the prompts
  int64_t target_tokens = -1;  // the length that was asked for
  int64_t garbage_chars = -1;  // how many characters of filler the text has
  double accuracy = 0.0;       // the share of the trials that are correct
  int64_t num_skipped = -1;    // how many prompts were longer than the context
  std::vector<PasskeyTrial> trials = {};

  /// Adds a trial and brings mean and accuracy up to date.
  void add(PasskeyTrial trial);

  template <typename Length, typename Fields>
  static void list_fields(Length& length, Fields& fields) {
    fields.required("tokens", length.mean_tokens);
    fields.check(length.mean_tokens > 0.0, "a positive number under \"tokens\"", length.mean_tokens);
    fields.optional("target_tokens", length.target_tokens);
    fields.optional("garbage_chars", length.garbage_chars);
    fields.share("accuracy", length.accuracy);
    fields.optional("skipped", length.num_skipped);
    fields.optional_objects("trials", length.trials);
  }
};

struct Passkey {
  static constexpr const char* kVerb = "passkey";

  EvaluatedModel model = {};
  int64_t num_tests = -1;  // how many trials were asked for at each length
  std::vector<PasskeyLength> lengths = {};

  template <typename Result, typename Fields>
  static void list_fields(Result& result, Fields& fields) {
    EvaluatedModel::list_fields(result.model, fields);
    fields.optional("num_tests", result.num_tests);
    fields.objects("results", result.lengths);
  }

  Json to_json() const;
  /// The lengths as a table, without the single trials.
  std::string to_csv() const;
  /// Whether to_csv() wrote the file.
  static bool is_csv(const std::filesystem::path& file);
  /// With lengths in ascending order of their tokens. `where` names the file in errors. Throws InputError.
  static Passkey from_json(const Json& json, const std::string& where);
};

}  // namespace longlora::results
