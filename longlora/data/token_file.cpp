#include "longlora/data/token_file.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <type_traits>

#include "longlora/core/error.h"
#include "longlora/core/format.h"
#include "longlora/core/json.h"

namespace longlora::data {

namespace fs = std::filesystem;

static_assert(std::endian::native == std::endian::little, "ids are mapped as they lie in the file");

const std::vector<std::string>& id_type_choices() {
  static const std::vector<std::string> choices = {"auto", "uint16", "uint32", "int32", "int64"};
  return choices;
}

const char* id_type_name(IdType type) {
  return id_type_choices()[static_cast<size_t>(type) + 1].c_str();
}

std::optional<IdType> id_type_from_choice(const std::string& name) {
  const auto& choices = id_type_choices();
  const auto found = std::find(choices.begin(), choices.end(), name);
  if (found == choices.end())
    throw UsageError(
        fmt::format("[--bin_dtype] expected one of {}, got \"{}\"", fmt::join(choices, ", "), name));
  if (found == choices.begin()) return std::nullopt;
  return static_cast<IdType>(found - choices.begin() - 1);
}

int64_t id_type_bytes(IdType type) {
  if (type == IdType::kInt64) return 8;
  return type == IdType::kUint16 ? 2 : 4;
}
IdType id_type_for(int64_t vocab_size) {
  return vocab_size <= 65536 ? IdType::kUint16 : IdType::kUint32;
}

fs::path info_path(const fs::path& bin_path) {
  return fs::path(bin_path).concat(".json");
}

std::string format_token_file_info(const TokenFileInfo& info) {
  Json json;
  json["format"] = "longlora token file";
  json["version"] = 1;
  json["dtype"] = id_type_name(info.type);
  json["vocab_size"] = info.vocab_size;
  json["num_documents"] = info.num_documents;
  json["num_tokens"] = info.num_tokens;
  json["eos_id"] = info.eos_id;
  json["add_bos"] = info.add_bos;
  json["tokenizer"] = {{"path", info.tokenizer_path}, {"fingerprint", info.tokenizer_fingerprint}};
  json["sources"] = Json::array();
  for (const SourceReport& source : info.sources) {
    json["sources"].push_back({{"path", source.path.string()},
                               {"encoding", source.encoding},
                               {"crlf_converted", source.converted_line_ends},
                               {"num_bytes", source.num_bytes},
                               {"num_documents", source.num_documents},
                               {"num_empty_documents", source.num_empty_documents},
                               {"num_tokens", source.num_tokens}});
  }
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::optional<TokenFileInfo> read_token_file_info(const fs::path& bin_path) {
  const fs::path path = info_path(bin_path);
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return std::nullopt;
  const Json json = read_json(path);
  TokenFileInfo info;
  try {
    const auto type = json.at("dtype").get<std::string>();
    const auto& choices = id_type_choices();
    if (type == choices.front() || std::find(choices.begin(), choices.end(), type) == choices.end()) {
      throw InputError(
          fmt::format("[{}] expected dtype uint16, uint32, int32 or int64, got \"{}\"; tokenize the "
                      "text again",
                      path.string(), type));
    }
    info.type = *id_type_from_choice(type);
    info.vocab_size = json.at("vocab_size").get<int64_t>();
    info.num_documents = json.at("num_documents").get<int64_t>();
    info.num_tokens = json.at("num_tokens").get<int64_t>();
    info.eos_id = json.at("eos_id").get<int32_t>();
    info.add_bos = json.at("add_bos").get<bool>();
    info.tokenizer_path = json.at("tokenizer").at("path").get<std::string>();
    info.tokenizer_fingerprint = json.at("tokenizer").at("fingerprint").get<std::string>();
  } catch (const Json::exception& error) {
    throw InputError(
        fmt::format("[{}] expected the description that tokenize writes, got: {}; tokenize the text "
                    "again, or remove this file to have the ids read as uint16",
                    path.string(), error.what()));
  }
  return info;
}

bool is_described_token_file(const fs::path& bin_path) {
  try {
    const auto info = read_token_file_info(bin_path);
    return info &&
           fs::file_size(bin_path) == static_cast<uintmax_t>(info->num_tokens * id_type_bytes(info->type));
  } catch (const std::exception&) {
    return false;
  }
}

namespace {

// Finds the first id that is beyond the vocabulary. The compiler vectorizes the plain loop over a block; the
// search for the first bad id, which it does not vectorize, runs only in a block that has one. A negative id
// is beyond every vocabulary.
template <typename Id>
int64_t find_id_beyond(std::span<const Id> ids, int64_t vocab_size) {
  using Unsigned = std::make_unsigned_t<Id>;
  constexpr size_t kBlock = 8192;
  const auto is_beyond = [&](Unsigned id) { return uint64_t{id} >= static_cast<uint64_t>(vocab_size); };
  for (size_t start = 0; start < ids.size(); start += kBlock) {
    const size_t end = std::min(ids.size(), start + kBlock);
    Unsigned highest = 0;
    for (size_t i = start; i < end; ++i) highest = std::max(highest, static_cast<Unsigned>(ids[i]));
    if (!is_beyond(highest)) continue;
    for (size_t i = start; i < end; ++i)
      if (is_beyond(static_cast<Unsigned>(ids[i]))) return static_cast<int64_t>(i);
  }
  return -1;
}

// Calls `work` with the ids of a type, as in `work(uint16_t{})`.
template <typename Work>
auto with_id_type(IdType type, const Work& work) {
  switch (type) {
    case IdType::kUint32:
      return work(uint32_t{});
    case IdType::kInt32:
      return work(int32_t{});
    case IdType::kInt64:
      return work(int64_t{});
    case IdType::kUint16:
      break;
  }
  return work(uint16_t{});
}

// Whether the units of a file are the halves or quarters of wider ids, `num_units` of which make one id: then
// in every place but the first of each id there are only bits that no vocabulary reaches.
template <typename Unit>
bool look_wider(std::span<const Unit> units, size_t num_units) {
  constexpr size_t kLooked = size_t{1} << 16, kFewestIds = 8;
  constexpr Unit kHighestUpperHalf = sizeof(Unit) == 2 ? 3 : 0;  // of ids below 262,144
  if (units.size() % num_units != 0 || units.size() < kFewestIds * num_units) return false;
  Unit highest_first = 0, highest_second = 0, highest_other = 0;
  for (size_t i = 0; i < std::min(units.size(), kLooked); ++i) {
    const size_t place = i % num_units;
    Unit& highest = place == 0 ? highest_first : place == 1 ? highest_second : highest_other;
    highest = std::max(highest, units[i]);
  }
  return highest_first > kHighestUpperHalf && highest_second <= kHighestUpperHalf && highest_other == 0;
}

}  // namespace

TokenFile::TokenFile(const fs::path& path, const std::optional<TokenFileInfo>& info, int64_t vocab_size,
                     std::optional<IdType> stated)
    : file_(path),
      type_(info ? info->type : stated.value_or(id_type_for(vocab_size))),
      size_(static_cast<int64_t>(file_.bytes().size()) / id_type_bytes(type_)) {
  if (info && stated && *stated != info->type)
    throw InputError(fmt::format("[{}] expected ids of {} as {} says, got --bin_dtype {}; leave the flag out",
                                 path.string(), id_type_name(info->type), info_path(path).filename().string(),
                                 id_type_name(*stated)));
  check_size(info);
  if (!info && !stated) check_width();
  check_ids(vocab_size);
}

template <typename Id>
std::span<const Id> TokenFile::ids() const {
  return {reinterpret_cast<const Id*>(file_.bytes().data()), file_.bytes().size() / sizeof(Id)};
}

void TokenFile::check_size(const std::optional<TokenFileInfo>& info) const {
  const std::string name = file_.path().string();
  const auto num_bytes = static_cast<int64_t>(file_.bytes().size());
  if (num_bytes == 0) throw InputError(fmt::format("[{}] expected token ids, got an empty file", name));
  if (info && num_bytes != info->num_tokens * id_type_bytes(type_)) {
    throw InputError(
        fmt::format("[{}] expected {} ids of {} as {} says, got {} bytes; the file is incomplete or "
                    "another: tokenize the text again",
                    name, format_count(info->num_tokens), id_type_name(type_),
                    info_path(file_.path()).filename().string(), format_count(num_bytes)));
  }
  if (num_bytes % id_type_bytes(type_) != 0) {
    throw InputError(
        fmt::format("[{}] expected a multiple of {} bytes ({} ids), got {} bytes; the file is "
                    "incomplete, no token file, or of another type (--bin_dtype)",
                    name, id_type_bytes(type_), id_type_name(type_), format_count(num_bytes)));
  }
}

void TokenFile::check_width() const {
  const bool has_half_words = type_ == IdType::kUint16;
  const char* wider = nullptr;
  if (has_half_words && look_wider(ids<uint16_t>(), 4))
    wider = "int64";
  else if (has_half_words && look_wider(ids<uint16_t>(), 2))
    wider = "uint32";
  else if (!has_half_words && look_wider(ids<uint32_t>(), 2))
    wider = "int64";
  if (wider == nullptr) return;
  throw InputError(
      fmt::format("[{}] expected ids of {}, which follows from the vocabulary, got a file whose ids look "
                  "like {}; state what "
                  "they are: --bin_dtype {}",
                  file_.path().string(), id_type_name(type_), wider, wider));
}

bool TokenFile::fits_as_uint16(int64_t vocab_size) const {
  return type_ != IdType::kUint16 && find_id_beyond(ids<uint16_t>(), vocab_size) < 0;
}

void TokenFile::check_ids(int64_t vocab_size) const {
  const int64_t position =
      with_id_type(type_, [&](auto id) { return find_id_beyond(ids<decltype(id)>(), vocab_size); });
  if (position < 0) return;
  int64_t id = 0;
  read(position, {&id, 1});
  throw InputError(
      fmt::format("[{}] expected ids below the model's {} embedding rows, got id {} at position {} "
                  "(read as {}); tokenize the text with the model's own tokenizer{}",
                  file_.path().string(), vocab_size, id, position, id_type_name(type_),
                  fits_as_uint16(vocab_size) ? ", or state --bin_dtype uint16, as which all ids fit"
                                             : ", or state another type (--bin_dtype)"));
}

void TokenFile::read(int64_t start, std::span<int64_t> out) const {
  with_id_type(type_, [&](auto id) {
    const auto all = ids<decltype(id)>();
    std::copy_n(all.begin() + start, out.size(), out.begin());
  });
}

}  // namespace longlora::data
