// Files as they come: compressed, of other kinds, in folders.
#include "longlora/data/data_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>
#include <zstd.h>

#include "longlora/core/error.h"
#include "tests/support/temporary_directory.h"

namespace longlora::data {
namespace {

using namespace std::string_literals;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string gzipped(const std::string& text) {
  z_stream stream{};
  deflateInit2(&stream, 9, Z_DEFLATED, 15 + 16, 9, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&stream, text.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

std::string zstd_compressed(const std::string& text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  ZSTD_CCtx* context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);  // as the program zstd does
  out.resize(ZSTD_compress2(context, out.data(), out.size(), text.data(), text.size()));
  ZSTD_freeCCtx(context);
  return out;
}

class DataFiles : public ::testing::Test {
 public:
  std::filesystem::path put(const std::string& name, const std::string& bytes) {
    write_file_atomic(folder / name, bytes);
    return folder / name;
  }
  std::string refusal(const std::string& name, const std::string& bytes) {
    const auto path = put(name, bytes);
    return test::message_of<InputError>([&] { DataFile file(path); });
  }
  test::TemporaryDirectory folder;
};

TEST_F(DataFiles, AreUnpackedWhateverTheyAreCalled) {
  std::string text;
  for (int i = 0; i < 50'000; ++i) text += std::to_string(i * 7919 % 1009) + "\n";
  EXPECT_EQ(DataFile(put("a.jsonl.gz", gzipped(text))).text(), text);
  EXPECT_EQ(DataFile(put("a.txt", gzipped(text))).text(), text);
  EXPECT_EQ(DataFile(put("a.zst", zstd_compressed(text))).text(), text);
  // Members and frames one after the other, and a frame that is to be skipped.
  EXPECT_EQ(DataFile(put("b.gz", gzipped(text) + gzipped("end") + "\0\0"s)).text(), text + "end");
  EXPECT_EQ(
      DataFile(put("b.zst", "\x50\x2A\x4D\x18\x01\0\0\0x"s + zstd_compressed(text) + zstd_compressed("end")))
          .text(),
      text + "end");
  EXPECT_EQ(DataFile(put("empty.gz", gzipped(""))).text(), "");
  EXPECT_EQ(DataFile(put("empty.zst", zstd_compressed(""))).text(), "");
  EXPECT_EQ(DataFile(put("plain.txt", text)).text(), text);
}

TEST_F(DataFiles, ThatAreCutShortOrDamagedAreRefused) {
  std::string text;
  for (int i = 0; i < 5'000; ++i) text += std::to_string(i * 7919 % 1009);
  for (const std::string& whole : {gzipped(text), zstd_compressed(text)}) {
    for (const size_t size : {size_t{5}, whole.size() / 2, whole.size() - 1})
      EXPECT_THAT(refusal("x", whole.substr(0, size)), HasSubstr("cut short")) << size;
    std::string damaged = whole;
    for (size_t i = whole.size() / 2; i < whole.size() / 2 + 8; ++i)
      damaged[i] = static_cast<char>(~damaged[i]);
    EXPECT_THAT(refusal("x", damaged), HasSubstr("damaged"));
    EXPECT_THAT(refusal("x", whole + "more"), AllOf(HasSubstr("whole compressed file")));
  }
}

TEST_F(DataFiles, DoNotFillTheMemory) {
  const std::string zeros(size_t{128} << 20, '0');
  EXPECT_THAT(refusal("bomb.gz", gzipped(zeros)),
              HasSubstr("bomb.gz] expected a file that unpacks to at most"));
  EXPECT_THAT(refusal("bomb.zst", zstd_compressed(zeros)), HasSubstr("unpacks to at most"));
}

TEST_F(DataFiles, OfOtherKindsAreNamedWithTheWayOut) {
  EXPECT_THAT(refusal("x.parquet", "PAR1\x15\x04"),
              AllOf(HasSubstr("a Parquet file"), HasSubstr("read_parquet('"), HasSubstr("x.jsonl'"),
                    HasSubstr("lines=True")));
  EXPECT_THAT(refusal("x.arrow", "ARROW1\0\0"s), HasSubstr("an Arrow file"));
  EXPECT_THAT(refusal("x.arrow", "\xFF\xFF\xFF\xFF\x10\0\0\0"s), HasSubstr("Dataset.from_file"));
  EXPECT_THAT(refusal("x.zip", "PK\x03\x04 data.jsonl"), HasSubstr("a zip archive; unpack it: unzip"));
  EXPECT_THAT(refusal("x.xlsx", "PK\x03\x04 xl/workbook.xml"), HasSubstr("read_excel"));
  EXPECT_THAT(refusal("x.docx", "PK\x03\x04 word/document.xml"), HasSubstr("pandoc"));
  EXPECT_THAT(refusal("x.pdf", "%PDF-1.7"), HasSubstr("pdftotext"));
  EXPECT_THAT(refusal("x.xz",
                      "\xFD"
                      "7zXZ\0"s),
              HasSubstr("xz -dk"));
  EXPECT_THAT(refusal("x.bz2", "BZh91AY&SY"), HasSubstr("bzip2 -dk"));
  EXPECT_THAT(refusal("x.npy", "\x93NUMPY\x01"), HasSubstr("--bin_dtype"));
  EXPECT_THAT(refusal("x.json", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
              HasSubstr("git lfs pull"));
  EXPECT_THAT(refusal("x.txt.gz", gzipped("PAR1")), HasSubstr("a Parquet file"));
  EXPECT_EQ(DataFile(put("x.txt", "BZh is how it begins")).text(), "BZh is how it begins");
}

TEST_F(DataFiles, OfAFolderAreTakenByNameAndOthersThatLookLikeDataAreTold) {
  for (const char* name :
       {"a.json", "b.jsonl.gz", "c.txt.zst", "d.bin", "d.bin.json", "e.csv", "f.md", "g.NDJSON", ".h.txt"})
    put(name, "x");
  std::filesystem::create_directories(folder / "sub");
  std::filesystem::create_directories(folder / "empty");
  put("sub/more.txt", "x");
  ::testing::internal::CaptureStderr();
  EXPECT_THAT(
      expand_folders({folder.path()}, FolderContents::kText),
      ElementsAre(folder / "a.json", folder / "b.jsonl.gz", folder / "c.txt.zst", folder / "g.NDJSON"));
  EXPECT_THAT(::testing::internal::GetCapturedStderr(),
              AllOf(HasSubstr("not read"), HasSubstr("e.csv, sub/;")));
  EXPECT_THAT(expand_folders({folder.path()}, FolderContents::kTextAndTokens),
              ElementsAre(folder / "a.json", folder / "b.jsonl.gz", folder / "c.txt.zst", folder / "d.bin",
                          folder / "g.NDJSON"));
  EXPECT_THAT(expand_folders({folder.path()}, FolderContents::kSamples),
              ElementsAre(folder / "a.json", folder / "b.jsonl.gz", folder / "g.NDJSON"));
}

TEST_F(DataFiles, ThatLieBesideTheirCompressedCopyAreRefused) {
  put("a.jsonl", "{}");
  put("a.jsonl.gz", "{}");
  const auto expand = [&] { expand_folders({folder.path()}, FolderContents::kText); };
  EXPECT_THAT(test::message_of<InputError>(expand), HasSubstr("once, got a.jsonl and a.jsonl.gz; move one"));
}

TEST_F(DataFiles, AreTheSameTextWithByteOrderMarkAndCrLf) {
  for (const char* text :
       {"Line one.\nLine two.\n", "Line one.\r\nLine two.\r\n", "\xEF\xBB\xBFLine one.\r\nLine two.\r\n"}) {
    EXPECT_EQ(read_text(put("x.txt", text)), "Line one.\nLine two.\n");
    EXPECT_EQ(read_text(put("x.txt.gz", gzipped(text))), "Line one.\nLine two.\n");
  }
  const auto message = [&](const std::string& bytes) {
    const auto path = put("x.txt", bytes);
    return test::message_of<InputError>([&] { read_text(path); });
  };
  EXPECT_THAT(message("caf\xE9"), HasSubstr("UTF-8, got another byte at offset 3"));
  EXPECT_THAT(message("\xFF\xFEh\0i\0"s), HasSubstr("iconv -f UTF-16 -t UTF-8"));
  EXPECT_THAT(message("h\0e\0l\0l\0o\0"s), HasSubstr("got UTF-16LE"));
  EXPECT_THAT(message("\0h\0e\0l\0l\0o"s), HasSubstr("got UTF-16BE"));
}

TEST_F(DataFiles, ThatAreLinksWhichLeadNowhereAreNamed) {
  put("a.txt", "text");
  std::filesystem::create_symlink("/nowhere/blob", folder / "b.txt");
  std::filesystem::create_symlink("/nowhere/blob", folder / "c.bin");
  const auto expand = [&] { expand_folders({folder.path()}, FolderContents::kTextAndTokens); };
  EXPECT_THAT(test::message_of<InputError>(expand), HasSubstr("lead nowhere: b.txt, c.bin"));
}

}  // namespace
}  // namespace longlora::data
