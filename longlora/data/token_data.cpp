#include "longlora/data/token_data.h"

#include <fmt/core.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "longlora/core/error.h"
#include "longlora/core/format.h"
#include "longlora/core/progress.h"
#include "longlora/data/documents.h"
#include "longlora/data/encode_documents.h"
#include "longlora/data/foreign_file.h"
#include "longlora/data/open_token_file.h"

namespace longlora::data {

namespace fs = std::filesystem;

namespace {

// A stretch of the sequence: a mapped file or ids in memory.
struct Stretch {
  int64_t start;  // in the whole sequence
  int64_t size;
  std::unique_ptr<const TokenFile> file;  // null for ids in memory
  std::vector<int32_t> ids;
};

class JoinedTokenData : public TokenData {
 public:
  void append(std::unique_ptr<const TokenFile> file) {
    const int64_t num_ids = file->size();
    stretches_.push_back({size_, num_ids, std::move(file), {}});
    size_ += num_ids;
  }

  void append(std::vector<int32_t> ids) {
    const auto num_ids = static_cast<int64_t>(ids.size());
    stretches_.push_back({size_, num_ids, nullptr, std::move(ids)});
    size_ += num_ids;
  }

  int64_t size() const override { return size_; }

  void read(int64_t start, std::span<int64_t> out) const override {
    const auto num_wanted = static_cast<int64_t>(out.size());
    if (start < 0 || num_wanted > size_ || start > size_ - num_wanted) {
      throw Error(fmt::format("[token data] expected a range inside 0…{}, got {} ids from {}", size_,
                              num_wanted, start));
    }
    // Finds the last stretch that begins at or before `start`.
    auto stretch = std::upper_bound(stretches_.begin(), stretches_.end(), start,
                                    [](int64_t at, const Stretch& s) { return at < s.start; });
    if (stretch != stretches_.begin()) --stretch;
    for (; !out.empty(); ++stretch) {
      const int64_t offset = start - stretch->start;
      const auto num_here = std::min(static_cast<int64_t>(out.size()), stretch->size - offset);
      const auto part = out.first(static_cast<size_t>(num_here));
      if (stretch->file != nullptr)
        stretch->file->read(offset, part);
      else
        std::copy_n(stretch->ids.begin() + offset, num_here, part.begin());
      out = out.subspan(part.size());
      start += num_here;
    }
  }

  std::string describe() const override {
    std::string kinds;
    for (const char* kind : {"uint16", "uint32", "int32", "int64", "tokenized text"}) {
      const bool any = std::any_of(stretches_.begin(), stretches_.end(), [&](const Stretch& stretch) {
        return std::string_view(stretch.file ? id_type_name(stretch.file->type()) : "tokenized text") == kind;
      });
      if (any) kinds += std::string(kinds.empty() ? "" : " and ").append(kind);
    }
    return fmt::format("{} {}, {} tokens, {}", stretches_.size(), stretches_.size() == 1 ? "file" : "files",
                       format_count(size_), kinds);
  }

 private:
  std::vector<Stretch> stretches_;
  int64_t size_ = 0;
};

void check_tokenizer(const fs::path& path, const TokenDataOptions& options) {
  if (options.tokenizer == nullptr) {
    throw InputError(
        fmt::format("[{}] expected a .bin file, as no tokenizer is at hand, got text; put the "
                    "tokenizer beside the model or tokenize the text first",
                    path.string()));
  }
  if (!options.tokenizer->eos_id()) {
    throw InputError(
        "[tokenizer] expected an end-of-sequence token to join documents with, got none; set eos_token "
        "in tokenizer_config.json");
  }
}

// Tokenizes texts and holds the ids of each file.
class TextTokens {
 public:
  explicit TextTokens(const TokenDataOptions& options) : options_(options) {}

