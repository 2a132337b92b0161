// Decides how the threads of numeric libraries wait, and how many there are.
#pragma once

namespace longlora::cli {

/// Limits the threads of tensor functions to the processors that this process may use, unless OMP_NUM_THREADS
/// is set. It has to be called once, at the start of main.
void limit_threads();

// A program that threads.cpp is linked into also makes its threads sleep while they wait for each other: it
// sets OMP_WAIT_POLICY to "passive", unless OMP_WAIT_POLICY or GOMP_SPINCOUNT is set already.

}  // namespace longlora::cli
