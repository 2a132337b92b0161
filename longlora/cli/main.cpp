// Runs the command line and turns errors into messages and exit codes.
#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <string>
#include <system_error>
#include <vector>

#include "longlora/cli/flags.h"
#include "longlora/cli/foreign_flags.h"
#include "longlora/cli/out_of_gpu_memory.h"
#include "longlora/cli/threads.h"
#include "longlora/cli/usage_errors.h"
#include "longlora/cli/verbs.h"
#include "longlora/cli/version.h"
#include "longlora/core/error.h"
#include "longlora/core/log.h"
#include "longlora/core/mapped_ranges.h"
#include "longlora/tensors/tensor_memory.h"

namespace longlora::cli {
namespace {

constexpr const char* kDescription =
    "longlora takes a pretrained language model to a longer context window with shifted sparse\n"
    "attention and low-rank adaptation (LongLoRA), and measures the result.\n";

constexpr const char* kFooter =
    "\nlonglora VERB --help lists the flags of a verb and their defaults.\n"
    "Exit codes: 0 done, 2 wrong usage, 3 unusable file, model or data, 4 memory, disk or GPU, 1 anything "
    "else;\n130, 143, 129 and 138: a training run was stopped with a checkpoint by Ctrl-C, SIGTERM, SIGHUP "
    "or "
    "SIGUSR1.";

int run(int argc, char** argv) {
  CLI::App app{kDescription, "longlora"};
  app.footer(kFooter);
  app.require_subcommand(1);
  app.set_version_flag("--version", describe_program,
                       "Print version, build, and what this machine computes with");
  app.add_flag_callback(
      "--flags_page",
      [] {
        fmt::print("{}", flags_page());
        throw CLI::Success();
      },
      "Print docs/flags.md: what flags of Hugging Face's Trainer and of LongLoRA's scripts do");
  app.get_formatter()->column_width(36);
  add_verbs(app);
  const std::vector<std::string> words(argv + 1, argv + std::max(argc, 1));
  if (const std::string problem = missing_verb(app, words); !problem.empty()) {
    log_error(problem + "\n  longlora --help says what each verb does");
    return static_cast<int>(ExitCode::kUsage);
  }
  try {
    parse(app, words);
  } catch (const CLI::Success& success) {
    return app.exit(success);  // for --help and --version
  } catch (const CLI::ParseError& error) {
    log_error(describe_usage_error(app, error));
    return static_cast<int>(ExitCode::kUsage);
  }
  return static_cast<int>(ExitCode::kDone);
}

// Whether the system refused memory, disk space or permission, which the user can change.
bool is_about_resources(const std::error_code& code) {
  for (const int error_number : {ENOSPC, EDQUOT, EFBIG, EROFS, EACCES, EPERM, ENOMEM, EMFILE, ENFILE, EIO})
    if (code == std::error_code(error_number, std::generic_category()) || code.value() == error_number)
      return true;
  return false;
}

int fail(const std::string& message, ExitCode code) {
  log_error(message);
  return static_cast<int>(code);
}

int fail_without_memory() {
  return fail(
      "[memory] expected enough memory, got none; use shorter rows, a smaller batch or a smaller model",
      ExitCode::kResources);
}

// Runs the command line. Every error becomes a message and an exit code.
int run_guarded(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const StoppedBySignal& stopped) {
    return 128 + stopped.signal;
  } catch (const Error& error) {
    return fail(error.what(), error.code());
  } catch (const std::bad_alloc&) {
    return fail_without_memory();
  } catch (const c10::OutOfMemoryError& error) {
    return fail(cli::describe_out_of_memory(error.what_without_backtrace()), ExitCode::kResources);
  } catch (const c10::Error& error) {
    // libtorch's allocator throws the general exception, so that lack of memory is known by its message.
    const std::string message = error.what_without_backtrace();
    if (message.find("allocate memory") != std::string::npos) return fail_without_memory();
    return fail(message, ExitCode::kOther);
  } catch (const std::system_error& error) {
    return fail(error.what(), is_about_resources(error.code()) ? ExitCode::kResources : ExitCode::kOther);
  } catch (const std::exception& error) {
    return fail(error.what(), ExitCode::kOther);
  }
}

}  // namespace
}  // namespace longlora::cli

int main(int argc, char** argv) {
  // With the signal ignored, reaching a limit on file sizes (ulimit -f) is an error of the write, like a full
  // disk.
  std::signal(SIGXFSZ, SIG_IGN);
  longlora::end_on_failed_mappings();
  longlora::tensors::pool_tensor_memory();
  longlora::cli::limit_threads();
  int code = longlora::cli::run_guarded(argc, argv);
  if (std::fflush(stdout) != 0 && code == 0)
    code = longlora::cli::fail(
        "[standard output] expected to write the results, got an error; is the disk full?",
        longlora::ExitCode::kResources);
  // The process ends without libtorch's destructors, which need a tenth of a second to free its tables of
  // operators.
  std::_Exit(code);
}
