#include "longlora/core/output_folder.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include "longlora/core/error.h"
#include "longlora/core/sha256.h"
#include "tests/support/temporary_directory.h"

namespace longlora {
namespace {

namespace fs = std::filesystem;
using test::message_of;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class Output : public ::testing::Test {
 public:
  FolderClaim claim(bool overwrite = false) const {
    return {.output = {"--save_path", folder / "out"}, .verb = "merge", .inputs = {}, .overwrite = overwrite};
  }
  void write_result(const std::string& weights, bool overwrite = false) const {
    OutputFolder output(claim(overwrite));
    write_file_atomic(output.staging() / "model.safetensors", weights);
    make_directories(output.staging() / "templates");
    write_file_atomic(output.staging() / "templates/chat.jinja", "chat");
    output.commit();
  }
  std::vector<std::string> names() const {
    std::vector<std::string> found;
    for (const fs::path& path : list_directory(folder / "out")) found.push_back(path.filename().string());
    return found;
  }
  std::string refusal(bool overwrite = true) const {
    return message_of<UsageError>([&] { OutputFolder output(claim(overwrite)); });
  }

  test::TemporaryDirectory folder;
};

TEST_F(Output, AppearsWholeAndIsMarked) {
  write_result("one");
  EXPECT_THAT(names(), ElementsAre(FolderManifest::kName, "model.safetensors", "templates"));
  const auto manifest = FolderManifest::read(folder / "out");
  EXPECT_EQ(manifest->verb(), "merge");
  EXPECT_TRUE(manifest->owns(folder / "out", "model.safetensors"));
  EXPECT_TRUE(manifest->owns(folder / "out", "templates/chat.jinja"));
  EXPECT_FALSE(manifest->owns(folder / "out", "config.json"));
  EXPECT_THAT(folder.names(), ElementsAre("out"));
}

TEST_F(Output, IsReplacedOnRequestAlone) {
  write_result("one");
  EXPECT_THAT(refusal(false), AllOf(HasSubstr("the result of merge"), HasSubstr("--overwrite True")));
  write_result("two", true);
  EXPECT_EQ(read_file(folder / "out/model.safetensors"), "two");
  EXPECT_THAT(folder.names(), ElementsAre("out"));
}

TEST_F(Output, KeepsTheEarlierResultUntilTheNewOneIsComplete) {
  write_result("one");
  {
    OutputFolder output(claim(true));
    write_file_atomic(output.staging() / "model.safetensors", "half");
    EXPECT_EQ(read_file(folder / "out/model.safetensors"), "one");
  }
  EXPECT_EQ(read_file(folder / "out/model.safetensors"), "one");
  EXPECT_THAT(folder.names(), ElementsAre("out"));
}

TEST_F(Output, OfOthersIsNeverReplacedAndNamed) {
  make_directories(folder / "out/notes");
  write_file_atomic(folder / "out/notes/thesis.txt", "mine");
  for (const bool overwrite : {false, true}) EXPECT_THAT(refusal(overwrite), HasSubstr("holds notes"));
  remove_tree(folder / "out");
  write_result("one");
  write_file_atomic(folder / "out/plan.txt", "mine");
  make_directories(folder / "out/mine");
  EXPECT_THAT(refusal(), HasSubstr("holds mine, plan.txt, which is no part of the result of merge there"));
  EXPECT_EQ(read_file(folder / "out/plan.txt"), "mine");
}

TEST_F(Output, ThatSomebodyChangedIsNotReplaced) {
  write_result("one");
  write_file_atomic(folder / "out/model.safetensors", "1ne");  // of the same size
  EXPECT_THAT(refusal(), HasSubstr("model.safetensors (changed since it was written)"));
}

TEST_F(Output, IsLookedAtAgainBeforeItIsReplaced) {
  write_result("one");
  OutputFolder output(claim(true));
  write_file_atomic(folder / "out/late.txt", "mine");
  EXPECT_THAT(message_of<UsageError>([&] { output.commit(); }), HasSubstr("late.txt"));
  EXPECT_EQ(read_file(folder / "out/late.txt"), "mine");
  EXPECT_EQ(read_file(folder / "out/model.safetensors"), "one");
}

TEST_F(Output, TakesTheResultFileOfItsOwnCommandForNoStranger) {
  write_result("one");
  write_file_atomic(folder / "out/merge.json", "{}");
  EXPECT_THAT(refusal(), HasSubstr("merge.json"));
  FolderClaim again = claim(true);
  again.result_file = folder / "out/merge.json";
  EXPECT_NO_THROW(OutputFolder{again});
}

TEST_F(Output, ThatIsAFileIsRefused) {
  write_file_atomic(folder / "out", "mine");
  EXPECT_THAT(refusal(), HasSubstr("got a file"));
  EXPECT_EQ(read_file(folder / "out"), "mine");
}

TEST_F(Output, LeavesNothingOfFoldersThatItMadeInVain) {
  FolderClaim deep = claim();
  deep.output.path = folder / "a/b/c";
  { OutputFolder output(deep); }
  EXPECT_THAT(folder.names(), IsEmpty());
}

TEST_F(Output, IsRefusedWhileAnotherProcessWritesIt) {
  make_directories(folder / "out");
  const int other = ::open((folder / "out").c_str(), O_RDONLY | O_DIRECTORY);
  ASSERT_EQ(::flock(other, LOCK_EX | LOCK_NB),
            0);  // a lock belongs to an opening, so this stands for a process
  EXPECT_THAT(refusal(), HasSubstr("another longlora is writing"));
  ::close(other);
  EXPECT_NO_THROW(OutputFolder{claim()});
}

TEST_F(Output, IsLockedForThisProcessAsOftenAsItAsks) {
  const auto first = lock_folder("--output_dir", folder / "out");
  EXPECT_EQ(lock_folder("--output_dir", folder / "out/."), first);
}

TEST_F(Output, AddedToAFolderLeavesWhatIsThere) {
  make_directories(folder / "out");
  write_file_atomic(folder / "out/notes.txt", "mine");
  FolderManifest manifest("fine-tune");
  const auto add = [&](const std::vector<std::string>& names, const std::string& content) {
    AddedFiles added(folder / "out", manifest, manifest.names());
    for (const std::string& name : names) write_file_atomic(added.staging() / name, content);
    added.commit({"config.json"});
  };
  add({"config.json", "model-1.safetensors", "model-2.safetensors"}, "one");
  EXPECT_THAT(names(), ElementsAre(FolderManifest::kName, "config.json", "model-1.safetensors",
                                   "model-2.safetensors", "notes.txt"));
  add({"config.json", "model.safetensors"}, "two");
  EXPECT_THAT(names(), ElementsAre(FolderManifest::kName, "config.json", "model.safetensors", "notes.txt"));
  EXPECT_THAT(message_of<UsageError>([&] {
                add({"notes.txt", "config.json"}, "three");
              }),
              HasSubstr("notes.txt"));
  EXPECT_EQ(read_file(folder / "out/notes.txt"), "mine");
  EXPECT_EQ(read_file(folder / "out/config.json"), "two");
}

TEST_F(Output, OfThisProgramAloneIsRemoved) {
  write_result("one");
  write_file_atomic(folder / "out/templates/mine.txt", "mine");
  EXPECT_EQ(remove_own_files(folder / "out"), 0);
  EXPECT_THAT(files_below(folder / "out"), ElementsAre("templates/mine.txt"));
  fs::remove(folder / "out/templates/mine.txt");
  fs::remove(folder / "out/templates");
  EXPECT_EQ(remove_own_files(folder / "out"), 0);
  EXPECT_FALSE(fs::exists(folder / "out"));
}

TEST_F(Output, KeepsOtherResultsInIt) {
  write_result("one");
  FolderClaim inner = claim();
  inner.output.path = folder / "out/nf4";
  OutputFolder output(inner);
  write_file_atomic(output.staging() / "model.safetensors", "four bits");
  output.commit();
  EXPECT_THAT(refusal(),
              HasSubstr("holds nf4 (another result), which is no part of the result of merge there"));
  EXPECT_EQ(remove_own_files(folder / "out"), 0);
  EXPECT_THAT(names(), ElementsAre(FolderManifest::kName, "nf4"));
  EXPECT_EQ(read_file(folder / "out/nf4/model.safetensors"), "four bits");
}

TEST_F(Output, KeepsHiddenFilesWhoseNamesLookTemporary) {
  write_result("one");
  for (const char* name : {".notes.partial-1", ".notes.partial-1-2"}) {
    write_file_atomic(folder / "out" / name, "mine");
    EXPECT_THAT(refusal(), HasSubstr(name));
    EXPECT_EQ(remove_own_files(folder / "out"), 0);
    EXPECT_EQ(read_file(folder / "out" / name), "mine");
    remove_tree(folder / "out");
    write_result("one");
  }
  write_file_atomic(folder / "out/.model.safetensors.partial-1-2", "half");  // of a file that is listed
  write_result("two", true);
  EXPECT_THAT(names(), ElementsAre(FolderManifest::kName, "model.safetensors", "templates"));
}

TEST_F(Output, WithAMarkerThatCannotBeReadIsRefused) {
  make_directories(folder / "out");
  for (const char* text :
       {"", "[]", "{\"program\": \"other\"}", "{\"program\": \"longlora\", \"files\": 3}"}) {
    write_file_atomic(folder / "out" / FolderManifest::kName, text);
    EXPECT_THAT(message_of<InputError>([&] { OutputFolder output(claim(true)); }),
                HasSubstr(FolderManifest::kName));
  }
}

TEST(FileFingerprint, SeesOtherContentOfTheSameSize) {
  test::TemporaryDirectory folder;
  const auto fingerprint = [&](const std::string& bytes) {
    write_file_atomic(folder / "file", bytes);
    return file_fingerprint(folder / "file");
  };
  std::string large(20 << 20, 'a');  // sampled
  const std::string first = fingerprint(large);
  EXPECT_EQ(fingerprint(large), first);
  EXPECT_NE(fingerprint(large + "a"), first);
  for (const size_t place : {size_t{0}, large.size() - 1, (large.size() - 65536) / 127 * 60 + 70}) {
    std::string other = large;
    other[place] = 'b';
    EXPECT_NE(fingerprint(other), first) << place;
  }
  EXPECT_NE(fingerprint("ab"), fingerprint("ba"));
  EXPECT_NE(fingerprint(""), fingerprint(std::string(1, '\0')));
}

TEST(TemporaryNames, AreThoseThatWritersMake) {
  for (const char* name :
       {".x.json.partial-12-0", ".checkpoint-3.staging-9-1", ".a.replaced-1-2", ".b.removed-1-2"})
    EXPECT_TRUE(is_temporary_name(name)) << name;
  for (const char* name : {".notes.partial-1", "x.partial-1-2", ".partial", ".x.staging", ".hidden-1-2",
                           "notes.txt", ".x.staging-1a"})
    EXPECT_FALSE(is_temporary_name(name)) << name;
}

}  // namespace
}  // namespace longlora
