#pragma once
// For functions that run on the host and on a GPU: nvcc compiles them for both, any other compiler
// for the host alone, where they are tested.
#if defined(__CUDACC__)
#define STOCKPOT_HD __host__ __device__
#else
#define STOCKPOT_HD
#endif

// Before a loop whose indices must be constants, so that its arrays stay in registers; and
// before one over an array that should not go there.
#if defined(__CUDA_ARCH__)
#define STOCKPOT_UNROLL _Pragma("unroll")
#define STOCKPOT_ROLLED _Pragma("unroll 1")
#else
#define STOCKPOT_UNROLL
#define STOCKPOT_ROLLED
#endif

// For what is rarely needed and would crowd its caller's registers.
#if defined(__CUDACC__)
#define STOCKPOT_NOINLINE __noinline__
#else
#define STOCKPOT_NOINLINE
#endif
