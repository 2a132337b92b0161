#include "longlora/generate/prefix_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstring>
#include <functional>

#include "longlora/core/error.h"
#include "longlora/generate/engine.h"
#include "longlora/generate/run_jobs.h"
#include "tests/generate/test_models.h"
#include "tests/support/temporary_directory.h"

namespace longlora::generate {
namespace {

using test::message_of;
using test::TemporaryDirectory;
using testing::AllOf;
using testing::HasSubstr;
using Ids = std::vector<int64_t>;

constexpr ops::PageShape kShape = {.layers = 2, .kv_heads = 1, .head_dim = 8};
const std::string kMe = "me", kYou = "you";
const Ids kEnds = {128, 256, 320};

class PrefixStoreTest : public testing::Test {
 protected:
  PrefixStore store(const std::string& identity = "a model", int64_t limit_bytes = 1 << 30) const {
    return PrefixStore({.folder = folder_ / "kept",
                        .identity = identity,
                        .limit_bytes = limit_bytes,
                        .first_page = ops::PageFormat::kFloat,
                        .other_pages = ops::PageFormat::kInt8},
                       kShape);
  }
  // Chunk number `index` of a prompt.
  PrefixStore::Chunk chunk(const Ids& prompt, int64_t index, const std::string& scope = kMe) const {
    return {scope, prompt, std::span(kEnds).first(static_cast<size_t>(index + 1))};
  }
  // Pages for a chunk, each filled with a number from `value` on.
  std::vector<PageRef> pages(const PrefixStore::Chunk& chunk, int value = 0) {
    std::vector<PageRef> result;
    for (const ops::PageFormat format : store().formats_of(chunk)) {
      result.push_back(pool_.take(format));
      std::memset(result.back()->data, value++, static_cast<size_t>(kShape.num_bytes(format)));
    }
    return result;
  }
  void save(const PrefixStore::Chunk& chunk) { store().save(chunk, pages(chunk)); }
  std::filesystem::path only_file() const {
    const auto files = list_directory(folder_ / "kept");
    EXPECT_EQ(files.size(), 1u);
    return files.front();
  }
  void damage(const std::function<void(std::string&)>& change) const {
    std::string content = read_file(only_file());
    change(content);
    write_file_atomic(only_file(), content);
  }

