// The job of the `tokenize` verb: text files to one .bin of ids and the JSON beside it.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "longlora/data/token_file.h"
#include "longlora/tokenizer/tokenizer.h"

namespace longlora::data {

struct TokenizeOptions {
  /// Required; lives until the call returns.
  const tokenizer::Tokenizer* tokenizer = nullptr;
  /// Where it came from, for the JSON.
  std::string tokenizer_path;
  /// Files of text or JSON, also compressed, and folders of .txt, .json and .jsonl.
  std::vector<std::filesystem::path> inputs;
  /// Must end in .bin; its folder is created.
  std::filesystem::path output;
  /// The field of a JSON object that holds the text.
  std::string text_field = "text";
  /// Whether BOS goes before every document; EOS goes behind each in any case.
  bool add_bos = false;
  int num_threads = 1;
  /// Whether a progress line is shown.
  bool show_progress = true;
};

/// Tokenizes every document, in the order of the inputs, into options.output.
/// Holds some megabytes of documents at a time, or one document if that is
/// larger. On failure neither the .bin nor the JSON is there, unless an older
/// pair was, which stays. Returns what the JSON says. Throws UsageError for
/// options that contradict, InputError for unusable or empty input, ResourceError
/// when the output cannot be written.
TokenFileInfo tokenize_files(const TokenizeOptions& options);

}  // namespace longlora::data
