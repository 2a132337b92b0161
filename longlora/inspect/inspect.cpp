#include "longlora/inspect/inspect.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <memory>
#include <utility>

#include "longlora/core/error.h"
#include "longlora/core/format.h"
#include "longlora/core/log.h"
#include "longlora/core/progress.h"
#include "longlora/core/utf8.h"
#include "longlora/data/data_file.h"
#include "longlora/data/run_parallel.h"
#include "longlora/inspect/duplicates.h"
#include "longlora/inspect/expectations.h"
#include "longlora/inspect/file_counts.h"
#include "longlora/inspect/overlap.h"
#include "longlora/inspect/sources.h"

namespace longlora::inspect {

namespace {

namespace fs = std::filesystem;
using Sources = std::vector<std::unique_ptr<const Source>>;

constexpr size_t kPairsShown = 5;
constexpr int kQuoteWidth = 200;
constexpr int64_t kSamplesAtOnce = 1024;  // how many are read between two looks at the progress

// The number of a sample among all that can be compared.
struct Place {
  uint32_t source;
  int64_t index;
};

Sources open_sources(const std::vector<fs::path>& paths, const data::TokenDataOptions& options) {
  Sources sources;
  for (const fs::path& path : data::expand_folders(paths, data::FolderContents::kTextAndTokens)) {
    sources.push_back(open_source(path, options));
    for (const std::string& note : sources.back()->notes()) log_warning(note);
  }
  return sources;
}

// Reads all samples of a source on several threads, and hands what `read` made of them to `take` in order.
template <typename Read, typename Take>
void for_each_sample(const Source& source, const std::string& what, int num_threads, const Read& read,
                     const Take& take) {
  Progress progress(what, source.size(), "samples");
  std::vector<decltype(read(int64_t{0}))> readings;
  for (int64_t start = 0; start < source.size(); start += kSamplesAtOnce) {
    readings.clear();
    readings.resize(static_cast<size_t>(std::min(kSamplesAtOnce, source.size() - start)));
    data::run_parallel(readings.size(), num_threads,
                       [&](size_t i) { readings[i] = read(start + static_cast<int64_t>(i)); });
    for (size_t i = 0; i < readings.size(); ++i) take(readings[i], start + static_cast<int64_t>(i));
    progress.update(start + std::ssize(readings));
  }
}

void add_counts(const std::vector<results::NamedCount>& counts, std::vector<results::NamedCount>* sums) {
  for (const results::NamedCount& count : counts) {
    const auto sum = std::find_if(sums->begin(), sums->end(),
                                  [&](const results::NamedCount& other) { return other.name == count.name; });
    if (sum == sums->end())
      sums->push_back(count);
    else
      sum->count += count.count;
  }
}

class Inspector {
 public:
  explicit Inspector(const Options& options)
      : options_(options), measure_{options.instructions, options.max_lengths} {
    if (measure_.max_lengths.empty())
      for (int64_t length = 2048; length <= 131072; length *= 2) measure_.max_lengths.push_back(length);
  }

  results::Inspection run();

 private:
  void index_held_out();
  void read_inputs(results::Inspection* result);
  void trim_fits(results::InspectedFile* file) const;
  results::Duplicates duplicates() const;
  std::vector<results::Overlap> overlaps() const;
  results::LeakedSample describe_leak(const HeldOutSample& found, const Place& place) const;
  std::string place_of(size_t number) const {
    return replace_invalid_utf8(sources_[places_[number].source]->place(places_[number].index));
  }

