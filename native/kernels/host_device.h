#pragma once
// For functions that run on the host and on a GPU: nvcc compiles them for both, any other compiler
// for the host alone, where they are tested.
#if defined(__CUDACC__)
#define STOCKPOT_HD __host__ __device__
#else
#define STOCKPOT_HD
#endif
