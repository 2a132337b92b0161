// The .bin file of ids and the JSON beside it; docs/data-formats.md describes both.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "longlora/core/file.h"
#include "longlora/data/documents.h"

namespace longlora::data {

/// How one id is stored; all are little-endian.
enum class IdType { kUint16, kUint32, kInt32, kInt64 };

const char* id_type_name(IdType type);
/// What --bin_dtype takes: "auto" and the names of the types.
const std::vector<std::string>& id_type_choices();
/// The type of that name, or nullopt for "auto". Throws UsageError for a name that is none of the choices.
std::optional<IdType> id_type_from_choice(const std::string& name);
int64_t id_type_bytes(IdType type);
/// The type for a vocabulary: uint16 where every id fits, else uint32.
IdType id_type_for(int64_t vocab_size);

/// What X.bin.json says about X.bin.
struct TokenFileInfo {
  IdType type = IdType::kUint16;
  int64_t vocab_size = 0;
  int64_t num_documents = 0;
  int64_t num_tokens = 0;
  int32_t eos_id = -1;
  bool add_bos = false;
  std::string tokenizer_path;
  std::string tokenizer_fingerprint;
  std::vector<SourceReport> sources;
};

/// The path of the JSON beside a file: X.bin -> X.bin.json.
std::filesystem::path info_path(const std::filesystem::path& bin_path);

/// The text of the JSON beside a file.
std::string format_token_file_info(const TokenFileInfo& info);

/// Reads the JSON beside a file, except the list of sources. Returns nullopt where there is none. Throws
/// InputError for one that is malformed.
std::optional<TokenFileInfo> read_token_file_info(const std::filesystem::path& bin_path);

/// Whether tokenize wrote the file: it has the size that the JSON beside it says.
bool is_described_token_file(const std::filesystem::path& bin_path);

/// A mapped .bin file. Immutable and thread-safe.
class TokenFile {
 public:
  /// `info` is what the JSON says, if there is one, and `stated` the type that the user states. Without
  /// either the type follows from the vocabulary. Throws InputError for a file that is empty, whose size is
  /// no multiple of an id's, or that has another number or type of ids than the JSON says; for ids that look
  /// like those of a wider type where nobody has stated one; and for an id that is negative, or `vocab_size`
  /// or more (all ids are checked).
  TokenFile(const std::filesystem::path& path, const std::optional<TokenFileInfo>& info, int64_t vocab_size,
            std::optional<IdType> stated = std::nullopt);

  int64_t size() const { return size_; }
  IdType type() const { return type_; }
  /// Copies the ids [start, start + out.size()). Requires the range to lie inside the file.
  void read(int64_t start, std::span<int64_t> out) const;

 private:
  template <typename Id>
  std::span<const Id> ids() const;
  void check_size(const std::optional<TokenFileInfo>& info) const;
  void check_width() const;
  void check_ids(int64_t vocab_size) const;
  bool fits_as_uint16(int64_t vocab_size) const;

  MappedFile file_;
  IdType type_;
  int64_t size_;
};

}  // namespace longlora::data
