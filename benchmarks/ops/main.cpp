// Rates are per second of processor time: OMP_NUM_THREADS=1 makes them those of one core.
#include <benchmark/benchmark.h>

BENCHMARK_MAIN();
