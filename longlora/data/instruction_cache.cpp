#include "longlora/data/instruction_cache.h"

#include <fmt/core.h>

#include <cstring>

#include "longlora/core/error.h"
#include "longlora/core/file.h"
#include "longlora/core/log.h"

namespace longlora::data {

namespace fs = std::filesystem;

namespace {

// The version of the format, and of everything that decides the ids and is not in the key. Raise it when the
// reading of samples, the text of a prompt form or the search for answers changes.
constexpr std::string_view kHeader = "longlora instruction tokens 2\n";
constexpr size_t kHexDigits = 64;

// Writes numbers as they lie in memory (little-endian on every machine that this runs on), and lengths before
// contents.
class Writer {
 public:
  template <typename Number>
  void add(Number number) {
    bytes_.append(reinterpret_cast<const char*>(&number), sizeof(number));
  }
  void add(const std::string& text) {
    add(static_cast<uint64_t>(text.size()));
    bytes_ += text;
  }
  void add(const TokenRange& range) {
    add(range.begin);
    add(range.end);
  }
  void add(const std::vector<int32_t>& ids) {
    add(static_cast<uint64_t>(ids.size()));
    bytes_.append(reinterpret_cast<const char*>(ids.data()), ids.size() * sizeof(int32_t));
  }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

// Reads what Writer has written. Its functions return false where something does not fit.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}

  template <typename Number>
  bool read(Number* number) {
    if (bytes_.size() < sizeof(Number)) return false;
    std::memcpy(number, bytes_.data(), sizeof(Number));
    bytes_.remove_prefix(sizeof(Number));
    return true;
  }
  // Reads a number of things, each of which takes at least `num_bytes`.
  bool read_count(uint64_t* count, size_t num_bytes) {
    return read(count) && *count <= bytes_.size() / num_bytes;
  }
  bool read(std::string* text) {
    uint64_t size = 0;
    if (!read_count(&size, 1)) return false;
    *text = bytes_.substr(0, size);
    bytes_.remove_prefix(size);
    return true;
  }
  bool read(TokenRange* range, int64_t first, int64_t last) {
    return read(&range->begin) && read(&range->end) && first <= range->begin && range->begin <= range->end &&
           range->end <= last;
  }
  bool read(std::vector<int32_t>* ids, int64_t vocab_size) {
    uint64_t count = 0;
    if (!read_count(&count, sizeof(int32_t))) return false;
    ids->resize(count);
    std::memcpy(ids->data(), bytes_.data(), count * sizeof(int32_t));
    bytes_.remove_prefix(count * sizeof(int32_t));
    for (const int32_t id : *ids)
      if (id < 0 || id >= vocab_size) return false;
    return true;
  }
  bool at_end() const { return bytes_.empty(); }

 private:
  std::string_view bytes_;
};

void write_sample(const InstructionTokens& sample, Writer* writer) {
  writer->add(sample.index);
  writer->add(static_cast<uint8_t>(sample.is_certain));
  writer->add(sample.ids);
  writer->add(sample.material);
  writer->add(static_cast<uint64_t>(sample.answers.size()));
  for (const TokenRange& answer : sample.answers) writer->add(answer);
}

bool read_sample(Reader* reader, int64_t vocab_size, InstructionTokens* sample) {
  uint8_t is_certain = 0;
  if (!reader->read(&sample->index) || sample->index < 0 || !reader->read(&is_certain) ||
      !reader->read(&sample->ids, vocab_size))
    return false;
  sample->is_certain = is_certain != 0;
  const auto num_tokens = static_cast<int64_t>(sample->ids.size());
  uint64_t num_answers = 0;
  if (!reader->read(&sample->material, 0, num_tokens) || !reader->read_count(&num_answers, 16)) return false;
  sample->answers.resize(num_answers);
  int64_t end = 0;
  for (TokenRange& answer : sample->answers) {
    if (!reader->read(&answer, end, num_tokens)) return false;
    end = answer.end;
  }
  return true;
}

bool read_all(std::string_view payload, int64_t vocab_size, TokenizedInstructions* result) {
  Reader reader(payload);
  uint64_t num_problems = 0, num_samples = 0;
  if (!reader.read_count(&num_problems, 8)) return false;
  result->problems.resize(num_problems);
  for (std::string& problem : result->problems)
    if (!reader.read(&problem)) return false;
  uint64_t num_unread = 0;
  if (!reader.read_count(&num_unread, 16)) return false;
  for (uint64_t i = 0; i < num_unread; ++i) {
    std::string name;
    int64_t count = 0;
    if (!reader.read(&name) || !reader.read(&count) || count < 0) return false;
    result->unread.add(name, count);
  }
  if (!reader.read_count(&num_samples, 8)) return false;
  result->samples.resize(num_samples);
  for (InstructionTokens& sample : result->samples)
    if (!read_sample(&reader, vocab_size, &sample)) return false;
  return reader.at_end();
}

}  // namespace

std::string instruction_cache_key(std::string_view file_bytes, const tokenizer::Tokenizer& tokenizer,
                                  const tokenizer::Prompt& prompt) {
  const tokenizer::Ids beginning = tokenizer.encode("", true);
  return sha256_hex(fmt::format("{}{} {} {} {} {}", kHeader, sha256_hex(file_bytes), tokenizer.fingerprint(),
                                beginning.empty() ? -1 : beginning.front(), *tokenizer.eos_id(),
                                prompt.identity()));
}

fs::path instruction_cache_path(const fs::path& file, const std::string& key) {
  fs::path path = file;
  path += fmt::format(".{}.tokens", key.substr(0, 16));
  return path;
}

std::optional<TokenizedInstructions> read_instruction_cache(const fs::path& cache, const std::string& key,
                                                            int64_t vocab_size) {
  std::error_code ignored;
  if (!fs::is_regular_file(cache, ignored)) return std::nullopt;
  const MappedFile file(cache);
  std::string_view rest = file.text();
  const auto take = [&](size_t size) {
    const std::string_view taken = rest.substr(0, size);
    rest.remove_prefix(taken.size());
    return taken;
  };
  // The file has a header, the key, and the hash of all that follows.
  const std::string_view header = take(kHeader.size()), own_key = take(kHexDigits), hash = take(kHexDigits);
  TokenizedInstructions result;
  if (header == kHeader && own_key == key && hash == sha256_hex(rest) && read_all(rest, vocab_size, &result))
    return result;
  log_warning(fmt::format("{} is damaged: it is made again", cache.string()));
  return std::nullopt;
}

void write_instruction_cache(const fs::path& cache, const std::string& key,
                             const TokenizedInstructions& instructions) {
  Writer writer;
  writer.add(static_cast<uint64_t>(instructions.problems.size()));
  for (const std::string& problem : instructions.problems) writer.add(problem);
  writer.add(static_cast<uint64_t>(instructions.unread.counts().size()));
  for (const auto& [name, count] : instructions.unread.counts()) {
    writer.add(name);
    writer.add(count);
  }
  writer.add(static_cast<uint64_t>(instructions.samples.size()));
  for (const InstructionTokens& sample : instructions.samples) write_sample(sample, &writer);
  try {
    AtomicFileWriter file(cache);
    const std::string head = fmt::format("{}{}{}", kHeader, key, sha256_hex(writer.bytes()));
    file.write(head.data(), head.size());
    file.write(writer.bytes().data(), writer.bytes().size());
    file.commit();
  } catch (const ResourceError& error) {
    log_warning(fmt::format("tokens are not kept for the next run: {}", error.what()));
  }
}

}  // namespace longlora::data
