#include "longlora/data/token_data.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "longlora/core/error.h"
#include "longlora/core/progress.h"
#include "longlora/data/documents.h"
#include "longlora/data/token_file.h"

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
    // The last stretch that begins at or before `start`.
    auto stretch = std::upper_bound(stretches_.begin(), stretches_.end(), start,
                                    [](int64_t at, const Stretch& s) { return at < s.start; });
    if (stretch != stretches_.begin()) --stretch;
    for (; !out.empty(); ++stretch) {
      const int64_t offset = start - stretch->start;
      const auto num_here = std::min(static_cast<int64_t>(out.size()), stretch->size - offset);
      const auto part = out.first(static_cast<size_t>(num_here));
      if (stretch->file != nullptr) {
        stretch->file->read(offset, part);
      } else {
        std::copy_n(stretch->ids.begin() + offset, num_here, part.begin());
      }
      out = out.subspan(part.size());
      start += num_here;
    }
  }

  std::string describe() const override {
    std::string kinds;
    for (const char* kind : {"uint16", "uint32", "tokenized text"}) {
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

std::unique_ptr<const TokenFile> open_token_file(const fs::path& path, const TokenDataOptions& options) {
  const auto info = read_token_file_info(path);
  if (info && options.tokenizer != nullptr &&
      info->tokenizer_fingerprint != options.tokenizer->fingerprint()) {
    throw InputError(
        fmt::format("[{}] expected ids of the model's tokenizer, got ids of another ({}); tokenize the "
                    "text with the model's own tokenizer",
                    path.string(), info->tokenizer_path));
  }
  return std::make_unique<const TokenFile>(path, info, options.vocab_size);
}

std::vector<int32_t> tokenize_text_file(const fs::path& path, const TokenDataOptions& options) {
  if (options.tokenizer == nullptr) {
    throw InputError(
        fmt::format("[{}] expected a .bin file, as no tokenizer is at hand, got text; put the "
                    "tokenizer beside the model or tokenize the text first",
                    path.string()));
  }
  const auto eos = options.tokenizer->eos_id();
  if (!eos) {
    throw InputError(
        "[tokenizer] expected an end-of-sequence token to join documents with, got none; set eos_token "
        "in tokenizer_config.json");
  }
  std::vector<int32_t> ids;
  SourceReport report;
  for_each_document(path, options.text_field, &report, [&](const std::string& document, int64_t) {
    const tokenizer::Ids encoded = options.tokenizer->encode(document, false);
    ids.insert(ids.end(), encoded.begin(), encoded.end());
    ids.push_back(*eos);
  });
  log_assumptions(report);
  if (ids.empty()) throw InputError(fmt::format("[{}] expected text, got none", path.string()));
  const auto bad = std::find_if(ids.begin(), ids.end(), [&](int32_t id) { return id >= options.vocab_size; });
  if (bad != ids.end()) {
    throw InputError(
        fmt::format("[{}] expected ids below the model's {} embedding rows, got id {} at position {}; "
                    "use the model's own tokenizer",
                    path.string(), options.vocab_size, *bad, bad - ids.begin()));
  }
  return ids;
}

}  // namespace

std::unique_ptr<TokenData> open_token_data(const std::vector<fs::path>& paths,
                                           const TokenDataOptions& options) {
  if (paths.empty()) throw InputError("[data] expected at least one file or folder, got none");
  if (options.vocab_size < 1) {
    throw Error(fmt::format("[data] expected a vocabulary of at least 1, got {}", options.vocab_size));
  }
  auto data = std::make_unique<JoinedTokenData>();
  for (const fs::path& path : expand_folders(paths, FolderContents::kTextAndTokens)) {
    if (file_kind(path) == FileKind::kTokens) {
      data->append(open_token_file(path, options));
    } else {
      data->append(tokenize_text_file(path, options));
    }
  }
  return data;
}

}  // namespace longlora::data
