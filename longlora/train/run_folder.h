// Claims the output folder of a run, and looks at what is in it already.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "longlora/core/folder_lock.h"
#include "longlora/core/folder_manifest.h"
#include "longlora/core/output_paths.h"
#include "longlora/train/options.h"

namespace longlora::train {

/// Returns all paths that a run reads, with their flags. A run never writes to them.
std::vector<NamedPath> run_inputs(const TrainOptions& options);

/// The claim of a run on options.output_dir. The folder's marker (FolderManifest) lists the files of the
/// finished result, and each checkpoint-N has a marker of its own. train_log.jsonl, run.json and the event
/// files in runs/ belong to the run by their names. Everything else in the folder belongs to somebody else
/// and stays.
class RunFolder {
 public:
  /// Locks the folder and looks at what it holds. Makes a missing folder, which is removed with this object
  /// where it is still empty, and changes nothing else. Throws UsageError where the folder overlaps with an
  /// input, is in use, holds a run or a result that the options neither resume nor overwrite, or files of
  /// other origin.
  explicit RunFolder(const TrainOptions& options);

  /// Marks the folder as this run's. An earlier run that is to be overwritten is moved to replaced-run-N,
  /// where it stays until drop_replaced().
  void begin();
  /// Removes what begin() moved, in this run or in the run that this one resumes.
  void drop_replaced() const;

  const std::filesystem::path& path() const { return path_; }
  FolderManifest& manifest() { return manifest_; }
  const FolderManifest& manifest() const { return manifest_; }
  /// Writes the marker.
  void keep_manifest() const { manifest_.write(path_); }
  /// Whether the marker says that a run was finished here, and the files of its result have not changed
  /// since.
  bool has_whole_result() const;

  /// Returns the N of each checkpoint-N that is there, ascending.
  std::vector<int64_t> checkpoints() const;
  std::filesystem::path checkpoint_path(int64_t step) const;
  /// Removes a checkpoint. If the program is killed meanwhile, no half of it is left under its name. A
  /// checkpoint that holds files of other origin stays, with a warning.
  void remove_checkpoint(int64_t step) const;

 private:
  void check_holdings(const TrainOptions& options) const;
  void check_unmarked(const TrainOptions& options) const;
  bool is_occupied() const;
  void set_aside();

  std::string verb_;
  std::filesystem::path path_;
  std::shared_ptr<FolderLock> lock_;
  FolderManifest manifest_;
  bool is_marked_ = false;
  bool overwrites_ = false;
};

}  // namespace longlora::train
