// How the threads of the numeric libraries wait, and how many there are.
#pragma once

namespace longlora::cli {

/// Limits the threads of tensor functions to the processors that this process may use. OMP_NUM_THREADS, where
/// it is set, stays. Call it once, at the start of main.
void limit_threads();

// Linked into the program, threads.cpp also makes threads sleep while they wait for each other
// (OMP_WAIT_POLICY is then "passive"), unless OMP_WAIT_POLICY or GOMP_SPINCOUNT is set already.

}  // namespace longlora::cli
