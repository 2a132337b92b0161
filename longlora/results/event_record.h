// The bytes of a TensorBoard event file: protobuf messages in TFRecord frames.
//
// Only what scalars need of tensorboard/compat/proto/{event,summary}.proto:
//   Event      1 wall_time (double)  2 step (int64)  3 file_version (string)
//              5 summary (Summary)   7 session_log (SessionLog)
//   Summary    1 value (repeated Value)
//   Value      1 tag (string)        2 simple_value (float)
//   SessionLog 1 status (enum; START = 1)
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace longlora::results {

/// When (seconds since 1970) and at which training step an event happened.
struct EventTime {
  double wall_time_seconds = 0;
  int64_t step = 0;
};

/// The event that must open every file; it carries the version "brain.Event:2".
std::string encode_file_version_event(double wall_time_seconds);

/// One scalar. The format stores it as float32.
std::string encode_scalar_event(const EventTime& time, std::string_view tag, double value);

/// Tells readers that the run starts again at `time.step`: they then drop what earlier files hold from that
/// step on.
std::string encode_session_start_event(const EventTime& time);

/// A TFRecord frame: length (u64), masked CRC of the length (u32), payload,
/// masked CRC of the payload (u32); all little-endian.
std::string frame_record(std::string_view payload);

}  // namespace longlora::results