  TemporaryDirectory folder_;
  PagePool pool_ = PagePool(kShape, 1 << 30);
};

TEST_F(PrefixStoreTest, GivesBackWhatWasSaved) {
  const Ids ids = walk(400);
  for (const int64_t index : {0, 1, 2}) {
    store().save(chunk(ids, index), pages(chunk(ids, index), 7));
    ASSERT_TRUE(store().has(chunk(ids, index)));
    const auto read = pages(chunk(ids, index));
    store().load(chunk(ids, index), read);
    const auto expected = pages(chunk(ids, index), 7);
    for (size_t i = 0; i < read.size(); ++i)
      EXPECT_EQ(std::memcmp(read[i]->data, expected[i]->data,
                            static_cast<size_t>(kShape.num_bytes(read[i]->format))),
                0);
  }
}

TEST_F(PrefixStoreTest, KnowsNothingOfOtherTokensChunksModelsAndPeople) {
  Ids ids = walk(400);
  save(chunk(ids, 1));
  EXPECT_FALSE(store().has(chunk(ids, 1, kYou)));
  EXPECT_FALSE(store("another model").has(chunk(ids, 1)));
  const Ids other_ends = {64, 256};
  EXPECT_FALSE(store().has({kMe, ids, other_ends}));
  ids[300] = (ids[300] + 1) % 61;  // behind the chunk
  EXPECT_TRUE(store().has(chunk(ids, 1)));
  ids[3] = (ids[3] + 1) % 61;
  EXPECT_FALSE(store().has(chunk(ids, 1)));
}

TEST_F(PrefixStoreTest, WritesFilesForTheirOwnerAlone) {
  save(chunk(walk(400), 0));
  struct stat info;
  ASSERT_EQ(::stat(only_file().c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  ASSERT_EQ(::stat((folder_ / "kept").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700u);
}

TEST_F(PrefixStoreTest, RefusesDamagedFiles) {
  const Ids ids = walk(400);
  const auto load = [&] { store().load(chunk(ids, 0), pages(chunk(ids, 0))); };
  save(chunk(ids, 0));
  const std::string whole = read_file(only_file());
  for (size_t place = 200; place < whole.size(); place += whole.size() / 7) {
    damage([&](std::string& content) { content[place] = static_cast<char>(content[place] ^ 4); });
    EXPECT_THAT(message_of<InputError>(load), AllOf(HasSubstr("checksum"), HasSubstr(only_file().string())));
    write_file_atomic(only_file(), whole);
  }
  for (const size_t size : {size_t{0}, size_t{20}, whole.size() / 2, whole.size() - 1}) {
    damage([&](std::string& content) { content.resize(size); });
    EXPECT_THROW(load(), InputError) << size;
    write_file_atomic(only_file(), whole);
  }
  damage([](std::string& content) { content += "more"; });
  EXPECT_THROW(load(), InputError);
}

TEST_F(PrefixStoreTest, RefusesAFileThatWasRenamed) {
  const Ids ids = walk(400);
  store("another model").save(chunk(ids, 0), pages(chunk(ids, 0)));
  const std::filesystem::path of_another = only_file();
  save(chunk(ids, 0));
  for (const auto& file : list_directory(folder_ / "kept"))
    if (file != of_another) write_file_atomic(file, read_file(of_another));
  EXPECT_THAT(message_of<InputError>([&] { store().load(chunk(ids, 0), pages(chunk(ids, 0))); }),
              HasSubstr("those of another"));
}

TEST_F(PrefixStoreTest, KeepsToItsLimitAndToPromptsThatWereUsedLast) {
  const Ids old = walk(400);
  Ids later = old;
  later[0] = (later[0] + 1) % 61;
  for (const int64_t i : {0, 1, 2}) save(chunk(old, i));
  int64_t bytes = 0;
  for (const auto& file : list_directory(folder_ / "kept"))
    bytes += static_cast<int64_t>(std::filesystem::file_size(file));
  write_file_atomic(folder_ / "kept" / "notes.txt", "somebody's own");
  store("a model", bytes).save(chunk(later, 0), pages(chunk(later, 0)));
  EXPECT_TRUE(store().has(chunk(later, 0)));
  EXPECT_TRUE(store().has(chunk(old, 0)));
  EXPECT_FALSE(store().has(chunk(old, 2)));
  store("a model", 0).save(chunk(later, 1), pages(chunk(later, 1)));
  EXPECT_FALSE(store().has(chunk(old, 0)));
  EXPECT_EQ(read_file(folder_ / "kept" / "notes.txt"), "somebody's own");
}

// What an engine read is there for the next engine, and gives the same text.
TEST_F(PrefixStoreTest, OutlastsTheEngine) {
  const model::Decoder decoder = small_decoder(4, 2);
  for (const char* cache_dtype : {"auto", "int8"}) {
    const EngineOptions options = {
        .cache_dtype = cache_dtype, .cache_dir = folder_ / "engine", .identity = "a model"};
    const auto ask = [&](const EngineOptions& with) {
      Engine engine(decoder, 4096, with);
      int64_t cached = 0;
      const Generation got =
          run_job(engine, {.prompt = walk(1500), .max_new_tokens = 40, .sampling = {.temperature = 0.0}},
                  [&](const JobEvent& event) {
                    if (const auto* reading = std::get_if<Reading>(&event)) cached = reading->cached;
                    return true;
                  });
      return std::pair(got.ids, cached);
    };
    const auto [first, nothing] = ask(options);
    const auto [second, cached] = ask(options);
    EXPECT_EQ(nothing, 0) << cache_dtype;
    EXPECT_EQ(cached, 1024) << cache_dtype;
    EXPECT_EQ(first, second) << cache_dtype;
    EngineOptions other = options;
    other.identity = "another model";
    EXPECT_EQ(ask(other), std::pair(first, int64_t{0})) << cache_dtype;
    for (const auto& file : list_directory(folder_ / "engine")) {
      std::string content = read_file(file);
      content[content.size() / 2] = static_cast<char>(content[content.size() / 2] ^ 1);
      write_file_atomic(file, content);
    }
    EXPECT_EQ(ask(options), std::pair(first, int64_t{0})) << cache_dtype;
    EXPECT_EQ(ask(options), std::pair(first, int64_t{1024})) << cache_dtype;  // written anew
  }
}

TEST_F(PrefixStoreTest, RefusesAFileInThePlaceOfTheFolder) {
  write_file_atomic(folder_ / "file", "");
  EXPECT_THROW(PrefixStore({.folder = folder_ / "file"}, kShape), ResourceError);
}

}  // namespace
}  // namespace longlora::generate
