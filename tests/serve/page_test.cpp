// What can be said of the page without a browser; scripts/check_page.py tries it in one.
#include "longlora/serve/page.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <regex>
#include <set>
#include <string>

namespace longlora::serve {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

constexpr std::string_view kLibrary = "katex.js";

std::set<std::string> all_matches(std::string_view text, const std::string& pattern) {
  const std::regex form(pattern);
  std::set<std::string> found;
  for (std::cregex_iterator at(text.data(), text.data() + text.size(), form), end; at != end; ++at)
    found.insert((*at)[1].matched ? (*at)[1].str() : at->str());
  return found;
}

// What a pattern finds in the files that are ours.
std::set<std::string> found_in_page(const std::string& pattern) {
  std::set<std::string> found;
  for (const PageFile& file : page_files())
    if (file.name != kLibrary) found.merge(all_matches(file.content, pattern));
  return found;
}

std::string_view content(std::string_view name) {
  const PageFile* file = find_page_file(name);
  return file == nullptr ? std::string_view() : file->content;
}

TEST(Page, IsFoundUnderTheEmptyNameAndNothingElseIs) {
  EXPECT_THAT(std::string(content("")), testing::StartsWith("<!doctype html>"));
  EXPECT_EQ(content(""), content("index.html"));
  EXPECT_EQ(find_page_file("/"), nullptr);
  EXPECT_EQ(find_page_file("../page.h"), nullptr);
  EXPECT_EQ(find_page_file("page"), nullptr);
}

TEST(Page, EveryFileThatItNamesIsPartOfTheProgram) {
  const auto named = all_matches(content(""), R"re((?:src|href)="([\w.-]+\.\w+)")re");
  EXPECT_GE(named.size(), 5);
  for (const std::string& name : named) EXPECT_NE(find_page_file(name), nullptr) << name;
  const auto imported = found_in_page(R"re((?:from |import\()'\./([\w.-]+)')re");
  EXPECT_GE(imported.size(), 10);
  for (const std::string& name : imported) EXPECT_NE(find_page_file(name), nullptr) << name;
}

TEST(Page, HasNoAddressOfAnotherServer) {
  auto addresses = found_in_page(R"re((?:https?:)?//[\w-]+\.[\w.-]+)re");
  addresses.erase("http://www.w3.org");  // the name of SVG
  EXPECT_THAT(addresses, IsEmpty());
}

TEST(Page, HasNoScriptsStylesAndHandlersWithinItsText) {
  EXPECT_THAT(all_matches(content(""), R"re(\son\w+\s*=|\sstyle\s*=|<style|javascript:)re"), IsEmpty());
  EXPECT_THAT(all_matches(content(""), R"re(<script(?![^>]*\ssrc=)[^>]*>)re"), IsEmpty());
}

TEST(Page, NoTextIsReadAsHtmlOrAsAScript) {
  EXPECT_THAT(
      found_in_page(
          R"re(innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\(|new Function)re"),
      IsEmpty());
}

TEST(Page, PolicyAllowsOwnFilesAlone) {
  const std::string policy(kPagePolicy);
  for (const char* rule :
       {"default-src 'none'", "script-src 'self'", "style-src 'self'", "font-src 'self'",
        "connect-src 'self'", "img-src 'self' data:", "base-uri 'none'", "frame-ancestors 'none'"})
    EXPECT_THAT(policy, HasSubstr(std::string(rule) + ";"));
  EXPECT_THAT(policy, Not(HasSubstr("unsafe")));
  EXPECT_THAT(policy, Not(HasSubstr("*")));
}

TEST(Page, IsSmall) {
  size_t bytes = 0;
  for (const PageFile& file : page_files())
    if (file.name != kLibrary) bytes += file.content.size();
  EXPECT_LT(bytes, 150'000);
  EXPECT_GT(content(kLibrary).size(), 100'000);
}

TEST(Page, FilesHaveTheirMediaTypes) {
  for (const PageFile& file : page_files())
    EXPECT_NE(media_type(file.name), "application/octet-stream") << file.name;
  EXPECT_EQ(media_type("page.js"), "text/javascript; charset=utf-8");
  EXPECT_EQ(media_type("book.pdf"), "application/octet-stream");
}

}  // namespace
}  // namespace longlora::serve
