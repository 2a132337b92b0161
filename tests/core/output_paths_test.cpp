#include "longlora/core/output_paths.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include <fstream>

#include "longlora/core/error.h"
#include "longlora/core/json.h"
#include "tests/support/temporary_directory.h"

namespace longlora {
namespace {

namespace fs = std::filesystem;
using test::message_of;
using ::testing::AllOf;
using ::testing::HasSubstr;

// A base model, an adapter, a data file and free places, with links between them.
class Places : public ::testing::Test {
 public:
  Places() {
    for (const char* name : {"models/base/tokenizer", "adapter", "runs", "empty"})
      fs::create_directories(folder / name);
    write_file_atomic(folder / "models/base/config.json", "{}");
    write_file_atomic(folder / "models/base/model.safetensors", "weights");
    write_file_atomic(folder / "runs/data.bin", "ids");
    fs::create_directory_symlink(folder / "models/base", folder / "link");
    fs::create_directory_symlink(folder / "models", folder / "linked_models");
    inputs = {{"--base_model", folder / "models/base"},
              {"--peft_model", folder / "adapter"},
              {"--data_path", folder / "runs/data.bin"},
              {"--tokenizer", ""}};
  }

  std::string refusal(const fs::path& output) const {
    return message_of<UsageError>([&] { require_apart({"--output_dir", output}, inputs); });
  }

