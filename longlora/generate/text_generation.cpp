#include "longlora/generate/text_generation.h"

#include <utility>

#include "longlora/generate/run_jobs.h"
#include "longlora/tokenizer/chat.h"

namespace longlora::generate {

TextWriter::TextWriter(const tokenizer::Tokenizer& tokenizer, const std::vector<std::string>& end_texts,
                       std::function<void(std::string_view)> show)
    : tokenizer_(tokenizer), stream_(tokenizer), stop_(end_texts), show_(std::move(show)) {}

void TextWriter::pass_on(const std::string& piece) {
  text_ += piece;
  if (show_ && !piece.empty()) show_(piece);
}

bool TextWriter::push(int64_t id) {
  pass_on(stop_.push(stream_.push(id)));
  return !stop_.found();
}

TextGeneration TextWriter::finish(Generation generation) {
  pass_on(stop_.push(stream_.finish()));
  pass_on(stop_.finish());
  TextGeneration result = {.text = std::move(text_), .generation = std::move(generation)};
  if (!stop_.found()) return result;
  result.generation.reason = StopReason::kStopText;
  std::vector<int64_t>& ids = result.generation.ids;
  const auto size_without_last = [&] {
    return tokenizer::decode_written(tokenizer_, std::span(ids).first(ids.size() - 1)).size();
  };
  while (!ids.empty() && size_without_last() >= result.text.size()) ids.pop_back();
  return result;
}

TextGeneration generate_text(Generator& generator, Job job, const TextEnds& ends,
                             const tokenizer::Tokenizer& tokenizer,
                             const std::function<void(std::string_view)>& show,
                             const std::function<bool(const JobEvent&)>& hear) {
  job.stop_ids = ends.ids;
  TextWriter writer(tokenizer, ends.texts, show);
  Generation generation = run_job(generator, std::move(job), [&](const JobEvent& event) {
    if (hear && !hear(event)) return false;
    const auto* wrote = std::get_if<Wrote>(&event);
    return wrote == nullptr || writer.push(wrote->id);
  });
  return writer.finish(std::move(generation));
}

std::vector<TextGeneration> generate_texts(Generator& generator, std::vector<Job> jobs, const TextEnds& ends,
                                           const tokenizer::Tokenizer& tokenizer) {
  std::vector<TextWriter> writers;
  writers.reserve(jobs.size());
  for (Job& job : jobs) {
    job.stop_ids = ends.ids;
    writers.emplace_back(tokenizer, ends.texts);
  }
  std::vector<Generation> generations =
      run_jobs(generator, std::move(jobs), [&](size_t job, const JobEvent& event) {
        const auto* wrote = std::get_if<Wrote>(&event);
        return wrote == nullptr || writers[job].push(wrote->id);
      });
  std::vector<TextGeneration> texts;
  texts.reserve(writers.size());
  for (size_t i = 0; i < writers.size(); ++i) texts.push_back(writers[i].finish(std::move(generations[i])));
  return texts;
}

}  // namespace longlora::generate
