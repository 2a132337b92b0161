#include "longlora/data/foreign_file.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <string>

#include "longlora/core/error.h"

namespace longlora::data {

namespace fs = std::filesystem;
using namespace std::string_view_literals;

namespace {

// The kind of a file, and the command that makes a readable file of it. In the command {0} is the name of the
// file, and {1} the name without its last ending.
struct ForeignKind {
  std::string_view beginning;
  const char* name;
  const char* way_out;
};

constexpr const char* kFromExcel =
    R"~(convert it: python3 -c "import pandas as p; p.read_excel('{0}').to_json('{1}.jsonl', orient='records', lines=True)")~";
constexpr const char* kFromOffice = "convert it: soffice --headless --convert-to txt '{0}'";

constexpr std::array kKinds = {
    ForeignKind{
        "PAR1"sv, "a Parquet file",
        R"~(convert it: python3 -c "import pandas as p; p.read_parquet('{0}').to_json('{1}.jsonl', orient='records', lines=True)")~"},
    ForeignKind{
        "ARROW1"sv, "an Arrow file",
        R"~(convert it: python3 -c "import pandas as p; p.read_feather('{0}').to_json('{1}.jsonl', orient='records', lines=True)")~"},
    ForeignKind{
        "\xFF\xFF\xFF\xFF"sv, "an Arrow stream",
        R"~(convert it: python3 -c "from datasets import Dataset; Dataset.from_file('{0}').to_json('{1}.jsonl')")~"},
    ForeignKind{"%PDF-"sv, "a PDF", "take its text out: pdftotext '{0}' '{1}.txt'"},
    ForeignKind{"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1"sv, "a file of an older Office (.doc, .xls)", kFromOffice},
    ForeignKind{"{\\rtf"sv, "rich text (RTF)", kFromOffice},
    ForeignKind{"\xFD"
                "7zXZ\0"sv,
                "a file compressed with xz", "unpack it: xz -dk '{0}'"},
    ForeignKind{"BZh"sv, "a file compressed with bzip2", "unpack it: bzip2 -dk '{0}'"},
    ForeignKind{"\x04\x22\x4D\x18"sv, "a file compressed with lz4", "unpack it: lz4 -dk '{0}'"},
    ForeignKind{"7z\xBC\xAF\x27\x1C"sv, "a 7z archive", "unpack it: 7z x '{0}'"},
    ForeignKind{"Rar!\x1A\x07"sv, "a RAR archive", "unpack it: unrar x '{0}'"},
    ForeignKind{
        "\x93NUMPY"sv, "an array of numpy",
        R"~(write its ids: python3 -c "import numpy as n; n.load('{0}').astype('uint32').tofile('{1}.bin')" and state --bin_dtype uint32)~"},
    ForeignKind{"SQLite format 3\0"sv, "an SQLite database",
                "write JSON: sqlite3 -json '{0}' 'select * from TABLE' > '{1}.json'"},
    ForeignKind{"\x89HDF\r\n"sv, "an HDF5 file", "write its texts as JSON lines"},
    ForeignKind{"\x80\x02"sv, "a Python pickle", "write its texts as JSON lines"},
    ForeignKind{"\x80\x03"sv, "a Python pickle", "write its texts as JSON lines"},
    ForeignKind{"\x80\x04\x95"sv, "a Python pickle", "write its texts as JSON lines"},
    ForeignKind{"\x80\x05\x95"sv, "a Python pickle", "write its texts as JSON lines"},
    ForeignKind{"version https://git-lfs.github.com/spec/"sv, "a Git LFS pointer in its place",
                "fetch the file itself: git lfs pull"},
};

// The kind of a zip archive. The names of its files, which stand at both its ends, tell what it holds.
ForeignKind zip_kind(std::string_view bytes) {
  constexpr size_t kLooked = size_t{1} << 16;
  const std::string_view end = bytes.substr(bytes.size() - std::min(bytes.size(), kLooked));
  const auto holds = [&](std::string_view name) {
    return end.find(name) != std::string_view::npos ||
           bytes.substr(0, kLooked).find(name) != std::string_view::npos;
  };
  if (holds("xl/workbook")) return {"", "a spreadsheet (.xlsx)", kFromExcel};
  if (holds("word/document"))
    return {"", "a Word document (.docx)", "convert it: pandoc '{0}' -t plain -o '{1}.txt'"};
  if (holds("application/epub"))
    return {"", "an e-book (.epub)", "convert it: pandoc '{0}' -t plain -o '{1}.txt'"};
  if (holds("opendocument")) return {"", "an OpenDocument file", kFromOffice};
  if (holds("data.pkl")) return {"", "a file of torch.save", "write its texts as JSON lines"};
  if (holds(".npy")) return {"", "arrays of numpy (.npz)", "write its ids with astype('uint32').tofile"};
  return {"", "a zip archive", "unpack it: unzip '{0}'"};
}

[[noreturn]] void refuse(const fs::path& path, const ForeignKind& kind) {
  const std::string name = path.string(), without_end = fs::path(path).replace_extension().string();
  throw InputError(fmt::format("[{}] expected text, JSON or JSON lines, got {}; {}", name, kind.name,
                               fmt::format(fmt::runtime(kind.way_out), name, without_end)));
}

}  // namespace

void refuse_foreign_file(const fs::path& path, std::string_view bytes, size_t shortest_mark) {
  constexpr size_t kTarMark = 257;
  if (shortest_mark <= 4 && (bytes.starts_with("PK\x03\x04") || bytes.starts_with("PK\x05\x06")))
    refuse(path, zip_kind(bytes));
  if (shortest_mark <= 5 && bytes.size() > kTarMark && bytes.substr(kTarMark).starts_with("ustar"))
    refuse(path, {"", "a tar archive", "unpack it: tar -xf '{0}'"});
  for (const ForeignKind& kind : kKinds) {
    if (kind.beginning.size() < shortest_mark || !bytes.starts_with(kind.beginning)) continue;
    // The three letters BZh may also begin a text; in a file of bzip2 the mark of a block follows.
    if (kind.beginning == "BZh" && bytes.substr(std::min<size_t>(4, bytes.size()), 6) != "1AY&SY") continue;
    refuse(path, kind);
  }
}

void refuse_table(const fs::path& path) {
  const std::string name = path.string(), without_end = fs::path(path).replace_extension().string();
  const bool has_tabs = path.extension() == ".tsv" || path.extension() == ".TSV";
  throw InputError(
      fmt::format("[{}] expected text, JSON or JSON lines, got a table of {}; convert it: python3 -c "
                  "\"import pandas as p; "
                  "p.read_csv('{}'{}).to_json('{}.jsonl', orient='records', lines=True)\"",
                  name, has_tabs ? "tab-separated values" : "comma-separated values", name,
                  has_tabs ? R"~(, sep='\t')~" : "", without_end));
}

}  // namespace longlora::data
