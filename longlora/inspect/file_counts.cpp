#include "longlora/inspect/file_counts.h"

#include <algorithm>
#include <numeric>

#include "longlora/core/error.h"
#include "longlora/core/utf8.h"
#include "longlora/data/fit_sample.h"
#include "longlora/inspect/expectations.h"
#include "longlora/inspect/lengths.h"

namespace longlora::inspect {

namespace {

constexpr size_t kProblemsKept = 5;
constexpr size_t kNamesKept = 40;

// The names with their counts, the most frequent first.
std::vector<results::NamedCount> named(const std::map<std::string, int64_t>& counts) {
  std::vector<results::NamedCount> list;
  list.reserve(counts.size());
  for (const auto& [name, count] : counts) list.push_back({replace_invalid_utf8(name), count});
  std::stable_sort(list.begin(), list.end(), [](const auto& a, const auto& b) { return a.count > b.count; });
  if (list.size() > kNamesKept) list.resize(kNamesKept);
  return list;
}

// Tokenizes questions and answers as sft does, and tries every length of rows.
void measure_turns(const Sample& sample, const Measure& measure, SampleReading* reading) {
  data::InstructionOptions options = measure.instructions;
  data::InstructionTokens tokens =
      data::tokenize_conversation(*options.tokenizer, options.prompt, sample.turns);
  reading->is_certain = tokens.is_certain;
  reading->lengths.whole = std::ssize(tokens.ids);
  reading->lengths.longest_question = tokens.material.size();
  for (const data::TokenRange& answer : tokens.answers) reading->lengths.answers += answer.size();
  reading->fits.resize(measure.max_lengths.size());
  for (size_t i = 0; i < measure.max_lengths.size(); ++i) {
    options.max_tokens = measure.max_lengths[i];
    if (std::ssize(tokens.ids) <= options.max_tokens) {
      data::fit_sample(&tokens, options, &reading->fits[i]);  // changes nothing
    } else {
      data::InstructionTokens shortened = tokens;
      data::fit_sample(&shortened, options, &reading->fits[i]);
    }
  }
}

void measure_sample(const Sample& sample, const Measure& measure, SampleReading* reading) {
  const tokenizer::Tokenizer* tokenizer = measure.instructions.tokenizer;
  PartLengths& lengths = reading->lengths;
  if (!sample.ids.empty()) {
    lengths.whole = std::ssize(sample.ids);
  } else if (tokenizer == nullptr) {
    const WordCounts& words = reading->words;
    lengths = {words.whole, words.longest_question, 0, words.answers};
  } else if (!sample.turns.empty()) {
    measure_turns(sample, measure, reading);
  } else {
    lengths.whole = std::ssize(tokenizer->encode(sample.text, false)) + 1;  // EOS follows a document
  }
  lengths.other = lengths.whole - lengths.longest_question - lengths.answers;
}

}  // namespace

SampleReading read_sample(const Source& source, int64_t index, const Measure& measure, Sample* sample) {
  SampleReading reading;
  try {
    source.read(index, sample);
    reading.is_empty = sample->turns.empty() && sample->text.empty() && sample->ids.empty();
    if (!reading.is_empty) {
      reading.fingerprint = make_fingerprint(*sample, &reading.words, &reading.scripts);
      measure_sample(*sample, measure, &reading);
    }
  } catch (const InputError& error) {
    reading.problem = error.what();
  }
  reading.form = sample->form;
  reading.fields = sample->fields;
  reading.unread = sample->unread;
  return reading;
}

FileCounts::FileCounts(const Source& source, const Measure& measure)
    : source_(source), measure_(measure), fit_counts_(measure.max_lengths.size()) {}

void FileCounts::add_lengths(const PartLengths& lengths) {
  whole_.push_back(lengths.whole);
  if (!source_.has_turns()) return;
  longest_question_.push_back(lengths.longest_question);
  other_.push_back(lengths.other);
  answers_.push_back(lengths.answers);
}

void FileCounts::add(const SampleReading& reading) {
  ++file_.num_samples;
  fields_.add(reading.fields);
  if (!reading.form.empty()) ++forms_[reading.form];
  if (reading.problem) {
    ++file_.num_broken;
    if (file_.problems.size() < kProblemsKept)
      file_.problems.push_back(replace_invalid_utf8(*reading.problem));
    return;
  }
  unread_.add(reading.unread);
  if (reading.is_empty) {
    ++file_.num_empty;
    return;
  }
  file_.num_learned_uncertain += reading.is_certain ? 0 : 1;
  scripts_.add(reading.scripts);
  add_lengths(reading.lengths);
  num_long_ += reading.words.whole >= kLongWords ? 1 : 0;
  for (size_t i = 0; i < reading.fits.size(); ++i) {
    fit_counts_[i].num_cut += reading.fits[i].num_cut;
    fit_counts_[i].num_tokens_cut += reading.fits[i].num_tokens_cut;
    fit_counts_[i].num_too_long += reading.fits[i].num_too_long;
    fit_counts_[i].num_without_target += reading.fits[i].num_without_target;
  }
}

std::vector<results::LengthFit> FileCounts::fits() const {
  std::vector<results::LengthFit> fits;
  const int64_t num_tokens = std::accumulate(whole_.begin(), whole_.end(), int64_t{0});
  for (size_t i = 0; i < measure_.max_lengths.size(); ++i) {
    results::LengthFit fit = {.max_tokens = measure_.max_lengths[i]};
    if (source_.has_turns()) {
      const data::InstructionCounts& counts = fit_counts_[i];
      fit.num_cut = counts.num_cut;
      fit.num_tokens_cut = counts.num_tokens_cut;
      fit.num_too_long = counts.num_too_long;
      fit.num_without_answer = counts.num_without_target;
      fit.num_whole = std::ssize(whole_) - counts.num_cut - counts.num_too_long - counts.num_without_target;
    } else {
      fit.num_rows = num_tokens / fit.max_tokens;
      fit.num_tokens_left = num_tokens % fit.max_tokens;
    }
    fits.push_back(fit);
  }
  return fits;
}

results::InspectedFile FileCounts::result() const {
  results::InspectedFile file = file_;
  file.path = replace_invalid_utf8(source_.path().string());
  file.content = source_.content();
  file.num_bytes = source_.num_bytes();
  file.encoding = source_.encoding();
  const bool has_tokens = measure_.instructions.tokenizer != nullptr || source_.num_ids() > 0;
  file.unit = has_tokens ? "tokens" : "words";
  file.forms = named(forms_);
  file.fields = named(fields_.counts());
  file.unread = named(unread_.counts());
  file.scripts = scripts_.named();
  if (whole_.empty()) return file;
  file.lengths.push_back(summarize_lengths("whole sample", whole_));
  if (source_.has_turns()) {
    file.lengths.push_back(summarize_lengths("longest user text", longest_question_));
    file.lengths.push_back(summarize_lengths("other prompt text", other_));
    file.lengths.push_back(summarize_lengths("answers", answers_));
  }
  file.histogram = count_lengths(whole_, answers_);
  if (has_tokens) file.fits = fits();
  return file;
}

}  // namespace longlora::inspect
