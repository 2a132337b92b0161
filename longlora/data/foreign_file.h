// Recognises files of kinds that are not read by their first bytes.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string_view>

namespace longlora::data {

/// Throws InputError where the bytes of a file are Parquet, Arrow, a spreadsheet, a PDF, an archive, a Git
/// LFS pointer or another kind that holds data in a form of its own. The message names the kind, and the
/// command that makes a readable file of it. Marks shorter than `shortest_mark` bytes are ignored, for ids
/// may look like them.
void refuse_foreign_file(const std::filesystem::path& path, std::string_view bytes, size_t shortest_mark = 2);

/// Does the same for a table that is text, which only its name (.csv, .tsv) tells.
void refuse_table(const std::filesystem::path& path);

}  // namespace longlora::data
