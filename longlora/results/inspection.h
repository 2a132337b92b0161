// The result of `inspect`: what files of data hold, what of them repeats, and what of others they hold.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "longlora/core/json_fwd.h"

namespace longlora::results {

/// Something that was met, and how often: a form of samples, a field, a script.
struct NamedCount {
  std::string name = {};
  int64_t count = 0;

  template <typename Self, typename Fields>
  static void list_fields(Self& self, Fields& fields) {
    fields.optional("name", self.name);
    fields.required("count", self.count);
  }
};

/// How long one part of the samples is. A quantile is a length that occurs: the smallest one that at least
/// that share of the samples does not exceed.
struct LengthSummary {
  std::string part = {};  // "whole sample", "answers" …
  int64_t least = 0, p5 = 0, median = 0, p95 = 0, most = 0;
  double mean = 0.0;
  int64_t sum = 0;

  template <typename Self, typename Fields>
  static void list_fields(Self& self, Fields& fields) {
    fields.optional("part", self.part);
    fields.required("min", self.least);
    fields.required("p5", self.p5);
    fields.required("median", self.median);
    fields.required("p95", self.p95);
    fields.required("max", self.most);
    fields.optional("mean", self.mean);
    fields.required("sum", self.sum);
  }
};

/// How many samples, and how many answers of a sample together, have a length from `from` to `to`.
struct LengthBin {
  int64_t from = 0, to = 0;
  int64_t num_samples = 0;
  int64_t num_answers = 0;

  template <typename Self, typename Fields>
  static void list_fields(Self& self, Fields& fields) {
    fields.required("from", self.from);
    fields.required("to", self.to);
    fields.required("samples", self.num_samples);
    fields.optional("answers", self.num_answers);
  }
};

/// What a training run with rows of a length makes of the samples. Of questions and answers: how many stay
/// whole, are shortened or left out. Of other data, which is cut into rows: how many rows there are, and how
/// many tokens are left over.
struct LengthFit {
  int64_t max_tokens = 0;
  int64_t num_whole = -1;
  int64_t num_cut = -1;
  int64_t num_tokens_cut = -1;
  int64_t num_too_long = -1;
  int64_t num_without_answer = -1;
  int64_t num_rows = -1;
  int64_t num_tokens_left = -1;

  template <typename Self, typename Fields>
  static void list_fields(Self& self, Fields& fields) {
    fields.required("model_max_length", self.max_tokens, 1);
    fields.optional("whole", self.num_whole);
    fields.optional("cut", self.num_cut);
    fields.optional("tokens_cut", self.num_tokens_cut);
    fields.optional("too_long", self.num_too_long);
    fields.optional("without_answer", self.num_without_answer);
    fields.optional("rows", self.num_rows);
    fields.optional("tokens_left", self.num_tokens_left);
  }
};

/// One file.
struct InspectedFile {
  std::string path = {};
  std::string content = {};  // "questions and answers", "documents", "one text", "token ids"
  int64_t num_bytes = 0;
  int64_t num_samples = 0;  // of all kinds, the broken and empty ones included
  int64_t num_broken = 0;
  int64_t num_empty = 0;
  int64_t num_learned_uncertain = 0;  // answers found by comparing ids (data::InstructionTokens::is_certain)
  std::string unit = {};              // of the lengths: "tokens" or "words"
  std::string encoding = {};          // of texts
  std::vector<std::string> problems = {};  // what is wrong with the first broken samples
  std::vector<NamedCount> forms = {};      // samples by form
  std::vector<NamedCount> fields = {};     // samples that have a field with something in it
  std::vector<NamedCount> unread = {};     // those fields of which nothing is read
  std::vector<NamedCount> scripts = {};    // letters by Unicode script, the most frequent first
  std::vector<LengthSummary> lengths = {};
  std::vector<LengthBin> histogram = {};
  std::vector<LengthFit> fits = {};

  template <typename Self, typename Fields>
  static void list_fields(Self& self, Fields& fields) {
    fields.optional("path", self.path);
    fields.optional("content", self.content);
    fields.optional("bytes", self.num_bytes);
    fields.required("samples", self.num_samples);
    fields.optional("broken", self.num_broken);
    fields.optional("empty", self.num_empty);
    fields.optional("uncertain", self.num_learned_uncertain);
    fields.optional("unit", self.unit);
    fields.optional("encoding", self.encoding);
    fields.optional("problems", self.problems);
    fields.optional_objects("forms", self.forms);
    fields.optional_objects("fields", self.fields);
    fields.optional_objects("unread", self.unread);
    fields.optional_objects("scripts", self.scripts);
    fields.optional_objects("lengths", self.lengths);
    fields.optional_objects("histogram", self.histogram);
    fields.optional_objects("fits", self.fits);
  }
};

/// Two samples that are alike.
struct SimilarPair {
  std::string first = {};  // the places of the samples: "file.jsonl:8"
  std::string second = {};
  double similarity = 0.0;                                    // Jaccard's measure of their shingles of words
  double answers = std::numeric_limits<double>::quiet_NaN();  // of their answers alone; NaN: there are none

