#include "longlora/results/event_record.h"

#include <bit>
#include <concepts>

#include "longlora/results/crc32c.h"

namespace longlora::results {
namespace {

constexpr uint64_t kSessionStart = 1;  // SessionLog.SessionStatus.START

template <std::unsigned_integral Word>
void append_little_endian(std::string& out, Word value) {
  for (size_t i = 0; i < sizeof(Word); ++i) out.push_back(static_cast<char>((value >> (8 * i)) & 0xFFu));
}

// A protobuf message that is being written; each call appends one field.
class Message {
 public:
  void varint_field(uint32_t field, uint64_t value) {
    key(field, 0);
    varint(value);
  }
  void double_field(uint32_t field, double value) {
    key(field, 1);
    append_little_endian(bytes_, std::bit_cast<uint64_t>(value));
  }
  void float_field(uint32_t field, float value) {
    key(field, 5);
    append_little_endian(bytes_, std::bit_cast<uint32_t>(value));
  }
  // A string or an embedded message.
  void bytes_field(uint32_t field, std::string_view value) {
    key(field, 2);
    varint(value.size());
    bytes_.append(value);
  }
  std::string take() { return std::move(bytes_); }
  const std::string& bytes() const { return bytes_; }

 private:
  void key(uint32_t field, uint32_t wire_type) { varint((field << 3) | wire_type); }
  void varint(uint64_t value) {
    while (value >= 0x80) {
      bytes_.push_back(static_cast<char>((value & 0x7Fu) | 0x80u));
      value >>= 7;
    }
    bytes_.push_back(static_cast<char>(value));
  }

  std::string bytes_;
};

Message event_at(const EventTime& time) {
  Message event;
  event.double_field(1, time.wall_time_seconds);
  event.varint_field(2, static_cast<uint64_t>(time.step));
  return event;
}

}  // namespace

std::string encode_file_version_event(double wall_time_seconds) {
  Message event;
  event.double_field(1, wall_time_seconds);
  event.bytes_field(3, "brain.Event:2");
  return event.take();
}

std::string encode_scalar_event(const EventTime& time, std::string_view tag, double value) {
  Message scalar;
  scalar.bytes_field(1, tag);
  scalar.float_field(2, static_cast<float>(value));
  Message summary;
  summary.bytes_field(1, scalar.bytes());
  Message event = event_at(time);
  event.bytes_field(5, summary.bytes());
  return event.take();
}

std::string encode_session_start_event(const EventTime& time) {
  Message session_log;
  session_log.varint_field(1, kSessionStart);
  Message event = event_at(time);
  event.bytes_field(7, session_log.bytes());
  return event.take();
}

std::string frame_record(std::string_view payload) {
  std::string frame;
  frame.reserve(payload.size() + 16);
  append_little_endian(frame, static_cast<uint64_t>(payload.size()));
  append_little_endian(frame, masked_crc32c(std::string_view(frame).substr(0, 8)));
  frame.append(payload);
  append_little_endian(frame, masked_crc32c(payload));
  return frame;
}

}  // namespace longlora::results
