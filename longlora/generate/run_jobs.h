// Jobs that somebody waits for.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

#include "longlora/generate/generate.h"
#include "longlora/generate/generator.h"
#include "longlora/generate/runtime.h"

namespace longlora::generate {

/// Hears of job number `job` and returns false to cancel it. It is called in the thread that waits.
using HearJob = std::function<bool(size_t job, const JobEvent& event)>;

/// Submits jobs and waits until all have ended; returns what each wrote. Throws what Generator::submit
/// throws, and InputError with the message of the first job that failed.
std::vector<Generation> run_jobs(Generator& generator, std::vector<Job> jobs, const HearJob& hear = {});
/// As above, for one job.
Generation run_job(Generator& generator, Job job, const std::function<bool(const JobEvent&)>& hear = {});

/// Returns what generates on the device of a model: an Engine on the CPU, and elsewhere one sequence at a
/// time with a key/value cache on the device.
std::unique_ptr<Generator> open_generator(const Runtime& runtime);

}  // namespace longlora::generate
