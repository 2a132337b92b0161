// What the verb `tokenize` does: turns text files into one .bin of ids with the JSON beside it.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "longlora/data/token_file.h"
#include "longlora/tokenizer/tokenizer.h"

namespace longlora::data {

struct TokenizeOptions {
  /// Required. It must live until the call returns.
  const tokenizer::Tokenizer* tokenizer = nullptr;
  /// The path of the tokenizer, which the JSON states.
  std::string tokenizer_path;
  /// Files of text or JSON, also compressed, and folders of .txt, .json and .jsonl.
  std::vector<std::filesystem::path> inputs;
  /// The path of the result. It must end in .bin; its folder is created.
  std::filesystem::path output;
  /// The field of a JSON object that holds the text.
  std::string text_field = "text";
  /// Whether BOS goes before every document; EOS goes behind each in any case.
  bool add_bos = false;
  int num_threads = 1;
  /// Whether a progress line is shown.
  bool show_progress = true;
};

/// Tokenizes every document, in the order of the inputs, into options.output. Some megabytes of documents are
/// in memory at a time, or one document if that is larger. On failure there is neither a .bin nor a JSON; an
/// older pair stays. Returns what the JSON says. Throws UsageError for options that contradict each other,
/// InputError for unusable or empty input, and ResourceError when the output cannot be written.
TokenFileInfo tokenize_files(const TokenizeOptions& options);

}  // namespace longlora::data