  test::TemporaryDirectory folder;
  std::vector<NamedPath> inputs;
};

TEST_F(Places, ThatAreAnInputAreRefusedHoweverTheyAreSpelt) {
  for (const char* same : {"models/base", "models/base/", "models/./base", "models/other/../base", "link",
                           "link/", "linked_models/base", "adapter/../link/."}) {
    fs::create_directories(folder / "models/other");
    EXPECT_THAT(refusal(folder / same),
                AllOf(HasSubstr("--output_dir"), HasSubstr("one that is --base_model"),
                      HasSubstr("choose another path")))
        << same;
  }
}

TEST_F(Places, ThatAreTheCurrentFolderAreRefusedByARelativePath) {
  const fs::path before = fs::current_path();
  fs::current_path(folder / "models/base");
  EXPECT_THAT(refusal("."), HasSubstr("is --base_model"));
  EXPECT_THAT(refusal(".."), HasSubstr("holds --base_model"));
  EXPECT_THAT(refusal("new/place"), HasSubstr("lies inside --base_model"));
  fs::current_path(before);
}

TEST_F(Places, ThatHoldAnInputAreRefused) {
  EXPECT_THAT(refusal(folder / "models"), HasSubstr("holds --base_model"));
  EXPECT_THAT(refusal(folder / "linked_models"), HasSubstr("holds --base_model"));
  EXPECT_THAT(refusal(folder.path()), HasSubstr("holds --base_model"));
  EXPECT_THAT(refusal(folder / "runs"), HasSubstr("holds --data_path"));
  EXPECT_THAT(refusal("/"), HasSubstr("holds --base_model"));
  // By the link that names it, too: with the folder the link would go.
  fs::create_directories(folder / "project");
  fs::create_directory_symlink(folder / "models/base", folder / "project/base");
  inputs = {{"--base_model", folder / "project/base"}};
  EXPECT_THAT(refusal(folder / "project"), HasSubstr("holds --base_model"));
}

TEST_F(Places, ThatHoldTheFilesWhichAnInputLinksToAreRefused) {
  fs::create_directories(folder / "cache/blobs");
  fs::create_directories(folder / "cache/snapshots/main");
  write_file_atomic(folder / "cache/blobs/1234", "weights");
  fs::create_symlink("../../blobs/1234", folder / "cache/snapshots/main/model.safetensors");
  inputs = {{"--base_model", folder / "cache/snapshots/main"}};
  EXPECT_THAT(refusal(folder / "cache/blobs"), HasSubstr("holds --base_model"));
}

TEST_F(Places, ThatLieInsideAnInputAreRefusedBeforeTheyExist) {
  for (const char* inside :
       {"models/base/out", "link/a/b/c", "models/base/tokenizer", "linked_models/base/x"})
    EXPECT_THAT(refusal(folder / inside), HasSubstr("lies inside --base_model")) << inside;
}

TEST_F(Places, ThatLeadNowhereAreRefused) {
  fs::create_directory_symlink(folder / "not there", folder / "dangling");
  fs::create_directory_symlink(folder / "circle", folder / "circle");
  for (const char* lost : {"dangling", "dangling/out", "circle", "circle/out"})
    EXPECT_THAT(refusal(folder / lost), HasSubstr("a link that leads nowhere")) << lost;
  EXPECT_THAT(refusal(folder / "missing/../models/base"),
              HasSubstr("\"..\" behind a folder that does not exist"));
}

TEST_F(Places, BesideInputsAreTaken) {
  for (const char* apart :
       {"runs/x", "models/other", "models/base2", "models/bas", "new/a/b", "empty", "linked_models/new"})
    EXPECT_NO_THROW(require_apart({"--output_dir", folder / apart}, inputs)) << apart;
  inputs.push_back({"--eval_data_path", folder / "not there"});
  EXPECT_NO_THROW(require_apart({"--output_dir", folder / "not there"}, inputs));
}

TEST_F(Places, OfResultFilesAreMadeBeforeTheWork) {
  prepare_output_files({{"--json", folder / "new/folder/x.json"}}, inputs);
  EXPECT_TRUE(list_directory(folder / "new/folder").empty());
  EXPECT_NO_THROW(prepare_output_files({{"--json", ""}}, inputs));
  EXPECT_NO_THROW(prepare_output_files({{"--json", "/dev/null"}, {"--csv", "/dev/null"}}, inputs));
  EXPECT_NO_THROW(prepare_output_files({{"--json", "/dev/stdout"}}, inputs));
  EXPECT_THAT(message_of<ResourceError>([&] {
                prepare_output_files({{"--json", "/proc/x.json"}}, inputs);
              }),
              HasSubstr("/proc/x.json"));
  EXPECT_THAT(message_of<ResourceError>([&] {
                prepare_output_files({{"--json", folder / "runs/data.bin/x.json"}}, inputs);
              }),
              HasSubstr("data.bin"));
}

TEST_F(Places, OfResultFilesAreNeverInputs) {
  const auto refusal_of = [&](const fs::path& file) {
    return message_of<UsageError>([&] { prepare_output_files({{"--json", file}}, inputs); });
  };
  fs::create_hard_link(folder / "runs/data.bin", folder / "runs/same.bin");
  fs::create_symlink(folder / "runs/data.bin", folder / "data_link");
  EXPECT_THAT(refusal_of(folder / "runs/data.bin"), HasSubstr("is --data_path"));
  EXPECT_THAT(refusal_of(folder / "runs/same.bin"), HasSubstr("is --data_path"));
  EXPECT_THAT(refusal_of(folder / "data_link"), HasSubstr("is --data_path"));
  EXPECT_THAT(refusal_of(folder / "link/config.json"), HasSubstr("is a file of --base_model"));
  EXPECT_THAT(refusal_of(folder / "models/base/model.safetensors"), HasSubstr("is a file of --base_model"));
  // A result of an earlier command beside a model may be written again.
  prepare_output_files({{"--json", folder / "models/base/eval.json"}}, inputs);
  write_json(folder / "models/base/eval.json", {{"verb", "eval"}});
  EXPECT_NO_THROW(prepare_output_files({{"--json", folder / "models/base/eval.json"}}, inputs));
  write_json(folder / "models/base/run.json", {{"verb", "fine-tune"}, {"options", 1}});
  EXPECT_THAT(refusal_of(folder / "models/base/run.json"), HasSubstr("is a file of --base_model"));
}

TEST_F(Places, OfResultFilesAreNeverFoldersNorTheNameOfAStream) {
  const auto refusal_of = [&](const fs::path& file) {
    return message_of<UsageError>([&] { prepare_output_files({{"--json", file}}, inputs); });
  };
  EXPECT_THAT(refusal_of(folder / "empty"), HasSubstr("got a folder"));
  EXPECT_THAT(refusal_of(folder / "nothing/"), HasSubstr("got a folder"));
  EXPECT_THAT(refusal_of("-"), HasSubstr("/dev/stdout"));
}

TEST_F(Places, OfResultFilesThatHoldSomethingElseAreKept) {
  const auto refusal_of = [&](const fs::path& file) {
    return message_of<UsageError>([&] { prepare_output_files({{"--json", file}}, inputs); });
  };
  write_file_atomic(folder / "notes.txt", "mine");
  write_file_atomic(folder / "other.json", "{\"theirs\": 1}");
  for (const char* name : {"notes.txt", "other.json"})
    EXPECT_THAT(refusal_of(folder / name), AllOf(HasSubstr(name), HasSubstr("is not replaced"))) << name;
  write_file_atomic(folder / "notes.txt", "");
  EXPECT_NO_THROW(prepare_output_files({{"--json", folder / "notes.txt"}}, inputs));
  const auto starts_so = [](const fs::path& file) { return read_file(file).starts_with("a,b"); };
  write_file_atomic(folder / "table.csv", "a,b\n");
  EXPECT_NO_THROW(prepare_output_files({{"--csv", folder / "table.csv", starts_so}}, inputs));
  write_file_atomic(folder / "table.csv", "other\n");
  EXPECT_THROW(prepare_output_files({{"--csv", folder / "table.csv", starts_so}}, inputs), UsageError);
}

TEST_F(Places, OfTwoResultFilesAreApart) {
  const auto refusal_of = [&](const fs::path& one, const fs::path& other) {
    return message_of<UsageError>([&] { prepare_output_files({{"--json", one}, {"--csv", other}}, inputs); });
  };
  write_json(folder / "a.json", {{"verb", "eval"}});
  fs::create_hard_link(folder / "a.json", folder / "same.json");
  EXPECT_THAT(refusal_of(folder / "x", folder / "adapter/../x"), HasSubstr("that of --csv"));
  EXPECT_THAT(refusal_of(folder / "a.json", folder / "same.json"), HasSubstr("that of --csv"));
  EXPECT_THAT(refusal_of(folder / "x/y", folder / "x"), HasSubstr("that of --csv"));
  EXPECT_FALSE(fs::exists(folder / "x"));
}

TEST_F(Places, OfResultFilesAreNotNamesOfTheModelBesideThem) {
  const NamedPath out = {"--save_path", folder / "out"};
  write_file_atomic(folder / "models/base/licence.json", "{}");
  for (const char* name :
       {"config.json", "adapter_config.json", "run.json", "model.safetensors", "model.safetensors.index.json",
        ".longlora.json", "runs/x.json", "licence.json", "tokenizer.json"})
    EXPECT_THAT(message_of<UsageError>([&] {
                  prepare_output_files({{"--json", folder / "out" / name}}, inputs, out);
                }),
                AllOf(HasSubstr(name), HasSubstr("--save_path")))
        << name;
  EXPECT_THROW(prepare_output_files({{"--json", folder / "out"}}, inputs, out), UsageError);
  EXPECT_FALSE(fs::exists(folder / "out"));
  EXPECT_NO_THROW(prepare_output_files({{"--json", folder / "out/result.json"}}, inputs, out));
}

}  // namespace
}  // namespace longlora
