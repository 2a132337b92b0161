// The `--ids` and `--decode` jobs of the `tokenize` verb: texts to ids on standard output, and back.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "longlora/tokenizer/tokenizer.h"

namespace longlora::cli {

struct TokenizeIdsArguments {
  std::vector<std::string> texts;
  std::vector<std::filesystem::path> inputs;
  bool add_special_tokens = true;   // of --ids
  bool skip_special_tokens = true;  // of --decode
  int num_threads = 1;              // files tokenized at once
  std::string bin_dtype = "auto";   // of --decode: see data::id_type_choices()
  std::filesystem::path json;
  std::filesystem::path output;  // of --decode: the text goes there
};

/// Prints one list of ids for each text and file (see data::read_text). Throws InputError naming a file that
/// cannot be read.
void print_ids(const tokenizer::Tokenizer& tokenizer, const TokenizeIdsArguments& arguments);

/// Prints the text of each list of ids: numbers between spaces, commas or brackets in a text or file, what
/// `--ids --json` wrote, or a .bin of ids. Throws InputError naming what is no id.
void print_texts(const tokenizer::Tokenizer& tokenizer, const TokenizeIdsArguments& arguments);

}  // namespace longlora::cli