  const Options& options_;
  Measure measure_;
  Sources sources_, held_out_;
  std::vector<Place> places_;  // of the samples that can be compared
  std::vector<Fingerprint> fingerprints_;
  std::vector<Place> held_out_places_;
  std::vector<results::Overlap> overlaps_;  // one for each source of held_out_, without what is found
  HeldOutIndex index_;
  FormCounts form_;
};

void require_equal_units(const Sources& sources, const Sources& held_out) {
  bool any_ids = false, any_text = false;
  for (const Sources* all : {&sources, &held_out})
    for (const auto& source : *all) (source->has_ids_alone() ? any_ids : any_text) = true;
  if (!held_out.empty() && any_ids && any_text)
    throw UsageError(
        "[--against] expected files that can be compared, got .bin files and texts; give --model or "
        "--tokenizer, with which the ids of a .bin become text");
}

void Inspector::index_held_out() {
  struct Reading {
    Fingerprint fingerprint;
    Grams grams;
    bool is_broken = false;
  };
  for (const auto& source : held_out_) {
    results::Overlap overlap = {.path = replace_invalid_utf8(source->path().string()),
                                .num_samples = source->size()};
    const auto read = [&](int64_t index) {
      Reading reading;
      Sample sample;
      WordCounts words;
      ScriptCounts scripts;
      try {
        source->read(index, &sample);
        reading.fingerprint = make_fingerprint(sample, &words, &scripts);
        reading.grams = make_grams(sample);
      } catch (const InputError&) {
        reading.is_broken = true;
      }
      return reading;
    };
    const auto number = static_cast<uint32_t>(overlaps_.size());
    for_each_sample(*source, "reading held-out data", options_.num_threads, read,
                    [&](const Reading& reading, int64_t index) {
                      overlap.num_broken += reading.is_broken ? 1 : 0;
                      if (reading.is_broken) return;
                      index_.add(reading.fingerprint, reading.grams);
                      held_out_places_.push_back({number, index});
                    });
    overlaps_.push_back(overlap);
  }
  index_.build();
}

void Inspector::read_inputs(results::Inspection* result) {
  struct Reading {
    SampleReading sample;
    HeldOutIndex::Match match;
  };
  for (size_t number = 0; number < sources_.size(); ++number) {
    const Source& source = *sources_[number];
    FileCounts counts(source, measure_);
    const auto read = [&](int64_t index) {
      Sample sample;
      Reading reading = {read_sample(source, index, measure_, &sample), {}};
      if (!held_out_.empty() && !reading.sample.problem && !reading.sample.is_empty)
        reading.match = index_.match(reading.sample.fingerprint, sample);
      return reading;
    };
    for_each_sample(source, "reading samples", options_.num_threads, read,
                    [&](const Reading& reading, int64_t index) {
                      counts.add(reading.sample);
                      if (reading.sample.problem || reading.sample.is_empty) return;
                      if (!held_out_.empty()) index_.note(reading.match, std::ssize(places_));
                      places_.push_back({static_cast<uint32_t>(number), index});
                      fingerprints_.push_back(reading.sample.fingerprint);
                    });
    results::InspectedFile file = counts.result();
    form_.num_samples += file.num_samples;
    form_.num_broken += file.num_broken;
    form_.num_long += counts.num_long();
    add_counts(file.fields, &form_.fields);
    add_counts(file.unread, &form_.unread);
    trim_fits(&file);
    result->files.push_back(std::move(file));
  }
}

// Where the user names no lengths, those are left out at which nothing changes any more.
void Inspector::trim_fits(results::InspectedFile* file) const {
  if (!options_.max_lengths.empty()) return;
  const auto all_fit = [](const results::LengthFit& fit) {
    return fit.num_rows >= 0 ? fit.num_rows == 0 : fit.num_cut == 0 && fit.num_too_long == 0;
  };
  const auto first = std::find_if(file->fits.begin(), file->fits.end(), all_fit);
  if (first != file->fits.end()) file->fits.erase(first + 1, file->fits.end());
}

results::Duplicates Inspector::duplicates() const {
  const auto load = [&](size_t number) {
    Sample sample;
    sources_[places_[number].source]->read(places_[number].index, &sample);
    return make_shingle_sets(sample);
  };
  const FoundDuplicates found = find_duplicates(fingerprints_, load, options_.num_threads);
  results::Duplicates duplicates;
  duplicates.num_compared = std::ssize(fingerprints_);
  duplicates.num_exact = found.num_exact;
  duplicates.num_same_question = found.num_same_question;
  duplicates.num_near = found.num_near;
  duplicates.num_same_material = found.num_same_material;
  duplicates.threshold = kSimilar;
  duplicates.shingle_words = kShingleWords;
  const auto describe = [&](const std::vector<AlikePair>& pairs) {
    std::vector<results::SimilarPair> described;
    for (size_t i = 0; i < std::min(pairs.size(), kPairsShown); ++i)
      described.push_back(
          {place_of(pairs[i].first), place_of(pairs[i].second), pairs[i].similarity, pairs[i].answers});
    return described;
  };
  duplicates.exact_pairs = describe(found.exact_pairs);
  duplicates.near_pairs = describe(found.near_pairs);
  return duplicates;
}

double share_of(int64_t part, int64_t whole) {
  return whole == 0 ? std::numeric_limits<double>::quiet_NaN()
                    : static_cast<double>(part) / static_cast<double>(whole);
}

// How much of a held-out sample the inputs hold: all of it where one has its texts.
double contained(const HeldOutSample& found) {
  if (found.same != HeldOutSample::kNone) return 1.0;
  return found.num_grams == 0 ? 0.0 : share_of(found.num_found, found.num_grams);
}

// A passage on one line.
std::string one_line(const std::string& text) {
  std::string line;
  for (const char c : replace_invalid_utf8(text)) {
    const bool is_space = static_cast<unsigned char>(c) <= ' ' || c == '\x7f';
    if (!is_space)
      line += c;
    else if (!line.empty() && line.back() != ' ')
      line += ' ';
  }
  return shorten(line, kQuoteWidth);
}

results::LeakedSample Inspector::describe_leak(const HeldOutSample& found, const Place& place) const {
  const bool is_exact = found.same != HeldOutSample::kNone;
  const auto nearest = static_cast<size_t>(is_exact ? found.same : found.nearest);
  results::LeakedSample leak;
  leak.held_out = replace_invalid_utf8(held_out_[place.source]->place(place.index));
  leak.exact = is_exact;
  leak.contained = contained(found);
  leak.answer =
      is_exact && found.num_answer_grams > 0 ? 1.0 : share_of(found.num_answer_found, found.num_answer_grams);
  if (!is_exact && found.nearest == HeldOutSample::kNone) return leak;
  leak.sample = place_of(nearest);
  Sample held_out, other;
  held_out_[place.source]->read(place.index, &held_out);
  sources_[places_[nearest].source]->read(places_[nearest].index, &other);
  const SharedPassage passage = find_shared_passage(held_out, other);
  leak.in_sample = is_exact ? 1.0 : passage.in_sample;
  leak.quote = one_line(passage.text);
  leak.quote_words = passage.num_words;
  return leak;
}

std::vector<results::Overlap> Inspector::overlaps() const {
  std::vector<results::Overlap> overlaps = overlaps_;
  const std::vector<HeldOutSample> found = index_.results();
  std::vector<std::vector<size_t>> worst(overlaps.size());  // numbers of held-out samples, by file
  for (size_t i = 0; i < found.size(); ++i) {
    results::Overlap& overlap = overlaps[held_out_places_[i].source];
    const double share = contained(found[i]);
    const bool is_exact = found[i].same != HeldOutSample::kNone;
    overlap.ngram_words = kGramWords;
    overlap.num_exact += is_exact ? 1 : 0;
    overlap.num_same_question += !is_exact && found[i].same_question != HeldOutSample::kNone ? 1 : 0;
    overlap.num_short += found[i].num_grams == 0 ? 1 : 0;
    overlap.num_any += share > 0.0 ? 1 : 0;
    overlap.num_fifth += share >= 0.2 ? 1 : 0;
    overlap.num_half += share >= 0.5 ? 1 : 0;
    overlap.num_most += share >= 0.8 ? 1 : 0;
    if (share > 0.0) worst[held_out_places_[i].source].push_back(i);
  }
  for (size_t file = 0; file < overlaps.size(); ++file) {
    std::stable_sort(worst[file].begin(), worst[file].end(),
                     [&](size_t a, size_t b) { return contained(found[a]) > contained(found[b]); });
    for (size_t i = 0; i < std::min(worst[file].size(), kPairsShown); ++i)
      overlaps[file].worst.push_back(describe_leak(found[worst[file][i]], held_out_places_[worst[file][i]]));
  }
  return overlaps;
}

results::Inspection Inspector::run() {
  data::TokenDataOptions token_data = options_.token_data;
  token_data.tokenizer = options_.instructions.tokenizer;
  sources_ = open_sources(options_.inputs, token_data);
  if (!options_.against.empty()) held_out_ = open_sources(options_.against, token_data);
  require_equal_units(sources_, held_out_);
  results::Inspection result;
  index_held_out();
  read_inputs(&result);
  result.duplicates = duplicates();
  result.overlaps = overlaps();
  if (options_.expect == "longalpaca") result.expectations = check_longalpaca(form_);
  return result;
}

}  // namespace

results::Inspection inspect(const Options& options) {
  return Inspector(options).run();
}

}  // namespace longlora::inspect
