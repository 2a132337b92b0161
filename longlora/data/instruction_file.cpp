#include "longlora/data/instruction_file.h"

#include "longlora/data/foreign_file.h"

namespace longlora::data {

namespace {

DataFile open_samples(const std::filesystem::path& path) {
  if (file_kind(path) == FileKind::kTable) refuse_table(path);
  return DataFile(path);
}

}  // namespace

InstructionFile::InstructionFile(const std::filesystem::path& path)
    : file_(open_samples(path)), cut_(cut_samples(file_.text(), path.string())) {}

}  // namespace longlora::data
