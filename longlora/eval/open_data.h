// The data of an evaluation.
#pragma once

#include <filesystem>
#include <memory>
#include <vector>

#include "longlora/data/token_data.h"
#include "longlora/generate/runtime.h"

namespace longlora::eval {

/// Token data of `paths` (ids, text, JSON, folders) for the model; text goes through the tokenizer at
/// `tokenizer_path`. Of `reading` vocabulary, tokenizer and threads are set here. Throws InputError.
std::unique_ptr<data::TokenData> open_data(const std::vector<std::filesystem::path>& paths,
                                           const std::filesystem::path& tokenizer_path,
                                           const generate::Runtime& runtime,
                                           data::TokenDataOptions reading = {});

}  // namespace longlora::eval
