#include "longlora/data/token_file.h"

#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "longlora/core/error.h"
#include "longlora/core/json.h"
#include "longlora/core/progress.h"

namespace longlora::data {

namespace fs = std::filesystem;

static_assert(std::endian::native == std::endian::little, "ids are mapped as they lie in the file");

const char* id_type_name(IdType type) {
  return type == IdType::kUint16 ? "uint16" : "uint32";
}
int64_t id_type_bytes(IdType type) {
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
    if (type != "uint16" && type != "uint32") {
      throw InputError(fmt::format(
          "[{}] expected dtype uint16 or uint32, got \"{}\"; tokenize the text again", path.string(), type));
    }
    info.type = type == "uint16" ? IdType::kUint16 : IdType::kUint32;
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

namespace {

// The plain loop over a block is vectorized by the compiler; a search for the
// first bad id, which is not, runs only in a block that has one.
template <typename Id>
int64_t find_id_beyond(const Id* ids, int64_t size, int64_t vocab_size) {
  constexpr int64_t kBlock = 8192;
  for (int64_t start = 0; start < size; start += kBlock) {
    const int64_t end = std::min(size, start + kBlock);
    Id highest = 0;
    for (int64_t i = start; i < end; ++i) highest = std::max(highest, ids[i]);
    if (int64_t{highest} < vocab_size) continue;
    for (int64_t i = start; i < end; ++i) {
      if (int64_t{ids[i]} >= vocab_size) return i;
    }
  }
  return -1;
}

template <typename Id>
const Id* ids_of(const MappedFile& file) {
  return reinterpret_cast<const Id*>(file.bytes().data());
}

}  // namespace

TokenFile::TokenFile(const fs::path& path, const std::optional<TokenFileInfo>& info, int64_t vocab_size)
    : file_(path),
      type_(info ? info->type : id_type_for(vocab_size)),
      size_(static_cast<int64_t>(file_.bytes().size()) / id_type_bytes(type_)) {
  check_size(info);
  check_ids(vocab_size);
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
                    "incomplete or no token file",
                    name, id_type_bytes(type_), id_type_name(type_), format_count(num_bytes)));
  }
}

void TokenFile::check_ids(int64_t vocab_size) const {
  const int64_t position = type_ == IdType::kUint16
                               ? find_id_beyond(ids_of<uint16_t>(file_), size_, vocab_size)
                               : find_id_beyond(ids_of<uint32_t>(file_), size_, vocab_size);
  if (position < 0) return;
  int64_t id = 0;
  read(position, {&id, 1});
  throw InputError(
      fmt::format("[{}] expected ids below the model's {} embedding rows, got id {} at position {} "
                  "(read as {}); tokenize the text with the model's own tokenizer",
                  file_.path().string(), vocab_size, id, position, id_type_name(type_)));
}

void TokenFile::read(int64_t start, std::span<int64_t> out) const {
  const auto copy = [&](const auto* ids) { std::copy_n(ids + start, out.size(), out.begin()); };
  if (type_ == IdType::kUint16) {
    copy(ids_of<uint16_t>(file_));
  } else {
    copy(ids_of<uint32_t>(file_));
  }
}

}  // namespace longlora::data
