// Writes the scalars of a run into event files that TensorBoard opens.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>

namespace longlora::results {

/// Appends scalars to a new file events.out.tfevents.<time>.<host>.<pid>.<n>.
/// Every writer makes its own file, so a resumed run leaves several in one
/// folder; TensorBoard joins them. Not thread-safe.
class TensorBoardWriter {
 public:
  /// Creates the folder (with parents) and the file. A run that resumes at step
  /// N gives N + 1 as `first_step`: TensorBoard then forgets the steps that the
  /// killed run had logged beyond its last checkpoint. Throws ResourceError.
  explicit TensorBoardWriter(const std::filesystem::path& directory,
                             std::optional<int64_t> first_step = std::nullopt);

  /// Appends one value of the curve `tag` ("train/loss"), with the present time. It is stored as float32;
  /// infinities and NaN are kept. Throws ResourceError.
  void scalar(const std::string& tag, double value, int64_t step);

  /// Hands everything to the operating system, so that a running TensorBoard sees it. The destructor does the
  /// same, but keeps silent about errors. Throws ResourceError.
  void flush();

  const std::filesystem::path& path() const { return path_; }

 private:
  void write(const std::string& payload);

  std::filesystem::path path_;
  std::ofstream file_;
};

}  // namespace longlora::results
