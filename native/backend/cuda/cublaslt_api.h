#pragma once
// What is used of cuBLASLt's interface (major version 13), so that it can be opened at run time and
// its headers, part of a download of 400 MB, are not needed to build. test/gpu/cublaslt_values.cc
// compares every value with the real header where there is one.
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

namespace stockpot::cuda::lt {

using Handle = struct OpaqueHandle*;
using Operation = struct OpaqueOperation*;
using Layout = struct OpaqueLayout*;
using Preference = struct OpaquePreference*;

enum Status : int { kSuccess = 0, kNotSupported = 15 };
enum DataType : int { kFloat32 = 0, kFloat16 = 2, kBFloat16 = 14 };
enum ComputeType : int { kCompute32F = 68 };
enum Transpose : int32_t { kAsIs = 0, kTransposed = 1 };
enum OperationAttribute : int { kTransposeA = 3, kTransposeB = 4, kEpilogue = 7, kBiasPointer = 8 };
enum Epilogue : uint32_t { kNoEpilogue = 1, kBias = 4 };
enum PreferenceAttribute : int {
  kMaxWorkspace = 1,
  kReductionSchemes = 3,
  kAlignmentA = 5,
  kAlignmentB = 6,
  kAlignmentC = 7,
  kAlignmentD = 8
};
enum ReductionScheme : uint32_t { kNoReduction = 0, kReductionInComputeType = 2 };
enum AlgorithmAttribute : int { kSplitK = 2, kReductionScheme = 3 };

struct Algorithm {
  uint64_t data[8];
};

struct Candidate {
  Algorithm algorithm;
  size_t workspace;
  Status state;
  float waves;
  int reserved[4];
};

// The functions, by their names without "cublasLt".
struct Functions {
  size_t (*GetVersion)();
  Status (*Create)(Handle*);
  Status (*Destroy)(Handle);
  Status (*MatmulDescCreate)(Operation*, ComputeType, DataType scale);
  Status (*MatmulDescDestroy)(Operation);
  Status (*MatmulDescSetAttribute)(Operation, OperationAttribute, const void*, size_t);
  Status (*MatrixLayoutCreate)(Layout*, DataType, uint64_t rows, uint64_t columns, int64_t ld);
  Status (*MatrixLayoutDestroy)(Layout);
  Status (*MatmulPreferenceCreate)(Preference*);
  Status (*MatmulPreferenceDestroy)(Preference);
  Status (*MatmulPreferenceSetAttribute)(Preference, PreferenceAttribute, const void*, size_t);
  Status (*MatmulAlgoGetHeuristic)(Handle, Operation, Layout a, Layout b, Layout c, Layout d,
                                   Preference, int asked, Candidate*, int* found);
  Status (*MatmulAlgoCheck)(Handle, Operation, Layout a, Layout b, Layout c, Layout d,
                            const Algorithm*, Candidate*);
  Status (*MatmulAlgoConfigGetAttribute)(const Algorithm*, AlgorithmAttribute, void*, size_t,
                                         size_t* written);
  Status (*Matmul)(Handle, Operation, const void* alpha, const void* a, Layout, const void* b,
                   Layout, const void* beta, const void* c, Layout, void* d, Layout,
                   const Algorithm*, void* workspace, size_t workspace_bytes, cudaStream_t);
};

// Opens the library of the runtime's major version: the file that STOCKPOT_CUBLASLT names, else
// where the system's loader finds it. It is opened once a process and stays open: to open it again
// takes seconds. nullptr, and why in *message, where it is not there or not what it should be.
const Functions* open(const char** message);

}  // namespace stockpot::cuda::lt