  // Tokenizes the documents of several small files together.
  void read(const std::vector<fs::path>& paths) {
    if (paths.empty()) return;
    for (const fs::path& path : paths) check_tokenizer(path, options_);
    ids_.resize(paths.size());
    Progress progress("tokenizing", total_bytes(paths), "bytes");
    DocumentEncoder encoder(*options_.tokenizer, /*add_bos=*/false, options_.num_threads,
                            [&](const tokenizer::Ids& ids, const DocumentEncoder::Origin& origin) {
                              append(ids, paths[origin.source], &ids_[origin.source]);
                              progress.update(origin.num_bytes_read);
                            });
    int64_t num_bytes_before = 0;
    for (size_t i = 0; i < paths.size(); ++i) {
      SourceReport report;
      for_each_document(paths[i], options_.text_field, &report,
                        [&](std::string document, int64_t num_bytes_read) {
                          encoder.add(std::move(document), {i, num_bytes_before + num_bytes_read});
                        });
      num_bytes_before += report.num_bytes;
      log_assumptions(report);
      if (report.num_documents == 0)
        throw InputError(fmt::format("[{}] expected text, got none", paths[i].string()));
    }
    encoder.flush();
  }

  // Takes the ids of the next file.
  std::vector<int32_t> take() { return std::move(ids_[num_taken_++]); }

 private:
  static int64_t total_bytes(const std::vector<fs::path>& paths) {
    int64_t total = 0;
    for (const fs::path& path : paths) {
      std::error_code ignored;
      const auto size = fs::file_size(path, ignored);
      if (!ignored) total += static_cast<int64_t>(size);
    }
    return total;
  }

  void append(const tokenizer::Ids& ids, const fs::path& path, std::vector<int32_t>* all) const {
    const auto bad =
        std::find_if(ids.begin(), ids.end(), [&](int32_t id) { return id >= options_.vocab_size; });
    if (bad != ids.end()) {
      throw InputError(
          fmt::format("[{}] expected ids below the model's {} embedding rows, got id {} at position {}; "
                      "use the model's own tokenizer",
                      path.string(), options_.vocab_size, *bad,
                      bad - ids.begin() + static_cast<std::ptrdiff_t>(all->size())));
    }
    all->insert(all->end(), ids.begin(), ids.end());
  }

  const TokenDataOptions& options_;
  std::vector<std::vector<int32_t>> ids_;
  size_t num_taken_ = 0;
};

}  // namespace

std::unique_ptr<const TokenFile> open_token_file(const fs::path& path, const TokenDataOptions& options) {
  if (lower_extension(path) != ".bin")
    throw InputError(fmt::format(
        "[{}] expected ids as they lie on disk, got them compressed; unpack the file", path.string()));
  // Shorter marks tell nothing, because ids may look like them.
  constexpr size_t kShortestMark = 6;
  refuse_foreign_file(path, MappedFile(path).text(), kShortestMark);
  const auto info = read_token_file_info(path);
  if (info && options.tokenizer != nullptr &&
      info->tokenizer_fingerprint != options.tokenizer->fingerprint()) {
    throw InputError(
        fmt::format("[{}] expected ids of the model's tokenizer, got ids of another ({}); tokenize the "
                    "text with the model's own tokenizer",
                    path.string(), info->tokenizer_path));
  }
  return std::make_unique<const TokenFile>(path, info, options.vocab_size, options.bin_type);
}

std::unique_ptr<TokenData> open_token_data(const std::vector<fs::path>& paths,
                                           const TokenDataOptions& options) {
  if (paths.empty()) throw InputError("[data] expected at least one file or folder, got none");
  if (options.vocab_size < 1)
    throw Error(fmt::format("[data] expected a vocabulary of at least 1, got {}", options.vocab_size));
  const std::vector<fs::path> files = expand_folders(paths, FolderContents::kTextAndTokens);
  std::vector<fs::path> texts;
  std::copy_if(files.begin(), files.end(), std::back_inserter(texts),
               [](const fs::path& path) { return file_kind(path) != FileKind::kTokens; });
  TextTokens text_tokens(options);
  text_tokens.read(texts);
  auto data = std::make_unique<JoinedTokenData>();
  for (const fs::path& path : files) {
    if (file_kind(path) == FileKind::kTokens)
      data->append(open_token_file(path, options));
    else
      data->append(text_tokens.take());
  }
  return data;
}

}  // namespace longlora::data
