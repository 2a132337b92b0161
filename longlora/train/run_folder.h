// Which folder a run may write, and what stands there already.
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

/// All that a run reads, by flag: never written to.
std::vector<NamedPath> run_inputs(const TrainOptions& options);

/// The claim of a run on options.output_dir. The marker there (FolderManifest) lists the files of the
/// finished result; each checkpoint-N has a marker of its own. train_log.jsonl, run.json and the event files
/// right in runs/ belong to the run by their names. Everything else in the folder is somebody else's and
/// stays.
class RunFolder {
 public:
  /// Locks the folder and looks at what it holds; changes nothing but that it makes a missing folder, which
  /// goes again with the object while it is empty. Throws UsageError where the folder overlaps with an input,
  /// is in use, holds a run or a result that the options neither resume nor overwrite, or files of other
  /// origin.
  explicit RunFolder(const TrainOptions& options);

  /// Makes the folder this run's. An earlier run that is to be overwritten is set aside in replaced-run-N,
  /// where it stays until drop_replaced().
  void begin();
  /// Removes what begin() set aside, in this run or one that it goes on from.
  void drop_replaced() const;

  const std::filesystem::path& path() const { return path_; }
  FolderManifest& manifest() { return manifest_; }
  const FolderManifest& manifest() const { return manifest_; }
  /// Writes the marker.
  void keep_manifest() const { manifest_.write(path_); }
  /// Whether the marker says that a run was finished here, and its result is still what it was.
  bool has_whole_result() const;

  /// The N of the checkpoint-N that are there, ascending.
  std::vector<int64_t> checkpoints() const;
  std::filesystem::path checkpoint_path(int64_t step) const;
  /// Removes a checkpoint so that a kill in between leaves no half of it under its name. One that holds files
  /// of other origin stays, with a warning.
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
