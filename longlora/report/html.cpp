#include "longlora/report/html.h"

#include <fmt/format.h>

#include "longlora/core/error.h"
#include "longlora/report/html_style.h"
#include "longlora/report/text.h"

namespace longlora::report {
namespace {

// Pixels for each nominal unit of the pictures (plots.h).
constexpr uint32_t kPixelsPerUnit = 2;

uint32_t big_endian(std::string_view bytes, size_t offset) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) value = (value << 8) | static_cast<unsigned char>(bytes[offset + i]);
  return value;
}

}  // namespace

HtmlDocument::HtmlDocument(const std::string& title) : title_(title) {}

void HtmlDocument::summary(const std::vector<std::string>& sentences) {
  if (sentences.empty()) return;
  body_ += "<section class=\"summary\">\n";
  for (const std::string& sentence : sentences) paragraph(sentence);
  body_ += "</section>\n";
}

void HtmlDocument::heading(const std::string& text) {
  body_ += fmt::format("<h2>{}</h2>\n", escape_html(text));
}

void HtmlDocument::paragraph(const std::string& text) {
  body_ += fmt::format("<p>{}</p>\n", escape_html(text));
}

void HtmlDocument::notes(const std::vector<std::string>& texts) {
  if (texts.empty()) return;
  body_ += "<ul class=\"notes\">\n";
  for (const std::string& text : texts) body_ += fmt::format("<li>{}</li>\n", escape_html(text));
  body_ += "</ul>\n";
}

void HtmlDocument::table(const Table& table, const std::string& caption) {
  if (!caption.empty()) body_ += fmt::format("<p class=\"caption\">{}</p>\n", escape_html(caption));
  body_ += fmt::format("<div class=\"scroll\">\n{}</div>\n", to_html(table));
}

void HtmlDocument::picture(const std::string& png_bytes, const std::string& caption,
                           const std::string& alternative) {
  // A PNG begins with its signature and a header chunk, which has width and height at the bytes 16 and 20.
  if (png_bytes.size() < 24 || png_bytes.compare(0, 8, "\x89PNG\r\n\x1a\n") != 0)
    throw Error(fmt::format("[report picture] expected PNG bytes, got {} other bytes", png_bytes.size()));
  body_ += fmt::format(
      "<figure><div class=\"scroll\"><img width=\"{}\" height=\"{}\" alt=\"{}\" "
      "src=\"data:image/png;base64,{}\"></div>\n"
      "<figcaption>{}</figcaption></figure>\n",
      big_endian(png_bytes, 16) / kPixelsPerUnit, big_endian(png_bytes, 20) / kPixelsPerUnit,
      escape_html(alternative), encode_base64(png_bytes), escape_html(caption));
}

void HtmlDocument::begin_details(const std::string& heading) {
  body_ += fmt::format("<details>\n<summary>{}</summary>\n", escape_html(heading));
}

void HtmlDocument::end_details() {
  body_ += "</details>\n";
}

void HtmlDocument::preformatted(const std::string& text) {
  body_ += fmt::format("<pre>{}</pre>\n", escape_html(text));
}

std::string HtmlDocument::render(const std::string& footer) const {
  return fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<title>{0}</title>\n<style>{1}</style>\n</head>\n<body>\n<h1>{0}</h1>\n{2}<footer>{3}</footer>\n"
      "</body>\n</html>\n",
      escape_html(title_), kStyleSheet, body_, escape_html(footer));
}

}  // namespace longlora::report
