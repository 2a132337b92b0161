#include "longlora/data/instruction_file.h"

#include <utility>

#include "longlora/data/foreign_file.h"

namespace longlora::data {

namespace {

DataFile open_samples(const std::filesystem::path& path) {
  if (file_kind(path) == FileKind::kTable) refuse_table(path);
  return DataFile(path);
}

}  // namespace

InstructionFile::InstructionFile(const std::filesystem::path& path) : InstructionFile(open_samples(path)) {}

InstructionFile::InstructionFile(DataFile file)
    : file_(std::move(file)), cut_(cut_samples(file_.text(), file_.path().string())) {}

}  // namespace longlora::data
