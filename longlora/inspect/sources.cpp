#include "longlora/inspect/sources.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "longlora/core/error.h"
#include "longlora/data/document_file.h"
#include "longlora/data/foreign_file.h"
#include "longlora/data/instruction_file.h"
#include "longlora/data/json_samples.h"
#include "longlora/data/open_token_file.h"
#include "longlora/data/sample_form.h"
#include "longlora/tokenizer/tokenizer.h"

namespace longlora::inspect {

namespace {

namespace fs = std::filesystem;

class Questions : public Source {
 public:
  explicit Questions(data::DataFile file)
      : Source(file.path()),
        num_bytes_(static_cast<int64_t>(file.num_bytes_on_disk())),
        file_(std::move(file)) {
    has_turns_ = true;
  }
  const char* content() const override { return "questions and answers"; }
  int64_t size() const override { return static_cast<int64_t>(file_.size()); }
  int64_t num_bytes() const override { return num_bytes_; }
  std::string place(int64_t index) const override { return file_.place(static_cast<size_t>(index)); }
  void read(int64_t index, Sample* sample) const override {
    const Json object = data::parse_sample(file_.text(static_cast<size_t>(index)), place(index));
    sample->fields = data::held_fields(object);
    sample->form = data::sample_form(object);
    sample->turns = data::read_conversation(object, place(index), &sample->unread);
  }

 private:
  int64_t num_bytes_;
  data::InstructionFile file_;
};

class Documents : public Source {
 public:
  Documents(data::DataFile file, std::string text_field, bool is_one_text)
      : Source(file.path()),
        is_one_text_(is_one_text),
        text_field_(text_field),
        file_(std::move(file), std::move(text_field)) {}
  const char* content() const override { return is_one_text_ ? "one text" : "documents"; }
  int64_t size() const override { return static_cast<int64_t>(file_.size()); }
  int64_t num_bytes() const override { return file_.report().num_bytes; }
  std::string encoding() const override { return file_.report().encoding; }
  std::string place(int64_t index) const override { return file_.place(static_cast<size_t>(index)); }
  void read(int64_t index, Sample* sample) const override {
    data::SourceReport report;
    sample->text = file_.read(static_cast<size_t>(index), &report);
    for (const auto& [name, count] : report.unread.counts()) sample->unread.push_back(name);
    sample->fields = sample->unread;
    if (!is_one_text_) sample->fields.push_back(text_field_);
  }

 private:
  bool is_one_text_;
  std::string text_field_;
  data::DocumentFile file_;
};

// A .bin of ids, which EOS cuts into documents.
class TokenIds : public Source {
 public:
  TokenIds(const fs::path& path, const data::TokenDataOptions& options)
      : Source(path), tokenizer_(options.tokenizer), file_(data::open_token_file(path, options)) {
    has_ids_alone_ = tokenizer_ == nullptr;
    if (const auto info = data::read_token_file_info(path)) eos_id_ = info->eos_id;
    if (tokenizer_ != nullptr && tokenizer_->eos_id()) eos_id_ = *tokenizer_->eos_id();
    find_ends();
  }
  const char* content() const override { return "token ids"; }
  int64_t size() const override { return static_cast<int64_t>(ends_.size()); }
  int64_t num_ids() const override { return file_->size(); }
  int64_t num_bytes() const override { return file_->size() * data::id_type_bytes(file_->type()); }
  std::string encoding() const override { return data::id_type_name(file_->type()); }
  std::string place(int64_t index) const override {
    return fmt::format("{}, ids from {}", path().string(), begin(index));
  }
  void read(int64_t index, Sample* sample) const override {
    const int64_t end = ends_[static_cast<size_t>(index)];
    sample->ids.resize(static_cast<size_t>(end - begin(index)));
    file_->read(begin(index), sample->ids);
    if (tokenizer_ == nullptr) return;
    tokenizer::Ids ids;
    for (const int64_t id : sample->ids)
      if (id < tokenizer_->vocab_size()) ids.push_back(static_cast<int32_t>(id));
    sample->text = tokenizer_->decode(ids);
  }
  std::vector<std::string> notes() const override {
    if (eos_id_ >= 0) return {};
    return {
        fmt::format("{}: no end-of-sequence token is known, so that all ids count as one document; give "
                    "--model or --tokenizer",
                    path().string())};
  }

 private:
  static constexpr int64_t kIdsAtOnce = int64_t{1} << 20;

  int64_t begin(int64_t index) const { return index == 0 ? 0 : ends_[static_cast<size_t>(index) - 1]; }

  void find_ends() {
    std::vector<int64_t> ids;
    for (int64_t start = 0; eos_id_ >= 0 && start < file_->size(); start += kIdsAtOnce) {
      ids.resize(static_cast<size_t>(std::min(kIdsAtOnce, file_->size() - start)));
      file_->read(start, ids);
      for (size_t i = 0; i < ids.size(); ++i)
        if (ids[i] == eos_id_) ends_.push_back(start + static_cast<int64_t>(i) + 1);
    }
    if (ends_.empty() || ends_.back() < file_->size()) ends_.push_back(file_->size());
  }

  const tokenizer::Tokenizer* tokenizer_;
  std::unique_ptr<const data::TokenFile> file_;
  int64_t eos_id_ = -1;
  std::vector<int64_t> ends_;  // of documents, ascending
};

// The vocabulary by which a .bin is read: the tokenizer's or model's, else what the file says of itself.
data::TokenDataOptions with_vocabulary(const fs::path& path, data::TokenDataOptions options) {
  if (options.vocab_size > 0) return options;
  const auto info = data::read_token_file_info(path);
  constexpr int64_t kUint16Ids = 65536;
  options.vocab_size = options.bin_type ? std::numeric_limits<int32_t>::max() : kUint16Ids;
  if (info) options.vocab_size = info->vocab_size;
  return options;
}

}  // namespace

std::unique_ptr<const Source> open_source(const fs::path& path, const data::TokenDataOptions& options) {
  switch (data::file_kind(path)) {
    case data::FileKind::kTokens:
      return std::make_unique<const TokenIds>(path, with_vocabulary(path, options));
    case data::FileKind::kTable:
      data::refuse_table(path);
      break;
    case data::FileKind::kJson:
    case data::FileKind::kText:
      break;
  }
  data::DataFile file(path);
  if (file.text().find_first_not_of(" \t\r\n") == std::string_view::npos)
    throw InputError(fmt::format("[{}] expected samples or a text, got an empty file", path.string()));
  const data::Content content = data::content_of(file, options.text_field);
  if (content == data::Content::kQuestions) return std::make_unique<const Questions>(std::move(file));
  return std::make_unique<const Documents>(std::move(file), options.text_field,
                                           content == data::Content::kDocument);
}

}  // namespace longlora::inspect
