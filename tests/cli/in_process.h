// The program without a process: its errors are exceptions that a test can look at.
#pragma once

#include "tests/cli/words.h"

namespace longlora::test {

/// What the program does with these words, the verb first. Throws its errors.
void run(const Words& words);

}  // namespace longlora::test
