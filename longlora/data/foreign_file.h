// Files of kinds that are not read, told by their first bytes.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string_view>

namespace longlora::data {

/// Throws InputError where the bytes of a file are Parquet, Arrow, a spreadsheet, a PDF, an archive, a Git
/// LFS pointer or another kind that holds data in a form of its own: it names the kind and the command that
/// makes a file to read of it. Marks shorter than `shortest_mark` bytes, which ids may look like, are passed
/// over.
void refuse_foreign_file(const std::filesystem::path& path, std::string_view bytes, size_t shortest_mark = 2);

/// The same for a table as text, which only its name (.csv, .tsv) tells.
void refuse_table(const std::filesystem::path& path);

}  // namespace longlora::data
