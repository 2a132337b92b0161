// Writes one HTML file that needs nothing else: pictures are inside, there are no scripts and no references
// to other places. It can be read in light and dark, on paper and on a phone.
#pragma once

#include <string>
#include <vector>

#include "longlora/report/table.h"

namespace longlora::report {

/// A document that is built from top to bottom. All text that it is given is plain, and is escaped.
class HtmlDocument {
 public:
  explicit HtmlDocument(const std::string& title);

  /// Adds the findings, one paragraph each, set off at the top.
  void summary(const std::vector<std::string>& sentences);
  void heading(const std::string& text);
  void paragraph(const std::string& text);
  /// Adds a list of small remarks.
  void notes(const std::vector<std::string>& texts);
  void table(const Table& table, const std::string& caption = "");
  /// Adds a PNG, given as its bytes. `alternative` says in words what it shows. Throws Error when the bytes
  /// are not a PNG.
  void picture(const std::string& png_bytes, const std::string& caption, const std::string& alternative);

  /// Begins a part that is folded away until it is clicked.
  void begin_details(const std::string& heading);
  void end_details();
  /// Adds lines of text that keep their form: commands, logs.
  void preformatted(const std::string& text);

  /// The whole file. `footer` ends the page.
  std::string render(const std::string& footer) const;

 private:
  std::string title_;
  std::string body_;
};

}  // namespace longlora::report
