// Reads the vocabulary and the merges, which are most of the file, event by
// event; the rest becomes a JSON value that tokenizer_json_steps.cpp takes apart.
#include "longlora/tokenizer/tokenizer_json.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstdint>
#include <utility>

#include "longlora/core/error.h"

namespace longlora::tokenizer {

namespace {

constexpr int kModelDepth = 2;  // where the keys of "model" stand
constexpr int kMaxDepth = 64;

class FileHandler {
 public:
  explicit FileHandler(PipelineSpec* spec) : spec_(spec), rest_(json_, true) {}

  const Json& rest() const { return json_; }

  // These functions have the names that the JSON library calls.
  bool null() {
    if (mode_ == Mode::kRest) return waiting_ || rest_.null();
    throw wrong_value("null");
  }
  bool boolean(bool value) {
    if (mode_ == Mode::kRest && !waiting_) return rest_.boolean(value);
    throw wrong_value("true or false");
  }
  bool number_integer(Json::number_integer_t value) { return number(value) || rest_.number_integer(value); }
  bool number_unsigned(Json::number_unsigned_t value) {
    const auto capped = static_cast<int64_t>(std::min<uint64_t>(value, uint64_t{1} << 31));
    return number(capped) || rest_.number_unsigned(value);
  }
  bool number_float(Json::number_float_t value, const std::string& text) {
    if (mode_ == Mode::kRest && !waiting_) return rest_.number_float(value, text);
    throw wrong_value(text);
  }
  bool string(std::string& value) {
    if (mode_ == Mode::kMerges) return add_merge_text(value);
    if (mode_ == Mode::kRest && !waiting_) return rest_.string(value);
    throw wrong_value('"' + value + '"');
  }
  bool binary(Json::binary_t& value) { return rest_.binary(value); }

  bool start_object(size_t size) {
    go_deeper();
    if (waiting_ && next_ == Mode::kVocab) return begin();
    if (mode_ == Mode::kRest && !waiting_) return rest_.start_object(size);
    throw wrong_value("an object");
  }
  bool key(std::string& value) {
    waiting_ = false;
    if (mode_ == Mode::kVocab) {
      token_ = std::move(value);
      return true;
    }
    if (depth_ == 1) in_model_ = value == "model";
    if (depth_ == kModelDepth && in_model_ && (value == "vocab" || value == "merges")) {
      waiting_ = true;
      next_ = value == "vocab" ? Mode::kVocab : Mode::kMerges;
      return true;
    }
    return rest_.key(value);
  }
  bool end_object() {
    --depth_;
    if (mode_ == Mode::kVocab) return end();
    waiting_ = false;
    return rest_.end_object();
  }
  bool start_array(size_t size) {
    go_deeper();
    if (waiting_ && next_ == Mode::kMerges) return begin();
    if (mode_ == Mode::kMerges && depth_ == kModelDepth + 2) {
      pair_.clear();
      return true;
    }
    if (mode_ == Mode::kRest && !waiting_) return rest_.start_array(size);
    throw wrong_value("a list");
  }
  bool end_array() {
    --depth_;
    if (mode_ != Mode::kMerges) return rest_.end_array();
    if (depth_ == kModelDepth) return end();
    if (pair_.size() != 2) throw wrong_value(fmt::format("a list of {}", pair_.size()));
    spec_->model.merges.emplace_back(std::move(pair_[0]), std::move(pair_[1]));
    return true;
  }
  bool parse_error(size_t position, const std::string&, const Json::exception& error) {
    throw InputError(
        fmt::format("[{}] expected JSON, got a syntax error at byte {} ({}); fetch the file again",
                    spec_->source, position, error.what()));
  }

 private:
  enum class Mode { kRest, kVocab, kMerges };

  void go_deeper() {
    if (++depth_ > kMaxDepth) {
      throw InputError(fmt::format("[{}] expected JSON nested at most {} deep, got more; the file is damaged",
                                   spec_->source, kMaxDepth));
    }
  }

  bool begin() {
    mode_ = next_;
    waiting_ = false;
    return true;
  }
  bool end() {
    mode_ = Mode::kRest;
    return true;
  }

  // Returns true where the number was an id of the vocabulary.
  bool number(int64_t value) {
    if (mode_ == Mode::kRest && !waiting_) return false;
    if (mode_ != Mode::kVocab) throw wrong_value(fmt::format("{}", value));
    if (value < 0 || value >= int64_t{1} << 24) {
      throw InputError(fmt::format("[{}] expected ids from 0 to {} in model.vocab, got {} for \"{}\"",
                                   spec_->source, (1 << 24) - 1, value, token_));
    }
    spec_->model.vocab.emplace_back(std::move(token_), static_cast<int32_t>(value));
    token_.clear();
    return true;
  }

  bool add_merge_text(const std::string& text) {
    if (depth_ == kModelDepth + 2) {
      pair_.push_back(text);
      return true;
    }
    const size_t space = text.find(' ');
    if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos) {
      if (text.starts_with("#version")) return true;
      throw wrong_value('"' + text + '"');
    }
    spec_->model.merges.emplace_back(text.substr(0, space), text.substr(space + 1));
    return true;
  }

  InputError wrong_value(const std::string& got) const {
    const bool is_vocab = mode_ == Mode::kVocab || (waiting_ && next_ == Mode::kVocab);
    return InputError(fmt::format(
        "[{}] expected {}, got {}", spec_->source,
        is_vocab ? "model.vocab to be an object of ids by token"
                 : "model.merges to be a list of pairs (two texts, or one with a space between them)",
        got));
  }

  PipelineSpec* spec_;
  Json json_;
  nlohmann::detail::json_sax_dom_parser<Json> rest_;
  Mode mode_ = Mode::kRest, next_ = Mode::kRest;
  bool waiting_ = false;  // whether the value of model.vocab or model.merges comes next
  bool in_model_ = false;
  int depth_ = 0;
  std::string token_;
  std::vector<std::string> pair_;
};

}  // namespace

PipelineSpec parse_tokenizer_json(std::string_view text, const std::string& source) {
  PipelineSpec spec;
  spec.source = source;
  FileHandler handler(&spec);
  Json::sax_parse(text.begin(), text.end(), &handler);
  internal::read_pipeline(handler.rest(), &spec);
  if (spec.model.vocab.empty())
    throw InputError(fmt::format("[{}] expected a vocabulary in model.vocab, got none", source));
  return spec;
}

}  // namespace longlora::tokenizer
