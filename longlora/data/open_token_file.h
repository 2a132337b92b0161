// Opens one .bin of ids.
#pragma once

#include <filesystem>
#include <memory>

#include "longlora/data/token_data.h"

namespace longlora::data {

/// Opens a file of ids as open_token_data does.
std::unique_ptr<const TokenFile> open_token_file(const std::filesystem::path& path,
                                                 const TokenDataOptions& options);

}  // namespace longlora::data
