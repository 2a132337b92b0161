#include "longlora/tokenizer/sentencepiece_settings.h"

#include <fmt/core.h>

#include <cstdint>
#include <functional>

#include "longlora/core/error.h"

namespace longlora::tokenizer {

namespace {

// Field numbers of sentencepiece_model.proto.
constexpr uint64_t kTrainerSpec = 2;  // a field of ModelProto, as is the next
constexpr uint64_t kNormalizerSpec = 3;
constexpr uint64_t kModelType = 3;     // a field of TrainerSpec
constexpr uint64_t kBpe = 2;           // its value for byte pair encoding
constexpr uint64_t kCharacterMap = 2;  // a field of NormalizerSpec, as are the following
constexpr uint64_t kAddDummyPrefix = 3;
constexpr uint64_t kRemoveExtraWhitespaces = 4;
constexpr uint64_t kEscapeWhitespaces = 5;

struct Field {
  uint64_t number = 0;
  uint64_t value = 0;      // where the field is a varint
  std::string_view bytes;  // where it is length-delimited
};

// Walks the fields of the model in protocol buffer wire format, because the libraries that ship with Debian
// offer no headers for its message types.
class MessageReader {
 public:
  explicit MessageReader(std::string_view bytes) : bytes_(bytes) {}

  // Reads the next field. Returns false at the end, and at bytes that are no field; then malformed() is true.
  bool next(Field* field) {
    uint64_t key = 0;
    if (bytes_.empty() || !varint(&key)) return false;
    *field = Field{key >> 3, 0, {}};
    switch (key & 7) {
      case 0:
        return varint(&field->value);
      case 1:
        return take(8, &field->bytes);
      case 2: {
        uint64_t size = 0;
        return varint(&size) && take(size, &field->bytes);
      }
      case 5:
        return take(4, &field->bytes);
      default:
        malformed_ = true;
        return false;
    }
  }
  bool malformed() const { return malformed_; }

 private:
  bool varint(uint64_t* value) {
    *value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (bytes_.empty()) break;
      const auto byte = static_cast<unsigned char>(bytes_.front());
      bytes_.remove_prefix(1);
      *value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return true;
    }
    malformed_ = true;
    return false;
  }

  bool take(uint64_t size, std::string_view* bytes) {
    if (size > bytes_.size()) {
      malformed_ = true;
      return false;
    }
    *bytes = bytes_.substr(0, size);
    bytes_.remove_prefix(size);
    return true;
  }

  std::string_view bytes_;
  bool malformed_ = false;
};

void for_each_field(std::string_view message, const std::string& source,
                    const std::function<void(const Field&)>& visit) {
  MessageReader reader(message);
  for (Field field; reader.next(&field);) visit(field);
  if (reader.malformed()) {
    throw InputError(
        fmt::format("[{}] expected a SentencePiece model, got bytes that are none (a damaged or "
                    "incomplete file?); fetch the file again",
                    source));
  }
}

}  // namespace

SentencePieceSettings read_sentencepiece_settings(std::string_view model, const std::string& source) {
  SentencePieceSettings settings;
  const auto read_normalizer = [&](const Field& field) {
    if (field.number == kCharacterMap) settings.has_character_map = !field.bytes.empty();
    if (field.number == kAddDummyPrefix) settings.add_dummy_prefix = field.value != 0;
    if (field.number == kRemoveExtraWhitespaces) settings.remove_extra_whitespaces = field.value != 0;
    if (field.number == kEscapeWhitespaces) settings.escape_whitespaces = field.value != 0;
  };
  for_each_field(model, source, [&](const Field& field) {
    if (field.number == kNormalizerSpec) for_each_field(field.bytes, source, read_normalizer);
    if (field.number == kTrainerSpec)
      for_each_field(field.bytes, source, [&](const Field& inner) {
        if (inner.number == kModelType) settings.is_bpe = inner.value == kBpe;
      });
  });
  return settings;
}

std::string without_dummy_prefix(std::string model) {
  // A message field that occurs twice is merged, and the last value of each
  // inner field holds: normalizer_spec { add_dummy_prefix: false }.
  const char setting[] = {kNormalizerSpec << 3 | 2, 2, kAddDummyPrefix << 3, 0};
  return model.append(setting, sizeof setting);
}

}  // namespace longlora::tokenizer
