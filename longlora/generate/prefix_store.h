// What was read of prompts, on a disk: from one start of the program to the next.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "longlora/generate/page_pool.h"

namespace longlora::generate {

/// A folder with a file for each chunk of a prompt. A file holds the tokens of the prompt up to the chunk's
/// end, the chunk's pages and a checksum, and can be read by its owner alone. Folders may be shared by models
/// and by processes. Not thread-safe.
class PrefixStore {
 public:
  struct Options {
    std::filesystem::path folder = {};
    /// Names all that the numbers in pages depend on. Files that another identity wrote are not used.
    std::string identity = {};
    /// What all files of the folder may take. Prompts that were not used for the longest time go first, and
    /// of a prompt its end goes first.
    int64_t limit_bytes = 0;
    /// The formats of a prompt's first page and of the others.
    ops::PageFormat first_page = ops::PageFormat::kFloat, other_pages = ops::PageFormat::kFloat;
  };
  /// Makes the folder where it is missing, for its owner alone. Throws ResourceError where it cannot be made.
  PrefixStore(Options options, const ops::PageShape& shape);

  /// The last of the chunks of a prompt that end at `ends`.
  struct Chunk {
    const std::string& scope;
    std::span<const int64_t> prompt;
    std::span<const int64_t> ends;
  };
  /// The formats of a chunk's pages.
  std::vector<ops::PageFormat> formats_of(const Chunk& chunk) const;
  bool has(const Chunk& chunk) const;
  /// Fills a chunk's pages from its file. Throws InputError where the file is damaged, was written by another
  /// model or for other tokens.
  void load(const Chunk& chunk, std::span<const PageRef> pages) const;
  /// Writes a chunk's pages. Throws ResourceError.
  void save(const Chunk& chunk, std::span<const PageRef> pages) const;

 private:
  struct Header;
  std::filesystem::path path_of(const Chunk& chunk) const;
  Header header_of(const Chunk& chunk) const;
  void keep_to_limit() const;

  Options options_;
  ops::PageShape shape_;
};

}  // namespace longlora::generate
