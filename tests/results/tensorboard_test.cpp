#include "longlora/results/tensorboard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "longlora/core/error.h"
#include "longlora/core/file.h"
#include "longlora/results/crc32c.h"
#include "longlora/results/event_record.h"
#include "tests/support/temporary_directory.h"

namespace longlora::results {
namespace {

std::string from_hex(const std::string& hex) {
  std::string bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2)
    bytes.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  return bytes;
}

uint64_t little_endian(std::string_view bytes, size_t offset, size_t num_bytes) {
  uint64_t value = 0;
  for (size_t i = 0; i < num_bytes; ++i)
    value |= static_cast<uint64_t>(static_cast<unsigned char>(bytes.at(offset + i))) << (8 * i);
  return value;
}

// Splits a TFRecord file into payloads, checking both checksums of each frame.
std::vector<std::string> read_records(const std::string& file) {
  std::vector<std::string> payloads;
  size_t offset = 0;
  while (offset < file.size()) {
    const std::string_view rest = std::string_view(file).substr(offset);
    const size_t length = little_endian(rest, 0, 8);
    EXPECT_EQ(little_endian(rest, 8, 4), masked_crc32c(rest.substr(0, 8)));
    EXPECT_LE(length + 16, rest.size());
    EXPECT_EQ(little_endian(rest, 12 + length, 4), masked_crc32c(rest.substr(12, length)));
    payloads.emplace_back(rest.substr(12, length));
    offset += length + 16;
  }
  return payloads;
}

TEST(Crc32c, AgreesWithTheVectorsOfRfc3720) {
  EXPECT_EQ(crc32c(""), 0u);
  EXPECT_EQ(crc32c("123456789"), 0xE3069283u);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8A9136AAu);
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62A8AB43u);
  std::string ascending;
  for (char byte = 0; byte < 32; ++byte) ascending.push_back(byte);
  EXPECT_EQ(crc32c(ascending), 0x46DD794Eu);
}

// Reference values: tests/data/results/tensorboard_events.json, written by
// scripts/references/tensorboard_events.py with TensorBoard's own protobuf classes.
class EventRecord : public ::testing::Test {
 protected:
  void SetUp() override {
    golden_ = nlohmann::json::parse(
        read_file(std::filesystem::path(LONGLORA_SOURCE_DIR) / "tests/data/results/tensorboard_events.json"));
  }
  nlohmann::json golden_;
};

TEST_F(EventRecord, EncodesScalarsAsTensorBoardDoes) {
  ASSERT_GE(golden_["scalars"].size(), 5u);
  for (const auto& scalar : golden_["scalars"]) {
    const EventTime time{scalar["wall_time"].get<double>(), scalar["step"].get<int64_t>()};
    const std::string bytes = encode_scalar_event(time, scalar["tag"].get<std::string>(),
                                                  std::stod(scalar["value"].get<std::string>()));
    EXPECT_EQ(bytes, from_hex(scalar["event_hex"])) << scalar.dump();
    EXPECT_EQ(frame_record(bytes), from_hex(scalar["frame_hex"])) << scalar.dump();
  }
}

TEST_F(EventRecord, OpensAFileWithTheVersionThatTensorBoardWrites) {
  EXPECT_EQ(encode_file_version_event(golden_["file_version"]["wall_time"].get<double>()),
            from_hex(golden_["file_version"]["event_hex"]));
}

TEST_F(EventRecord, MarksTheStartOfASessionAsTensorBoardDoes) {
  const auto& start = golden_["session_start"];
  EXPECT_EQ(encode_session_start_event({start["wall_time"].get<double>(), start["step"].get<int64_t>()}),
            from_hex(start["event_hex"]));
}

TEST(TensorBoardWriter, WritesWholeFramesInOrder) {
  const test::TemporaryDirectory folder;
  TensorBoardWriter writer(folder.path() / "new" / "runs", 8);
  writer.scalar("train/loss", 2.5, 8);
  writer.scalar("train/loss", std::nan(""), 9);
  writer.flush();

  const auto records = read_records(read_file(writer.path()));
  ASSERT_EQ(records.size(), 4u);
  EXPECT_THAT(records[0], ::testing::HasSubstr("brain.Event:2"));
  const double wall_time = std::bit_cast<double>(little_endian(records[2], 1, 8));
  EXPECT_EQ(records[1].substr(9), encode_session_start_event({wall_time, 8}).substr(9));
  EXPECT_EQ(records[2], encode_scalar_event({wall_time, 8}, "train/loss", 2.5));
  EXPECT_GT(wall_time, 1.7e9);
}

TEST(TensorBoardWriter, GivesEveryWriterItsOwnFile) {
  const test::TemporaryDirectory folder;
  const TensorBoardWriter first(folder.path());
  const TensorBoardWriter second(folder.path());
  EXPECT_NE(first.path(), second.path());
  EXPECT_THAT(first.path().filename().string(), ::testing::StartsWith("events.out.tfevents."));
  EXPECT_EQ(read_records(read_file(first.path())).size(), 1u);
}

TEST(TensorBoardWriter, NamesTheFileThatCannotBeWritten) {
  const test::TemporaryDirectory folder;
  write_file_atomic(folder.path() / "file", "not a folder");
  EXPECT_THROW(TensorBoardWriter(folder.path() / "file"), ResourceError);
}

}  // namespace
}  // namespace longlora::results
