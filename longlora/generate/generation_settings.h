// What a model's files say about how it is to write (generation_config.json).
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "longlora/core/json.h"
#include "longlora/generate/sampler.h"

namespace longlora::generate {

/// The fields of generation_config.json that count here. A field that the file does not have, or has as null,
/// is empty.
struct GenerationSettings {
  /// The file that they come from. Empty: the model has no such file, and says nothing in config.json either.
  std::string source = {};
  std::vector<int64_t> eos_ids = {};
  std::vector<std::string> stop_strings = {};
  std::optional<bool> do_sample = {};
  std::optional<double> temperature = {}, top_p = {}, min_p = {}, repetition_penalty = {};
  std::optional<int64_t> top_k = {}, max_new_tokens = {};
  /// The fields about sampling that the file has and `inference` follows: "top_k 20".
  std::vector<std::string> sampling = {};
  /// The fields that would change what is written and are not followed: "num_beams 4".
  std::vector<std::string> not_followed = {};
};

/// Reads generation_config.json of `model_folder`. Where there is none, reads the same fields from
/// `model_config`, the content of the model's config.json, as transformers does. The ids that end a text are
/// those of both. Throws InputError naming file and field for a value of the wrong type or outside its range.
GenerationSettings read_generation_settings(const std::filesystem::path& model_folder,
                                            const Json& model_config);

/// How the tokens of a verb are picked.
enum class Decoding {
  kSampled,  // as the model's files and the user say
  kGreedy,   // the likeliest, whatever they say
};

/// What read_generation_settings() finds in the folder `base_model`. One line of the log names the settings
/// that are not followed; under kGreedy those of sampling are among them. Throws InputError.
GenerationSettings read_and_log_settings(const std::filesystem::path& base_model, Decoding decoding);

/// Sampling that the user asks for; empty: not given.
struct SamplingWishes {
  std::optional<double> temperature = {}, top_p = {}, min_p = {}, repetition_penalty = {};
  std::optional<int64_t> top_k = {};
  uint64_t seed = 0;
};

/// Wishes go first, then the model's settings. Where these ask for sampling (do_sample is true, or one of
/// temperature, top_p, top_k, min_p is named), a value that they leave out is that of transformers:
/// temperature 1, top_p 1, top_k 50. Where do_sample is false, the likeliest token is taken unless a wish is
/// about sampling. A model without such settings gets the defaults of SamplingOptions.
SamplingOptions choose_sampling(const GenerationSettings& settings, const SamplingWishes& wishes);

/// Says how tokens are picked: "temperature 0.7, top_p 0.8, top_k 20" or "always the likeliest token", and
/// the penalty where there is one.
std::string describe_sampling(const SamplingOptions& options);

}  // namespace longlora::generate