  template <typename Self, typename Fields>
  static void list_fields(Self& self, Fields& fields) {
    fields.optional("first", self.first);
    fields.optional("second", self.second);
    fields.share("similarity", self.similarity);
    fields.optional("answers", self.answers);
  }
};

/// What repeats within the files, all of them together. Each count is of samples that repeat an earlier one.
struct Duplicates {
  int64_t num_compared = 0;
  int64_t num_exact = 0;          // the same texts in the same roles
  int64_t num_same_question = 0;  // the same question with another answer
  int64_t num_near = 0;           // similar as a whole, and in their answers
  int64_t num_same_material = 0;  // similar as a whole, with another answer
  double threshold = 0.0;         // the least similarity
  int64_t shingle_words = 0;
  std::vector<SimilarPair> exact_pairs = {};  // the first ones
  std::vector<SimilarPair> near_pairs = {};   // the most similar ones

  template <typename Self, typename Fields>
  static void list_fields(Self& self, Fields& fields) {
    fields.required("compared", self.num_compared);
    fields.required("exact", self.num_exact);
    fields.optional("same_question", self.num_same_question);
    fields.required("near", self.num_near);
    fields.optional("same_material", self.num_same_material);
    fields.optional("threshold", self.threshold);
    fields.optional("shingle_words", self.shingle_words);
    fields.optional_objects("exact_pairs", self.exact_pairs);
    fields.optional_objects("near_pairs", self.near_pairs);
  }
};

/// A held-out sample, and the sample of the inspected files that has most of it.
struct LeakedSample {
  std::string held_out = {};
  std::string sample = {};
  bool exact = false;      // all of its texts are those of the sample
  double contained = 0.0;  // the share of its n-grams that the inspected files hold
  double in_sample = 0.0;  // the share that the sample by itself holds
  double answer = std::numeric_limits<double>::quiet_NaN();  // the share of its answer's; NaN: it has none
  std::string quote = {};   // the beginning of the longest passage that both have
  int64_t quote_words = 0;  // the length of that passage

  template <typename Self, typename Fields>
  static void list_fields(Self& self, Fields& fields) {
    fields.optional("held_out", self.held_out);
    fields.optional("sample", self.sample);
    fields.required("exact", self.exact);
    fields.share("contained", self.contained);
    fields.share("in_sample", self.in_sample);
    fields.optional("answer", self.answer);
    fields.optional("quote", self.quote);
    fields.optional("quote_words", self.quote_words);
  }
};

/// What of one file of held-out data the inspected files hold.
struct Overlap {
  std::string path = {};
  int64_t num_samples = 0;
  int64_t num_broken = 0;
  int64_t num_exact = 0;
  int64_t num_same_question = 0;
  int64_t ngram_words = 0;
  int64_t num_short = 0;  // samples of fewer words, which are compared as a whole alone
  int64_t num_any = 0;    // samples of which at least one n-gram is found
  int64_t num_fifth = 0;  // of which at least 20 % are found
  int64_t num_half = 0;   // 50 %
  int64_t num_most = 0;   // 80 %
  std::vector<LeakedSample> worst = {};

  template <typename Self, typename Fields>
  static void list_fields(Self& self, Fields& fields) {
    fields.optional("path", self.path);
    fields.required("samples", self.num_samples);
    fields.optional("broken", self.num_broken);
    fields.required("exact", self.num_exact);
    fields.optional("same_question", self.num_same_question);
    fields.optional("ngram_words", self.ngram_words);
    fields.optional("short", self.num_short);
    fields.required("any", self.num_any);
    fields.optional("at_least_20_percent", self.num_fifth);
    fields.optional("at_least_50_percent", self.num_half);
    fields.optional("at_least_80_percent", self.num_most);
    fields.optional_objects("worst", self.worst);
  }
};

/// Something that --expect asked for.
struct Expectation {
  std::string expected = {};
  std::string found = {};
  bool holds = false;

  template <typename Self, typename Fields>
  static void list_fields(Self& self, Fields& fields) {
    fields.optional("expected", self.expected);
    fields.optional("found", self.found);
    fields.required("holds", self.holds);
  }
};

struct Inspection {
  static constexpr const char* kVerb = "inspect";

  std::string tokenizer = {};   // its path; empty: lengths are in words
  std::string prompt = {};      // the form in which questions are asked
  std::string truncation = {};  // how samples would be shortened
  std::vector<InspectedFile> files = {};
  Duplicates duplicates = {};
  std::vector<Overlap> overlaps = {};
  std::vector<Expectation> expectations = {};

  template <typename Self, typename Fields>
  static void list_fields(Self& self, Fields& fields) {
    fields.optional("tokenizer", self.tokenizer);
    fields.optional("prompt", self.prompt);
    fields.optional("truncate", self.truncation);
    fields.objects("files", self.files);
    Duplicates::list_fields(self.duplicates, fields);
    fields.optional_objects("overlaps", self.overlaps);
    fields.optional_objects("expectations", self.expectations);
  }

  Json to_json() const;
  /// `where` names the file in errors. Throws InputError.
  static Inspection from_json(const Json& json, const std::string& where);
};

}  // namespace longlora::results
