#include "longlora/data/tokenize_files.h"

#include <fmt/core.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "longlora/core/error.h"
#include "longlora/core/format.h"
#include "longlora/core/progress.h"
#include "longlora/data/documents.h"
#include "longlora/data/encode_documents.h"

namespace longlora::data {

namespace fs = std::filesystem;

namespace {

constexpr size_t kWrittenBytes = size_t{4} << 20;  // how much is written at once

void check_options(const TokenizeOptions& options) {
  if (options.tokenizer == nullptr) throw Error("[tokenize] expected a tokenizer, got none");
  if (options.inputs.empty())
    throw UsageError("[tokenize] expected at least one input file or folder, got none");
  if (lower_extension(options.output) != ".bin" || !options.output.has_stem()) {
    throw UsageError(fmt::format("[tokenize] expected an output name that ends in .bin, got \"{}\"",
                                 options.output.string()));
  }
  if (options.num_threads < 1)
    throw UsageError(fmt::format("[tokenize] expected at least one thread, got {}", options.num_threads));
  if (!options.tokenizer->eos_id()) {
    throw InputError(
        fmt::format("[{}] expected an end-of-sequence token to join documents with, got none; set "
                    "eos_token in tokenizer_config.json",
                    options.tokenizer_path));
  }
  if (options.add_bos && !options.tokenizer->bos_id()) {
    throw InputError(
        fmt::format("[{}] expected a beginning-of-sequence token to put before documents, got none; "
                    "leave BOS out or set bos_token in tokenizer_config.json",
                    options.tokenizer_path));
  }
}

std::vector<fs::path> find_inputs(const TokenizeOptions& options) {
  std::vector<fs::path> files = expand_folders(options.inputs, FolderContents::kText);
  for (const fs::path& file : files) {
    if (file_kind(file) == FileKind::kTokens) {
      throw InputError(fmt::format(
          "[{}] expected text, got a .bin file, which is tokenized already; name text files", file.string()));
    }
  }
  return files;
}

// Appends the ids in the form in which they lie in the file.
void append_ids(const tokenizer::Ids& ids, IdType type, std::string* bytes) {
  for (const int32_t id : ids) {
    *bytes += static_cast<char>(id);
    *bytes += static_cast<char>(id >> 8);
    if (type == IdType::kUint16) continue;
    *bytes += static_cast<char>(id >> 16);
    *bytes += static_cast<char>(id >> 24);
  }
}

class Tokenizing {
 public:
  Tokenizing(const TokenizeOptions& options, int64_t num_bytes)
      : options_(options),
        writer_(options.output),
        encoder_(
            *options.tokenizer, options.add_bos, options.num_threads,
            [this](const tokenizer::Ids& ids, const DocumentEncoder::Origin& origin) { take(ids, origin); }) {
    if (options.show_progress) progress_.emplace("tokenizing", num_bytes, "bytes");
    info_.type = id_type_for(options.tokenizer->vocab_size());
    info_.vocab_size = options.tokenizer->vocab_size();
    info_.eos_id = *options.tokenizer->eos_id();
    info_.add_bos = options.add_bos;
    info_.tokenizer_path = options.tokenizer_path;
    info_.tokenizer_fingerprint = options.tokenizer->fingerprint();
  }

  void add_file(const fs::path& path) {
    // Reports are referred to by index, because the documents that wait may belong to several files.
    const size_t index = info_.sources.size();
    info_.sources.emplace_back();
    SourceReport report;
    for_each_document(path, options_.text_field, &report, [&](std::string document, int64_t num_bytes_read) {
      encoder_.add(std::move(document), {index, num_bytes_before_ + num_bytes_read});
    });
    report.num_tokens = info_.sources[index].num_tokens;
    info_.sources[index] = report;
    num_bytes_before_ += report.num_bytes;
    log_assumptions(report);
  }

  TokenFileInfo finish() {
    encoder_.flush();
    write_buffer();
    if (info_.num_tokens == 0) {
      throw InputError(fmt::format("[{}] expected text, got {} without any", options_.inputs.front().string(),
                                   info_.sources.size() == 1 ? "a file" : "files"));
    }
    for (const SourceReport& source : info_.sources) info_.num_documents += source.num_documents;
    // Both files are whole and on disk before either gets its name. The JSON gets it first: by itself, or
    // beside an older .bin of another size, it is refused.
    writer_.sync();
    AtomicFileWriter json(info_path(options_.output));
    const std::string text = format_token_file_info(info_);
    json.write(text.data(), text.size());
    json.sync();
    json.commit();
    writer_.commit();
    if (progress_) progress_->finish();
    return std::move(info_);
  }

 private:
  void take(const tokenizer::Ids& ids, const DocumentEncoder::Origin& origin) {
    const auto num_tokens = static_cast<int64_t>(ids.size());
    info_.sources[origin.source].num_tokens += num_tokens;
    info_.num_tokens += num_tokens;
    append_ids(ids, info_.type, &buffer_);
    if (buffer_.size() >= kWrittenBytes) write_buffer();
    if (progress_) progress_->update(origin.num_bytes_read, format_count(info_.num_tokens) + " tokens");
  }

  void write_buffer() {
    writer_.write(buffer_.data(), buffer_.size());
    buffer_.clear();
  }

  const TokenizeOptions& options_;
  AtomicFileWriter writer_;
  DocumentEncoder encoder_;
  std::optional<Progress> progress_;
  TokenFileInfo info_;
  std::string buffer_;
  int64_t num_bytes_before_ = 0;  // the bytes of the files that are finished
};

}  // namespace

TokenFileInfo tokenize_files(const TokenizeOptions& options) {
  check_options(options);
  const std::vector<fs::path> files = find_inputs(options);
  int64_t num_bytes = 0;
  for (const fs::path& file : files) {
    std::error_code ignored;
    const auto size = fs::file_size(file, ignored);
    if (!ignored) num_bytes += static_cast<int64_t>(size);
  }
  if (options.output.has_parent_path()) make_directories(options.output.parent_path());
  Tokenizing tokenizing(options, num_bytes);
  for (const fs::path& file : files) tokenizing.add_file(file);
  return tokenizing.finish();
}

}  // namespace longlora::data
