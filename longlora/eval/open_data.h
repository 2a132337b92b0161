// Opens the data of an evaluation.
#pragma once

#include <filesystem>
#include <memory>
#include <vector>

#include "longlora/data/token_data.h"
#include "longlora/generate/runtime.h"

namespace longlora::eval {

/// The token data of `paths` (ids, text, JSON, folders) for the model. Text goes through the tokenizer at
/// `tokenizer_path`. The function sets the vocabulary, the tokenizer and the threads of `reading`. Throws
/// InputError.
std::unique_ptr<data::TokenData> open_data(const std::vector<std::filesystem::path>& paths,
                                           const std::filesystem::path& tokenizer_path,
                                           const generate::Runtime& runtime,
                                           data::TokenDataOptions reading = {});

}  // namespace longlora::eval
